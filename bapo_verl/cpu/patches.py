"""The one place where a module of verl is changed. Works around verl 0.9.1.

`verl.utils.distributed.initialize_global_process_group_ray` builds the process group for
"cpu:gloo,<device>:<backend>". Where the device is itself the cpu this reads "cpu:gloo,cpu:gloo", and torch refuses a
device named twice. The function takes a backend, but verl's training worker passes none.

`tests/bapo_verl/test_cpu.py` fails when the unpatched code works. This file can be deleted then.
"""

from verl.utils import distributed

_initialize_global_process_group_ray = distributed.initialize_global_process_group_ray


def initialize_global_process_group_ray(timeout_second=None, backend="cpu:gloo"):
    """verl's function with a backend that names the cpu once."""
    _initialize_global_process_group_ray(timeout_second=timeout_second, backend=backend)


def apply() -> None:
    """Must run before `verl.workers` is imported: it takes the function by name."""
    distributed.initialize_global_process_group_ray = initialize_global_process_group_ray
