r"""Sets of real numbers: intervals, inequalities joined by "and", "or" and commas, domains in words.

A formula is ("low", closed, bound) for x > bound or x \ge bound, ("high", closed, bound), ("not", f), ("and", f, ...),
("or", f, ...) or (",", f, ...). The bounds are scalars. Sort the n bounds of two formulas: they cut the line into n
points and n + 1 gaps, and inside a gap nothing changes. So the formulas are the same set if they hold on the same ones.

A comma means "and" where "or" would leave nothing out (x > -1, x < 3), "or" where "and" would leave nothing over
(x < -1, x > 3), and is not read elsewhere (x > 2, x > 7).
"""

import re

from .expression import names
from .quantity import read_quantity
from .value import Value, is_assignment, scalar_of

Formula = tuple
EVERYTHING = ("and",)
NOTHING = ("not", EVERYTHING)
FLIPPED = {">": "<", "\\ge": "\\le", "<": ">", "\\le": "\\ge", "\\ne": "\\ne"}
_UNKNOWN = re.compile(r"(?P<minus>-?)(?P<letter>[a-zA-Z])|\|(?P<inside>[a-zA-Z])(?:(?P<sign>[+-])(?P<shift>[^|]+))?\|")


def half(sign: str, bound: Value) -> Formula:
    """The formula of x > bound, or of another sign."""
    if bound.core.endswith("\\infty"):
        return EVERYTHING if (bound.core[0] == "-") == (sign in (">", "\\ge")) else NOTHING
    return ("low" if sign in (">", "\\ge") else "high", sign in ("\\ge", "\\le"), bound)


def point(value: Value) -> Formula:
    return ("and", half("\\ge", value), half("\\le", value))


def formula_of(value: Value) -> Formula | None:
    """The formula of a value that is a set of reals, or that is one real number x=1; None for any other."""
    if value.kind == "reals":
        return value.formula
    if value.kind == "tuple" and len(value.parts) == 2 and not value.is_point:
        low, high = value.parts
        left, right = value.brackets
        return ("and", half("\\ge" if left == "[" else ">", low), half("\\le" if right == "]" else "<", high))
    if value.kind in ("set", "list"):
        formulas = [formula_of(part) if part.kind in ("scalar", "tuple") else None for part in value.parts]
        return ("or", *formulas) if all(formulas) and "and" not in value.joints else None
    if is_assignment(value):
        value = value.parts[1]
    return point(value) if value.kind == "scalar" else None


def unknown_of(side: str) -> str:
    """The letter of x, -x, |x| and |x - a|, which a condition can be about."""
    match = _UNKNOWN.fullmatch(side)
    return (match["letter"] or match["inside"]) if match else ""


def condition(side: str, sign: str, other: Value) -> Formula | None:
    r"""The formula of "side sign other", where the side is an `unknown_of` or a name; None where it is none."""
    unknown = _UNKNOWN.fullmatch(side)
    plain = unknown is None or unknown["letter"]
    if sign in ("\\in", "\\ne"):
        formula = formula_of(other) if plain and (sign == "\\ne" or other.kind != "scalar") else None
        return ("not", formula) if formula and sign == "\\ne" else formula
    if sign not in FLIPPED or other.kind != "scalar":
        return None
    if plain and not (unknown and unknown["minus"]):
        return half(sign, other)
    if other.tree is None:
        return None
    if plain:  # -x > -1
        return half(FLIPPED[sign], scalar_of(("-", other.tree)))
    if (center := read_quantity(unknown["shift"] or "0").tree) is None:
        return None
    center = ("-", center) if unknown["sign"] == "+" else center
    low, high = (scalar_of(("+", center, radius)) for radius in (("-", other.tree), other.tree))
    within = sign in ("<", "\\le")  # |x - a| < b
    return ("and" if within else "or", half(FLIPPED[sign], low), half(sign, high))


def same_set(gold: Formula, answer: Formula, algebra) -> bool:
    """Whether two formulas hold for the same real numbers; an empty set is never an answer.

    Args:
        algebra: what compares and orders the bounds (compare.Numbers or algebra.Algebra).
    """
    bounds = [*bounds_of(gold), *bounds_of(answer)]
    if any(bound.tree is None or names(bound.tree) for bound in bounds):  # no order among letters
        return _same_form(gold, answer, algebra)
    reals = {bound.text: algebra.real(bound) for bound in bounds}
    if None in reals.values():
        return _same_form(gold, answer, algebra)
    ranks = _ranks(sorted(bounds, key=lambda bound: reals[bound.text]), algebra)
    line = frozenset(range(2 * len(set(ranks.values())) + 1))
    sets = [_positions(formula, ranks, line) for formula in (gold, answer)]
    return sets[0] == sets[1] and bool(sets[0])


def bounds_of(formula: Formula) -> list:
    """The finite bounds of a formula."""
    if formula[0] in ("low", "high"):
        return [formula[2]]
    return [bound for part in formula[1:] for bound in bounds_of(part)]


def _ranks(bounds: list, algebra) -> dict[str, int]:
    """The place of each of the sorted bounds, by its text; equal bounds have the same."""
    ranks, before = {}, None
    for bound in bounds:
        new = before is None or not algebra.same(before, bound)
        ranks[bound.text] = max(ranks.values(), default=-1) + new
        before = bound
    return ranks


def _positions(formula: Formula, ranks: dict[str, int], line: frozenset) -> frozenset:
    """The points and gaps where a formula holds: point k is 2k + 1, the gap before it 2k."""
    head, *parts = formula
    if head in ("low", "high"):
        closed, bound = parts
        at = 2 * ranks[bound.text] + 1
        first, last = (at if closed else at + 1, len(line)) if head == "low" else (0, at + 1 if closed else at)
        return frozenset(range(first, last))
    sets = [_positions(part, ranks, line) for part in parts]
    if head == "not":
        return line - sets[0]
    both, either = line.intersection(*sets), frozenset().union(*sets)
    if head == ",":
        return both if either == line else either if not both else frozenset()
    return both if head == "and" else either


def _same_form(gold: Formula, answer: Formula, algebra) -> bool:
    """Whether two formulas have the same parts in the same order."""
    if gold[0] != answer[0] or len(gold) != len(answer):
        return False
    if gold[0] in ("low", "high"):
        return gold[1] == answer[1] and algebra.same(gold[2], answer[2])
    return all(_same_form(g, a, algebra) for g, a in zip(gold[1:], answer[1:], strict=True))
