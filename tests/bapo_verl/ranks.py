"""Runs a function in several gloo ranks, each a forked process, and shows the place where they hang."""

import faulthandler
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp


def run_ranks(function: Callable, world: int, directory: str, arguments: tuple, limit: float) -> list[Any]:
    """What `function(rank, *arguments)` saved in `directory`/rank, for each rank. One that hangs prints its stack."""
    mp.start_processes(_rank, (function, limit, arguments), nprocs=world, start_method="fork")
    return [torch.load(Path(directory) / str(rank)) for rank in range(world)]


def _rank(rank: int, function: Callable, limit: float, arguments: tuple) -> None:
    faulthandler.dump_traceback_later(limit, exit=True, file=2)
    torch.set_num_threads(1)
    function(rank, *arguments)
