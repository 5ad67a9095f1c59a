r"""The ground truths of the reward's generator, and how they are written."""

import random
from dataclasses import dataclass
from functools import lru_cache

import mpmath

from tests.reward.terms import Style, Term, equal, latex, num, op, sym, value

WRONG_PER_GOLD, FORMS_PER_GOLD = 30, 32
INFINITY = "\\infty"


@dataclass(frozen=True)
class Gold:
    """`kind` of answer, the terms it is made of, and how it is set: its brackets, its name, or its words."""

    kind: str
    terms: tuple = ()
    form: str = ""


@dataclass(frozen=True)
class Pair:
    gold: str
    answer: str  # what stands in the box
    kind: str
    change: str


def text_of(gold: Gold, style: Style = Style()) -> str:  # noqa: B008 (frozen)
    items = [item if isinstance(item, str) else latex(item, style) for item in gold.terms]
    if gold.kind in ("tuple", "set", "list", "interval"):
        left, right = {"(": "\\left(", "[": "\\left[", "\\{": "\\left\\{", "": ""}, {")": "\\right)", "]": "\\right]",
                       "\\}": "\\right\\}", "": ""}  # fmt: skip
        opened, closed = BRACKETS[gold.kind, gold.form]
        return (left[opened] if style.sized else opened) + f",{style.space or ' '}".join(items) + (
            right[closed] if style.sized else closed
        )  # fmt: skip
    if gold.kind == "equation":
        return f"{gold.form}={items[0]}"
    return items[0] if items else gold.form


BRACKETS = {("tuple", ""): "()", ("set", ""): ("\\{", "\\}"), ("list", ""): ("", "")}
BRACKETS |= {("interval", form): form for form in ("()", "(]", "[)", "[]")}


def _fraction(rng: random.Random) -> Term:
    return op("div", rng.randint(1, 40), rng.choice([3, 7, 8, 9, 11, 13, 16, 25, 49]))


def _radical(rng: random.Random) -> Term:
    root = op("root", 2, rng.choice([2, 3, 5, 6, 7, 10, 13]))
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return rng.choice([
        root, op("mul", a, root), op("add", a, root), op("sub", op("mul", a, root), b), op("div", root, b),
        op("div", op("add", a, root), b), op("root", 2, op("add", a, root)), op("root", 3, b),
        op("add", root, op("root", 2, 11)), op("div", 1, op("sub", root, 17)),
    ])  # fmt: skip


def _large(rng: random.Random) -> Term:
    n, k, root = rng.randint(60, 400), rng.randint(2, 9), op("root", 2, 3)
    e = Term("e")
    conjugates = (op("pow", op("add", 2, root), n), op("pow", op("sub", 2, root), n))
    return rng.choice([
        op("pow", k, n), op("sub", op("pow", k, n), 1), op("pow", e, n), op("sub", op("pow", e, n), 1),
        op("add", op("pow", e, n), k), op("add", op("pow", 2, n), op("root", 2, k)), op("mul", op("pow", 3, n),
        Term("pi")), op("div", op("add", *conjugates), 2), op("div", op("sub", *conjugates), op("mul", 2, root)),
        op("fact", rng.randint(20, 60)), op("div", 1, op("pow", k, n)), op("pow", e, op("neg", num(n))),
        op("binom", rng.randint(30, 90), k), op("root", 2, op("add", op("pow", 10, n), 1)),
    ])  # fmt: skip


def _transcendental(rng: random.Random) -> Term:
    a, b, pi = rng.randint(2, 9), rng.choice([2, 3, 5, 7]), Term("pi")
    return rng.choice([
        op("mul", a, pi), op("div", pi, a), op("div", op("mul", a, pi), 11), op("ln", b), op("mul", a, op("ln", b)),
        op("add", a, op("ln", b)), op("log", 2, rng.choice([3, 5, 7])), op("pow", Term("e"), a),
        op("sub", Term("e"), a), op("div", op("ln", b), op("ln", 11)), op("sin", op("div", pi, 7)),
        op("cos", op("div", pi, 5)), op("add", pi, op("root", 2, b)), op("pow", pi, 2), op("tan", op("div", pi, 9)),
        op("sub", 1, op("div", 1, Term("e"))),
    ])  # fmt: skip


def _letters(rng: random.Random) -> Term:
    x, y = rng.sample([sym(name) for name in "xyabmnpk"], 2)
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    return rng.choice([
        op("add", op("mul", a, x), b), op("add", op("sub", op("pow", x, 2), op("mul", a, x)), b), op("mul", x, y),
        op("div", op("mul", x, op("add", x, 1)), 2), op("div", op("sub", x, y), a), op("pow", op("add", x, y), a),
        op("div", 1, op("add", x, a)), op("root", 2, op("add", op("pow", x, 2), a)), op("pow", a, x),
        op("mul", op("sin", x), op("cos", x)), op("mul", a, op("pow", Term("e"), x)), op("ln", op("add", x, a)),
        op("add", op("pow", x, 3), op("mul", a, op("pow", y, 2))), op("pow", op("add", op("add", x, y), 1), 61),
        op("div", op("add", op("mul", a, x), b), op("sub", x, b)), op("mul", a, op("root", 2, x)),
    ])  # fmt: skip


_WORDS = [  # words and what they must not be taken for
    ("increasing", "decreasing"), ("even", "odd"), ("yes", "no"), ("true", "false"), ("Evelyn", "Evelin"),
    ("no solution", "one solution"), ("infinitely many", "finitely many"), ("Tuesday", "Thursday"),
    ("convergent", "divergent"), ("always", "never"), ("isosceles", "equilateral"), ("Alice", "Alicia"),
    ("acute", "obtuse"), ("rational", "irrational"), ("ellipse", "eclipse"), ("bounded", "unbounded"),
]  # fmt: skip
_MIXED = [  # words beside mathematics that carry the answer
    (r"\text{all odd } n", [r"\text{all even } n", r"\text{no odd } n", r"\text{all prime } n", "n"]),
    (r"n \text{ is even}", [r"n \text{ is odd}", r"n \text{ is prime}", "n", r"n \text{ is not even}"]),
    (r"\text{increasing on } (0,1)", [r"\text{decreasing on } (0,1)", r"\text{constant on } (0,1)", "(0,1)"]),
    (r"\text{multiples of } 3", [r"\text{divisors of } 3", r"\text{powers of } 3", "3", r"\text{multiples of } 4"]),
    (r"x \text{ is rational}", [r"x \text{ is irrational}", "x", r"y \text{ is rational}"]),
    (r"\text{all integers } n", [r"\text{all primes } n", r"\text{no integers } n"]),
]  # fmt: skip


@lru_cache(maxsize=1)
def corpus(seed: int = 0) -> tuple[Gold, ...]:
    """The golds, all different."""
    rng, golds = random.Random(seed), {}

    def take(count: int, make) -> None:
        wanted = len(golds) + count
        while len(golds) < wanted:
            gold = make()
            golds.setdefault(text_of(gold), gold)

    def scalar(kind: str, make):
        return lambda: Gold(kind, (make(rng),))

    def some(kind: str, forms: list[str] | None = None):
        def make():
            makers = [lambda r: num(r.randint(-20, 60)), _fraction, _radical, lambda r: num(r.randint(0, 9))]
            terms = [rng.choice(makers)(rng) for _ in range(2 if kind == "interval" else rng.randint(2, 4))]
            if kind == "interval":
                terms.sort(key=lambda t: float(mpmath.mpf(1) * _number(t)))
            if len({latex(t) for t in terms}) < len(terms) or any(
                equal(a, b) for i, a in enumerate(terms) for b in terms[:i]
            ):
                return make()
            form = rng.choice(forms or [""])
            if kind == "interval" and rng.random() < 0.3:
                return Gold(kind, (terms[0], INFINITY), form[0] + ")")
            return Gold(kind, tuple(terms), form)

        return make

    take(70, scalar("integer", lambda r: num(r.choice([r.randint(0, 999), r.randint(-99, 9), r.randint(1000, 10**9)]))))
    take(45, scalar("fraction", lambda r: r.choice([_fraction(r), op("neg", _fraction(r))])))
    take(60, scalar("radical", _radical))
    take(45, scalar("large", _large))
    take(60, scalar("transcendental", _transcendental))
    take(70, scalar("letters", _letters))
    take(35, some("tuple"))
    take(20, some("set"))
    take(15, some("list"))
    take(30, some("interval", ["()", "(]", "[)", "[]"]))
    take(30, lambda: Gold("equation", (_letters_of("x", rng),), "y"))
    take(len(_WORDS), iter([Gold("words", (), f"\\text{{{w}}}") for w, _ in _WORDS]).__next__)
    take(len(_MIXED), iter([Gold("words", (), w) for w, _ in _MIXED]).__next__)
    take(5, iter([Gold("choice", (), letter) for letter in "ABCDE"]).__next__)
    return tuple(golds.values())


def _number(term: Term):
    at = value(term, {})
    return mpmath.mpf(at.numerator) / at.denominator if hasattr(at, "numerator") else at


def _letters_of(name: str, rng: random.Random) -> Term:
    x, a, b = sym(name), rng.randint(2, 30), rng.randint(2, 30)
    return rng.choice([
        op("add", op("mul", a, x), b), op("sub", op("pow", x, 2), b), op("div", op("add", x, a), b),
        op("mul", a, op("pow", Term("e"), x)), op("sub", op("mul", op("div", 1, a), x), b),
    ])  # fmt: skip
