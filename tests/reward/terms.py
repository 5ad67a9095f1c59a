r"""Terms of the reward's generator: a tree of mathematics that prints itself as LaTeX and evaluates itself.

Nothing here is shared with reward/: values come from mpmath over these trees, never from text, so that what the
generator calls equal or different does not depend on the grader it tests.
"""

import random
from dataclasses import dataclass
from fractions import Fraction

import mpmath

DIGITS, DIGITS_AT_POINTS = 2000, 200  # 2000 are enough to see the conjugate beside (2+sqrt 3)^1012
FUNCTIONS = {"sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "ln": mpmath.log}
POINTS = [Fraction(7, 5), Fraction(23, 11), Fraction(5, 3), Fraction(19, 7)]


@dataclass(frozen=True)
class Term:
    """`op` over `args`: int(n), dec(text), sym(name), pi, e, or an operation on terms."""

    op: str
    args: tuple = ()


def num(n: int) -> Term:
    return Term("int", (n,))


def sym(name: str) -> Term:
    return Term("sym", (name,))


def op(name: str, *args) -> Term:
    return Term(name, tuple(num(a) if isinstance(a, int) else a for a in args))


def children(term: Term) -> list[Term]:
    return [arg for arg in term.args if isinstance(arg, Term)]


def symbols(term: Term) -> set[str]:
    return {term.args[0]} if term.op == "sym" else set().union(*map(symbols, children(term)))


def value(term: Term, at: dict):
    """The value of a term with its letters at `at`: a Fraction as long as it is rational, else an mpmath number."""
    if term.op == "int":
        return Fraction(term.args[0])
    if term.op == "dec":
        return Fraction(term.args[0])
    if term.op == "sym":
        return at[term.args[0]]
    if term.op in ("pi", "e"):
        return +getattr(mpmath, term.op)
    values = [value(arg, at) for arg in children(term)]
    if term.op in FUNCTIONS:
        return FUNCTIONS[term.op](_mp(values[0]))
    if term.op == "log":
        return mpmath.log(_mp(values[1])) / mpmath.log(_mp(values[0]))
    if term.op == "root":
        return mpmath.root(_mp(values[1]), int(values[0]))
    if term.op == "fact":
        return Fraction(mpmath.factorial(int(values[0])).__int__())
    if term.op == "binom":
        return Fraction(int(mpmath.binomial(int(values[0]), int(values[1]))))
    if len(values) == 1:
        return -values[0]
    left, right = values
    if term.op == "pow":
        if isinstance(left, Fraction) and isinstance(right, Fraction) and right.denominator == 1:
            return left ** int(right)
        return mpmath.power(_mp(left), _mp(right))
    if not (isinstance(left, Fraction) and isinstance(right, Fraction)):
        left, right = _mp(left), _mp(right)
    return {"add": lambda: left + right, "sub": lambda: left - right,
            "mul": lambda: left * right, "div": lambda: left / right}[term.op]()  # fmt: skip


def _mp(x):
    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else x


def equal(left: Term, right: Term) -> bool:
    """Equal at every point: exactly where both are rational, else to nine tenths of the digits.

    Raises:
        ZeroDivisionError, ValueError: where a side has no value at a point.
    """
    names = sorted(symbols(left) | symbols(right))
    digits = DIGITS_AT_POINTS if names else DIGITS
    with mpmath.workdps(digits):
        for shift in range(3 if names else 1):
            at = {name: POINTS[(i + shift) % 4] + i for i, name in enumerate(names)}
            a, b = value(left, at), value(right, at)
            if isinstance(a, Fraction) and isinstance(b, Fraction):
                if a != b:
                    return False
            else:
                a, b = _mp(a), _mp(b)
                if not (mpmath.isfinite(a) and mpmath.isfinite(b)):
                    raise ValueError("no value")
                if abs(a - b) > max(abs(a), abs(b)) * mpmath.mpf(10) ** -(digits * 9 // 10):
                    return False
    return True


# --------------------------------------------------------------------------------------------------------------------
# LaTeX
# --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Style:
    """How a writer sets mathematics; every style reads the same."""

    fraction: str = "\\frac"  # or \dfrac, \tfrac, "/" for a fraction of two integers
    times: str = ""  # between factors where nothing is needed
    sized: bool = False  # \left( \right)
    bare: bool = False  # \frac12, \sqrt2
    root: bool = False  # 2^{1/2} for \sqrt{2}
    space: str = ""  # around + and -


STYLES = [
    Style(), Style("\\dfrac"), Style("\\tfrac", space=" "), Style("/"), Style(times="\\cdot "), Style(times="\\times "),
    Style(times="*"), Style(sized=True), Style(bare=True), Style(root=True), Style("\\dfrac", "\\cdot ", True),
    Style(times=" ", space="\\,"), Style(times="\\, "),
]  # fmt: skip
_LEVEL = {"add": 1, "sub": 1, "neg": 1, "mul": 2, "div": 2, "pow": 3, "fact": 3}


def _level(term: Term, style: Style) -> int:
    if term.op in ("int", "dec"):
        return 1 if str(term.args[0]).startswith("-") else 5
    if term.op == "div":
        return 1.5 if style.fraction == "/" and all(arg.op == "int" for arg in term.args) else 4
    if term.op == "root":
        return 3 if style.root else 5
    if term.op in FUNCTIONS or term.op == "log":
        return 2
    return _LEVEL.get(term.op, 5)


def latex(term: Term, style: Style = Style()) -> str:  # noqa: B008 (frozen)
    """The term in LaTeX, with brackets where a reader needs them."""

    def inner(arg: Term, least: int) -> str:
        text = latex(arg, style)
        if _level(arg, style) >= least:
            return text
        return f"\\left({text}\\right)" if style.sized else f"({text})"

    o, args = term.op, term.args
    if o in ("int", "dec", "sym"):
        return str(args[0])
    if o in ("pi", "e"):
        return "\\pi" if o == "pi" else "e"
    if o == "neg":
        return "-" + inner(args[0], 2)
    if o in ("add", "sub"):
        sign = "+" if o == "add" else "-"
        return inner(args[0], 1) + style.space + sign + style.space + inner(args[1], 2)
    if o == "mul":
        left, right = inner(args[0], 2), inner(args[1], 3)
        if args[0].op in FUNCTIONS or args[0].op == "log":
            left = f"({left})"
        return left + (style.times if style.times.strip(" \\,") else _between(left, right, style.times)) + right
    if o == "div":
        if _level(term, style) == 1.5:
            return inner(args[0], 5) + "/" + inner(args[1], 5)
        command = "\\frac" if style.fraction == "/" else style.fraction
        top, bottom = latex(args[0], style), latex(args[1], style)
        if style.bare and len(top) == len(bottom) == 1:
            return f"{command}{' ' if top.isalpha() else ''}{top}{bottom}"
        return f"{command}{{{top}}}{{{bottom}}}"
    if o == "pow":
        return f"{inner(args[0], 5)}^{{{latex(args[1], style)}}}"
    if o == "root":
        if style.root:
            return f"{inner(args[1], 5)}^{{1/{args[0].args[0]}}}"
        degree = "" if args[0] == num(2) else f"[{args[0].args[0]}]"
        text = latex(args[1], style)
        return (
            f"\\sqrt{degree}{text}" if style.bare and len(text) == 1 and text.isdigit() else f"\\sqrt{degree}{{{text}}}"
        )
    if o == "fact":
        return inner(args[0], 5) + "!"
    if o == "binom":
        return f"\\binom{{{latex(args[0], style)}}}{{{latex(args[1], style)}}}"
    if o == "log":
        return f"\\log_{{{latex(args[0], style)}}} {inner(args[1], 5)}"
    return f"\\{o} {inner(args[0], 5)}"


def _between(left: str, right: str, space: str) -> str:
    """What keeps two factors apart where no sign stands between them."""
    fraction = right.startswith(("\\frac", "\\dfrac", "\\tfrac"))
    if right[0].isdigit() or (fraction and left[-1].isdigit()) or right[0] == "-":
        return "\\cdot "
    return space or (" " if left[-1].isalpha() and right[0].isalpha() else "")


# --------------------------------------------------------------------------------------------------------------------
# Changes of a term at any of its places
# --------------------------------------------------------------------------------------------------------------------


def places(term: Term) -> list[tuple]:
    """The path to every part of a term; the degree of a root is none."""
    return [()] + [
        (i, *rest) for i, arg in enumerate(term.args) if isinstance(arg, Term) and (term.op, i) != ("root", 0)
        for rest in places(arg)
    ]  # fmt: skip


def part(term: Term, path: tuple) -> Term:
    return part(term.args[path[0]], path[1:]) if path else term


def replace(term: Term, path: tuple, new: Term) -> Term:
    if not path:
        return new
    args = list(term.args)
    args[path[0]] = replace(args[path[0]], path[1:], new)
    return Term(term.op, tuple(args))


def mistakes(term: Term) -> list[Term]:
    """Mistakes in one part: one unit in the last place, a sign, another operator, a dropped root."""
    o, args = term.op, term.args
    if o == "int":
        n = args[0]
        turned = int(str(abs(n))[::-1]) if abs(n) > 9 else n + 10
        return [num(n + 1), num(n - 1), num(-n), num(turned), num(2 * n)]
    if o in ("add", "sub"):
        other = "sub" if o == "add" else "add"
        return [op(other, *args), op("mul", *args), args[0], args[1]]
    if o in ("mul", "div"):
        other = "div" if o == "mul" else "mul"
        return [op(other, *args), op("add", *args), args[0], args[1], op(o, args[1], args[0])]
    if o == "pow":
        return [op("mul", *args), args[0], op("pow", args[0], op("add", args[1], 1)), op("pow", args[1], args[0])]
    if o == "root":
        return [args[1], op("root", args[0].args[0] + 1, args[1]), op("neg", term)]
    if o in ("sin", "cos"):
        return [op("cos" if o == "sin" else "sin", *args), args[0]]
    if o in ("ln", "tan"):
        return [op("tan" if o == "ln" else "sin", *args), args[0], op(o, op("mul", 2, args[0]))]
    if o == "sym":
        return [op("add", term, 1), op("mul", 2, term), sym("t")]
    if o in ("pi", "e"):
        return [Term("e" if o == "pi" else "pi"), num(3)]
    return []


def whole_mistakes(term: Term) -> list[Term]:
    """Wrong answers near the whole: its negative, reciprocal, double, square, and one unit more, less, or a little."""
    return [
        op("neg", term), op("div", 1, term), op("mul", 2, term), op("pow", term, 2), op("add", term, 1),
        op("sub", term, 1), op("add", term, op("div", 1, op("pow", 10, 40))), op("div", term, 2),
        op("add", term, op("pow", Term("e"), op("neg", 50))), op("root", 2, op("add", op("pow", term, 2), 1)),
    ]  # fmt: skip


def rewritings(term: Term, rng: random.Random) -> list[Term]:
    """Equal forms of one part, by a law of algebra each."""
    o, args = term.op, term.args
    if o == "int" and abs(args[0]) > 1 and abs(args[0]) < 10**6:
        n, k = args[0], rng.randint(2, 9)
        out = [op("sub", n + k, k), op("div", n * k, k)]
        out += [op("mul", n // d, d) for d in (2, 3, 5) if n % d == 0 and n > d]
        return out + ([op("root", 2, n * n)] if 1 < n < 100 else [])
    if o == "add":
        return [op("add", args[1], args[0]), op("sub", args[0], op("neg", args[1]))]
    if o == "sub":
        return [op("add", op("neg", args[1]), args[0]), op("neg", op("sub", args[1], args[0]))]
    if o == "mul":
        out = [op("mul", args[1], args[0])]
        if args[1].op in ("add", "sub"):
            out.append(op(args[1].op, op("mul", args[0], args[1].args[0]), op("mul", args[0], args[1].args[1])))
        if args[1].op == "root" and args[0].op == "int" and args[0].args[0] > 0:
            out.append(op("root", args[1].args[0], op("mul", op("pow", args[0], args[1].args[0]), args[1].args[1])))
        return out
    if o == "div":
        k = rng.randint(2, 9)
        out = [op("div", op("mul", k, args[0]), op("mul", k, args[1])), op("mul", op("div", 1, args[1]), args[0])]
        if args[0].op in ("add", "sub"):
            out.append(op(args[0].op, op("div", args[0].args[0], args[1]), op("div", args[0].args[1], args[1])))
        if all(arg.op == "int" for arg in args):
            out += [op("div", args[0].args[0] * k, args[1].args[0] * k)]
            fraction = Fraction(args[0].args[0], args[1].args[0])
            if 10**6 % fraction.denominator == 0 and fraction.denominator > 1:
                out.append(Term("dec", (format(float(fraction), ".10f").rstrip("0"),)))
        return out
    if o == "root":
        out = [op("pow", args[1], op("div", 1, args[0]))]
        if args[0] == num(2) and args[1].op == "int":
            out += [op("div", args[1], term), op("div", op("root", 2, op("mul", 4, args[1])), 2)]
        return out
    if o == "pow" and args[1].op == "int" and args[1].args[0] > 1:
        return [op("mul", args[0], op("pow", args[0], args[1].args[0] - 1))]
    if o == "ln":
        return [op("neg", op("ln", op("div", 1, args[0]))), op("div", op("ln", op("pow", args[0], 2)), 2)]
    if o == "log":
        return [op("div", op("ln", args[1]), op("ln", args[0]))]
    if o == "tan":
        return [op("div", op("sin", *args), op("cos", *args))]
    if o == "sin":
        return [op("neg", op("sin", op("neg", args[0]))), op("cos", op("sub", op("div", Term("pi"), 2), args[0]))]
    if o == "cos":
        return [op("cos", op("neg", args[0]))]
    if o == "neg":
        return [op("mul", num(-1), args[0])] if args[0].op != "neg" else []
    if o == "fact" and args[0].op == "int":
        return [op("mul", args[0], op("fact", args[0].args[0] - 1))]
    return []
