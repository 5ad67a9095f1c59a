"""Builds the folder that a person would submit to verl-recipe (https://github.com/verl-project/verl-recipe).

    python -m recipe.submission -o DIR --commit SHA

writes DIR/bapo_adaptive_clipping: the package, the reward, the settings and scripts of the 7B, and data preparation, as
the package recipe.bapo_adaptive_clipping of a clone of verl. Everything else stays behind, and with it what the pages
say of it. Python files get the licence header that verl checks, and the imports that verl-recipe's ruff wants.
SHA is the commit of verl's release, which their install_verl.sh checks out; `git rev-parse v0.9.1^{commit}` in a clone
of verl prints it.

To submit: copy the folder into a clone of verl-recipe, add its line to the table in their README.md, run
`pre-commit run --all-files` and `./install_verl.sh --recipe bapo_adaptive_clipping --show`.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from recipe.common import UserError

ROOT = Path(__file__).resolve().parents[2]
NAME = "bapo_adaptive_clipping"  # free in their tree; two other methods are called BAPO, too
MOST_FILES = 59

INCLUDED = """
    bapo_verl/* reward/[a-z]* recipe/common.py recipe/data/prepare_data.py recipe/config/updates_per_batch/*
    recipe/config/math.yaml recipe/config/r1_distill_qwen_7b.yaml recipe/config/r1_distill_qwen_7b_8k.yaml
    examples/checks.sh examples/paths.sh examples/run_bapo_r1_distill_qwen_7b_fsdp.sh
    examples/run_bapo_r1_distill_qwen_7b_8k_fsdp.sh
""".split()
LEFT_OUT = """
    bapo_verl/cpu/* bapo_verl/config/platform/* bapo_verl/config/algorithm/bapo_* bapo_verl/figures.py
    bapo_verl/forecast.py bapo_verl/docs/engines.md bapo_verl/docs/entry_points.md
""".split()

# (file, what it has here, what it has there)
EDITS = [
    ("common.py", r'\.parents\[1\] / "reward"', '.parent / "reward"'),
    ("bapo_verl/plugin.py", r"\nif os\.environ\.get\(\"VERL_PLATFORM\"[\s\S]*", ""),
    ("bapo_verl/README.md", r"\nContents:[\s\S]*?\n\n", "\n"),
    ("bapo_verl/plugin.py", r"; without the platform verl says[^.]*", ""),
]
LICENCE = """\
# Copyright 2025 Individual Contributor: the contributors of bapo_verl
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""

# What verl-recipe's pyproject.toml says to ruff, as far as it decides anything here.
RUFF = ["--isolated", "--line-length=120", "--target-version=py310"]
RULES = [
    "--select=E,F,UP,B,I,G",
    "--ignore=F405,F403,E731,B007,UP032,G004,UP045,UP035",
    '--config=lint.isort.known-first-party=["verl"]',
]


def tracked_files(root: Path) -> list[str]:
    """The files that git tracks, also where the checkout is another user's."""
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        raise UserError(f"git cannot list the files of {root}: {listed.stderr.strip()}")
    return listed.stdout.splitlines()


def with_new_paths(text: str) -> str:
    """Paths and modules as they are in a clone of verl, where recipe/ here is the folder of the submission.

    >>> with_new_paths("from recipe.common import x  # recipe/config/math.yaml")
    'from recipe.bapo_adaptive_clipping.common import x  # config/math.yaml'
    """
    text = re.sub(r"\brecipe/(?=config|data|common)", "", text)
    return re.sub(r"\brecipe\.(?=data|common)", f"recipe.{NAME}.", text)


def missing_names(text: str, files: list[str]) -> list[str]:
    """The files, modules and keys that a text names and `files` have not.

    >>> missing_names("clipping.py, tests/run.sh, bapo_verl.forecast, +platform=cpu", ["bapo_verl/clipping.py"])
    ['tests/run.sh', 'bapo_verl.forecast', 'platform=cpu']
    """
    text = re.sub(rf"[\w/$]*\brecipe/{NAME}/", "", text)
    named = re.findall(r"[\w./*-]*\w\.(?:py|sh|yaml|md|txt|tsv|png|sbatch)\b", text)
    missing = [name for name in named if not any(fnmatch(f"/{file}", f"*/{name.lstrip('./')}") for file in files)]
    modules = re.findall(r"\b(?:bapo_verl|recipe|tests)(?:\.[a-z_]+)+", text)
    paths = [module.removeprefix(f"recipe.{NAME}.").replace(".", "/") for module in modules]
    missing += [m for m, path in zip(modules, paths, strict=True) if not any(f.startswith(path) for f in files)]
    return missing + re.findall("platform=cpu", text)


def without_missing_names(page: str, path: str, files: list[str]) -> str:
    """The page without what is left out: links to it become text, and what names a file of it goes.

    That is a row, an item or a paragraph, and a whole section where its first paragraph does.
    """

    def there(target: str) -> bool:
        target = target.partition("#")[0]
        place = (ROOT / path).parent / target
        return not target or "://" in target or any((ROOT / file).is_relative_to(place.resolve()) for file in files)

    kept, section_lost = [], False
    for unit in re.split(r"\n(?=\n|\| |- |#|\d+\. )", page):
        unlinked = re.sub(r"!?\[([^\]]*)\]\(([^)\s]+)\)", lambda m: m[0] if there(m[2]) else m[1], unit)
        gone = bool(missing_names(unlinked, files)) or (unit.startswith("| ") and unlinked != unit)
        if unit.startswith("#"):
            section_lost = False
        elif gone and kept[-1].startswith("#"):
            section_lost = True
            kept.pop()
        if not (gone or section_lost):
            kept.append(unlinked)
    return "\n".join(kept)


def required_verl(commit: str) -> str:
    """recipe/REQUIRED_VERL.txt with the commit of its TAG.

    Raises:
        UserError: for what is no commit.
    """
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise UserError(f"--commit must be the 40 hexadecimal digits of a commit, got {commit!r}")
    text = (ROOT / "recipe" / "REQUIRED_VERL.txt").read_text()
    return re.sub(r"^TAG=.*$", rf"\g<0>\nCOMMIT={commit}", text, flags=re.MULTILINE)


def build(folder: Path, commit: str) -> None:
    """Write the submission into `folder`, which is empty.

    Raises:
        UserError: if an edit finds nothing to change, if their ruff has findings that it cannot fix, or
            `findings` has one.
    """
    chosen = [
        f
        for f in tracked_files(ROOT)
        if any(fnmatch(f, p) for p in INCLUDED) and not any(fnmatch(f, p) for p in LEFT_OUT)
    ]
    for file in chosen:
        text = with_new_paths((ROOT / file).read_text())
        if file.endswith(".md"):
            text = without_missing_names(text, file, chosen)
        place = folder / file.removeprefix("recipe/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(LICENCE + text if file.endswith(".py") else text)
    for file, here, there in EDITS:
        text, edits = re.subn(here, there, (folder / file).read_text())
        if not edits:
            raise UserError(f"{file} has nothing that matches {here}")
        (folder / file).write_text(text)
    pins = dict(re.findall(r"^([\w-]+)(==[\d.]+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    for name in ("README.md", "pyproject.toml"):
        text = Path(__file__).with_name(f"{name}.in").read_text()
        (folder / name).write_text(text.replace("@MATH_VERIFY@", pins["math-verify"]).replace("@VERSION@", version))
    (folder / "REQUIRED_VERL.txt").write_text(required_verl(commit))
    ruff(folder, "check", "--fix", "--quiet", *RULES)
    ruff(folder, "format", "--quiet")
    if found := findings(folder):
        raise UserError("\n".join(["the submission has:", *found]))


def ruff(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "ruff", *arguments, *RUFF, str(folder)]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"verl-recipe's ruff has findings:\n{done.stdout}{done.stderr}")


def findings(folder: Path) -> list[str]:
    """What their reviewers or verl's check of licences would not let through."""
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    found = [f"{len(files)} files, more than {MOST_FILES}"] if len(files) > MOST_FILES else []
    for file in files:
        text = (folder / file).read_text()
        if file.endswith(".py") and not text.startswith(LICENCE):
            found.append(f"{file}: no licence header")
        if file.endswith(".md"):
            found += [f"{file}: names {name}, which is not here" for name in missing_names(text, files)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--commit", required=True, metavar="SHA", help="of verl's release")
    arguments = parser.parse_args()
    target = arguments.output / NAME
    if target.exists():
        sys.exit(f"{target} is there already")
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.output) as temporary:
        folder = Path(temporary) / NAME
        folder.mkdir()
        try:
            build(folder, arguments.commit)
        except UserError as error:
            sys.exit(str(error))
        folder.rename(target)
    files = [file for file in target.rglob("*") if file.is_file()]
    print(f"{target}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
