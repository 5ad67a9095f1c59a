"""GPU memory and smallest cluster of each run, on paper: nothing in these tables was measured.

    python -m recipe.sizing                                   the smallest and the recommended cluster of 80 GB GPUs
    python -m recipe.sizing --nodes 4 --gpu-memory 141        yours, here of H200s
    python -m recipe.sizing r1_distill_qwen_7b --model MODEL_PATH             with the shape of a local config.json

Settings are those of recipe/config/*.yaml. Bytes for one GPU, with P parameters on N GPUs, T tokens of a micro-batch on
this GPU, L layers of width H and MLP width I, vocabulary V:

    weights 4 P/N, gradients 4 P/N, Adam 8 P/N    fp32 shards, verl's default; while vLLM samples, weights and Adam are
                                                  on the host if fsdp_config offloads them
    gathered 10 U          the largest unit that FSDP gathers, U parameters: bf16 twice (prefetch), gradient in bf16
                           and in fp32 to be reduced
    activations 2 T H L    bf16, the input of each layer (gradient checkpointing)
    head 8 T V             logits, logits / temperature and the gradients of both in bf16, an upper bound: flash-attn's
                           cross-entropy writes one of them in place. The entropy, without gradient and 2048 tokens
                           three times in fp32, comes before the gradients: 4 T V + 24576 V, which is less in every
                           run. With model.use_fused_kernels the logits of 512 tokens at a time, at most eight times
                           in fp32, and the gradient of the output embedding twice in bf16: 16384 V + 4 V H. Or a
                           layer being recomputed, 2 T (10 H + 4 I), if that is more
    vLLM 2 P/TP, KV cache gpu_memory_utilization * memory - vLLM's weights; 4 L (KV heads) (head width) / TP a token
    checkpoint 12 P        on disk, weights and Adam of all GPUs in fp32

A cluster is enough where an update's estimate leaves a tenth of the memory: the caching allocator's fragmentation,
attention's workspace and whatever else the formulas do not know. vLLM keeps to its share by itself, and its own default
leaves 8%.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

from recipe.common import as_markdown

CONFIG = Path(__file__).resolve().parent / "config"
GB = 1e9
RESERVED = 8 * GB  # an assumption: CUDA and NCCL contexts, a sleeping vLLM
HEADROOM = 0.1  # an assumption: of the memory, beyond the estimate of an update


class Run(NamedTuple):
    shape: PretrainedConfig
    nodes: int  # recommended, of 8 GPUs; what the run's script starts with


def shape(config: type[PretrainedConfig], *numbers: int) -> PretrainedConfig:
    keys = "hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads vocab_size".split()
    rest = {"max_position_embeddings": 131072, "tie_word_embeddings": config is LlamaConfig}
    return config(**dict(zip(keys, numbers, strict=True)), **rest)


# As in the models' config.json.
QWEN_7B = shape(Qwen2Config, 3584, 18944, 28, 28, 4, 152064)
QWEN_32B = shape(Qwen2Config, 5120, 27648, 64, 40, 8, 152064)
LLAMA_3B = shape(LlamaConfig, 3072, 8192, 28, 24, 8, 128256)
# Skywork-OR1 had 64 to 128 GPUs for its 7B, 256 for its 32B.
RUNS = {
    "octothinker_3b": Run(LLAMA_3B, 1),
    "r1_distill_qwen_7b_8k": Run(QWEN_7B, 1),
    "r1_distill_qwen_7b": Run(QWEN_7B, 8),
    "r1_distill_qwen_32b": Run(QWEN_32B, 32),
    "bp_math_7b": Run(QWEN_7B, 16),
    "bp_math_32b": Run(QWEN_32B, 32),
}


class Model(NamedTuple):
    config: PretrainedConfig
    parameters: int
    unit: int  # parameters of the largest unit that FSDP gathers
    kv_bytes: int  # KV cache of one token over all GPUs of an engine


def model_of(config: PretrainedConfig) -> Model:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    unit = max(sum(p.numel() for p in model.model.layers[0].parameters()), model.lm_head.weight.numel())
    key = model.model.layers[0].self_attn.k_proj.weight
    return Model(config, sum(p.numel() for p in model.parameters()), unit, 4 * config.num_hidden_layers * len(key))


def settings(recipe: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG), version_base=None):
        return compose(recipe, overrides=["hydra.searchpath=[pkg://verl.trainer.config]"])


def update_memory(model: Model, config: DictConfig, gpus: int) -> dict[str, float]:
    """Bytes on one GPU at the peak of an update, by what holds them."""
    c, tokens = model.config, config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu
    fused = config.actor_rollout_ref.model.use_fused_kernels
    head = (16384 + 4 * c.hidden_size if fused else 8 * tokens) * c.vocab_size
    return {
        "weights": 4 * model.parameters / gpus,
        "gradients": 4 * model.parameters / gpus,
        "Adam": 8 * model.parameters / gpus,
        "gathered": 10 * model.unit,
        "activations": 2 * tokens * c.hidden_size * c.num_hidden_layers,
        "head": max(head, 2 * tokens * (10 * c.hidden_size + 4 * c.intermediate_size)),
    }


def rollout_memory(model: Model, config: DictConfig, gpus: int, memory: float) -> dict[str, float]:
    """Bytes on one GPU with so much memory while vLLM samples, and those of the trainer that stay there."""
    rollout, fsdp = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor.fsdp_config
    weights = 2 * model.parameters / rollout.tensor_model_parallel_size
    staying = (not fsdp.param_offload) * 4 + (not fsdp.optimizer_offload) * 8
    cache = rollout.gpu_memory_utilization * memory - weights
    return {"vLLM": weights, "KV cache": cache, "staying": staying * model.parameters / gpus}


def fits(model: Model, config: DictConfig, gpus: int, memory: float) -> bool:
    """Whether memory suffices and verl's divisions come out even."""
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    ranks, uneven = divmod(gpus, actor.ulysses_sequence_parallel_size)
    if uneven or gpus % rollout.tensor_model_parallel_size or actor.ppo_mini_batch_size * rollout.n % ranks:
        return False
    sampling = rollout_memory(model, config, gpus, memory)
    cached_tokens = sampling["KV cache"] * rollout.tensor_model_parallel_size / model.kv_bytes
    return (
        sum(update_memory(model, config, gpus).values()) + RESERVED <= (1 - HEADROOM) * memory
        and sum(sampling.values()) + RESERVED <= memory
        and cached_tokens >= rollout.max_model_len  # vLLM wants room for one sequence
    )


def row(name: str, model: Model, config: DictConfig, cluster: str, nodes: int, options) -> dict[str, str]:
    gpus, memory = nodes * options.gpus_per_node, options.gpu_memory * GB
    update, sampling = update_memory(model, config, gpus), rollout_memory(model, config, gpus, memory)
    gb = {**update, "peak": sum(update.values()) + RESERVED, **sampling}
    gb["host a node"] = (12 * model.parameters / gpus - gb.pop("staying")) * options.gpus_per_node
    gb["checkpoint"] = 12 * model.parameters
    return {
        "run": name,
        "cluster": cluster if fits(model, config, gpus, memory) else f"{cluster}: DOES NOT FIT",
        "GPUs": f"{nodes} x {options.gpus_per_node}",
        **{k: f"{v / GB:.0f}" if v >= 9.5 * GB else f"{v / GB:.1f}" for k, v in gb.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RECIPE", help=f"of {', '.join(RUNS)}")
    parser.add_argument("--model", metavar="PATH", help="a folder with a config.json, in place of the run's shape")
    parser.add_argument("--nodes", type=int, help="without: the smallest number that fits and the recommended one")
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--gpu-memory", type=float, default=80, metavar="GB")
    options = parser.parse_args()
    if unknown := [name for name in options.runs if name not in RUNS]:
        parser.error(f"RECIPE must be one of {', '.join(RUNS)}, got {unknown[0]}")

    rows = []
    for name in options.runs or RUNS:
        config = settings(name)
        model = model_of(AutoConfig.from_pretrained(options.model) if options.model else RUNS[name].shape)
        gpus, memory = options.gpus_per_node, options.gpu_memory * GB
        enough = (n for n in range(1, 65) if fits(model, config, n * gpus, memory))
        clusters = {"smallest": next(enough, None), "recommended": -(-RUNS[name].nodes * 8 // gpus)}
        for cluster, nodes in ({"yours": options.nodes} if options.nodes else clusters).items():
            if nodes:
                rows.append(row(name, model, config, cluster, nodes, options))
    print(as_markdown(rows))
    print(
        f"\nGB for one GPU, but for the host's, the node's and the checkpoint's. peak: the six before it and "
        f"{RESERVED / GB:.0f} GB in reserve. An estimate, not a run."
    )


if __name__ == "__main__":
    main()
