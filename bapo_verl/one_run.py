"""Refuses a run that would share the sockets of another on this machine. Works around verl 0.9.1.

verl names the socket on which a rank hands its weights to vLLM by Ray's job id (`/tmp/rl-colocate-zmq-<job id>-...`).
Each local Ray counts its jobs from 1, so two runs with a Ray of their own use the same name: they hang (observed), or
one samples from the other's weights. Two runs cannot share a Ray either: they would share TransferQueue's controller.
A socket that another user's run has left in /tmp cannot be made anew.
"""

import os
from pathlib import Path

import psutil

# Hydra's flags that print something and start nothing.
DRY = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help", "--version"}


def is_run(command: list[str]) -> bool:
    """Whether a command line is `... -m verl.trainer.main_ppo ...` and none of Hydra's dry runs."""
    for place, pair in enumerate(zip(command, command[1:], strict=False)):
        if pair == ("-m", "verl.trainer.main_ppo"):
            return DRY.isdisjoint(argument.partition("=")[0] for argument in command[place + 2 :])
    return False


def other_runs() -> list[int]:
    """Process ids of the other `verl.trainer.main_ppo` on this machine."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    runs = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        if process.info["pid"] not in mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            if is_run(process.info["cmdline"] or []):
                runs.append(process.info["pid"])
    return runs


def sockets_of_others(folder: Path = Path("/tmp")) -> list[Path]:
    """verl's sockets that this user cannot remove."""
    found = folder.glob("rl-colocate-zmq-*.sock") if os.geteuid() else ()  # root can
    return sorted(socket for socket in found if socket.lstat().st_uid != os.geteuid())


def check_alone() -> None:
    """
    Raises:
        SystemExit: when another run is on this machine, or sockets of another user's are left.
    """
    if runs := other_runs():
        raise SystemExit(
            f"another verl run is on this machine (process {', '.join(map(str, runs))}): verl 0.9.1 gives the "
            "sockets for the weights of both the same name, and one would sample from the other's weights. Wait "
            "for it to end"
        )
    if sockets := sockets_of_others():
        raise SystemExit(
            f"{sockets[0]} belongs to {sockets[0].owner()}: verl 0.9.1 gives a socket for the weights the same name in "
            "every run and cannot make this one. Ask its owner to remove it"
        )
