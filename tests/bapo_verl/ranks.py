"""Runs a function in several gloo ranks, each a forked process, and names the place where they hang."""

import faulthandler
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp


def run_ranks(function: Callable, world: int, directory: str, arguments: tuple, limit: float, what: str) -> list[Any]:
    """What `function(rank, *arguments)` saved in `directory`/rank, for each rank; `what` names the run in a failure."""
    start = (function, directory, arguments)
    processes = mp.start_processes(_rank, start, nprocs=world, join=False, start_method="fork")
    try:
        deadline = time.monotonic() + limit
        while not processes.join(timeout=max(0, deadline - time.monotonic())):  # returns as each rank ends
            if time.monotonic() >= deadline:
                pytest.fail(f"{what} hang: {_where_they_hang(processes, directory)}")
    finally:
        for process in processes.processes:
            process.kill()
    return [torch.load(Path(directory) / str(rank)) for rank in range(world)]


def _rank(rank: int, function: Callable, directory: str, arguments: tuple) -> None:
    faulthandler.register(signal.SIGUSR1, file=open(f"{directory}/{rank}.stack", "w"))  # for `_where_they_hang`
    torch.set_num_threads(1)
    function(rank, *arguments)


def _where_they_hang(processes, directory: str) -> str:
    """The innermost call of each rank, by its stack: for a hang, the collective and its caller."""
    for process in processes.processes:
        if process.is_alive():
            os.kill(process.pid, signal.SIGUSR1)
    time.sleep(1)
    places = []
    for rank in range(len(processes.processes)):
        stack = re.findall(r'File "(.*?)", line (\d+) in (\w+)', (Path(directory) / f"{rank}.stack").read_text())
        calls = [f"{name} ({Path(file).name}:{line})" for file, line, name in stack if name != "wrapper"]
        places.append(f"rank {rank} in {' called by '.join(calls[:2]) or 'nothing: it ended'}")
    return "; ".join(places)
