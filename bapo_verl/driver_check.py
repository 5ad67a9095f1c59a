"""What is said on the driver, before Ray starts, of a config whose settings would not do what they say.

This Hydra callback, which plugin.py adds, sees the whole composed config, at every entry point of verl. A mistake ends
the run with one sentence, a setting without effect is a warning. Without the flag it only looks for `loss_mode=bapo`.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files

import verl
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from bapo_verl.keys import ACTOR, COPIES, CORRECTION, KEY

# Where functions of the user's own get their keys.
USERS_OWN = re.compile(r"(^|\.)(data|reward|custom\w*|\w+_kwargs)\.")
TESTED = ("0.9.1",)  # versions of verl

logger = logging.getLogger(__name__)


class DriverCheck(Callback):
    """Hydra callback, which plugin.py adds to every application of verl's."""

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
    """Values of a file of the user's that the preset replaced, because Hydra composes an appended default last.

    They are those of the same command without the preset, and not verl's own.
    """
    preset = config.hydra.runtime.choices.get("algorithm")
    overrides = [*config.hydra.overrides.hydra, *config.hydra.overrides.task]
    typed = {override.key_or_group: override for override in OverridesParser.create().parse_overrides(overrides)}
    if preset is None or KEY in typed:
        return
    others = [typed[key].input_line for key in typed if key != "algorithm" and not key.startswith(f"{KEY}.")]
    in_a_file = "algorithm" not in typed or not typed["algorithm"].is_add()
    without = compose(config.hydra.job.config_name, [*others, "~algorithm"] if in_a_file else others)
    final, verls_own = OmegaConf.select(config, KEY), _verls("actor/actor.yaml").policy_loss
    lost = {
        key: value
        for key, value in OmegaConf.select(without, KEY).items()
        if f"{KEY}.{key}" not in typed and value not in (final.get(key), verls_own.get(key))
    }
    if lost:
        key, value = next(iter(lost.items()))
        yield (
            f"{KEY}: the preset {preset} is composed after the file of your values and replaces "
            f"{', '.join(f'{key}={value} by {final.get(key)}' for key, value in lost.items())}. To keep a value, name "
            f"the preset before it, without the flag: `defaults: [ppo_trainer, {{algorithm: {preset}}}, _self_]`, or "
            f"set it on the command line, as in {KEY}.{key}={value}"
            + (" (another loss_mode: leave the preset away)" if "loss_mode" in lost else "")
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
    actor, correction = _verls("actor/actor.yaml"), _verls("algorithm/rollout_correction.yaml")
    clips = ("clip_ratio", "clip_ratio_low", "clip_ratio_high", "tau_pos", "tau_neg")
    others = {f"{ACTOR}.{name}": actor[name] for name in clips}
    others |= {
        f"{KEY}.{name}": actor.policy_loss[name] for name in actor.policy_loss.keys() - {"_target_", "loss_mode"}
    }
    if unused := _changed(config, others):
        yield f"not used with {KEY}.loss_mode=bapo, whose bounds are c_low_* and c_high_*: {unused}"
    weights = {f"{CORRECTION}.{name}": correction[name] for name in correction if name != "bypass_mode"}
    if bypass and (unused := _changed(config, weights)):
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
    """Where an engine of verl's makes the result differ from that of the exact bounds (docs/engines.md)."""
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


def _verls(file: str) -> DictConfig:
    """A file of verl's config, with its own values."""
    return OmegaConf.load(str(files("verl.trainer.config") / file))


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
