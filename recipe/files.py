"""Writing a file as a whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """`write(temporary path)`, then one rename: a reader sees the old file, the new one, or none."""
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
