"""Whether the data files give the run its steps. What verl 0.9.1 does otherwise, each after minutes:

    fewer rows than a batch       ZeroDivisionError
    too few for the steps asked   the run ends early with exit code 0, without its last checkpoint and validation
    no column `prompt`            every row is dropped: num_samples=0

Rows that verl drops for their length (data.filter_overlong_prompts) are counted here.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
from omegaconf import DictConfig, ListConfig, OmegaConf

FILES = ("train_files", "val_files")


def check_data(config: DictConfig) -> None:
    """
    Raises:
        SystemExit: for a parquet file that is not there, broken or has no prompts, and where the rows are too few.
    """
    data = config.data
    if OmegaConf.select(data, "custom_cls.path"):  # a data set of the user's own reads what it likes
        return
    rows = {key: sum(_rows(key, path, data.prompt_key) for path in _files(data[key])) for key in FILES}
    if all(path.suffix == ".parquet" for path in _files(data.train_files)):
        for error in step_errors(rows["train_files"], config):
            raise SystemExit(error)


def step_errors(rows: int, config: DictConfig) -> Iterator[str]:
    """What is wrong with so many training rows."""
    data, trainer = config.data, config.trainer
    if 0 < data.get("train_max_samples", -1) < rows:
        rows = data.train_max_samples
    if rows < data.train_batch_size:
        yield (
            f"data.train_batch_size={data.train_batch_size} must be at most the {rows} rows of data.train_files, or "
            "there is no step"
        )
        return
    epoch, asked = rows // data.train_batch_size, trainer.total_training_steps
    if asked is not None and asked > epoch * trainer.total_epochs:
        yield (
            f"trainer.total_training_steps={asked} needs more than trainer.total_epochs={trainer.total_epochs}: the "
            f"{rows} rows of data.train_files are {epoch} steps of data.train_batch_size={data.train_batch_size}, and "
            "verl would end early, without the last checkpoint and validation. Set "
            f"trainer.total_epochs={-(-asked // epoch)}"
        )


def _files(value: str | ListConfig) -> list[Path]:
    """The local ones."""
    names = [value] if isinstance(value, str) else list(value)
    return [Path(name).expanduser() for name in names if "://" not in name]


def _rows(key: str, path: Path, prompt: str) -> int:
    """Rows of a parquet file; 0 for another format, which verl reads by itself."""
    if not path.is_file():
        raise SystemExit(f"data.{key}: {path} is not there")
    if path.suffix != ".parquet":
        return 0
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise SystemExit(f"data.{key}: {path} is no whole parquet file: {error}") from None
    names = file.schema_arrow.names
    if prompt not in names:
        raise SystemExit(f"data.{key}: {path} must have a column {prompt} (data.prompt_key), got {', '.join(names)}")
    if not file.metadata.num_rows:
        raise SystemExit(f"data.{key}: {path} has 0 rows")
    return file.metadata.num_rows
