"""What the engine tests have in common: a tiny model, verl's FSDP engine, one optimizer batch, what to expect of it."""

import pytest
import torch
from tensordict import TensorDict
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.utils import tensordict_utils as tu
from verl.workers.config import FSDPActorConfig, FSDPEngineConfig, FSDPOptimizerConfig, HFModelConfig, PolicyLossConfig
from verl.workers.engine import EngineRegistry
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from bapo_verl.engine import BapoEngineMixin
from tests.bapo_verl.oracle import Setting, algorithm_1

SEQUENCES, VOCABULARY, UPDATES = 16, 64, 3
TARGET = 0.285  # this batch reaches it with c_high inside its range


def save_tiny_model(path, tied=False):
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=tied,
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    return str(path)


def fsdp_engine(model, *, strategy="fsdp2", dtype="fp32", lr=0.001, packed=True, dropout=0.0, lora=0, ulysses=1):
    """verl's engine for this rank, with BAPO; weights and optimizer in float32, forward and backward in `dtype`."""
    engine = EngineRegistry.new(
        "language_model",
        strategy,
        HFModelConfig(
            path=str(model),
            load_tokenizer=False,
            override_config={"attn_implementation": "sdpa", "attention_dropout": dropout},
            use_remove_padding=packed,
            lora_rank=lora,
            enable_gradient_checkpointing=False,
        ),
        FSDPEngineConfig(
            strategy=strategy,
            mixed_precision={"param_dtype": dtype, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
            use_torch_compile=False,
            ulysses_sequence_parallel_size=ulysses,
        ),
        FSDPOptimizerConfig(lr=lr, total_training_steps=UPDATES),
        None,
    )
    assert isinstance(engine, BapoEngineMixin)
    engine._build_model_optimizer()  # initialize() without a checkpoint manager
    return engine


def actor_config(policy_loss: PolicyLossConfig, strategy="fsdp2", **keys) -> FSDPActorConfig:
    return FSDPActorConfig(
        strategy=strategy, rollout_n=1, ppo_micro_batch_size_per_gpu=1, policy_loss=policy_loss, **keys
    )


def recording_loss(received: list, config, model_output, data, dp_group=None):
    """verl's loss; `received` gets the (r, A) of the valid tokens of each forward, [2, tokens]."""
    batch = data.select("response_mask", "old_log_probs", "advantages").to_padded_tensor()
    ratio = (no_padding_2_padding(model_output["log_probs"], data).detach() - batch["old_log_probs"]).exp()
    received.append(torch.stack([ratio, batch["advantages"]])[:, batch["response_mask"].bool()].cpu())
    return ppo_loss(config, model_output, data, dp_group)


def assert_algorithm_1(received, metrics):
    """Whatever an engine's dtype: the bounds are those of Algorithm 1 for the (r, A) that the loss received."""
    tokens = torch.cat(received, 1).double().T.tolist()
    c_low, c_high, rho, steps = algorithm_1([(r, a, 1.0) for r, a in tokens], Setting(TARGET))
    assert (metrics["actor/bapo/c_low"], metrics["actor/bapo/c_high"]) == pytest.approx((c_low, c_high))
    assert metrics["actor/bapo/steps"] == steps
    assert metrics["actor/bapo/rho"] == pytest.approx(rho, abs=1e-9)


PROMPTS, RESPONSES = [2 + i % 3 for i in range(SEQUENCES)], [3 + i for i in range(SEQUENCES)]


def optimizer_batch(prompts=PROMPTS, responses=RESPONSES, vocabulary=VOCABULARY):
    """Answers of 3 to 18 tokens, or of these lengths. The second half, so the last ranks, are all failures."""
    g = torch.Generator().manual_seed(1)
    ids = [torch.randint(1, vocabulary, (p + r,), generator=g) for p, r in zip(prompts, responses, strict=True)]

    def nested(tensors):
        return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)

    def per_token(value):
        return nested([value(i, n) for i, n in enumerate(responses)])

    return dict(
        input_ids=nested(ids),
        prompts=nested([x[:p] for x, p in zip(ids, prompts, strict=True)]),
        responses=nested([x[p:] for x, p in zip(ids, prompts, strict=True)]),
        position_ids=nested([torch.arange(len(x)) for x in ids]),
        response_mask=per_token(lambda i, n: torch.ones(n, dtype=torch.long)),
        loss_mask=per_token(lambda i, n: torch.ones(n, dtype=torch.long)),
        # About the log-probabilities of an untrained model, so that r is spread around 1.
        old_log_probs=per_token(lambda i, n: -4.2 + 0.4 * torch.randn(n, generator=g)),
        advantages=per_token(lambda i, n: torch.full((n,), 1.0 if 2 * i < len(responses) else -1.0)),
    )


def rank_data(rank, world, micro, dynamic, packed, tokens, flags):
    per_rank = SEQUENCES // world
    part = slice(rank * per_rank, (rank + 1) * per_rank)
    tensors = {
        key: torch.nested.as_nested_tensor(list(value.unbind()[part]), layout=torch.jagged)
        for key, value in optimizer_batch().items()
    }
    data = TensorDict(tensors, batch_size=[per_rank])
    tu.assign_non_tensor(
        data,
        use_remove_padding=packed,
        use_dynamic_bsz=dynamic,
        max_token_len_per_gpu=tokens,
        micro_batch_size_per_gpu=micro,
        global_batch_size=SEQUENCES,
        temperature=1.0,
        **flags,
    )
    return data


# Grid points, counts and quantiles on a grid are equal to the digit; these are sums of float32 numbers that batches of
# another shape round otherwise, and a quantile may then be the next bin, half a percent on.
SUMS = {
    "rho": 1e-4,
    "rho_start": 1e-4,
    "rho_max": 1e-4,
    "entropy_change": 1e-4,
    "log_prob": 1e-4,
    "clipped_log_prob": 1e-4,
    "grad_norm": 1e-5,
} | dict.fromkeys(["ratio_p01", "ratio_p50", "ratio_p99", "ratio_max"], 0.03)
