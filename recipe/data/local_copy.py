"""Checks the files of a local copy, so that a broken one is named by file and line before anything is loaded."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
from datasets.data_files import FILES_TO_IGNORE

LFS_POINTER = b"version https://git-lfs.github.com/"
FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}


class DataError(Exception):
    """A sentence for the user."""


def check_copy(path: Path) -> None:
    """Every data file of a copy, which is one file or a folder.

    Raises:
        DataError: if there is no data file, or if one is empty, a Git LFS pointer, not UTF-8, broken or cut short.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and _is_data(file.relative_to(path)))
        if not files:
            raise DataError(f"{path} has no .parquet, .json or .jsonl file")
    elif path.suffix in FORMATS and path.is_file():
        files = [path]
    else:
        raise DataError(f"--source must be a folder or a .parquet, .json or .jsonl file that exists, got {path}")
    for file in files:
        _check_file(file)


def _is_data(path: Path) -> bool:
    """Whether `load_dataset` may read it: not the metadata of a repository on the hub."""
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix in FORMATS and path.name not in FILES_TO_IGNORE and not hidden


def _check_file(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if not start:
        raise DataError(f"{path} is an empty file")
    if start == LFS_POINTER:
        raise DataError(f"{path} is a Git LFS pointer, not the data: run `git lfs pull` where it was cloned")
    if path.suffix == ".parquet":
        _check_parquet(path)
    else:
        _check_json(path)


def _check_parquet(path: Path) -> None:
    try:
        rows = sum(len(batch) for batch in pyarrow.parquet.ParquetFile(path).iter_batches())
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is no whole parquet file: {error}") from error
    if not rows:
        raise DataError(f"{path} has 0 rows")


def _check_json(path: Path) -> None:
    """A list of objects, or an object on each line."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line} is not UTF-8 (byte 0x{content[error.start]:02x})") from error
    if text.lstrip().startswith("["):
        objects = [("object", number, item) for number, item in enumerate(_parse(text, 1, path))]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        objects = [("line", number, _parse(line, number, path)) for number, line in lines]
    if not objects:
        raise DataError(f"{path} has 0 rows")
    for what, number, item in objects:
        if not isinstance(item, dict):
            raise DataError(f"{path}, {what} {number} is not a JSON object: {str(item)[:80]}")


def _parse(text: str, line: int, path: Path):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {line - 1 + error.lineno}, column {error.colno}"  # it counts the lines of what it was given
        raise DataError(f"{path} is broken or cut short at {where}: {error.msg}") from error
