"""What the engine tests have in common: a tiny model, one optimizer batch, and how closely two runs must agree."""

import torch
from tensordict import TensorDict
from transformers import Qwen2Config, Qwen2ForCausalLM
from verl.utils import tensordict_utils as tu

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


def optimizer_batch():
    """16 answers of 3 to 18 tokens; the last 8, so the last ranks, are all failures, and longer."""
    g = torch.Generator().manual_seed(1)
    responses = [3 + i for i in range(SEQUENCES)]
    prompts = [2 + i % 3 for i in range(SEQUENCES)]
    ids = [torch.randint(1, VOCABULARY, (p + r,), generator=g) for p, r in zip(prompts, responses, strict=True)]

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
        advantages=per_token(lambda i, n: torch.full((n,), 1.0 if i < 8 else -1.0)),
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
