"""Builds the folder that a person would submit to verl-recipe (https://github.com/verl-project/verl-recipe).

    python -m recipe.submission -o DIR [--commit SHA]

writes DIR/bapo_adaptive_clipping: the package, the reward, the runs' settings, data preparation, evaluation and launch
scripts, in the layout of this repository. Tests, experiments and the demo stay behind, and links to them become plain
text. Imports are sorted as verl-recipe's ruff wants them, which takes bapo_verl for a third party. REQUIRED_VERL.txt
gets the commit of its TAG, from github.com or from --commit: their install_verl.sh asks for it.

To submit: copy the folder into a clone of verl-recipe, add its line to the table in their README.md, run
`pre-commit run --all-files` and `./install_verl.sh --recipe bapo_adaptive_clipping --show`.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "bapo_adaptive_clipping"  # free in their tree; two other methods are called BAPO, too
LIMIT = 2_000_000  # bytes in all

BROUGHT = ("bapo_verl/*", "reward/*", "recipe/*", "examples/*", "requirements*.txt", "tests/requirements.txt")
BROUGHT += ("pyproject.toml", "LICENSE", "CITATION.cff")
LEFT = ("recipe/README.md", "recipe/REQUIRED_VERL.txt", "recipe/submission/*", "*.png", "*.parquet")
LEFT += ("recipe/demo/*", "recipe/experiment/*", "recipe/tiny_task/*")
LEFT += (
    "examples/README.md",
    "examples/benchmark*",
    "examples/*demo*",
    "examples/*tiny*",
    "examples/cpu_environment.sh",
)

# What verl-recipe's pyproject.toml says to ruff, as far as it decides anything here.
RUFF = ["--isolated", "--line-length=120", "--target-version=py310"]
RULES = ["--select=E,F,UP,B,I,G", "--ignore=F405,F403,E731,B007,UP032,G004,UP045,UP035"]
RULES += ["--config", 'lint.isort.known-first-party=["verl"]']

# Names that verl-recipe's .gitignore keeps out of a commit.
IGNORED = ("*.parquet", "*.pt", "*.ckpt", "*.log", "*.lock", "*.so", "*.egg-info", "__pycache__", "*.py[cod]")
IGNORED += ("build", "dist", "lib", "lib64", "env", "venv", "var", "tmp", "parts", "log", "logs", "outputs", "wandb")


class SubmissionError(Exception):
    """A sentence for the user."""


def brought() -> list[str]:
    """The files of the submission, of those that git tracks here."""
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    files = tracked.stdout.splitlines()
    return [f for f in files if any(fnmatch(f, p) for p in BROUGHT) and not any(fnmatch(f, p) for p in LEFT)]


def without_links_outside(page: str, path: Path, files: set[Path]) -> str:
    """The page with the text alone where a link or picture leads to a file that is not brought."""

    def replaced(match: re.Match) -> str:
        target = match[3].partition("#")[0]
        there = not target or "://" in target or (path.parent / target).resolve() in files
        return match[0] if there else "" if match[1] else match[2]

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", replaced, page)


def broken_links(folder: Path) -> list[str]:
    """PAGE: TARGET of every link that leads out of the folder or to nothing."""
    broken = []
    for page in folder.rglob("*.md"):
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            file = (page.parent / target.partition("#")[0]).resolve()
            if "://" not in target and not (file.exists() and file.is_relative_to(folder.resolve())):
                broken.append(f"{page.relative_to(folder)}: {target}")
    return broken


def required_verl(commit: str | None) -> str:
    """recipe/REQUIRED_VERL.txt with the commit of its TAG.

    Raises:
        SubmissionError: if the commit is none, or is not given and github.com cannot be reached.
    """
    text = (ROOT / "recipe" / "REQUIRED_VERL.txt").read_text()
    tag, upstream = (re.search(rf"^{key}=(.*)$", text, re.MULTILINE)[1] for key in ("TAG", "UPSTREAM"))
    commit = commit or commit_of(tag, upstream)
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise SubmissionError(f"--commit must be the 40 hexadecimal digits of verl's {tag}, got {commit!r}")
    return re.sub(r"^TAG=.*$", rf"\g<0>\nCOMMIT={commit}", text, flags=re.MULTILINE)


def commit_of(tag: str, upstream: str) -> str:
    """The commit that a tag names: of an annotated tag the last line, of a plain one the only one."""
    command = ["git", "ls-remote", upstream, f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        asked = None
    if asked is None or asked.returncode or not asked.stdout:
        raise SubmissionError(f"{upstream} does not say which commit {tag} is: name it by --commit SHA")
    return asked.stdout.splitlines()[-1].split()[0]


def build(folder: Path, commit: str | None) -> None:
    """Write the submission into `folder`, which is empty.

    Raises:
        SubmissionError: if their ruff has findings that it cannot fix, or `findings` has one.
    """
    files = brought()
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, folder / file)
    here = {ROOT / file for file in files}
    here |= {parent for file in here for parent in file.parents}
    for page in (file for file in files if file.endswith(".md")):
        (folder / page).write_text(without_links_outside((ROOT / page).read_text(), ROOT / page, here))
    project = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(project[: project.index("\n[tool.ruff]")])  # theirs is to hold
    (folder / "README.md").write_text(Path(__file__).with_name("README.md.in").read_text())
    (folder / "REQUIRED_VERL.txt").write_text(required_verl(commit))
    ruff(folder, "check", "--fix", "--quiet", *RULES)
    ruff(folder, "format", "--quiet")
    if found := findings(folder):
        raise SubmissionError("\n".join(["the submission has:", *found]))


def ruff(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "ruff", *arguments, *RUFF, str(folder)]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)
    if done.returncode:
        raise SubmissionError(f"verl-recipe's ruff has findings:\n{done.stdout}{done.stderr}")


def findings(folder: Path) -> list[str]:
    """What their reviewers or their .gitignore would not let through."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    names = [file.relative_to(folder) for file in folder.rglob("*")]
    found = [f"a link out of the folder, {link}" for link in broken_links(folder)]
    found += [
        f"a name that their .gitignore ignores, {name}" for name in names if any(fnmatch(name.name, p) for p in IGNORED)
    ]
    found += [f"{size:,} bytes, more than {LIMIT:,}"] if size > LIMIT else []
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--commit", metavar="SHA", help="of the verl release in recipe/REQUIRED_VERL.txt")
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
        except SubmissionError as error:
            sys.exit(str(error))
        folder.rename(target)
    files = [file for file in target.rglob("*") if file.is_file()]
    print(f"{target}: {len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
