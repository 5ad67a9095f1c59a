"""`torch.cpu`, and the calls verl makes on `torch.<device>` that `torch.cpu` does not have.

The device's memory is the host's: "allocated" and "reserved" are both what the process holds, so that verl's
`perf/max_memory_allocated_gb` reads as the peak resident memory of a rank.
"""

import resource

import psutil
from torch import get_rng_state, set_rng_state
from torch.cpu import is_available, set_device, synchronize

__all__ = ["get_rng_state", "is_available", "set_device", "set_rng_state", "synchronize"]


def empty_cache() -> None:
    """Nothing to empty: torch's CPU allocator keeps no cache."""


def get_device_name() -> str:
    """The name under which verl's FLOPs counter knows a CPU."""
    return "CPU"


def memory_allocated() -> int:
    """Resident bytes of this process, now."""
    return psutil.Process().memory_info().rss


def max_memory_allocated() -> int:
    """Resident bytes of this process, at its peak (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def mem_get_info() -> tuple[int, int]:
    """(free, total) bytes of the host, as `torch.cuda.mem_get_info`."""
    memory = psutil.virtual_memory()
    return memory.available, memory.total


memory_reserved = memory_allocated
max_memory_reserved = max_memory_allocated
