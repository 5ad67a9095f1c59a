"""One case of verl's FSDP2 engine with BAPO on one device, in a process of its own: a CUDA error ends nothing else.

    VERL_PLATFORM=nvidia python -m tests.gpu CASE OUT --dtype bf16

writes a dict to OUT by torch.save. CASE is a function below; VERL_PLATFORM is nvidia, or cpu. It needs torch,
transformers and requirements-engine.txt: no vLLM, no flash-attn, no Ray.
"""

import argparse
import os
import statistics
import tempfile
import time
from functools import partial
from unittest import mock

import torch
import torch.distributed as dist
from tensordict import TensorDict
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.utils import tensordict_utils as tu
from verl.utils.device import get_device_name, get_torch_device
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers.config import PolicyLossConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from tests.bapo_verl.engine_batch import (
    TARGET,
    UPDATES,
    VOCABULARY,
    actor_config,
    fsdp_engine,
    optimizer_batch,
    rank_data,
    recording_loss,
    save_tiny_model,
)

MICRO = 2
PACKED = dict(dynamic=False, packed=True, tokens=0)


def bapo(**policy_loss) -> BapoPolicyLossConfig:
    return BapoPolicyLossConfig(target_contribution=TARGET, **policy_loss)


LOSSES = {"vanilla": PolicyLossConfig(loss_mode="vanilla"), "bapo": bapo()}


def recompute_old_log_probs(engine, data) -> None:
    """As verl's trainer does before the first update on a rollout batch."""
    log_probs = engine.infer_batch(data.copy())["model_output"]["log_probs"].cpu()
    data["old_log_probs"] = response_to_nested(no_padding_2_padding(log_probs, data), data["response_mask"])


def run_updates(model: str, dtype: str, policy_losses: list[dict], recompute: bool = False, **flags) -> list[dict]:
    """One update under each policy loss, in order, on one batch. For each: what was logged, and what the loss received
    in the forwards of its first run."""
    engine, history = fsdp_engine(model, dtype=dtype), []
    with engine.train_mode():
        for policy_loss in policy_losses:
            data = rank_data(0, 1, MICRO, **PACKED, flags=flags)
            if recompute and not history:
                recompute_old_log_probs(engine, data)
            received = []
            loss = partial(recording_loss, received, config=actor_config(bapo(**policy_loss)))
            with mock.patch.object(engine, "forward_step", wraps=engine.forward_step) as forward:
                output = engine.train_batch(data, loss)
            logged = output["metrics"]
            metrics = {
                k: float(logged[k].aggregate()) for k in logged if k.startswith(("actor/bapo/", "actor/entropy"))
            }
            metrics["grad_norm"] = float(logged["grad_norm"])
            micro_batches = len(output["loss"])
            history.append(
                {"metrics": metrics, "forwards": forward.call_count, "received": received[:micro_batches]}
                | {"micro_batches": micro_batches}
            )
    return history


def bounds(directory: str, dtype: str) -> dict:
    """UPDATES updates that search; the same with their bounds given; the same after old_log_probs are recomputed."""
    model = save_tiny_model(f"{directory}/model")
    searched = run_updates(model, dtype, [{}] * UPDATES, calculate_entropy=True)
    found = [[update["metrics"][f"actor/bapo/{c}"] for c in ("c_low", "c_high")] for update in searched]
    fixed = [dict(c_low_start=low, c_low_max=low, c_high_start=high, c_high_max=high) for low, high in found]
    return {
        "setting": dict(updates=UPDATES, vocabulary=VOCABULARY),
        "searched": searched,
        "fixed": run_updates(model, dtype, fixed),
        "recomputed": run_updates(model, dtype, [{}] * UPDATES, recompute=True),
    }


def not_finite(directory: str, dtype: str) -> dict:
    """For each place and value: the gradient norm that verl saw, and whether the weights moved, by loss mode."""
    results = {}
    for place in ("old_log_probs", "weights"):
        for value in ("nan", "inf", "-inf"):
            for mode in LOSSES:
                results[place, value, mode] = _update_with(
                    place, float(value), mode, f"{directory}/{len(results)}", dtype
                )
    return results


def _update_with(place: str, value: float, mode: str, directory: str, dtype: str) -> dict:
    engine = fsdp_engine(save_tiny_model(directory), dtype=dtype)
    data = rank_data(0, 1, MICRO, **PACKED, flags={})
    if place == "old_log_probs":
        data["old_log_probs"].values()[0] = value  # a valid token
    else:
        _local(next(engine.module.parameters()))[data["input_ids"].values()[1]] = value  # one token's embedding
    before = [_local(parameter).clone() for parameter in engine.module.parameters()]
    with engine.train_mode():
        output = engine.train_batch(data, partial(ppo_loss, config=actor_config(LOSSES[mode])))
    after = map(_local, engine.module.parameters())
    moved = not all(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in zip(before, after, strict=True))
    return {"grad_norm": float(output["metrics"]["grad_norm"]), "moved": moved}


def _local(parameter: torch.Tensor) -> torch.Tensor:
    """All of a parameter, where one rank holds it."""
    return parameter.detach().to_local()


def benchmark(directory: str, dtype: str) -> dict:
    """Seconds of an update on recomputed old_log_probs, with verl's vanilla loss and with BAPO, in turns.

    On a GPU the model has 0.27 billion parameters, so that 24 GB are enough.
    """
    on_gpu = get_device_name() == "cuda"
    hidden, layers, answers, length, repeats = (1024, 12, 32, 2048, 9) if on_gpu else (64, 2, 16, 64, 3)
    shape = dict(hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers)
    config = Qwen2Config(vocab_size=32_000, num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, **shape)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(f"{directory}/model")
    engine, data = fsdp_engine(f"{directory}/model", dtype=dtype, lr=1e-6), _answers(answers, length)
    losses = {mode: partial(ppo_loss, config=actor_config(loss)) for mode, loss in LOSSES.items()}
    seconds, peak = {mode: [] for mode in losses}, dict.fromkeys(losses, 0)
    redone, device = [], get_torch_device()
    with engine.train_mode():
        recompute_old_log_probs(engine, data)
        for turn in range(repeats + 1):
            for mode, loss in losses.items():
                if on_gpu:
                    device.reset_peak_memory_stats()
                device.synchronize()
                start = time.perf_counter()
                output = engine.train_batch(data.copy(), loss)
                device.synchronize()
                if turn:  # the first warms up
                    seconds[mode].append(time.perf_counter() - start)
                peak[mode] = max(peak[mode], device.max_memory_allocated())
                redone += [output["metrics"]["actor/bapo/redone"].aggregate()] if mode == "bapo" else []
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "tokens": answers * length,
        "seconds": {mode: statistics.median(values) for mode, values in seconds.items()},
        "redone": statistics.mean(redone),
        "peak": peak,
    }


def _answers(answers: int, length: int):
    """Answers of one length behind prompts of 16 tokens, half of them right."""
    data = TensorDict(optimizer_batch([16] * answers, [length] * answers, 32_000), batch_size=[answers])
    flags = dict(use_remove_padding=True, use_dynamic_bsz=True, max_token_len_per_gpu=4 * (16 + length))
    tu.assign_non_tensor(data, temperature=1.0, calculate_entropy=False, global_batch_size=answers, **flags)
    return data


CASES = {function.__name__: function for function in (bounds, not_finite, benchmark)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("output")
    parser.add_argument("--dtype", choices=["bf16", "fp32"], required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        os.environ.update(RANK="0", WORLD_SIZE="1", DIST_INIT_METHOD=f"file://{directory}/init")
        initialize_global_process_group_ray()
        torch.save(CASES[arguments.case](directory, arguments.dtype), arguments.output)
        dist.destroy_process_group()
