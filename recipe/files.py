"""Writing a file as a whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

Write = Callable[[Path], object]  # writes what belongs into a file to the path that it is given


def write_whole(path: Path, write: Write) -> None:
    """`write(temporary path)`, then one rename: a reader sees the old file, the new one, or none."""
    write_together({path: write})


def write_together(writers: dict[Path, Write]) -> None:
    """`write_whole` for files that belong together: none is renamed before all are written."""
    temporary = {path: path.with_name(f".{path.name}-{os.getpid()}") for path in writers}
    try:
        for path, write in writers.items():
            write(temporary[path])
        for path in writers:
            os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
