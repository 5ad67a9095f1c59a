"""The platform `cpu` for verl's `PlatformRegistry`, chosen only by VERL_PLATFORM=cpu.

Permanent: it stands on verl's own extension point. verl probes every registered platform when VERL_PLATFORM is not
set; this module is not even imported then, so a CPU-only Ray actor of a GPU cluster cannot choose it.
"""

from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from bapo_verl.cpu import device_module


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Training and rollout on the host: gloo between ranks, shared memory between trainer and rollout."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        return device_module

    def is_available(self) -> bool:
        return True

    def current_device(self) -> torch.device:
        # verl passes this to `.to()` and `torch.device()`. The index 0 of an accelerator would mean "cuda:0" to torch.
        return torch.device("cpu")

    def device_count(self) -> int:
        return torch.cpu.device_count()

    def set_device(self, device_index: int) -> None:
        torch.cpu.set_device(device_index)

    def synchronize(self, device_index: int | None = None) -> None:
        torch.cpu.synchronize(device_index)

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass  # torch's CPU allocator has no settings

    def empty_cache(self) -> None:
        device_module.empty_cache()

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"  # what Ray sets for its resource "GPU"; nothing on the CPU reads it

    @contextmanager
    def nvtx_range(self, msg: str):
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        # verl counts ranks in Ray's "GPU". Here it is a logical slot: ray_kwargs.ray_init.num_gpus says how many.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # verl then moves weights through shared memory

    def cudart(self) -> Any:
        return None
