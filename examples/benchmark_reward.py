"""Answers per second: reward/math_reward.py against verl's own math_verify scorer, side by side, in one run.

    python examples/benchmark_reward.py            # about four minutes on two cores, most of it verl's hostile rows
    python examples/benchmark_reward.py --quick    # about one minute

Both judge the same responses of 2 000 to 30 000 characters, as verl would have them judged: ours is awaited on an event
loop, verl's runs in the executor's threads over its pool of 4 processes. "per core" is answers per second of CPU time,
of this process and its workers together. "lost" counts correct answers that got 0. Latencies are from call to verdict
with `CONCURRENCY` answers under way. Medians over the repeats; hostile rows run once, for verl's take minutes.

What this does not show: generation and training on the same cores, several reward actors, a machine that swaps.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
from tqdm import tqdm
from verl.utils.import_utils import load_extern_object
from verl.utils.reward_score import math_verify as verls

REWARD = Path(__file__).resolve().parent.parent / "reward" / "math_reward.py"
CONCURRENCY = 16

SYMBOLIC = [  # gold, a right answer, a wrong one
    (r"\frac{\sqrt{3}}{2}", r"\frac{3}{2\sqrt{3}}", r"\frac{\sqrt{2}}{2}"),
    (r"2\sqrt{2}", r"\sqrt{8}", r"\sqrt{6}"),
    (r"\frac{\pi}{6}", r"\frac{2\pi}{12}", r"\frac{\pi}{3}"),
    ("x^2+2x+1", "(x+1)^2", "(x+2)^2"),
    (r"\frac{n(n+1)}{2}", r"\frac{n^2+n}{2}", r"\frac{n(n-1)}{2}"),
    (r"(3,\frac{\pi}{2})", r"\left(3, \pi/2\right)", r"(3,\pi)"),
    (r"[0,\sqrt{2})", r"[0, 2^{1/2})", r"[0,\sqrt{2}]"),
    (r"\{1\pm\sqrt{5},-2\}", r"\{-2, 1+\sqrt{5}, 1-\sqrt{5}\}", r"\{2, 1\pm\sqrt{5}\}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix}1 \\ 2\end{bmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
    ("2-2p", "2(1-p)", "2-p"),
    (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac{2}{7}", r"\frac{x-2}{7}"),
    (r"3+2\sqrt{2}", r"(1+\sqrt{2})^2", r"(1-\sqrt{2})^2"),
]  # fmt: skip
HOSTILE = [
    r"10^{10^{10}}", r"9^{9^{9^9}}", r"2^{2^{2^{2^{2^2}}}}", "1000000000!", r"((5!)!)!", r"\binom{1000000}{500000}",
    r"\sum_{k=1}^{1000000000}\frac{1}{k}", r"\prod_{k=1}^{1000000}k", r"\frac{1}{" * 200 + "1" + "}" * 200,
    r"\sqrt{" * 200 + "2" + "}" * 200, "(" * 100 + "x" + ")" * 100, "1" * 100_000, "1+" * 20_000 + "1",
    r"\{" + ",".join(map(str, range(999))) + r"\}",
]  # fmt: skip
STEPS = [
    "We expand the product and collect the terms, so that $a_{k} = 2 a_{k-1} + 3$ for every $k \\ge 1$. ",
    "Since $\\frac{p}{q}$ is in lowest terms, $q$ divides $15$ and we check $q = 3$ and $q = 5$ in turn.\n",
    "\\[ \\sum_{i=1}^{n} i^2 = \\frac{n(n+1)(2n+1)}{6}. \\]\n",
    "Wait, that would give $17$ in the first case, which contradicts the bound; let me recheck the second case. ",
    "By symmetry the remaining $4$ configurations contribute equally.\n\n",
]


@dataclass
class Item:
    response: str
    gold: str
    correct: bool


def response(rng: random.Random, boxed: str) -> str:
    """A solution of 2 000 to 30 000 characters: thinking, then a short text with the box."""
    size, text = rng.randint(2_000, 30_000), []
    while sum(map(len, text)) < size:
        text.append(rng.choice(STEPS))
    return "<think>" + "".join(text) + "</think>\nTherefore the answer is $\\boxed{" + boxed + "}$."


def items(count: int, integers: float, hostile: float, seed: int) -> list[Item]:
    """`count` answers, two thirds of them right, in a fixed order."""
    rng, out = random.Random(seed), []
    for _ in range(count):
        right = rng.random() < 2 / 3
        if rng.random() < hostile:
            out.append(Item(response(rng, rng.choice(HOSTILE)), str(rng.randrange(1000)), False))
        elif rng.random() < integers:
            gold = rng.randrange(1000)
            out.append(Item(response(rng, str(gold if right else gold + 1)), str(gold), right))
        else:
            gold, good, bad = rng.choice(SYMBOLIC)
            out.append(Item(response(rng, good if right else bad), gold, right))
    return out


def cpu_seconds() -> float:
    """CPU time of this process and all its children, living and dead."""
    me = psutil.Process()
    own = me.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in me.children(recursive=True):
        times = child.cpu_times()
        total += times.user + times.system
    return total


def run_ours(work: list[Item], progress: tqdm) -> tuple[list[float], list[float]]:
    compute_score = load_extern_object(str(REWARD), "compute_score")
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(item: Item) -> tuple[float, float]:
        async with gate:
            start = time.perf_counter()
            verdict = await compute_score("benchmark", item.response, item.gold)
            progress.update()
            return verdict["acc"], time.perf_counter() - start

    async def everything():
        return await asyncio.gather(*map(one, work))

    return tuple(zip(*asyncio.run(everything()), strict=True))


def run_verl(work: list[Item], progress: tqdm) -> tuple[list[float], list[float]]:
    def one(item: Item) -> tuple[float, float]:
        start = time.perf_counter()
        score = verls.compute_score(item.response, item.gold)
        progress.update()
        return score, time.perf_counter() - start

    with ThreadPoolExecutor(CONCURRENCY) as threads:
        return tuple(zip(*threads.map(one, work), strict=True))


def measure(run, work: list[Item], repeats: int, label: str) -> dict[str, float]:
    """Medians over `repeats` of throughput (per wall second, per core), latency in ms, and the correct answers lost."""
    rows = []
    with tqdm(total=repeats * len(work), desc=label, leave=False) as progress:
        for _ in range(repeats):
            wall, cpu = time.perf_counter(), cpu_seconds()
            scores, latencies = run(work, progress)
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            cuts = statistics.quantiles(latencies, n=100)
            rows.append({
                "per second": len(work) / wall, "per core": len(work) / cpu, "p50 ms": 1e3 * cuts[49],
                "p99 ms": 1e3 * cuts[98], "lost": sum(i.correct and not s for i, s in zip(work, scores, strict=True)),
                "false": sum(bool(s) and not i.correct for i, s in zip(work, scores, strict=True)),
            })  # fmt: skip
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the answers")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    args = parser.parse_args()
    size = 400 if args.quick else 2000
    mixes = [  # name, share of integers, share of hostile answers, answers, repeats
        ("realistic mix (4/5 integers)", 0.8, 0.0, size, 3),
        ("symbolic only", 0.0, 0.0, size // 2, 3),
        ("realistic mix, 5% hostile", 0.8, 0.05, size // 5, 1),
    ]
    for run in (run_ours, run_verl):  # the start of the workers is paid once per training run
        run(items(4 * CONCURRENCY, 0.0, 0.0, seed=1), tqdm(disable=True))
    table = {}
    for name, integers, hostile, count, repeats in mixes:
        work = items(count, integers, hostile, seed=2)
        table[name] = {
            "ours": measure(run_ours, work, repeats, f"ours, {name}"),
            "verl": measure(run_verl, work, repeats, f"verl, {name}"),
        }
        # Our hostile row is over too soon to be steady: run it as long as a clean one.
        if hostile:
            table[name]["ours"] = measure(run_ours, items(size, integers, hostile, seed=2), 3, f"ours, {name}")
    print_table(table)
    if args.json:
        args.json.write_text(json.dumps(table, indent=2))


def print_table(table: dict) -> None:
    keys = ["per second", "per core", "p50 ms", "p99 ms", "lost", "false"]
    print(f"{'':30} {'':6}" + "".join(f"{key:>12}" for key in keys))
    for name, rows in table.items():
        for who, row in rows.items():
            print(f"{name:30} {who:6}" + "".join(f"{row[key]:12.2f}" for key in keys))
        ratio = rows["ours"]["per core"] / rows["verl"]["per core"]
        wall = rows["ours"]["per second"] / rows["verl"]["per second"]
        print(f"{'':30} ratio {wall:11.1f}x{ratio:11.1f}x")
    clean, hostile = (table[name]["ours"]["per second"] for name in (list(table)[0], list(table)[-1]))
    print(f"ours at 5% hostile keeps {hostile / clean:.0%} of the clean throughput")


if __name__ == "__main__":
    main()
