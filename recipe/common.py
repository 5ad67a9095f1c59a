"""What the scripts of this folder share: errors, the grader, rows for verl, whole files, tables, runs of verl."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
from tqdm import tqdm

REWARD = Path(__file__).resolve().parents[1] / "reward" / "math_reward.py"
GRACE_SECONDS = 20
SILENCE_SECONDS = 600  # on two cores a step takes five to twenty seconds, a start one to three minutes

Write = Callable[[Path], object]  # writes what belongs into a file to the path that it is given
Table = list[dict[str, str]]  # a row each: the columns' names and its cells


class UserError(Exception):
    """A sentence for the user, with which a script ends."""


def load_reward() -> ModuleType:
    """reward/math_reward.py, by path as verl loads it."""
    spec = importlib.util.spec_from_file_location("math_reward", REWARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def row_for_verl(data_source: str, prompt: list[dict], gold: str, **extra_info) -> dict:
    """The columns that verl's data set class and its reward managers read."""
    return {
        "data_source": data_source,
        "prompt": prompt,
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": gold},
        "extra_info": extra_info,
    }


def write_together(writers: dict[Path, Write]) -> None:
    """Write files that belong together, each as a whole: none is renamed to its path before all are written."""
    temporary = {path: path.with_name(f".{path.name}-{os.getpid()}") for path in writers}
    try:
        for path, write in writers.items():
            write(temporary[path])
        for path in writers:
            os.replace(temporary[path], path)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)


def as_markdown(table: Table) -> str:
    lines = [table[0], ["---"] * len(table[0]), *(row.values() for row in table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interrupt_on_signals() -> None:
    """Ctrl-C and a plain `kill` raise KeyboardInterrupt, also where a shell's `&` has set Ctrl-C to be ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def waiting_bar(total: int, unit: str, desc: str | None = None) -> tqdm:
    """For a run that lasts hours: each `update` redraws it on a terminal, and at most two a minute in a log."""
    return tqdm(
        total=total, unit=unit, desc=desc, smoothing=0, miniters=0, mininterval=0 if sys.stderr.isatty() else 30
    )


class Run:
    """The command, and every process that it starts: Ray's daemons and vLLM's engines are among them."""

    def __init__(self, command: list[str], directory: Path):
        self.log, self.metrics = directory / "train.log", directory / "metrics.jsonl"
        self.metrics.unlink(missing_ok=True)  # an interrupted run's, whose age would count as this one's silence
        environment = {**os.environ, "VERL_FILE_LOGGER_PATH": str(self.metrics), "PYTHONUNBUFFERED": "1"}
        with open(self.log, "wb") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the others in order.
            self.process = subprocess.Popen(
                command, cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self.root = psutil.Process(self.process.pid)
        self.family: set[psutil.Process] = set()

    def alive(self) -> bool:
        """Whether the command runs; remembers its descendants, which may outlive it."""
        if self.process.poll() is not None:
            return False
        try:
            self.family.update(self.root.children(recursive=True))
        except psutil.NoSuchProcess:
            pass  # it ended between the two calls
        return True

    def silent(self) -> bool:
        """Whether nothing was logged for too long: where memory is short Ray kills a worker, and verl waits for it."""
        sign = self.metrics if self.metrics.exists() else self.log
        return time.time() - sign.stat().st_mtime > SILENCE_SECONDS

    def end(self) -> None:
        """Interrupt the command, give it time to shut Ray down, and kill what is left."""
        if self.alive():
            self.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + GRACE_SECONDS
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.2)
        for survivor in [p for p in (self.root, *self.family) if p.is_running()]:
            survivor.kill()
        psutil.wait_procs([*self.family], timeout=GRACE_SECONDS)
        self.process.wait()

    def failure(self) -> str:
        """For a command that failed: the last lines of its log, and the exit code."""
        tail = self.log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([*tail, f"verl failed with exit code {self.process.returncode}; the whole log: {self.log}"])
