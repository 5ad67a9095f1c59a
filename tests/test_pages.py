"""The pages against the code: what they link to, run, and name exists, and their tables are those of the code.

Prose is free: no test holds a sentence. Measured numbers (cost, speed and errors of the reward) are not measured again
here, because the benchmarks that print them take minutes.
"""

import functools
import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from verl.utils.import_utils import load_extern_object

from bapo_verl.diagnosis import METRICS
from tests.bapo_verl.test_config import composed

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bapo_verl", "reward", "recipe", "examples")
PAGES = [*sorted(ROOT.glob("*.md")), *(page for name in FOLDERS for page in sorted((ROOT / name).rglob("*.md")))]
TEXT = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
README, PACKAGE, REWARD = TEXT["README.md"], TEXT["bapo_verl/README.md"], TEXT["reward/README.md"]
EXAMPLES = TEXT["examples/README.md"]
PRESETS = sorted(path.stem for path in (ROOT / "bapo_verl/config/algorithm").glob("*.yaml"))
OPTIONS = load_extern_object(str(ROOT / "reward/math_reward.py"), "_sibling")("grade").Options


def table(page: str, head: str) -> list[list[str]]:
    """The rows of every table of a page whose header starts with these cells."""
    rows = []
    for block in re.split(r"\n(?!\|)", page):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        if lines and lines[0].startswith(f"| {head}"):
            rows += [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]
    assert rows, f"no table has the header {head}"
    return rows


@functools.cache
def policy_loss(preset: str):
    return composed(f"+algorithm={preset}").actor_rollout_ref.actor.policy_loss


@functools.cache
def with_bapo():
    return composed("+algorithm=bapo", "+platform=cpu")


def everywhere(pattern: str) -> list:
    """(page, match) of a pattern on all pages."""
    return sorted({(name, found) for name, text in TEXT.items() for found in re.findall(pattern, text)})


# What a page names exists


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub writes their anchors."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), everywhere(r"\]\(([^)]+)\)"))
def test_what_a_page_links_to_is_there(page, link):
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


FILE = r"(?:(?:bash|python) (?=examples|recipe)|\b(?=tests))(\w+/[\w/.-]+\.(?:py|sh|txt))\b"


@pytest.mark.parametrize(("page", "file"), everywhere(FILE))
def test_the_scripts_that_a_page_runs_and_the_tests_that_it_names_are_there(page, file):
    assert (ROOT / file).is_file()


@pytest.mark.parametrize(("page", "module"), everywhere(r"python3? -m ([\w.]*\w)"))
def test_the_modules_that_a_page_runs_are_there(page, module):
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize(("page", "metric"), everywhere(r"actor/bapo/\w+"))
def test_the_metrics_that_a_page_names_are_logged(page, metric):
    assert metric in METRICS


NODES = "actor_rollout_ref|algorithm|data|reward|trainer|transfer_queue|ray_kwargs"
KEY = rf"(?<![\w/.])\+?((?:{NODES})\.(?!py\b)[a-z_][\w.]*\w)"


@pytest.mark.parametrize(("page", "key"), everywhere(KEY))
def test_the_keys_that_a_page_names_are_verls_or_ours(page, key):
    parent, _, name = key.rpartition(".")
    if "reward_kwargs" in key:  # verl has no such key: it takes what a user adds
        assert name == "reward_kwargs" or name in {option.name for option in fields(OPTIONS)}
    else:
        node = OmegaConf.select(with_bapo(), parent)
        assert node is not None and name in node


# Tables are those of the code


def test_the_table_of_keys_has_the_values_of_the_presets():
    stock = composed().actor_rollout_ref.actor.policy_loss
    head = next(line for line in README.splitlines() if line.startswith("| key |"))
    shown = re.findall(r"`(\w+)`", head)
    rows = table(README, "key |")
    copied = {"_target_", *(key for key in policy_loss("bapo") if OmegaConf.is_interpolation(raw_policy_loss(), key))}
    keys = [row[0].strip("`") for row in rows]
    assert keys == [key for key in policy_loss("bapo") if key not in {*stock, *copied}]
    for preset, column in zip(shown, list(zip(*rows, strict=True))[2:-1], strict=True):
        assert list(column) == [str(policy_loss(preset)[key]) for key in keys], preset


def raw_policy_loss():
    """The node of the preset as it stands in its file, with the keys that copy others as interpolations."""
    return OmegaConf.load(ROOT / "bapo_verl/config/algorithm/bapo.yaml")


def test_every_preset_is_in_the_readme():
    assert set(PRESETS) <= set(re.findall(r"`(\w+)`", README))


def test_the_tables_of_metrics_have_the_readings_of_the_code():
    rows = table(PACKAGE, "metric | reading |")
    assert len(rows) == len(METRICS)
    assert {name.strip("`"): reading for name, reading in rows} == METRICS


def test_the_rewards_options_are_those_of_the_code():
    rows = table(REWARD, "option | default |")
    assert {row[0].strip("`"): row[1] for row in rows} == {o.name: str(o.default) for o in fields(OPTIONS)}


@pytest.mark.parametrize("function", [row[0].strip("`") for row in table(REWARD, "function | caller |")])
def test_the_rewards_entry_points_exist(function):
    assert callable(load_extern_object(str(ROOT / "reward/math_reward.py"), function))


def test_the_scripts_have_the_nodes_and_variables_of_their_page():
    for link, _, nodes in table(EXAMPLES, "script | setting in the paper | nodes"):
        script = (ROOT / "examples" / re.search(r"\((.+)\)", link)[1]).read_text()
        assert re.search(r"NNODES=\$\{NNODES:-(\d+)\}", script)[1] == re.match(r"\d+", nodes)[0], link
    scripts = "\n".join(path.read_text() for path in (ROOT / "examples").glob("*.sh"))
    for names, default, _ in table(EXAMPLES, "variable | default |"):
        for name in re.findall(r"`(\w+)`", names):
            written = re.findall(rf"\$\{{{name}(:[-?])([^}}]*)\}}", scripts)
            assert written, f"no script reads {name}"
            if re.fullmatch(r"`\w+`|\d+", default):
                assert (":-", default.strip("`")) in written, name


# Versions


def test_verl_has_one_version():
    pins = {
        name: re.findall(r"^verl(?:\[[^]]*\])?==([\d.]+)", (ROOT / name).read_text(), re.MULTILINE)
        for name in ("requirements.txt", "requirements-cpu.txt")
    }
    (wanted,) = set(pins["requirements.txt"])
    assert pins == dict.fromkeys(pins, [wanted])


def test_flash_attn_has_one_version():
    pinned = re.findall(r"flash-attn==([\d.]+)", (ROOT / "requirements.txt").read_text())
    assert {version for _, version in everywhere(r"flash-attn==([\d.]+)")} <= set(pinned)


def test_the_paper_and_the_version_are_cited_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]["url"].rpartition("/")[2]
    assert paper in README and citation["preferred-citation"]["doi"].endswith(paper)
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert citation["version"] == version == re.search(r"^## ([\d.]+)", TEXT["CHANGELOG.md"], re.MULTILINE)[1]
