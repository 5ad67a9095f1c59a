"""The pages against the code: what they name exists, and a number that stands in two places is the same in both.

Of the numbers, those of recipe/sizing.py and of the published rows in recipe/README.md are held by test_recipe.py and
test_evaluate.py. Measured numbers (the cost, the reward's speed and errors) are compared with each other only: the
benchmarks that print them take minutes.
"""

import functools
import importlib.util
import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf
from verl.utils.import_utils import load_extern_object

from bapo_verl.clipping import LOG_RATIO_LIMIT, candidates, contribution_sums, positive_share, search_path
from bapo_verl.cpu.logical_cpus import CPUS_PER_RANK
from bapo_verl.diagnosis import METRICS
from bapo_verl.policy_loss_config import COPIES
from tests.bapo_verl.test_config import composed

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("bapo_verl", "reward", "recipe", "examples")
PAGES = [*sorted(ROOT.glob("*.md")), *(page for name in FOLDERS for page in sorted((ROOT / name).rglob("*.md")))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TEXT = {name: page.read_text() for name, page in zip(NAMES, PAGES, strict=True)}
README, PACKAGE, REWARD = TEXT["README.md"], TEXT["bapo_verl/README.md"], TEXT["reward/README.md"]
RECIPE, EXAMPLES = TEXT["recipe/README.md"], TEXT["examples/README.md"]
MINIATURE = TEXT["recipe/miniature/README.md"]
PRESETS = sorted(path.stem for path in (ROOT / "bapo_verl/config/algorithm").glob("*.yaml"))
BASELINES = ["clip_higher", "grpo"]


def one_line(page: str) -> str:
    return " ".join(page.split())


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


# --------------------------------------------------------------------------------------------------------------------
# README
# --------------------------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_its_first_screen_says_how_and_for_whom():
    lines = README.splitlines()
    assert len(lines) <= 150
    first = "\n".join(lines[:30])
    for needed in ("pip install -e .", "+algorithm=bapo", "**Try it**", "**Skip it**", "on a GPU", r"\rho_0"):
        assert needed in first


def test_the_keys_have_the_values_of_the_presets():
    stock = composed().actor_rollout_ref.actor.policy_loss
    head = next(line for line in README.splitlines() if line.startswith("| key |"))
    shown = [preset for preset in re.findall(r"`(\w+)`", head)]
    rows = table(README, "key |")
    keys = [row[0].strip("`") for row in rows]
    assert keys == [key for key in policy_loss("bapo") if key not in {*stock, *COPIES, "_target_"}]
    for preset, column in zip(shown, list(zip(*rows, strict=True))[2:-1], strict=True):
        assert list(column) == [str(policy_loss(preset)[key]) for key in keys], preset
    assert sorted([*shown, *BASELINES]) == PRESETS


def presets() -> str:
    """The README's sentence on them."""
    return one_line(README.split("Presets: ")[1].split("\n\n")[0])


def test_every_preset_is_in_the_readme():
    assert sorted(re.findall(r"`(\w+)`", presets())) == PRESETS


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_baselines_have_the_bounds_that_the_readme_says(baseline):
    fixed = [float(number) for number in re.search(rf"`{baseline}`[^`]*\[([\d.]+), ([\d.]+)\]", presets()).groups()]
    loss = policy_loss(baseline)
    assert fixed == [loss.c_low_start, loss.c_high_start] == [loss.c_low_max, loss.c_high_max]


def test_the_readmes_bounds_and_target_are_the_presets():
    loss, text = policy_loss("bapo"), one_line(README)
    assert rf"\rho_0 = {loss.target_contribution}" in README
    search = f"c_high from {loss.c_high_start} to {loss.c_high_max}, then c_low from {loss.c_low_start} to"
    assert f"{search} {loss.c_low_max}" in text
    start, end = [loss.c_low_start, loss.c_high_start], [loss.c_low_max, loss.c_high_max]
    assert f"bounds would stay at {start}" in text and f"bounds never leave {start}" in text
    assert f"ends at {end}" in text and f"stop at {start}, half at {end}" in text


def test_the_length_ratio_is_where_the_formula_meets_the_target():
    target = policy_loss("bapo").target_contribution
    ratio = (1 - target) / target
    for sentence in (f"L-/L+ = {ratio:g} gives {target}", f"L-/L+ below {ratio:g}"):
        assert sentence in one_line(README)


def test_the_formula_is_the_positive_share_at_r_1():
    """Groups of 8 answers with GRPO's advantages, of random lengths and any number of right ones."""
    torch.manual_seed(0)
    size, above, below, tokens, lengths = 8, 0.0, 0.0, [], torch.randint(1, 50, (20, 8)).double()
    for group, k in zip(lengths, torch.randint(0, size + 1, (20,)).tolist(), strict=True):
        right = torch.arange(size) < k
        advantages = (right.double() - k / size) / (right.double().std() + 1e-6)
        tokens += [advantage.repeat(int(n)) for advantage, n in zip(advantages, group, strict=True)]
        if 0 < k < size:
            weight = math.sqrt(k * (size - k))
            above += weight * group[right].mean()
            below += weight * group[~right].mean()
    advantages = torch.cat(tokens)
    path = search_path([0.6], [1.2], "high_first")
    ones = torch.ones_like(advantages)
    rho = positive_share(contribution_sums(ones, advantages, path), path, "value")
    torch.testing.assert_close(rho[0], above / (above + below), rtol=1e-5, atol=0)


# --------------------------------------------------------------------------------------------------------------------
# All pages
# --------------------------------------------------------------------------------------------------------------------


def test_the_metrics_are_those_of_the_code_with_their_readings():
    rows = table(PACKAGE, "metric | reading |")
    assert len(rows) == len(METRICS)
    assert {name.strip("`"): reading for name, reading in rows} == METRICS


@pytest.mark.parametrize(("page", "metric"), everywhere(r"actor/bapo/\w+"))
def test_the_metrics_that_a_page_names_exist(page, metric):
    assert metric in METRICS


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub writes their anchors."""
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "link"), everywhere(r"\]\(([^)]+)\)"))
def test_what_it_links_to_is_there(page, link):
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
    assert target.exists()
    assert not anchor or anchor in anchors(target.read_text())


@pytest.mark.parametrize(("page", "script"), everywhere(r"(?:bash|python) ((?:examples|tests|recipe)/[\w./-]+\w)"))
def test_the_scripts_that_it_runs_are_there(page, script):
    assert (ROOT / script).is_file()


@pytest.mark.parametrize(("page", "module"), everywhere(r"python3? -m ([\w.]*\w)"))
def test_the_modules_that_it_runs_are_there(page, module):
    assert importlib.util.find_spec(module)


@pytest.mark.parametrize(("page", "test"), everywhere(r"\btests/\w+\.(?:py|sh|txt)\b"))
def test_the_tests_that_it_names_are_there(page, test):
    assert (ROOT / test).is_file()


KEY = r"(?<![\w/.])\+?((?:actor_rollout_ref|algorithm|data|reward|trainer|transfer_queue|ray_kwargs)\.[a-z_][\w.]*\w)"
OPTIONS = load_extern_object(str(ROOT / "reward/math_reward.py"), "_sibling")("grade").Options


@pytest.mark.parametrize(("page", "key"), everywhere(KEY))
def test_the_keys_that_it_names_are_verls_or_ours(page, key):
    parent, _, name = key.rpartition(".")
    if "reward_kwargs" in key:  # verl has no such key: it takes what a user adds
        assert name == "reward_kwargs" or name in {option.name for option in fields(OPTIONS)}
    else:
        node = OmegaConf.select(with_bapo(), parent)
        assert node is not None and name in node


def test_verl_has_one_version():
    pins = {
        name: re.findall(r"verl(?:\[[^]]*\])?==([\d.]+)", (ROOT / name).read_text())
        for name in ("requirements.txt", "requirements-cpu.txt")
    }
    (wanted,) = set(pins["requirements.txt"])
    assert pins == dict.fromkeys(pins, [wanted])
    others = ["pyproject.toml", "requirements.txt", "recipe/REQUIRED_VERL.txt", "examples/cpu_environment.sh"]
    named = re.compile(r"(?:verl (?:version )?|verl==|TAG=v)(\d+\.\d+\.\d+)")
    texts = {name: (ROOT / name).read_text() for name in others} | TEXT
    assert [name for name, text in texts.items() if set(named.findall(text)) - {wanted}] == []
    assert all(named.search(texts[name]) for name in others)


# --------------------------------------------------------------------------------------------------------------------
# Numbers that stand in two places
# --------------------------------------------------------------------------------------------------------------------


def test_the_cost_in_the_readme_is_that_of_the_tables():
    measured = dict(row[:2] for row in table(PACKAGE, "| measured |"))
    updates = [times for what, times in measured.items() if "against vanilla" in what]
    ratios = [float(number) for times in updates for number in re.findall(r"\d\.\d\d", times)]
    assert f"{min(ratios):.2f} to {max(ratios):.2f} times verl's vanilla loss" in one_line(README)


def test_the_share_of_redone_updates_is_the_miniatures():
    redone = {arm: f"{float(rest[-1]):.0%}" for arm, *rest in table(MINIATURE, "arm | at the start") if rest[-1] != "-"}
    assert f"in the experiment above {redone['bapo']} were" in one_line(README)
    both = f"{redone['bapo']} with `contribution=value` and {redone['bapo_gradient']} with `gradient`"
    assert both in one_line(PACKAGE)


def test_the_package_page_has_the_numbers_of_the_code():
    loss, text = policy_loss("bapo"), one_line(PACKAGE)
    low, high = (len(candidates(loss[f"{b}_start"], loss[f"{b}_max"], loss[f"{b}_step"])) for b in ("c_low", "c_high"))
    assert f"{high} + {low - 1} points with the paper's numbers" in text
    assert f"e^{LOG_RATIO_LIMIT:g}, about {math.exp(LOG_RATIO_LIMIT):.1e}".replace("e+0", "e") in text
    assert f"[-{LOG_RATIO_LIMIT:g}, {LOG_RATIO_LIMIT:g}] in the loss" in text
    stock = composed()
    assert f"`clip_ratio_c`, {stock.actor_rollout_ref.actor.clip_ratio_c}" in text
    assert f"more than {stock.trainer.v1.sampler.max_off_policy_threshold} versions" in text
    units = stock.transfer_queue.backend.SimpleStorage.num_data_storage_units
    assert f"(verl's default: {units}), and {CPUS_PER_RANK} for each rank" in text
    (process,) = (ROOT / "recipe").rglob("process.py")
    silence = re.search(r"^SILENCE_SECONDS = (\d+)", process.read_text(), re.MULTILINE)[1]
    assert f"logs nothing for {silence} s" in text
    octothinker = policy_loss("bapo_octothinker")
    assert f"App. A: {octothinker.c_high_max}" in text and f"target {octothinker.target_contribution}," in text


def test_the_results_of_others_are_one_set_of_numbers():
    rows = {(source.split(" ")[0], model.split(",")[0]): row for source, model, *row in table(RECIPE, "source | model")}
    grpo, bapo, _ = rows["VESPO", "Qwen3-30B-A3B-Base"]
    assert f"BAPO is {float(bapo) - float(grpo):.1f} points above GRPO" in one_line(RECIPE)
    (steps,) = {number for _, number in everywhere(r"after\s+step\s+(\d[\d,]*\d)")}
    assert all(f"step {steps}" in one_line(page) for page in (PACKAGE, RECIPE))


def test_the_ablation_at_the_papers_target_is_its_result():
    target = f"rho_0 = {policy_loss('bapo').target_contribution:.2f}"
    ablation = next(row for row in table(RECIPE, "ICLR 2026") if row[0] == target)
    result = next(row for row in table(RECIPE, "setup |") if row[0] == "paper: BP-Math-7B, BAPO")
    assert ablation[2:] == result[1:3]


def test_the_sampling_of_the_evaluation_is_its_yamls():
    (path,) = (ROOT / "recipe").rglob("evaluate.yaml")
    config = yaml.safe_load(path.read_text())
    kwargs, tokens = config["actor_rollout_ref"]["rollout"]["val_kwargs"], config["data"]["max_response_length"]
    expected = f"temperature {kwargs['temperature']}, top_p {kwargs['top_p']}, {tokens} tokens"
    assert expected in one_line(RECIPE) and f"samples {kwargs['n']} answers" in one_line(RECIPE)


def test_flash_attn_has_one_version():
    pinned = re.findall(r"flash-attn==([\d.]+)", (ROOT / "requirements.txt").read_text())
    assert {version for _, version in everywhere(r"flash-attn==([\d.]+)")} == set(pinned)


def test_the_rewards_options_are_those_of_the_code():
    rows = table(REWARD, "option | default |")
    assert {row[0].strip("`"): row[1] for row in rows} == {
        option.name: str(option.default) for option in fields(OPTIONS)
    }


@pytest.mark.parametrize("function", [row[0].strip("`") for row in table(REWARD, "function | caller |")])
def test_the_rewards_entry_points_exist(function):
    assert callable(load_extern_object(str(ROOT / "reward/math_reward.py"), function))


def test_the_rewards_tables_add_up():
    *kinds, total = table(REWARD, "gold | wrong answers")
    wrong, equal = (sum(int(row[column].replace(",", "")) for row in kinds) for column in (1, 4))
    assert (f"{wrong:,}", f"{equal:,}") == (total[1], total[4])
    assert f"0 wrong answers of {wrong:,} and {equal:,} of {equal:,} equal forms" in one_line(REWARD)
    grade = load_extern_object(str(ROOT / "reward/math_reward.py"), "_sibling")("grade")
    assert f"Every {grade.REPORT_EVERY} answers" in one_line(REWARD) and f"last {grade.WINDOW} answers" in REWARD


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


def test_the_paper_and_the_version_are_cited_alike():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    paper = citation["preferred-citation"]["url"].rpartition("/")[2]
    assert paper in README and citation["preferred-citation"]["doi"].endswith(paper)
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert citation["version"] == version == re.search(r"^## ([\d.]+)", TEXT["CHANGELOG.md"], re.MULTILINE)[1]
