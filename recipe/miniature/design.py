"""Reads design.yaml: which runs there are to make, and what is compared."""

from dataclasses import dataclass
from pathlib import Path

import yaml

DESIGN = Path(__file__).with_name("design.yaml")


@dataclass(frozen=True, eq=False)
class Run:
    """One arm with one seed. `keys` are those of laboratory.Setting; bounds None: BAPO searches for them."""

    arm: str
    seed: int
    keys: dict
    bounds: tuple[float, float] | None
    policy_loss: dict

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"


def read(path: Path = DESIGN) -> dict:
    return yaml.safe_load(path.read_text())


def make_run(design: dict, arm: str, seed: int) -> Run:
    own = dict(design["arms"][arm])
    bounds, policy_loss = own.pop("bounds", None), own.pop("policy_loss", {})
    return Run(arm, seed, design["shared"] | own | {"seed": seed}, tuple(bounds) if bounds else None, policy_loss)


def runs(design: dict) -> list[Run]:
    """Every run, seed by seed, so that what is there at any time is as complete as it can be."""
    seeds = dict.fromkeys(design["arms"], design["seeds"]) | design["more_seeds"]
    return [make_run(design, arm, seed) for seed in range(max(seeds.values())) for arm in seeds if seed < seeds[arm]]


def pipeline_runs(design: dict) -> list[Run]:
    """Every run of the real pipeline; what its arm changes stands in the design as verl's overrides."""
    section = design["pipeline"]
    return [Run(arm, seed, {}, None, {}) for seed in range(section["seeds"]) for arm in section["arms"]]
