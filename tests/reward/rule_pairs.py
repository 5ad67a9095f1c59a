r"""Generated pairs for the rules on units, conditions and restated problems, each proved without the grader.

Units: by a table of sizes of its own. Conditions: two are the same set if they hold at the same points among all their
bounds, the middles between and a point beyond each end. Restated problems are wrong by rule 11 of reward/compare.py,
whatever their value.
"""

import random
from fractions import Fraction

from tests.reward.corpus import Pair

_SIZES = {  # unit: (size, dimension)
    "cm": (Fraction(1, 100), "length"), "m": (Fraction(1), "length"), "km": (Fraction(1000), "length"),
    "inches": (Fraction(254, 10000), "length"), "feet": (Fraction(3048, 10000), "length"),
    "cm^2": (Fraction(1, 10000), "area"), "m^2": (Fraction(1), "area"),
    "square feet": (Fraction(3048, 10000) ** 2, "area"),
    "cm^3": (Fraction(1, 10**6), "volume"), "m^3": (Fraction(1), "volume"),
    "seconds": (Fraction(1), "time"), "minutes": (Fraction(60), "time"), "hours": (Fraction(3600), "time"),
    "days": (Fraction(86400), "time"), "m/s": (Fraction(1), "speed"), "km/h": (Fraction(1000, 3600), "speed"),
    "m/s^2": (Fraction(1), "acceleration"), "kg": (Fraction(1), "mass"), "g": (Fraction(1, 1000), "mass"),
    "dollars": (Fraction(1), "money"), "cents": (Fraction(1, 100), "money"), "euros": (Fraction(1), "euro"),
    "years": (Fraction(12), "months"), "months": (Fraction(1), "months"), "decades": (Fraction(120), "months"),
    "apples": (Fraction(1), "apples"), "marbles": (Fraction(1), "marbles"),
}  # fmt: skip
_SEVERAL = """
    dozen pairs decades centuries lakhs crores hundred thousand million billion nines tens couples halves thirds
""".split()
_RESTATED = (
    r"\sum_{{k=1}}^{{1}} {n}", r"\int_0^1 {n}\,dx", r"\int_{{0}}^{{{n}}} dx", r"\lim_{{x\to {n}}} x", r"\gcd({n},{n})",
    r"\operatorname{{lcm}}({n},1)", r"\text{{lcm}}({n},1)", r"\max({n},0)", r"\max\{{{n},0\}}", r"\min({n},{m})",
    r"\lfloor {n}.5\rfloor", r"\left\lfloor {n}.5 \right\rfloor", r"\lceil {n}\rceil", r"\prod_{{k=1}}^{{1}} {n}",
    r"\det\begin{{pmatrix}}{n}\end{{pmatrix}}", r"\begin{{vmatrix}}{n}&0\\0&1\end{{vmatrix}}", r"1+1+\cdots+1",
    r"{n}+0+\ldots+0", r"{n} \bmod {m}", r"{n}\mod {m}", r"\frac{{d}}{{dx}}({n}x)", r"\frac{{d}}{{dx}}{n}x", r"f({n})",
    r"gcd({n},{n})", r"max({n},0)", r"lcm({n},1)", r"\sup\{{{n}\}}", r"\lim {n}", r"\sum_{{d\mid 1}} {n}",
)  # fmt: skip


def _unit_pairs(rng: random.Random) -> tuple[list[Pair], list[Pair]]:
    wrong, same = [], []
    for unit, (size, dimension) in _SIZES.items():
        for _ in range(3):
            number = rng.randint(2, 90)
            gold = f"{number}\\text{{ {unit}}}"
            for other, (other_size, other_dimension) in _SIZES.items():
                answer = f"{number}\\text{{ {other}}}"
                if (other_size, other_dimension) != (size, dimension):
                    wrong.append(Pair(gold, answer, "quantity", "unit"))
                converted = Fraction(number) * size / other_size
                if (
                    other_dimension == dimension
                    and converted.denominator == 1
                    and dimension not in ("apples", "marbles")
                ):
                    same.append(Pair(gold, f"{converted}\\text{{ {other}}}", "quantity", "unit"))
            wrong += [Pair(str(number), f"{number}\\text{{ {word}}}", "quantity", "several") for word in _SEVERAL]
            same += [Pair(gold, str(number), "quantity", "no unit"), Pair(gold, f"x={gold}", "quantity", "name")]
            if unit != "decades":
                same.append(Pair(str(number), gold, "quantity", "no unit"))
    return wrong, same


def _holds(condition, x: Fraction) -> bool:
    sign, bound = condition
    return {"<": x < bound, ">": x > bound, "\\le ": x <= bound, "\\ge ": x >= bound, "\\ne ": x != bound}[sign]


def _extent(conditions, joint: str) -> tuple[bool, ...]:
    """Where joined conditions hold: at -20, -19.5, ..., 20, all their bounds being whole numbers between."""
    grid = [Fraction(k, 2) for k in range(-40, 41)]
    combine = all if joint == "and" else any
    return tuple(combine(_holds(condition, x) for condition in conditions) for x in grid)


def _condition_pairs(rng: random.Random) -> tuple[list[Pair], list[Pair]]:
    made = {}
    for _ in range(400):
        low, high = sorted(rng.sample(range(-9, 10), 2))
        signs = rng.choice([(">", "<"), ("\\ge ", "<"), (">", "\\le "), ("<", ">"), ("\\le ", ">"), ("\\ne ", "\\ne ")])
        joint = rng.choice(["and", "or"])
        conditions = [(signs[0], low), (signs[1], high)]
        extent = _extent(conditions, joint)
        if any(extent):
            texts = [f"x{sign}{bound}" for sign, bound in rng.sample(conditions, 2)]
            sign = "\\lor " if joint == "or" else "\\land "
            made[rng.choice([f" \\text{{ {joint} }} ", f" {joint} ", sign]).join(texts)] = extent
    golds = {}
    for low in range(-6, 3, 2):
        high = low + rng.randint(2, 5)
        golds[f"({low},{high})"] = _extent([(">", low), ("<", high)], "and")
        golds[f"[{low},{high})"] = _extent([("\\ge ", low), ("<", high)], "and")
        golds[f"(-\\infty,{low})\\cup({high},\\infty)"] = _extent([("<", low), (">", high)], "or")
        golds[f"(-\\infty,{low}]\\cup({high},\\infty)"] = _extent([("\\le ", low), (">", high)], "or")
        golds[f"x\\ne {low}"] = _extent([("\\ne ", low)], "and")
        middle, radius = Fraction(low + high, 2), Fraction(high - low, 2)
        if middle.denominator == 1:
            made[f"|x-({middle})|<{radius}"] = golds[f"({low},{high})"]
            made[f"|x-({middle})|>{radius}"] = golds[f"(-\\infty,{low})\\cup({high},\\infty)"]
        made[f"{low}<x<{high}"] = golds[f"({low},{high})"]
        made[f"x>{low}\\text{{ and }}x<{high}"] = golds[f"({low},{high})"]
        made[f"x<{low}\\text{{ or }}x>{high}"] = golds[f"(-\\infty,{low})\\cup({high},\\infty)"]
        made[f"\\text{{all real numbers except }}{low}"] = golds[f"x\\ne {low}"]
    pairs = [(Pair(g, a, "condition", "condition"), golds[g] == made[a]) for g in golds for a in made]
    wrong = [pair for pair, same in pairs if not same]
    return rng.sample(wrong, min(1500, len(wrong))), [pair for pair, same in pairs if same]


def wrong_by_rule(seed: int) -> list[Pair]:
    rng = random.Random(seed + 3)
    numbers = rng.sample(range(2, 500), 40)
    restated = [Pair(str(n), form.format(n=n, m=n + 1), "restated", "restated") for n in numbers for form in _RESTATED
                if "1+1" not in form]  # fmt: skip
    return _unit_pairs(rng)[0] + _condition_pairs(rng)[0] + restated


def equal_by_rule(seed: int) -> list[Pair]:
    rng = random.Random(seed + 3)
    rng.sample(range(2, 500), 40)
    same = _unit_pairs(rng)[1] + _condition_pairs(rng)[1]
    return same + [Pair(str(n), f"{form.format(n=n, m=n + 1)} = {n}", "restated", "restated, then solved")
                   for n in range(2, 40, 3) for form in _RESTATED if "1+1" not in form]  # fmt: skip
