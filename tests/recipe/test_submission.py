"""recipe/submission: what a person would submit to verl-recipe, against the checks of that repository.

Without a network its own ruff release and pre-commit are not run here, and the commit of verl's release is a stand-in.
With VERL_RECIPE=/path/to/a/clone their install_verl.sh reads the submission.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.submission import __main__ as submission

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VERL_RECIPE = os.environ.get("VERL_RECIPE")


def run(output, *arguments):
    command = [sys.executable, "-m", "recipe.submission", "-o", str(output), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    output = tmp_path_factory.mktemp("submission")
    done = run(output, "--commit", COMMIT)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in output.iterdir()] == [submission.NAME]
    return output / submission.NAME


def test_it_names_the_verl_that_it_needs(folder):
    fields = dict(line.split("=", 1) for line in (folder / "REQUIRED_VERL.txt").read_text().splitlines() if "=" in line)
    assert fields["MODE"] == "pinned_tag" and fields["COMMIT"] == COMMIT
    assert fields["PIP_INSTALL"] == f"pip install verl=={fields['TAG'].removeprefix('v')}"
    section = (folder / "README.md").read_text().split("## Required `verl` version\n")[1].split("\n## ")[0]
    assert "](REQUIRED_VERL.txt)" in section and f"cd recipe/{folder.name}" in section


def test_it_is_small_links_to_nothing_outside_and_has_no_file_that_git_would_ignore(folder):
    assert submission.findings(folder) == []
    assert {"bapo_verl", "reward", "recipe", "examples"} <= {path.name for path in folder.iterdir()}


def test_their_ruff_is_the_one_that_holds_and_has_nothing_to_say(folder):
    assert "[tool.ruff" not in (folder / "pyproject.toml").read_text()
    submission.ruff(folder, "check", *submission.RULES)
    submission.ruff(folder, "format", "--check")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("page.md", "[a](../outside.md)", "a link out of the folder, page.md: ../outside.md"),
        ("page.md", "![a](gone.png)", "a link out of the folder, page.md: gone.png"),
        ("data/rows.parquet", "", "their .gitignore ignores, data/rows.parquet"),
        ("big.txt", "x" * submission.LIMIT, f"more than {submission.LIMIT:,}"),
    ],
)
def test_a_finding_is_named(folder, name, content, said, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "copy" / name).write_text(content)
    (found,) = submission.findings(tmp_path / "copy")
    assert said in found


def test_links_to_what_is_not_brought_become_text():
    page, files = ROOT / "reward" / "page.md", {ROOT / "reward" / "rules.py"}
    text = "[rules](rules.py#a) [cases](../tests/cases.py) ![a picture](../a.png)[web](https://a.b) [here](#c)"
    expected = "[rules](rules.py#a) cases [web](https://a.b) [here](#c)"
    assert submission.without_links_outside(text, page, files) == expected


@pytest.mark.slow
def test_its_scripts_compose_there(folder):
    """As in a clone of verl with the recipe's package on the path."""
    paths = dict(CKPTS_DIR="/tmp/runs", TRAIN_FILE="/tmp/a.parquet", PYTHONPATH=str(folder))
    environment = os.environ | paths | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = folder / "examples" / "run_bapo_r1_distill_qwen_7b_fsdp.sh"
    done = subprocess.run(
        ["bash", str(script), "--cfg", "job"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss_mode: bapo" in done.stdout and f"{folder}/reward/math_reward.py" in done.stdout


def test_a_wrong_commit_or_an_old_folder_is_a_sentence_and_leaves_nothing(tmp_path):
    done = run(tmp_path, "--commit", "v0.9.1")
    assert done.returncode == 1 and re.match("--commit must be the 40 hexadecimal digits", done.stderr)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / submission.NAME).mkdir()
    done = run(tmp_path, "--commit", COMMIT)
    assert done.returncode == 1 and done.stderr == f"{tmp_path / submission.NAME} is there already\n"


@pytest.mark.skipif(not VERL_RECIPE, reason="VERL_RECIPE is not set to a clone of verl-recipe")
@pytest.mark.parametrize("method", ["pip", "git"])
def test_their_installer_reads_it(folder, method, tmp_path):
    clone = tmp_path / "verl-recipe"
    shutil.copytree(VERL_RECIPE, clone, ignore=shutil.ignore_patterns(".git"))
    assert not (clone / folder.name).exists()  # the name is free
    shutil.copytree(folder, clone / folder.name)
    command = ["bash", str(clone / "install_verl.sh"), "--recipe", folder.name, "--method", method, "--show"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("pip install verl==0.9.1" if method == "pip" else f"git checkout '{COMMIT}'") in done.stderr
    subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
    listed = ["git", "ls-files", "--others", "--exclude-standard", folder.name]
    kept = subprocess.run(listed, cwd=clone, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(kept) == sorted(str(p.relative_to(clone)) for p in (clone / folder.name).rglob("*") if p.is_file())
    # Their pyproject.toml, which ruff finds in the folder above.
    for arguments in (["check"], ["format", "--check"]):
        lint = [sys.executable, "-m", "ruff", *arguments, folder.name]
        done = subprocess.run(lint, cwd=clone, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
