r"""Sets of real numbers: intervals, inequalities joined by "and", "or" and commas, domains in words.

A formula is ("low", closed, bound) for x > bound or x \ge bound, ("high", closed, bound), ("not", f), ("and", f, ...),
("or", f, ...) or (",", f, ...). The bounds are scalars. Sort the n bounds of two formulas: they cut the line into n
points and n + 1 gaps, and inside a gap nothing changes. So the formulas are the same set if they hold on the same ones.

A comma means "and" where "or" would leave nothing out (x > -1, x < 3), "or" where "and" would leave nothing over
(x < -1, x > 3), and is not read elsewhere (x > 2, x > 7).
"""

from .expression import names

Formula = tuple


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
