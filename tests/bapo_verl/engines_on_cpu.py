"""One of verl's training engines on the CPU, over gloo: three updates by BAPO on the batch of engine_batch.py.

usage: python -m tests.bapo_verl.engines_on_cpu SETTING.json    as test_engines.py writes it; histories go to OUT/RANK

The patches below are what Megatron, veOmni and AutoModel need to run without a GPU and to be compared in float32. They
hold for the whole process, so each run is a process of its own. None touches how an engine cuts a batch, calls the
loss, accumulates gradients or steps: that is the engine's own code.
"""

import contextlib
import faulthandler
import functools
import json
import os
import sys
from types import SimpleNamespace
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.overrides import TorchFunctionMode
from verl.utils.distributed import initialize_global_process_group_ray
from verl.workers import config as verl_config
from verl.workers.engine import EngineRegistry

from bapo_verl.engine import BapoEngineMixin
from bapo_verl.policy_loss_config import BapoPolicyLossConfig
from tests.bapo_verl.engine_batch import TARGET, UPDATES, rank_data, recording_loss


class CudaIsCpu(TorchFunctionMode):
    """The packages name the device "cuda": it is the CPU here."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.")  # Megatron looks for "torch.cuda.FloatTensor"
        if func is torch.device and str(args[0]).startswith("cuda"):
            return torch.device("cpu")
        return func(*map(_on_cpu, args), **{key: _on_cpu(value) for key, value in (kwargs or {}).items()})


def _on_cpu(value):
    return torch.device("cpu") if isinstance(value, str | torch.device) and str(value).startswith("cuda") else value


def cuda_is_cpu():
    CudaIsCpu().__enter__()
    torch.cuda.current_device = lambda: torch.device("cpu")
    torch.cuda.synchronize = torch.cuda.empty_cache = lambda *args: None
    torch.nn.Module.cuda = lambda self, *args: self


def patch_megatron():
    cuda_is_cpu()
    # verl asks how many devices there are before it places the optimizer's state.
    from bapo_verl.cpu import device_module

    device_module.device_count = lambda: 0
    # Dropout's random state lives on the GPU, and there is no dropout.
    from megatron.core.tensor_parallel.random import CudaRNGStatesTracker

    CudaRNGStatesTracker.fork = lambda self, *args: contextlib.nullcontext()
    # mbridge builds layers of Transformer Engine, which needs CUDA; Megatron's own layers name their norms otherwise.
    from mbridge.core import llm_bridge
    from mbridge.models.qwen2 import Qwen2Bridge

    spec = llm_bridge.get_gpt_decoder_block_spec
    llm_bridge.get_gpt_decoder_block_spec = lambda config, use_transformer_engine, vp_stage=None: spec(
        config, False, vp_stage=vp_stage
    )
    names = Qwen2Bridge._ATTENTION_MAPPING["self_attention.linear_qkv.layer_norm_weight"]
    Qwen2Bridge._OTHER_MAPPING = {"input_layernorm.weight": names}
    mlp = Qwen2Bridge._MLP_MAPPING
    mlp["pre_mlp_layernorm.weight"] = mlp["mlp.linear_fc1.layer_norm_weight"]
    # verl's mask is in Transformer Engine's form; answers are padded on the right, so a causal mask is enough.
    from megatron.core.fusions.fused_softmax import FusedScaleMaskSoftmax

    forward = FusedScaleMaskSoftmax.forward
    FusedScaleMaskSoftmax.forward = lambda self, x, mask, softmax_offset=None: forward(self, x, None, softmax_offset)


def patch_veomni():
    # verl leaves veOmni's mixed precision at bf16, and its forward under autocast to bf16.
    from verl.workers.engine.veomni import transformer_impl

    config = functools.partial(transformer_impl.MixedPrecisionConfig, param_dtype="float32")
    transformer_impl.MixedPrecisionConfig = config
    transformer_impl.VeOmniEngine._autocast_dtype = torch.float32


def patch_automodel():
    cuda_is_cpu()
    # Its LoRA kernel, which nothing here calls, is decorated in a way that the installed triton refuses.
    import triton

    triton.autotune = lambda *args, **kwargs: lambda function: function
    import nemo_automodel.components._peft.lora_kernel  # noqa: F401
    from nemo_automodel.components.distributed import mesh_utils

    init = mesh_utils.init_device_mesh
    mesh_utils.init_device_mesh = lambda device_type, *args, **kwargs: init("cpu", *args, **kwargs)
    # torch.device("cuda", index) is a class's constructor, out of reach of CudaIsCpu.
    from nemo_automodel._transformers import auto_model

    class Torch:
        device = staticmethod(lambda *args: torch.device("cpu"))
        __getattr__ = staticmethod(functools.partial(getattr, torch))

    auto_model.torch = Torch()
    # verl makes the mask of a padded batch from loss_mask, which has a response's length: attention would miss the end.
    from verl.workers.engine.automodel.transformer_impl import AutomodelEngineWithLMHead

    prepare = AutomodelEngineWithLMHead.prepare_model_inputs
    AutomodelEngineWithLMHead.prepare_model_inputs = lambda self, micro_batch: prepare(
        self, micro_batch.copy().update({"loss_mask": micro_batch["input_ids"]})
    )
    # verl's forward is under autocast to bf16.
    torch.autocast = lambda *args, **kwargs: contextlib.nullcontext()


def megatron(setting):
    engine = verl_config.McoreEngineConfig(
        tensor_model_parallel_size=setting.get("tp", 1),
        pipeline_model_parallel_size=setting.get("pp", 1),
        use_distributed_optimizer=setting.get("distributed_optimizer", False),
        sequence_parallel=False,
        vanilla_mbridge=True,
        use_remove_padding=False,
        use_dynamic_bsz=False,
        use_fused_kernels=False,
        override_transformer_config=dict(
            use_cpu_initialization=True, sequence_parallel=False, masked_softmax_fusion=False
        ),
    )
    object.__setattr__(engine, "dtype", "float32")  # verl's check knows bfloat16 and float16
    optimizer = verl_config.McoreOptimizerConfig(
        lr=0.001, total_training_steps=UPDATES, lr_decay_steps=UPDATES, lr_decay_style="constant"
    )
    return engine, optimizer, verl_config.McoreActorConfig


def veomni(setting):
    engine = verl_config.VeOmniEngineConfig(
        attn_implementation="sdpa",
        moe_implementation="eager",
        mixed_precision=True,
        use_remove_padding=False,
        use_torch_compile=False,
        use_fused_kernels=False,
        init_device="meta",
    )
    optimizer = verl_config.VeOmniOptimizerConfig(
        lr=0.001, total_training_steps=UPDATES, lr_scheduler_type="constant", lr_start=0.001
    )
    return engine, optimizer, verl_config.VeOmniActorConfig


def automodel(setting):
    engine = verl_config.AutomodelEngineConfig(
        attn_implementation="sdpa",
        mp_param_dtype="fp32",
        mp_output_dtype="fp32",
        use_remove_padding=False,
        use_torch_compile=False,
        tp_size=setting.get("tp", 1),
    )
    optimizer = verl_config.AutomodelOptimizerConfig(
        lr=0.001,
        total_training_steps=UPDATES,
        lr_scheduler_type="constant",
        optimizer_impl="torch.optim",
        optimizer="AdamW",
        init_lr_ratio=1.0,
    )
    return engine, optimizer, functools.partial(verl_config.ActorConfig, strategy="automodel")


PATCHES = {"megatron": patch_megatron, "veomni": patch_veomni, "automodel": patch_automodel}
CONFIGS = {"megatron": megatron, "veomni": veomni, "automodel": automodel}


def updates(rank, setting):
    """What each rank does. It saves, for each update, the metrics and (r, A) of the tokens that the loss received."""
    faulthandler.dump_traceback_later(setting["limit"], exit=True)
    backend, world, out = setting["backend"], setting["world"], setting["out"]
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), DIST_INIT_METHOD=f"file://{out}/init")
    os.environ.update(LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world))  # veOmni and AutoModel read them
    torch.set_num_threads(1)
    initialize_global_process_group_ray()
    PATCHES[backend]()
    engine_config, optimizer_config, actor_config = CONFIGS[backend](setting)
    actor = actor_config(
        rollout_n=1, ppo_micro_batch_size_per_gpu=1, policy_loss=BapoPolicyLossConfig(target_contribution=TARGET)
    )
    model = verl_config.HFModelConfig(
        path=setting["model"],
        load_tokenizer=False,
        use_remove_padding=False,
        enable_gradient_checkpointing=False,
    )
    object.__setattr__(model, "tokenizer", SimpleNamespace(pad_token_id=0))  # Megatron pads with it
    engine = EngineRegistry.new("language_model", backend, model, engine_config, optimizer_config, None)
    assert isinstance(engine, BapoEngineMixin)
    engine.initialize()

    history = []
    with engine.train_mode():
        for _ in range(UPDATES):
            place = engine.get_data_parallel_rank(), engine.get_data_parallel_size()
            data = rank_data(*place, setting.get("micro", 2), dynamic=False, packed=False, tokens=0, flags={})
            received = []
            loss = functools.partial(recording_loss, received, config=actor)
            with mock.patch.object(engine, "forward_step", wraps=engine.forward_step) as forward:
                output = engine.train_batch(data, loss)
            logged = output.get("metrics", {})
            metrics = {key: float(logged[key].aggregate()) for key in logged if key.startswith("actor/bapo/")}
            metrics |= {"grad_norm": float(logged["grad_norm"])} if "grad_norm" in logged else {}
            history.append({"metrics": metrics, "forwards": forward.call_count, "received": received})
    names = [cls.__name__ for cls in type(engine).__mro__]
    torch.save({"classes": names, "counts": engine.is_mp_src_rank_with_outputs(), "updates": history}, f"{out}/{rank}")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        chosen = json.load(file)
    mp.start_processes(updates, (chosen,), nprocs=chosen["world"], start_method="fork")
