"""The recipes as Hydra composes them and as verl judges them before Ray starts."""

import functools
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.utils.config import validate_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "recipe" / "config"
RUNS = sorted(p.stem for p in CONFIG.glob("*.yaml") if p.stem not in ("evaluate", "math"))
UPDATES = {"1x": 1, "2x": 2, "4x": 4, "8x": 8}


@functools.cache
def composed(run: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG), version_base=None):
        return compose(run, overrides=["hydra.searchpath=[pkg://verl.trainer.config]", *overrides])


def flat(config: DictConfig) -> dict[str, object]:
    """Every leaf by its dotted key, resolved."""

    def leaves(node, prefix):
        for key, value in node.items():
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(leaves(OmegaConf.to_container(config, resolve=True), ""))


def differing(one: DictConfig, other: DictConfig) -> set[str]:
    """The keys that have not the same value in both."""
    first, second = flat(one), flat(other)
    return {key for key in first.keys() | second.keys() if first.get(key) != second.get(key)}


def accepted_by_verl(config: DictConfig) -> None:
    """What verl checks before Ray starts, and when it makes its trainer."""
    config = config.copy()
    validate_config(config, need_reference_policy(config), need_critic(config))
    get_trainer_cls(config.trainer.v1.trainer_mode)(config)


def default_algorithm(run: str) -> str:
    return "bapo_octothinker" if run == "octothinker_3b" else "bapo"
