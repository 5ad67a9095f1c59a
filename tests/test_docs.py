"""README against the code: keys, presets, metrics, files and versions that it names are those that exist."""

import re
from pathlib import Path

import pytest
from test_config import PRESETS, composed

from bapo_verl.diagnosis import METRICS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its header."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[2:]]


def test_the_metrics_are_those_of_the_code_with_their_readings():
    assert {name.strip("`"): reading for name, reading in table("Metrics")} == METRICS


def test_the_keys_have_the_values_of_the_presets():
    policy_loss = {p: composed(f"+algorithm={p}").actor_rollout_ref.actor.policy_loss for p in PRESETS}
    stock = composed().actor_rollout_ref.actor.policy_loss
    rows = table("Keys")
    copied = {"bypass_mode", "dynamic_context_parallel", "clip_ratio", "clip_ratio_low", "clip_ratio_high"}
    assert [row[0].strip("`") for row in rows] == [
        k for k in policy_loss["bapo"] if k not in {*stock, *copied, "_target_"}
    ]
    for key, _, *values, _ in rows:
        assert values == [str(policy_loss[preset][key.strip("`")]) for preset in PRESETS]


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_what_it_links_to_is_there(link):
    assert link.startswith("https://") or (ROOT / link).exists()


def test_the_commands_it_names_are_there():
    for script in re.findall(r"(?:bash|python) ((?:examples|tests|recipe)/\S+)", README):
        assert (ROOT / script.rstrip("`")).exists()


def test_verl_has_one_version():
    pins = {
        name: re.findall(r"verl(?:\[[^]]*\])?==([\d.]+)", (ROOT / name).read_text())
        for name in ("pyproject.toml", "requirements.txt", "requirements-cpu.txt")
    }
    assert {version for versions in pins.values() for version in versions} == {"0.9.1"}
    assert all(pins.values())
