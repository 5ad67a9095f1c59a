"""How many logical CPUs a run asks Ray for, checked on the driver before Ray starts. Permanent.

Ray queues an actor for which there is no CPU without a message, and verl waits for it forever. verl 0.9.1 and
TransferQueue 0.1.11 hold these CPUs for the whole run:

    1                           the TransferQueue's controller
    num_data_storage_units      its storage units, one each
    3 per rank                  the placement group of the training workers (`ResourcePoolManager.max_colocate_count`)

Every other actor (task runner, vLLM servers, agent loops, reward workers) has Ray's default, which holds none. One
rank was run with 5 (trains) and with 4 (hangs), two ranks with 16.
"""

import os

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

CPUS_PER_RANK = 3


def own_ray(number: int) -> int | None:
    """`${own_ray:number}` in a config: null where RAY_ADDRESS names a running Ray, which refuses to be given one."""
    return None if os.environ.get("RAY_ADDRESS") else number


OmegaConf.register_new_resolver("own_ray", own_ray, replace=True)


def required_cpus(config: DictConfig) -> int:
    """Logical CPUs that the run described by a composed config needs."""
    ranks = config.trainer.nnodes * config.trainer.n_gpus_per_node
    return 1 + config.transfer_queue.backend.SimpleStorage.num_data_storage_units + CPUS_PER_RANK * ranks


class LogicalCpuCheck(Callback):
    """Hydra callback, named in `config/platform/cpu.yaml`."""

    def on_job_start(self, config: DictConfig, **kwargs) -> None:
        """Called with the composed config, before verl's main function.

        Raises:
            SystemExit: when Ray would start with fewer logical CPUs than the run asks for. (Hydra turns any other
                exception of a callback into a warning.)
        """
        ray_init = config.ray_kwargs.ray_init
        if OmegaConf.select(ray_init, "address") or os.environ.get("RAY_ADDRESS"):
            return  # a running cluster: it has its own number
        available = os.cpu_count() if ray_init.num_cpus is None else ray_init.num_cpus
        required = required_cpus(config)
        if available < required:
            raise SystemExit(
                f"ray_kwargs.ray_init.num_cpus must be at least {required} for "
                f"trainer.n_gpus_per_node={config.trainer.n_gpus_per_node} and transfer_queue.backend.SimpleStorage."
                f"num_data_storage_units={config.transfer_queue.backend.SimpleStorage.num_data_storage_units}, got "
                f"{available}: the run would wait forever; set ray_kwargs.ray_init.num_cpus={required} "
                "(logical CPUs, they need not exist)."
            )
