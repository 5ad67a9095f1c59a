"""Every test runs on a machine with no accelerator: real verl on `bapo_verl.cpu`'s platform, real gloo, real vLLM."""

import os
from pathlib import Path

# Before anything imports verl: verl's modules ask for the platform when they are imported.
os.environ["VERL_PLATFORM"] = "cpu"
# Processes are forked in some tests, and forking with a live OpenMP pool hangs.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[1]
