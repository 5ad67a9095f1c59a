"""Runs as one table in a parquet file: one row a step, columns arm, seed, step and the names of verl's log."""

import json
from pathlib import Path

import numpy as np
import pandas
from design import Run


def read(path: Path) -> pandas.DataFrame:
    """The table, empty where there is no file yet."""
    return pandas.read_parquet(path) if path.exists() else pandas.DataFrame({"arm": [], "seed": [], "step": []})


def missing(path: Path, logs: dict[Run, Path]) -> list[Run]:
    """The runs that are neither in the table nor have a log, in the order of `logs`."""
    there = read(path).groupby(["arm", "seed"]).groups
    return [run for run, log in logs.items() if (run.arm, run.seed) not in there and not log.exists()]


def add_runs(path: Path, logs: dict[Run, Path]) -> pandas.DataFrame:
    """What is in the table, and of the other runs those whose log is there, in the order of `logs`.

    Raises:
        ValueError: for a run in the table that is not in `logs`, which would be lost.
    """
    before, frames = dict(list(read(path).groupby(["arm", "seed"]))), []
    if unknown := before.keys() - {(run.arm, run.seed) for run in logs}:
        raise ValueError(f"{path} has runs that the design does not: {sorted(unknown)}")
    for run, log in logs.items():
        if (run.arm, run.seed) in before:
            frames.append(before[run.arm, run.seed])
        elif log.exists():
            records = [json.loads(line) for line in log.read_text().splitlines()]
            frames.append(pandas.DataFrame([{"arm": run.arm, "seed": run.seed, **row(record)} for record in records]))
    return pandas.concat(frames, ignore_index=True)


def row(record: dict) -> dict:
    """A line of a log, its numbers at four digits; nan for what is not finite, which verl writes as null."""
    data = {key: np.nan if value is None else value for key, value in record["data"].items()}
    return {"step": record["step"]} | {key: np.float32(f"{value:.4g}") for key, value in data.items()}


def runs(frame: pandas.DataFrame, arm: str, steps: int | None = None) -> list[list[tuple[int, dict]]]:
    """The runs of an arm, whole or up to a step, as bapo_verl.figures reads them: (step, metrics) for each step."""
    rows = frame[frame["arm"] == arm]
    if steps is not None:
        rows = rows[rows["step"] <= steps]
    return [list(zip(run["step"], run.iloc[:, 3:].to_dict("records"), strict=True)) for _, run in rows.groupby("seed")]


def write(frame: pandas.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd", use_byte_stream_split=True, use_dictionary=["arm"])
    print(f"{path}: {frame.groupby(['arm', 'seed']).ngroups} runs, {len(frame)} steps")
