"""Answers per second: reward/math_reward.py against verl's own math_verify scorer, side by side, in one run.

    python -m recipe.benchmarks.reward            # about six minutes on two cores, most of it verl's hostile row
    python -m recipe.benchmarks.reward --quick    # about one minute

Both score the same responses of 2 000 to 30 000 characters, as verl would have them scored: ours is awaited on an event
loop, verl's runs in the loop's executor over its pool of 4 processes. No symbolic expression comes twice, so that no
cache answers. "per core" is answers per second of CPU time, of this process and its workers together; "gap" the longest
time that the event loop did not turn; "lost" the correct answers that got 0, "false" the wrong ones that got 1.
Latencies are from call to verdict. Ours are medians over three sets of answers, verl's are of the first of them.

What this does not show: generation and training on the same cores, several reward actors, a machine that swaps.
"""

import argparse
import asyncio
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
from tqdm import tqdm
from verl.utils.import_utils import load_extern_object
from verl.utils.reward_score import math_verify as verls

from recipe.common import REWARD

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


def symbolic(rng: random.Random) -> tuple[str, str, str]:
    """A gold, a right answer, a wrong one; with other numbers nearly every time."""
    a, b, c, n = rng.randint(2, 99), rng.randint(2, 99), rng.randint(2, 99), rng.choice([2, 3, 5, 6, 7, 10, 11, 13])
    return rng.choice([
        (rf"\frac{{{a}\sqrt{{{n}}}}}{{{b}}}", rf"\frac{{{a * n}}}{{{b}\sqrt{{{n}}}}}",
         rf"\frac{{{a}\sqrt{{{n}}}}}{{{b + 1}}}"),
        (rf"{a}\sqrt{{{n}}}+{c}", rf"{c}+\sqrt{{{a * a * n}}}", rf"{c}+\sqrt{{{a * a * n + 1}}}"),
        (rf"\frac{{{a}\pi}}{{{b}}}", rf"\frac{{{2 * a}\pi}}{{{2 * b}}}", rf"\frac{{{a}\pi}}{{{b + 1}}}"),
        (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b})", f"(x+{a})(x-{b})"),
        (rf"\frac{{{a}n(n+{b})}}{{{c}}}", rf"\frac{{{a}n^2+{a * b}n}}{{{c}}}", rf"\frac{{{a}n(n-{b})}}{{{c}}}"),
        (rf"({a},\frac{{{b}\pi}}{{{c}}})", rf"\left({a}, {b}\pi/{c}\right)", rf"({a},\frac{{\pi}}{{{c}}})"),
        (rf"[{-a},{b}\sqrt{{{n}}})", rf"[{-a}, {b} \cdot {n}^{{1/2}})", rf"[{-a},{b}\sqrt{{{n}}}]"),
        (rf"\{{{a}\pm\sqrt{{{n}}},-{b}\}}", rf"\{{-{b}, {a}+\sqrt{{{n}}}, {a}-\sqrt{{{n}}}\}}",
         rf"\{{{b}, {a}\pm\sqrt{{{n}}}\}}"),
        (rf"\begin{{pmatrix}}{a}\\{b}\end{{pmatrix}}", rf"\begin{{bmatrix}}{a} \\ {b}\end{{bmatrix}}",
         f"({b},{a + 100})"),
        (rf"\frac{{x+{a}}}{{{b}}}", rf"\frac{{x}}{{{b}}}+\frac{{{a}}}{{{b}}}", rf"\frac{{x-{a}}}{{{b}}}"),
        (rf"{a * a + n}+{2 * a}\sqrt{{{n}}}", rf"({a}+\sqrt{{{n}}})^2", rf"({a}-\sqrt{{{n}}})^2"),
        (rf"{a}e^{{{b}}}+1", rf"1+{a}e^{{{b}}}", rf"{a}e^{{{b}}}-1"),
        (rf"{a}\ln {b}", rf"-{a}\ln\frac{{1}}{{{b}}}", rf"{a}\ln {b + 1}"),
        (rf"y={a}x+{b}", f"{a}x-y+{b}=0", f"y={b}x+{a + b}"),
        (rf"{a}\sin(2x)+{b}", rf"{b}+{2 * a}\sin x\cos x", rf"{a}\sin(2x)-{b}"),
    ])  # fmt: skip


def items(count: int, integers: float, hostile: float, seed: int) -> list[Item]:
    """`count` answers, two thirds of them right, in a fixed order; no symbolic gold twice."""
    rng, out, seen = random.Random(seed), [], set()
    while len(out) < count:
        right = rng.random() < 2 / 3
        if rng.random() < hostile:
            out.append(Item(response(rng, rng.choice(HOSTILE)), str(rng.randrange(1000)), False))
        elif rng.random() < integers:
            gold = rng.randrange(1000)
            out.append(Item(response(rng, str(gold if right else gold + 1)), str(gold), right))
        else:
            gold, good, bad = symbolic(rng)
            if gold not in seen:
                seen.add(gold)
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


def ours():
    """The coroutine function that verl awaits."""
    compute_score = load_extern_object(str(REWARD), "compute_score")

    async def one(item: Item) -> float:
        return (await compute_score("benchmark", item.response, item.gold))["acc"]

    return one


def verls_own():
    """verl's scorer as its naive reward manager runs it: in the event loop's executor."""
    threads = ThreadPoolExecutor(32)

    async def one(item: Item) -> float:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, verls.compute_score, item.response, item.gold)

    return one


async def run(score, work: list[Item], at_once: int, progress: tqdm) -> tuple[list[float], list[float], float]:
    """Scores and latencies of all answers, `at_once` under way, and the longest gap between two turns of the loop."""
    gate, gaps = asyncio.Semaphore(at_once), [0.0]

    async def heartbeat():
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - start)

    async def one(item: Item) -> tuple[float, float]:
        async with gate:
            start = time.perf_counter()
            acc = await score(item)
            progress.update()
            return acc, time.perf_counter() - start

    beat = asyncio.create_task(heartbeat())
    scores, latencies = zip(*await asyncio.gather(*map(one, work)), strict=True)
    beat.cancel()
    return scores, latencies, max(gaps)


def measure(score, works: list[list[Item]], at_once: int, label: str) -> dict[str, float]:
    """Medians over `works` of throughput (per wall second, per core), latency and gap in ms; sums of lost and false."""
    rows = []
    with tqdm(total=sum(map(len, works)), desc=label, leave=False) as progress:
        for work in works:
            wall, cpu = time.perf_counter(), cpu_seconds()
            scores, latencies, gap = asyncio.run(run(score, work, at_once, progress))
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            cuts = statistics.quantiles(latencies, n=100)
            rows.append({
                "per second": len(work) / wall, "per core": len(work) / cpu, "p50 ms": 1e3 * cuts[49],
                "p99 ms": 1e3 * cuts[98], "gap ms": 1e3 * gap,
                "lost": sum(i.correct and not s for i, s in zip(work, scores, strict=True)),
                "false": sum(bool(s) and not i.correct for i, s in zip(work, scores, strict=True)),
            })  # fmt: skip
    median = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    return median | {key: sum(row[key] for row in rows) for key in ("lost", "false")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a fifth of the answers, one repeat")
    args = parser.parse_args()
    size, seeds = (200, [2]) if args.quick else (1000, [2, 3, 4])
    mixes = [  # name, share of integers, share of hostile answers, answers, answers at once
        ("symbolic, one by one", 0.0, 0.0, size, 1),
        ("symbolic, 16 at once", 0.0, 0.0, size, 16),
        ("symbolic, 256 at once", 0.0, 0.0, size, 256),
        ("4/5 integers, 16 at once", 0.8, 0.0, size, 16),
        ("4/5 integers, 5% hostile", 0.8, 0.05, size // 3, 16),
    ]
    scorers = {"ours": ours(), "verl": verls_own()}
    for score in scorers.values():  # the start of the workers is paid once per training run
        asyncio.run(run(score, items(64, 0.0, 0.0, seed=1), 16, tqdm(disable=True)))
    table: dict = {}
    for number, (name, integers, hostile, count, at_once) in enumerate(mixes):
        for who, score in scorers.items():
            # Every repeat has answers of its own: no cache has seen them. verl's take minutes where they are hostile.
            once = hostile or who == "verl"
            works = [items(count, integers, hostile, seed + 10 * number) for seed in (seeds[:1] if once else seeds)]
            table.setdefault(name, {})[who] = measure(score, works, at_once, f"{who}, {name}")
    print_table(table)


def print_table(table: dict) -> None:
    keys = ["per second", "per core", "p50 ms", "p99 ms", "gap ms", "lost", "false"]
    print(f"{'':26} {'':5}" + "".join(f"{key:>11}" for key in keys))
    for name, rows in table.items():
        for who, row in rows.items():
            print(f"{name:26} {who:5}" + "".join(f"{row[key]:11.2f}" for key in keys))
        ratio = rows["ours"]["per core"] / rows["verl"]["per core"]
        wall = rows["ours"]["per second"] / rows["verl"]["per second"]
        print(f"{'':26} ratio{wall:10.1f}x{ratio:10.1f}x")


if __name__ == "__main__":
    main()
