r"""Wrong answers to the ground truths of corpus.py, each proved wrong without the grader.

A scalar mutant is kept only if its value differs from the gold's at a point; a collection only if no pairing of its
elements agrees, or its brackets differ; words only if their letters differ. rule_pairs.py adds units, conditions and
restated problems.
"""

import random
from functools import lru_cache

from tests.reward.corpus import _MIXED, _WORDS, INFINITY, WRONG_PER_GOLD, Gold, Pair, corpus, text_of
from tests.reward.rule_pairs import wrong_by_rule
from tests.reward.terms import (
    STYLES,
    Term,
    equal,
    latex,
    mistakes,
    num,
    part,
    places,
    replace,
    symbols,
    whole_mistakes,
)  # fmt: skip


def differs(left, right) -> bool:
    """Proved different; a pair that has no value somewhere, or takes too much to compute, is no proof."""
    if isinstance(left, str) or isinstance(right, str):
        return left != right
    try:
        return not equal(left, right)
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
    return (*pairs.values(), *wrong_by_rule(seed))
