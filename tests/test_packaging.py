"""The wheel: what is in it, and that `+algorithm=bapo` composes from it in another directory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from test_config import BASELINES, PRESETS

ROOT = Path(__file__).resolve().parents[1]


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
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("METADATA"))).decode()
    required = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist")]
    assert "verl==0.9.1" in required
    gpu = [line.split(";")[0] for line in required if 'extra == "gpu"' in line]
    wanted = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    assert len(gpu) == len(wanted)


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
