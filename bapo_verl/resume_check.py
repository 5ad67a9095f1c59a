"""Whether verl would resume where the run stopped. verl 0.9.1 writes the step of a checkpoint to a file when the whole
is on the disk. Where that file is empty (a full disk) every start fails with `invalid literal`, and where the folder
that it names is gone the run starts from scratch without a word.
"""

import re
from pathlib import Path

from omegaconf import DictConfig

TRACKER = "latest_checkpointed_iteration.txt"


def is_whole(checkpoint: Path) -> bool:
    """Whether global_step_N has the data loader's state, which verl writes last, and the shards of every rank."""
    files = [checkpoint / "data.pt", *(checkpoint / "actor").glob("*.pt")]
    if len(files) == 1:  # not FSDP's names
        return files[0].is_file() and any((checkpoint / "actor").glob("*"))
    if not all(file.is_file() and file.stat().st_size for file in files):
        return False
    shards = [re.fullmatch(r"(.+)_world_size_(\d+)_rank_\d+\.pt", file.name) for file in files[1:]]
    counts: dict[tuple[str, int], int] = {}
    for shard in filter(None, shards):
        kind = shard[1], int(shard[2])
        counts[kind] = counts.get(kind, 0) + 1
    return all(count == ranks for (_, ranks), count in counts.items())


def check_resume(config: DictConfig) -> None:
    """
    Raises:
        SystemExit: if trainer.resume_mode=auto would fail, or start from scratch beside a checkpoint.
    """
    folder = Path(config.trainer.default_local_dir)
    if config.trainer.resume_mode != "auto" or not folder.is_dir():
        return
    tracker = folder / TRACKER
    names = [path.name.removeprefix("global_step_") for path in folder.glob("global_step_*") if is_whole(path)]
    whole = sorted(int(name) for name in names if name.isdecimal())
    text = tracker.read_text(errors="replace").strip() if tracker.is_file() else None
    if text is None and not whole:
        return  # the first start, or one that was ended before its first checkpoint was whole
    if text and text.isdecimal() and int(text) in whole:
        return
    says = "is not there" if text is None else f"says {text!r}, which is no whole checkpoint"
    remedy = (
        f"the newest whole one is global_step_{whole[-1]}: to go on from it, echo {whole[-1]} >{tracker}"
        if whole
        else f"and there is no other. To start from scratch remove {folder}"
    )
    raise SystemExit(f"trainer.resume_mode=auto: {tracker} {says}; {remedy}")
