"""What is said on the driver, before Ray starts, of a config whose settings would not do what they say.

This Hydra callback, which plugin.py adds, sees the whole composed config, at every entry point of verl. A mistake ends
the run with one sentence, a setting without effect is a warning. Without the flag it only looks for `loss_mode=bapo`.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import asdict, fields

import verl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from bapo_verl.keys import ACTOR, COPIES, KEY

CORRECTION = "algorithm.rollout_correction"
CLIP_RATIO = 0.2  # verl's default of clip_ratio, clip_ratio_low and clip_ratio_high
USERS_OWN = re.compile(
    r"(^|\.)(data|reward|custom\w*|\w+_kwargs)\."
)  # where functions of the user's own get their keys
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
    """Keys at the wrong place, values that a preset replaced, copies that were set by hand, and values out of range."""
    from bapo_verl.policy_loss_config import OWN_KEYS, BapoPolicyLossConfig  # not needed without the flag

    for path, value in _leaves(config):
        name = path.rpartition(".")[2]
        if name in OWN_KEYS and path != f"{KEY}.{name}" and not USERS_OWN.search(path):
            yield f"{path} has no effect: BAPO's keys are under {KEY}. Set {KEY}.{name}={value} instead"
    yield from _replaced(config)
    for name, original in COPIES.items():
        value, copy = bool(OmegaConf.select(config, original)), OmegaConf.select(config, f"{KEY}.{name}")
        if copy != value:
            yield f"{KEY}.{name} is a copy of {original}, which is {value}. Set that key, not the copy, got {copy}"
    clip_ratio_c = OmegaConf.select(config, f"{ACTOR}.clip_ratio_c")
    if not isinstance(clip_ratio_c, int | float) or not clip_ratio_c > 1:
        yield f"{ACTOR}.clip_ratio_c must be a number above 1 (verl's dual clip), got {clip_ratio_c}"
    values = OmegaConf.to_container(OmegaConf.select(config, KEY), resolve=True)
    values.pop("_target_")
    for name in values.keys() - {field.name for field in fields(BapoPolicyLossConfig)}:
        yield f"{KEY}.{name} is neither a key of verl's nor one of BAPO's, got {values[name]}"
    try:
        BapoPolicyLossConfig(**values)
    except ValueError as error:
        yield str(error)


def _replaced(config: DictConfig) -> Iterator[str]:
    """Values of a file of the user's that the preset replaced, because Hydra composes an appended default last."""
    loader, name = GlobalHydra.instance().config_loader(), config.hydra.job.config_name
    overrides = [*config.hydra.overrides.hydra, *config.hydra.overrides.task]
    typed = {override.key_or_group for override in OverridesParser.create().parse_overrides(overrides)}
    _, repository = loader._parse_overrides_and_create_caching_repo(name, overrides)
    theirs, presets = {}, {}
    for default in loader.compute_defaults_list(name, overrides, RunMode.RUN).defaults:  # in the order of composition
        loaded = loader._load_single_config(default, repository)
        for key, value in (OmegaConf.select(loaded.config, KEY) or DictConfig({})).items_ex(resolve=False):
            if loaded.provider == "bapo-verl":
                presets[key] = value
            else:
                theirs[key] = (value, default.config_path)
                presets.pop(key, None)
    keys = [key for key in presets if key in theirs and f"{KEY}.{key}" not in typed and KEY not in typed]
    changed = [key for key in keys if theirs[key][0] not in (presets[key], _verls_own().get(key))]
    if changed:
        lost = ", ".join(f"{key}={theirs[key][0]} ({theirs[key][1]}) by {presets[key]}" for key in changed)
        yield (
            f"{KEY}: the preset of +algorithm is composed after the file and replaces {lost}. To keep a value, "
            f"name the preset before it, without the flag: `defaults: [ppo_trainer, {{algorithm: bapo}}, _self_]`, "
            f"or set it on the command line, as in {KEY}.{changed[0]}={theirs[changed[0]][0]}"
            + (" (another loss_mode: leave the preset away)" if "loss_mode" in changed else "")
        )


def warnings(config: DictConfig) -> Iterator[str]:
    """Settings that do nothing, or that nobody has tested."""
    from verl.trainer.config import AlgoConfig

    if verl.__version__ not in TESTED:
        yield (
            f"bapo_verl is tested with verl {', '.join(TESTED)}, and this is verl {verl.__version__}: "
            "tests/bapo_verl/test_verl_assumptions.py of its repository finds what it relies on and is no longer there"
        )
    bypass, rollout_is = (OmegaConf.select(config, f"{CORRECTION}.{key}") for key in ("bypass_mode", "rollout_is"))
    clips = {f"{ACTOR}.{name}": CLIP_RATIO for name in ("clip_ratio", "clip_ratio_low", "clip_ratio_high")}
    losses = {f"{KEY}.{name}": value for name, value in _verls_own().items() if name not in ("_target_", "loss_mode")}
    if unused := _changed(config, clips | losses | {f"{ACTOR}.tau_pos": 1.0, f"{ACTOR}.tau_neg": 1.05}):
        yield f"not used with {KEY}.loss_mode=bapo, whose bounds are c_low_* and c_high_*: {unused}"
    if bypass and (unused := _changed(config, {f"{CORRECTION}.{name}": value for name, value in _CORRECTION.items()})):
        yield f"not used with {CORRECTION}.bypass_mode=True, where verl computes no weights: {unused}"
    if unknown := config.algorithm.keys() - {"_target_", *(field.name for field in fields(AlgoConfig))}:
        yield f"verl reads no such key: {', '.join(f'algorithm.{name}' for name in sorted(unknown))}"
    if (bypass or rollout_is) and not config.actor_rollout_ref.rollout.calculate_log_probs:
        yield (
            "actor_rollout_ref.rollout.calculate_log_probs=False leaves away the log-probabilities that "
            f"{CORRECTION}.{'bypass_mode' if bypass else 'rollout_is'} is computed from"
        )
    yield from _inexact(config)
    actor = OmegaConf.select(config, ACTOR)
    if actor.ppo_mini_batch_size == config.data.train_batch_size and actor.ppo_epochs == 1 and not bypass:
        yield (
            f"one update on a rollout batch under the weights that old_log_probs come from: r = 1 for every token, no "
            f"bound clips, and the gradient is that of verl's vanilla loss. {ACTOR}.ppo_mini_batch_size below "
            f"data.train_batch_size={config.data.train_batch_size}, {ACTOR}.ppo_epochs above 1, or "
            f"{CORRECTION}.bypass_mode=True with asynchronous training gives the bounds something to do"
        )
    distillation = OmegaConf.select(config, "distillation")
    if distillation and distillation.get("enabled") and not distillation.distillation_loss.use_task_rewards:
        yield (
            "distillation.distillation_loss.use_task_rewards=False leaves the policy loss out of the gradient, so "
            "+algorithm=bapo changes nothing but the metrics"
        )


def _inexact(config: DictConfig) -> Iterator[str]:
    """Where an engine of verl's makes the result differ from that of the exact bounds (README, engines)."""
    strategy, padded = config.actor_rollout_ref.actor.strategy, not config.actor_rollout_ref.model.use_remove_padding
    if strategy == "torchtitan" and padded:
        yield (
            "actor_rollout_ref.model.use_remove_padding=False: for a padded batch verl's TorchTitan engine takes the "
            "response's length for the sequence's, and attention misses its end"
        )
    if strategy == "megatron":
        node = f"{ACTOR}.megatron.override_transformer_config"
        if dropout := _changed(config, {f"{node}.attention_dropout": 0, f"{node}.hidden_dropout": 0}):
            yield f"an update that is redone drops other activations than those its bounds were found on: {dropout}"


# verl's values of CORRECTION in its YAML, without bypass_mode.
_CORRECTION = {
    "rollout_is": None,
    "rollout_is_threshold": 2.0,
    "rollout_is_batch_normalize": False,
    "rollout_rs": None,
    "rollout_rs_threshold": None,
    "loss_type": "ppo_clip",
}


def _verls_own() -> dict:
    """verl's values of the keys of KEY that other losses read."""
    from verl.workers.config import PolicyLossConfig

    own = asdict(PolicyLossConfig()) | {"_target_": "verl.workers.config.PolicyLossConfig"}
    own.pop("rollout_correction")
    return own


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
