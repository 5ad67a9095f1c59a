r"""Wrong answers and equal forms for a corpus of golds, each proved without the grader: see reward_terms.py.

    python tests/reward_generator.py        # the table of the README: ours beside math-verify, twenty minutes

A scalar mutant is kept as wrong only if its value differs from the gold's at a point; a collection only if no pairing
of its elements agrees, or its brackets differ; words only if their letters differ. A form is kept as equal only if it
agrees at every point, or if it changes nothing but the setting.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

import mpmath
from reward_terms import (
    STYLES,
    Style,
    Term,
    equal,
    latex,
    mistakes,
    num,
    op,
    part,
    places,
    replace,
    rewritings,
    sym,
    symbols,
    value,
    whole_mistakes,
)  # fmt: skip

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


# --------------------------------------------------------------------------------------------------------------------
# Corpus
# --------------------------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------------------------
# Wrong answers
# --------------------------------------------------------------------------------------------------------------------


def differs(left, right) -> bool:
    """Proved different; a pair that has no value somewhere, or takes too much to compute, is no proof."""
    if isinstance(left, str) or isinstance(right, str):
        return left != right
    try:
        return not equal(left, right)
    except (ArithmeticError, ValueError, TypeError):
        return False


def same(left: Term, right: Term) -> bool:
    """Proved equal."""
    try:
        return equal(left, right)
    except (ArithmeticError, ValueError, TypeError):
        return False


def _too_large(term: Term) -> bool:
    """An exponent that is itself large would keep the proof busy."""
    return any(
        p.op in ("pow", "fact") and any(part(p.args[-1], q).op == "int" and abs(part(p.args[-1], q).args[0]) > 5000
                                        or part(p.args[-1], q).op == "pow" for q in places(p.args[-1]))
        for p in (part(term, path) for path in places(term))
    )  # fmt: skip


def term_mutants(term: Term) -> list[tuple[str, Term]]:
    """Terms near this one, each with the change that made it; some of them may still be equal."""
    out = [("whole", new) for new in whole_mistakes(term)]
    for path in places(term):
        out += [(part(term, path).op, replace(term, path, new)) for new in mistakes(part(term, path))]
    return [(change, new) for change, new in out if not _too_large(new)]


def hedges(gold: str, other: str) -> list[tuple[str, str]]:
    """The gold with something beside it that makes it another answer, or more than one."""
    return [
        ("hedge", f"{gold} \\text{{ or }} {other}"), ("hedge", f"{other} \\text{{ or }} {gold}"),
        ("hedge", f"{gold}, {other}"), ("hedge", f"\\{{{other}, {gold}\\}}"), ("hedge",
        f"{gold} \\text{{ and }} {other}"),
        ("hedge", f"\\text{{either }} {gold} \\text{{ or }} {other}"),
        ("hedge", f"\\text{{between }} {other} \\text{{ and }} {gold}"), ("hedge", f"{other} \\lor {gold}"),
        ("hedge", f"{gold} \\text{{ (or }} {other})"), ("hedge", f"{gold};\\ {other}"),
        ("word", f"\\text{{not }} {gold}"), ("word", f"\\text{{at least }} {gold}"), ("word",
        f"\\text{{half of }} {gold}"),
        ("word", f"{gold}\\text{{ squared}}"), ("word", f"{gold}\\text{{ dozen}}"), ("word",
        f"\\text{{twice }} {gold}"),
        ("word", f"{gold}\\text{{ or more}}"), ("word", f"\\text{{more than }} {gold}"),
        ("word", f"\\text{{the square root of }} {gold}"), ("word", f"\\text{{one less than }} {gold}"),
        ("word", f"{gold}\\text{{ factorial}}"), ("word", f"\\text{{any number but }} {gold}"),
        ("word", f"\\text{{minus }} {gold}"), ("word", f"{gold}\\text{{ cubed}}"),
        ("word", f"{gold}\\text{{ or 1007}}"),
        ("word", f"\\text{{the reciprocal of }} {gold}"), ("word", f"{gold}\\text{{ plus one}}"),
        ("word", f"{gold}\\text{{ times two}}"), ("word", f"\\text{{double }} {gold}"), ("word",
        f"{gold}\\text{{ million}}"),
        ("bracket", f"({gold}, {other})"), ("bracket", f"[{gold}, {other}]"), ("bracket", f"{gold} < x < {other}"),
        ("relation", f"x > {gold}"), ("relation", f"x \\ne {gold}"), ("relation", f"{gold} = {other}"),
        ("relation", f"{other} = {gold}"), ("everything", ", ".join([gold, other, "0", "1", "2", "3"])),
    ]  # fmt: skip


def _wrong_scalars(gold: Gold, rng: random.Random) -> list[tuple[str, str]]:
    term = gold.terms[0]
    mutants = [(change, new) for change, new in term_mutants(term) if differs(term, new)]
    out = [(change, latex(new, rng.choice(STYLES))) for change, new in mutants]
    if gold.kind == "equation":
        return [(change, f"y={text}") for change, text in out] + [
            ("name", f"z={latex(term)}"), ("everything", "x=x"), ("everything", "1=1"), ("everything", "0=0"),
        ]  # fmt: skip
    others = [latex(new) for _, new in mutants]
    nonzero = differs(term, num(0)) and differs(term, num(1)) and differs(term, num(2))
    integer = term.op == "int" and term.args[0] > 2
    some = hedges(latex(term), rng.choice(others)) if nonzero and not symbols(term) else []
    if not integer:
        some = [(change, text) for change, text in some if "factorial" not in text and "dozen" not in text]
    if symbols(term):
        some = [(c, t) for c, t in hedges(latex(term), rng.choice(others)) if c in ("hedge", "bracket", "everything")]
    # Texts of the answer are cut at WRONG_PER_GOLD: take as many of the mistakes as of the hedges.
    rng.shuffle(out)
    rng.shuffle(some)
    return [pair for both in zip(out, some) for pair in both] + out[len(some) :] + some[len(out) :]  # noqa: B905


def _wrong_collections(gold: Gold, rng: random.Random) -> list[tuple[str, str]]:
    terms, out = gold.terms, []

    def add(change: str, new: Gold) -> None:
        out.append((change, text_of(new, rng.choice(STYLES))))

    for index, term in enumerate(terms):
        for change, new in term_mutants(term) if isinstance(term, Term) else []:
            if differs(term, new) and all(differs(other, new) for other in terms):
                add(change, Gold(gold.kind, (*terms[:index], new, *terms[index + 1 :]), gold.form))
    rng.shuffle(out)
    del out[WRONG_PER_GOLD - 8 :]
    more = num(1000)
    if gold.kind == "interval":
        for form in ("()", "(]", "[)", "[]"):
            if form != gold.form and not (terms[1] == INFINITY and form[1] == "]"):
                add("bracket", Gold(gold.kind, terms, form))
        add(
            "bound",
            Gold(gold.kind, (terms[1], terms[0]) if terms[1] != INFINITY else ("-\\infty", terms[0]), gold.form),
        )
        out.append(("element", f"{text_of(gold)} \\cup (-1001, -1000)"))
        out.append(("element", latex(terms[0])))
        return out
    add("element", Gold(gold.kind, (*terms, more)))
    add("element", Gold(gold.kind, (more, *terms)))
    if len(terms) > 2:
        add("element", Gold(gold.kind, terms[1:]))
    out.append(("element", latex(terms[0])))
    if gold.kind == "tuple":
        for _ in range(3):
            turned = list(terms)
            rng.shuffle(turned)
            if tuple(turned) != terms:
                add("permuted", Gold("tuple", tuple(turned)))
        add("bracket", Gold("set", terms))
        out.append(("hedge", f"{text_of(gold)} \\text{{ or }} {text_of(Gold('tuple', terms[::-1]))}"))
    else:
        add("bracket", Gold("tuple", terms))
    return out


def _letters_only(text: str) -> str:
    return "".join(c for c in text.replace("\\text", "").lower() if c.isalnum())


def _wrong_words(gold: Gold) -> list[tuple[str, str]]:
    texts = {f"\\text{{{w}}}": [other] for w, other in _WORDS} | dict(_MIXED)
    out = [("word", other) for other in texts[gold.form]]
    plain = gold.form.replace("\\text{", "").replace("}", "")
    for w, _ in _WORDS:
        out += [("word", w), ("word", f"\\text{{{w.capitalize()}}}"), ("word", f"\\text{{{w} or {plain}}}")]
    out += [("word", f"\\text{{not {plain}}}"), ("word", f"\\text{{un}}{gold.form}"), ("word", "42"), ("word", "x"),
            ("word", f"{gold.form}\\text{{ or not}}"), ("word",
            f"\\text{{either }}{gold.form}\\text{{ or not}}")]  # fmt: skip
    return [(change, text) for change, text in out if _letters_only(text) != _letters_only(gold.form)]


def _wrong_choices(gold: Gold) -> list[tuple[str, str]]:
    out, letter = [], gold.form
    for other in "ABCDEF":
        if other != letter:
            out += [("choice", text) for text in (
                other, f"({other})", f"\\text{{{other}}}", f"\\textbf{{({other})}}\\ 42",
                f"\\text{{{letter} or {other}}}",
                f"{other}, {letter}", f"({letter}) or ({other})", f"({letter})({other})", f"{letter}/{other}",
                f"\\text{{({other}) }} {letter}" if other != "F" else "F", f"{letter}{other}",
                f"{letter} \\text{{ and }} {other}",
            )]  # fmt: skip
    every = "ABCDE"
    return out + [("everything", text) for text in (
        "".join(f"({c})" for c in every), every, ", ".join(every), " or ".join(every), "\\{A, B, C, D, E\\}",
        " ".join(f"\\text{{({c})}}" for c in every), f"\\text{{not }} {letter}", f"\\text{{not ({letter})}}",
        "\\text{all of them}", f"\\text{{all but {letter}}}", "\\text{any}", letter.lower(),
    )]  # fmt: skip


@lru_cache(maxsize=1)
def wrong_pairs(seed: int = 0) -> tuple[Pair, ...]:
    """Wrong answers to every gold, each proved wrong."""
    rng, pairs = random.Random(seed + 1), {}
    for gold in corpus(seed):
        if gold.kind in ("tuple", "set", "list", "interval"):
            made = _wrong_collections(gold, rng)
        elif gold.terms:
            made = _wrong_scalars(gold, rng)
        else:
            made = _wrong_words(gold) if gold.kind == "words" else _wrong_choices(gold)
        for change, answer in list(dict.fromkeys(made))[:WRONG_PER_GOLD]:
            pairs.setdefault((text_of(gold), answer), Pair(text_of(gold), answer, gold.kind, change))
    return tuple(pairs.values())


# --------------------------------------------------------------------------------------------------------------------
# Equal forms
# --------------------------------------------------------------------------------------------------------------------


def rewritten(term: Term, rng: random.Random, count: int) -> list[Term]:
    """Terms equal to this one, by one or two laws of algebra, each proved equal."""
    out: list[Term] = []
    for _ in range(4 * count):
        new = term
        for _ in range(rng.randint(1, 2)):
            path = rng.choice(places(new))
            if options := rewritings(part(new, path), rng):
                new = replace(new, path, rng.choice(options))
        if new not in out and new != term and not _too_large(new) and same(term, new):
            out.append(new)
        if len(out) == count:
            break
    return out


def _rounded(term: Term, rng: random.Random) -> list[str]:
    """Decimals of 7 to 10 places, correctly rounded, where those are at least 6 significant digits (rule 4)."""
    with mpmath.workdps(60):
        number, places = _number(term), rng.randint(7, 10)
        if not 0.1 < abs(number) < 10**5:
            return []
        digits = str(int(mpmath.nint(abs(number) * 10**places))).zfill(places + 1)
    return [f"{'-' if number < 0 else ''}{digits[:-places]}.{digits[-places:]}"]


def _settings(text: str, kind: str, rng: random.Random) -> list[tuple[str, str]]:
    """The same mathematics, set otherwise."""
    out = [f" {text} ", f"${text}$", f"\\({text}\\)", f"{text}.", f"\\displaystyle {text}", f"\\mathbf{{{text}}}",
           f"{{{text}}}", f"\\color{{red}}{{{text}}}", f"\\text{{Answer: }} {text}"]  # fmt: skip
    if kind in ("integer", "fraction", "radical", "transcendental"):
        out += [f"w={text}", f"{text}\\text{{ cm}}", f"{text} \\text{{ units}}", f"\\approx {text}", f"({text})"]
    if kind == "integer" and text.isdigit():
        out += [f"0{text}", f"{text}.0", f"\\text{{{text}}}", f"{text}^\\circ", f"\\${text}"]
        if len(text) > 3:
            out += [
                format(int(text), ","),
                format(int(text), ",").replace(",", "\\,"),
                format(int(text), ",").replace(",", "{,}"),
            ]
    rng.shuffle(out)
    return [("setting", text) for text in out]


def _forms(gold: Gold, rng: random.Random) -> list[tuple[str, str]]:
    text = text_of(gold)
    out = [("style", text_of(gold, style)) for style in STYLES]
    if not gold.terms:
        plain = gold.form.replace("\\text{", "").replace("}", "")
        return out + _settings(text, gold.kind, rng) + [
            ("words", form) for form in (
                [f"\\text{{{plain}}}", f"\\text{{ {plain} }}", f"\\mathrm{{{plain}}}", f"\\textbf{{{plain}}}"]
                + ([f"\\text{{{plain.capitalize()}}}", plain, f"\\text{{{plain.upper()}}}"] if gold.kind == "words"
                   and "\\text{" + plain + "}" == gold.form else [])
                + ([f"({plain})", f"\\text{{({plain})}}", f"\\textbf{{({plain})}}\\ 42", f"\\text{{Option {plain}}}"]
                   if gold.kind == "choice" else []))
        ]  # fmt: skip
    share = max(2, 20 // len(gold.terms))
    new = [[] if isinstance(term, str) else rewritten(term, rng, share) for term in gold.terms]
    for index, terms in enumerate(new):
        for term in terms:
            changed = Gold(gold.kind, (*gold.terms[:index], term, *gold.terms[index + 1 :]), gold.form)
            out.append(("algebra", text_of(changed, rng.choice(STYLES))))
    if gold.kind in ("radical", "transcendental"):
        out += [("decimal", decimal) for decimal in _rounded(gold.terms[0], rng)]
    out += _arrangements(gold, rng)
    settings = _settings(text, gold.kind, rng)
    rng.shuffle(out)
    return [*out[: FORMS_PER_GOLD - 8], *settings, *out[FORMS_PER_GOLD - 8 :]]


def _arrangements(gold: Gold, rng: random.Random) -> list[tuple[str, str]]:
    items = [item if isinstance(item, str) else latex(item) for item in gold.terms]
    if gold.kind in ("set", "list"):
        orders = [rng.sample(items, len(items)) for _ in range(3)]
        joined = [", ".join(order) for order in orders]
        return [("order", text) for order, text in zip(orders, joined, strict=True) for text in (
            text, f"\\{{{text}\\}}", " \\text{ and } ".join(order), ", ".join(f"x={item}" for item in order),
            " \\text{ or } ".join(order), f"\\{{{text.replace(', ', ',')}\\}}")]  # fmt: skip
    if gold.kind == "tuple":
        names = ("abcd" if len(items) > 3 else "xyz")[: len(items)]
        named = ", ".join(f"{name}={item}" for name, item in zip(names, items, strict=True))
        return [("named", named), ("named", f"({','.join(names)}) = {text_of(gold)}"),
                ("named", named.replace(", ", " \\text{ and } "))]  # fmt: skip
    if gold.kind == "interval":
        low, high = items
        left, right = "<" if gold.form[0] == "(" else "\\le ", "<" if gold.form[1] == ")" else "\\le "
        if high == INFINITY:
            sign = ">" if left == "<" else "\\ge "
            return [
                ("relation", f"x{sign}{low}"),
                ("relation", f"{low}{left}x"),
                ("relation", f"x \\in {text_of(gold)}"),
            ]
        return [("relation", f"{low}{left}x{right}{high}"), ("relation", f"x \\in {text_of(gold)}"),
                ("relation", f"{low} {left} t {right} {high}")]  # fmt: skip
    if gold.kind == "equation":
        (item,) = items
        return [("sides", f"{item}=y"), ("sides", f"y-({item})=0"), ("sides", f"2y=2({item})"),
                ("sides", f"0={item}-y"), ("sides", f"-y=-({item})")]  # fmt: skip
    return []


@lru_cache(maxsize=1)
def equal_pairs(seed: int = 0) -> tuple[Pair, ...]:
    """Equal forms of every gold, each proved equal, or set otherwise."""
    rng, pairs = random.Random(seed + 2), {}
    for gold in corpus(seed):
        for change, answer in list(dict.fromkeys(_forms(gold, rng)))[:FORMS_PER_GOLD]:
            pairs.setdefault((text_of(gold), answer), Pair(text_of(gold), answer, gold.kind, change))
    return tuple(pairs.values())


# --------------------------------------------------------------------------------------------------------------------
# Beside math-verify
# --------------------------------------------------------------------------------------------------------------------


def math_verify_accepts(gold: str, answer: str) -> bool:
    """Plain math-verify on the two boxes, with a limit of 2 s on each step."""
    from math_verify import parse, verify

    try:
        sides = [parse(f"\\boxed{{{text}}}", parsing_timeout=2) for text in (gold, answer)]
        return bool(verify(*sides, timeout_seconds=2))
    except Exception:  # in training a lost answer, here a no
        return False


def main() -> None:
    """Print the share accepted by kind of gold: ours of all, math-verify's of a sample, as it takes 0.4 s for one."""
    import logging

    from test_reward_generator import graded
    from tqdm import tqdm

    logging.disable(logging.ERROR)
    rows: dict[str, list[int]] = {}
    for column, pairs, step in ((0, wrong_pairs(), 15), (4, equal_pairs(), 10)):
        for pair, reason in zip(pairs, graded(pairs), strict=True):
            row = rows.setdefault(pair.kind, [0] * 8)
            row[column] += 1
            row[column + 1] += reason == "correct"
        for pair in tqdm(pairs[::step]):
            rows[pair.kind][column + 2] += 1
            rows[pair.kind][column + 3] += math_verify_accepts(pair.gold, pair.answer)
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    print("| gold | wrong answers | accepted: ours | math-verify | equal forms | accepted: ours | math-verify |")
    print("|---|---|---|---|---|---|---|")
    for kind, (wrong, ours, of, theirs, forms, our_forms, of_forms, their_forms) in rows.items():
        equal_shares = f"{our_forms / forms:.0%} | {their_forms / of_forms:.0%}"
        print(f"| {kind} | {wrong:,} | {ours} | {theirs / of:.0%} | {forms:,} | {equal_shares} |")


if __name__ == "__main__":
    main()
