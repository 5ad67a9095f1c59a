"""What is said on the driver, before Ray starts, about keys that would change nothing and no one would notice.

policy_loss_config.py checks the keys of BAPO's own node. This Hydra callback, which plugin.py adds, sees the whole
composed config. A mistake ends the run with one sentence, a setting without effect is a warning. Without the flag it
only looks for `loss_mode=bapo`.
"""

import logging
from collections.abc import Iterator

import verl
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

ACTOR = "actor_rollout_ref.actor"
KEY = f"{ACTOR}.policy_loss"
CORRECTION = "algorithm.rollout_correction"
CLIP_RATIO = 0.2  # verl's default of clip_ratio, clip_ratio_low and clip_ratio_high
USERS_OWN = ("data.", "reward.")  # where functions of the user's own get keys of any name
TESTED = ("0.9.1",)  # versions of verl

logger = logging.getLogger(__name__)


class DriverCheck(Callback):
    def on_job_start(self, config: DictConfig, **kwargs) -> None:
        """Called with the composed config, before verl's main function.

        Raises:
            SystemExit: naming the key, the rule and the value. (Hydra turns any other exception of a callback into a
                warning.)
        """
        policy_loss = OmegaConf.select(config, KEY)
        if policy_loss is None:  # not a config of verl's RL trainers
            return
        if not str(policy_loss.get("_target_")).startswith("bapo_verl."):
            if policy_loss.get("loss_mode") == "bapo":
                raise SystemExit(f"{KEY}.loss_mode=bapo needs the flag: write +algorithm=bapo instead of this key")
            return
        for error in errors(config):
            raise SystemExit(error)
        for warning in warnings(config):
            logger.warning(warning)


def errors(config: DictConfig) -> Iterator[str]:
    """Keys at the wrong place, and copies of other keys that were set by hand."""
    from bapo_verl.policy_loss_config import COPIES, OWN_KEYS  # not at the top: without the flag it is not needed

    for path, value in _leaves(config):
        name = path.rpartition(".")[2]
        if name in OWN_KEYS and path != f"{KEY}.{name}" and not path.startswith(USERS_OWN):
            yield f"{path} has no effect: BAPO's keys are under {KEY}. Set {KEY}.{name}={value} instead"
    for name, original in COPIES.items():
        value, copy = bool(OmegaConf.select(config, original)), OmegaConf.select(config, f"{KEY}.{name}")
        if copy != value:
            yield f"{KEY}.{name} is a copy of {original}, which is {value}. Set that key, not the copy, got {copy}"


def warnings(config: DictConfig) -> Iterator[str]:
    """Settings that do nothing, or that nobody has tested."""
    if verl.__version__ not in TESTED:
        yield (
            f"bapo_verl is tested with verl {', '.join(TESTED)}, and this is verl {verl.__version__}: "
            "tests/bapo_verl/test_verl_assumptions.py of its repository finds what it relies on and is no longer there"
        )
    clips = {f"{ACTOR}.{name}": CLIP_RATIO for name in ("clip_ratio", "clip_ratio_low", "clip_ratio_high")}
    if unused := _changed(config, clips):
        yield f"not used with {KEY}.loss_mode=bapo, whose bounds are c_low_* and c_high_*: {unused}"
    if OmegaConf.select(config, f"{CORRECTION}.bypass_mode"):
        if unused := _changed(config, {f"{CORRECTION}.rollout_is": None, f"{CORRECTION}.rollout_rs": None}):
            yield f"not used with {CORRECTION}.bypass_mode=True, where verl computes no weights: {unused}"
    distillation = OmegaConf.select(config, "distillation")
    if distillation and distillation.get("enabled") and not distillation.distillation_loss.use_task_rewards:
        yield (
            "distillation.distillation_loss.use_task_rewards=False leaves the policy loss out of the gradient, so "
            "+algorithm=bapo changes nothing but the metrics"
        )


def _changed(config: DictConfig, defaults: dict) -> str:
    """The keys whose value is not the default, as the user would type them."""
    values = {key: OmegaConf.select(config, key, default=default) for key, default in defaults.items()}
    return ", ".join(f"{key}={value}" for key, value in values.items() if value != defaults[key])


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, object]]:
    """(dotted path, value) of every key of a config that holds no other config, interpolations as they are written."""
    for key, value in config.items_ex(resolve=False) if config else ():
        path = f"{prefix}{key}"
        if isinstance(value, DictConfig) and not value._is_interpolation():
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value
