"""recipe/submission: what a person would submit to verl-recipe, against the checks of that repository and of verl.

Not run here: their pre-commit and install_verl.sh, which the builder's docstring asks of the person who submits. The
commit of verl's release is a stand-in.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from recipe.submission import __main__ as submission

ROOT = Path(__file__).resolve().parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run(command, cwd=ROOT, **variables):
    return subprocess.run(command, cwd=cwd, env=os.environ | variables, capture_output=True, text=True, timeout=120)


def build(output, *arguments, **variables):
    return run([sys.executable, "-m", "recipe.submission", "-o", str(output), *arguments], **variables)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """In recipe/ of a clone of verl, from a checkout that git takes for another user's. A finding ends the build."""
    output = tmp_path_factory.mktemp("verl") / "recipe"
    done = build(output, "--commit", COMMIT, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in output.iterdir()] == [submission.NAME]
    assert not [path for path in output.rglob("*") if "cpu" in path.name or path.name in ("tests", "recipe")]
    return output / submission.NAME


def test_it_names_the_verl_and_installs_the_math_verify_that_it_needs(folder):
    fields = dict(line.split("=", 1) for line in (folder / "REQUIRED_VERL.txt").read_text().splitlines() if "=" in line)
    assert fields["MODE"] == "pinned_tag" and fields["COMMIT"] == COMMIT
    assert fields["PIP_INSTALL"] == f"pip install verl=={fields['TAG'].removeprefix('v')}"
    section = (folder / "README.md").read_text().split("## Required `verl` version\n")[1].split("\n## ")[0]
    assert "](REQUIRED_VERL.txt)" in section and f"pip install -e recipe/{folder.name}" in section
    (pin,) = re.findall("^math-verify==.*$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert f'"{pin}"' in (folder / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("README.md", "[a](../outside.md)", "names ../outside.md, which is not here"),
        ("README.md", "`python -m bapo_verl.forecast`", "names bapo_verl.forecast, which is not here"),
        ("README.md", "`+platform=cpu`", "names platform=cpu, which is not here"),
        ("common.py", "import os\n", "no licence header"),
    ],
)
def test_a_finding_is_named(folder, name, content, said, tmp_path):
    """In the place of a file that is there: another one could be a finding by itself, the number of files."""
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / name).write_text(content)
    (found,) = submission.findings(tmp_path / "copy")
    assert said in found


def test_a_page_loses_what_names_a_file_that_is_left_out():
    page = """# Rules
[rules](compare.py#a), [words](words.py), [web](https://a.b) and [here](#c).

| file | content |
|---|---|
| [compare.py](compare.py) | rules |
| [words.py](words.py) | words |
| [cpu/](../cpu) | the platform |

- as in tests/reward/cases.py
- as in compare.py

## Speed

`python -m recipe.benchmarks.cost` prints it.

| a | b |

## Limits
None."""
    expected = """# Rules
[rules](compare.py#a), words, [web](https://a.b) and [here](#c).

| file | content |
|---|---|
| [compare.py](compare.py) | rules |

- as in compare.py

## Limits
None."""
    assert submission.without_missing_names(page, "reward/README.md", ["reward/compare.py"]) == expected


@pytest.mark.slow
def test_its_commands_run_in_the_root_of_verl(folder, tmp_path):
    """As its README has them, with what `pip install -e` does to the path."""
    verl, name = folder.parents[1], folder.name
    pandas.DataFrame([{"problem": "Find x.", "answer": "70", "id": "1"}]).to_parquet(tmp_path / "aime25.parquet")
    prepare = [sys.executable, "-m", f"recipe.{name}.data.prepare_data", "aime25", "-o", str(tmp_path / "out")]
    done = run([*prepare, "--source", str(tmp_path / "aime25.parquet")], verl, PYTHONPATH="")
    assert done.returncode == 0, done.stderr
    assert len(pandas.read_parquet(tmp_path / "out" / "aime25.parquet")) == 1
    paths = dict(CKPTS_DIR="/tmp/runs", TRAIN_FILE="/tmp/a.parquet", PYTHONPATH=str(folder))
    paths |= {"VERL_PLATFORM": "", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = f"recipe/{name}/examples/run_bapo_r1_distill_qwen_7b_8k_fsdp.sh"
    done = run(["bash", script, "--cfg", "job"], verl, **paths)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss_mode: bapo" in done.stdout and f"{folder}/reward/math_reward.py" in done.stdout


def test_a_wrong_commit_or_an_old_folder_is_a_sentence_and_leaves_nothing(tmp_path):
    done = build(tmp_path, "--commit", "v0.9.1")
    assert done.returncode == 1 and re.match("--commit must be the 40 hexadecimal digits", done.stderr)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / submission.NAME).mkdir()
    done = build(tmp_path, "--commit", COMMIT)
    assert done.returncode == 1 and done.stderr == f"{tmp_path / submission.NAME} is there already\n"
