r"""Equal forms of the ground truths of corpus.py, each proved equal without the grader.

A form is kept only if it agrees at every point, or if it changes nothing but the setting.
"""

import random
from functools import lru_cache

import mpmath

from tests.reward.corpus import FORMS_PER_GOLD, INFINITY, Gold, Pair, _number, corpus, text_of
from tests.reward.rule_pairs import equal_by_rule
from tests.reward.terms import STYLES, Term, equal, latex, part, places, replace, rewritings
from tests.reward.wrong_answers import _too_large


def same(left: Term, right: Term) -> bool:
    """Proved equal."""
    try:
        return equal(left, right)
    except (ArithmeticError, ValueError, TypeError):
        return False


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
    return (*pairs.values(), *equal_by_rule(seed))
