"""Commands that start Ray, and what they leave behind."""

import subprocess
from pathlib import Path

import psutil

TIME_LIMIT = 600


def processes_in(directory: Path) -> list[psutil.Process]:
    """Processes that work in a run's directory: Ray's, verl's and vLLM's inherit it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def run_to_the_end(command: list[str], environment: dict[str, str], directory: Path) -> None:
    """The command in this directory; past the limit, all that it started is ended, which the next test would meet."""
    log = directory / "output.log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=directory, stdout=output, stderr=output)
        try:
            process.wait(timeout=TIME_LIMIT)
        finally:
            for survivor in processes_in(directory) if process.poll() is None else ():
                survivor.kill()
            process.wait()
    assert process.returncode == 0, log.read_text(errors="replace")[-3000:]
