"""The wheel and requirements.txt: what is in them, and that `+algorithm=bapo` composes from the wheel elsewhere."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from bapo_verl.driver_check import TESTED
from tests.bapo_verl.test_config import BASELINES, PRESETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "bapo_verl"
    # A copy of what git tracks: building writes into the source tree.
    subprocess.run(["git", "-C", str(ROOT), "checkout-index", "-a", f"--prefix={source}/"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)], check=True)
    return next(out.glob("*.whl"))


def test_it_holds_the_package_and_its_presets_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"bapo_verl"}
    presets = {f"bapo_verl/config/algorithm/{p}.yaml" for p in PRESETS + BASELINES}
    assert presets | {"bapo_verl/config/platform/cpu.yaml"} <= set(names)


def test_it_asks_for_the_stock_verl(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    required = [line.split(": ")[1] for line in text.splitlines() if line.startswith("Requires-Dist")]
    (verl,) = (Requirement(line) for line in required if line.startswith("verl") and "extra" not in line)
    assert all(verl.specifier.contains(version) for version in TESTED)
    assert not verl.specifier.contains("0.9.0")
    # A development version that a user has installed stays there: pip takes what is installed as it is.
    assert verl.specifier.contains("0.10.0.dev0", prereleases=True)
    files = {"gpu": "requirements.txt", "figures": "requirements-figures.txt", "test": "tests/requirements.txt"}
    for extra, file in files.items():
        assert len([line for line in required if f'extra == "{extra}"' in line]) == len(lines_of(file)), extra


@pytest.mark.slow
def test_the_flag_composes_from_it_in_another_directory(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    where = [sys.executable, "-c", "import bapo_verl.plugin as p; print(p.__file__)"]
    assert str(target) in subprocess.run(where, env=environment, cwd=tmp_path, capture_output=True, text=True).stdout
    command = [sys.executable, "-m", "verl.trainer.main_ppo", "+algorithm=bapo", "--cfg", "job"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["actor_rollout_ref"]["actor"]["policy_loss"]["loss_mode"] == "bapo"


def lines_of(file: str) -> list[str]:
    return [line for line in (ROOT / file).read_text().splitlines() if line and line[0] != "#"]


def pins(file: str) -> dict[str, str]:
    requirements = [Requirement(line) for line in lines_of(file)]
    return {r.name: str(r.specifier).removeprefix("==") for r in requirements if str(r.specifier).startswith("==")}


def test_one_version_of_each_tool():
    """requirements-cpu.txt, tests/requirements.txt, tests/gpu/requirements-engine.txt and pre-commit agree."""
    cpu = pins("requirements-cpu.txt")
    for file in ("tests/requirements.txt", "tests/gpu/requirements-engine.txt"):
        for name, version in pins(file).items():
            assert cpu.get(name, version) == version, (file, name)
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert hooks["rev"] == f"v{cpu['ruff']}"
