r"""Rewrites an answer as one line of LaTeX with one way to write each thing; nothing is computed.

After it, words stand only in \text{...}, spaces only in ", " and after a command before a letter, and a currency sign
is the character itself. Answers are at most some thousand characters here (grade.py), so this runs on the event loop.
"""

import re
from pathlib import Path
from unicodedata import normalize

from .extract import closing_brace
from .units import read_unit
from .words import WORD, is_known

_ROWS = (Path(__file__).parent / "spellings.tsv").read_text(encoding="utf-8").splitlines()[1:]
_READ = {written: read + " " * read[-1].isalpha() for written, read in (row.split("\t") for row in _ROWS)}
_UNICODE = {name: read for name, read in _READ.items() if len(name) == 1}
_UNICODE |= {chr(0xFF01 + i): chr(0x21 + i) for i in range(94) if chr(0xFF01 + i) not in _UNICODE}  # full-width ASCII
_UNICODE |= {chr(0x2080 + digit): f"_{digit}" for digit in range(10)}
_UNICODE = str.maketrans(_UNICODE)
# Quotes, controls, zero-width and direction marks, lone surrogates: say nothing, or are not valid in UTF-8 and C.
_INVISIBLE = re.compile(
    "[\u201c\u201d\x00-\x08\x0b-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]"
)

_BASES = {
    word: base for base, word in enumerate("two three four five six seven eight nine ten eleven twelve".split(), 2)
}
NUMBER_WORDS = _BASES | {"zero": 0, "one": 1}
_BASES["sixteen"] = 16
_WRAPPER = re.compile(  # typesetting around a content that stays
    r"\\(?:boxed|fbox|framebox|underline|uline|mathbf|boldsymbol|bm|mathit|mathsf|ensuremath|emph|textit|cancel|bold"
    r"|mathnormal|pmb|(?:textcolor|colorbox)\s{0,4}\{[^{}]*\})\s{0,4}\{"
)
_TEXTS = "text|mbox|textbf|textrm|textnormal|mathrm|textsf|texttt|hbox|textup"
_INNER_TEXT = re.compile(rf"\\(?:{_TEXTS})(?=\{{)|[{{}}]")
_FUNCTIONS = "(?:arc)?(?:sin|cos|tan)h?|cot|csc|sec|ln|lg|log|exp|gcd|lcm|max|min|det|lim"
_GAP = r"(?:\\[,;:!> ]|\{,\}|,\\!|~|\s)"  # what stands between the digits of one number


_SPELLINGS = [  # (pattern, replacement, what for), in order
    (r"\\(?:tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge)(?![a-zA-Z])"
     r"|\\[hv]space\*?\s?\{[^{}]*\}|^\s*\\(?:therefore|Rightarrow|implies)(?![a-zA-Z])", " ", "sizes, spaces"),
    (r"\{\s?\\rm\s+([a-zA-Z]+)\s?\}|\\rm\s?\{([a-zA-Z]+)\}", r"\\text{\1\2}", "{\\rm cm}"),
    (r"\\mu\s?\\(?:text|mathrm)\s?\{\s?", "\\\\text{\u03bc", "\\mu\\text{F}"),
    (r"(?<=[0-9])((?:\s|~|\\[,; ])*)([kM]?)\s?\\Omega(?![a-zA-Z])", "\\\\text{\\2\u03a9}", "ohms"),
    (r"\\in\s+([RZNQ])(?![a-zA-Z])", r"\\in\\mathbb{\1}", "k \\in Z"),
    (r"(?:,\s?)?\(\s?([a-z]\s?\\in\s?\\mathbb\s?\{Z\})\s?\)\s*$", r", \1", "(k \\in Z)"),
    (r"(?<=[0-9])\^\{?\s?(?:\\(?:text|mathrm)\{)?o\}?\}?(?![a-zA-Z])", r"^\\circ ", "120^o"),
    (r"\\not\s?=", r"\\ne ", "\\not="),
    (r"\\\\\[[0-9.]+\s?[a-z]{2}\]|\\cr(?![a-zA-Z])", r"\\\\", "ends of lines"),
    (r"\\\\(?=\[)|(?<!\\)\\[\[\]()]", " ", "delimiters of mathematics"),
    (r"(?<=[0-9a-zA-Z)])\*\*(?=[0-9a-zA-Z(])", "^", "a power as Python writes it"),
    (r"(?<!\\)\$+|\*\*|`", " ", "dollars, Markdown's bold and code"),
    (r"\\text\s?\{\s*\\?\$\s*\}|\\(?:\$|textdollar)", "$", "dollars"),
    (r"(?<!\\)&(?=\s*=)", " ", "aligned equations"),
    (r",?\s?\\\\\s?(?=[a-zA-Z]\s?=)", ", ", "x=2 \\\\ y=3"),
    (r"\\color\s*\{[^{}]*\}|\\color\s*\[[^\[\]]*\]\s*\{[^{}]*\}", "", "colour"),
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?=[\s()\[\]|.<>\\{}/])(?:\.)?", "", "sizes of brackets"),
    (r"\\(?:(?:display|text|script)style|(?:no)?limits|bf|rm|it|checkmark|(?:black)?square|qed|Box)(?![a-zA-Z])", " ",
     "styles and end marks"),
    (r"\\(?:hat|vec|widehat|overrightarrow)\s?\{?\s?\\?([ijk])(?:math)?\s?\}?(?![a-zA-Z])", r"\1 ", "unit vectors"),
    (rf"\\(?:{'|'.join(name[1:] for name in _READ if len(name) > 1)})(?![a-zA-Z])", lambda m: _READ[m.group()],
     "spellings.tsv"),
    (r"(?<![a-zA-Z\\])abs\s?\(([^()]*)\)", r"|\1|", "abs(x)"),
    (r"\\?<=", r"\\le ", "ASCII"),
    (r"\\?>=", r"\\ge ", "ASCII"),
    (r"(?<![0-9)}])!=", r"\\ne ", "ASCII; 5!=120 has a factorial"),
    (r"\{:\}", ":", "a ratio without spaces"),
    (r"^\s*\{([0-9]+)\}\s*\{([0-9]+)\}\s*$", r"\1\2", "{5}{2} is 52"),
    (r"\\\{\s*\\\}", r"\\emptyset ", "braces around nothing"),
    (r"\\text\s?\{\s*(?:\^\\circ|\\textdegree)\s*([CF]?)\s*\}", r"^\\circ \1", "\\text{\u00b0C}"),
    (r"\\(?:text)?degrees?(?![a-zA-Z])|\^\s*\{?\s*\\(?:circ|degree)(?![a-zA-Z])\s*\}?", r"^\\circ ", "degrees"),
    (r"\\text\s?\{\s*(?:\(base[ -]([0-9]{1,2})\)|base[ -]([0-9]{1,2}))\s*\}", r"_{\1\2}", "2516\\text{ (base 8)}"),
    (r"(\(?)\s?\\(?:text|mathrm)\s*\{\s*(\(?)\s*mod(?:ulo)?\s*\}\s*([0-9]+)\s*\)?",
     lambda m: f"\\{'p' if m.group(1) or m.group(2) or 'equiv' in m.string else 'b'}mod{{{m.group(3)}}}",
     "the modulus (mod 7) of a residue, and the operation 20 mod 7"),
    (r"(?<=[0-9])(?:\s*\\text\s*\{\s*to\s*\}\s*|\sto\s)(?=[0-9])", ":", "a ratio in words"),
    (r"\{\s?([0-9a-zA-Z+-]+)\s?\\choose\s?([0-9a-zA-Z+-]+)\s?\}", r"\\binom{\1}{\2}", "{n \\choose k}"),
    (r"(?:\{\s?\})?[_^]\s?\{?([0-9n]+)\}?\s?(?:\\(?:text|mathrm)\{)?C\}?\s?_\s?\{?([0-9a-z]+)\}?", r"\\binom{\1}{\2}",
     "{}_{10}C_3"),
    (r"(?<![a-zA-Z\\])C_\s?\{?([0-9n]+)\}?\s?\^\s?\{?([0-9a-z]+)\}?", r"\\binom{\1}{\2}", "C_{10}^3"),
    (r"(?<![a-zA-Z\\])C\s?\(\s?([0-9a-z]+)\s?,\s?([0-9a-z]+)\s?\)", r"\\binom{\1}{\2}", "C(10,3)"),
    (r"\\(?:mathrm|text)\s*\{\s*([ei])\s*\}", r"\1 ", "an upright e or i"),
    (rf"\\(?:mathrm|text|operatorname\*?)\s*\{{\s*({_FUNCTIONS})\s*\}}(?=\s*[^\s.}}])", r"\\\1 ", "an upright sin"),
    (r"\\text\s*\{\s*(?:-|negative|minus)\s*\}", "-", "a sign in words"),
    (r"\^\s?\{?\s?(?:\\(?:text|mathrm)\s?\{\s?)?(st|nd|rd|th)\s?\}?\s?\}?(?![a-z])", r"\\text{\1}", "6^{th}"),
    (rf"\\(?:{_TEXTS})\s{{0,4}}\{{((?:[^{{}}]|\{{[^{{}}]*\}})*)\}}",
     lambda m: "\\text{" + re.sub(r"~|\\[,;:! ]", " ", _INNER_TEXT.sub("", m.group(1))) + "}", "one command for texts"),
    (r"\\text\{\s*infinity\s*\}", r"\\infty ", "infinity in words"),
    (r"\\frac\s?\{\\text\{([^{}]*)\}\}\s?\{\\text\{([^{}]*)\}(\^[23])?\}", r"\\text{\1/\2\3}", "a fraction of units"),
    (r"(?<=[0-9})])\s?([a-zA-Z]+/[a-zA-Z]+(?:\^\{?[23]\}?)?)\s*$", lambda m: _bare_unit(m), "60 km/h"),
    (r"_\s?(?:\{\s?)?\\text\{\s*(" + "|".join(_BASES) + r")\s*\}(?:\s?\})?", lambda m: f"_{{{_BASES[m.group(1)]}}}",
     "the base of a number in words"),
    (r"_\{\s?\(([0-9]{1,2})\)\s?\}", r"_{\1}", "2516_{(8)}"),
    (r"\\?%|(?:\\text\{\s*)?\b(?:percent|percentage|pct)\b\.?(?:\s*\})?", r"\\% ", "percent"),
    (rf"(?<![0-9.,])[0-9]{{1,3}}(?:{_GAP}{{1,3}}[0-9]{{3}})+(?![0-9])", lambda m: re.sub(r"[^0-9]", "", m.group()),
     "1\\,234 and 1{,}234, whatever stands between groups of three digits but a bare comma"),
    (r"(?<=[0-9])\{,\}(?=[0-9])", ".", "a decimal comma, as TeX sets it"),
    (rf"(?<![0-9./^_])([0-9]+){_GAP}+([0-9]+)/([0-9]+)(?![0-9.!^])", r"\1\\frac{\2}{\3}", "2 1/2"),
]  # fmt: skip


def _bare_unit(match: re.Match) -> str:
    """m/s behind a space and km/h are units; 3m/s is a quotient."""
    clear = match.group()[0] == " " or len(match.group(1).partition("/")[0]) > 1
    return "\\text{" + match.group(1) + "}" if clear and read_unit(match.group(1)) else match.group()


_LAYOUT = [  # the same, after the words are marked
    (r"([_^])([0-9])\s+(?=[0-9])", r"\1{\2}", "\\log_2 8"),
    (r"\\(frac|binom)\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\\1{\2}{\3}", "\\frac12 and \\frac 3 8"),
    (r"(?<=[0-9])(?:\\[,;:! ]|~|\s)+(?=[0-9])", r"\\text{beside}", "3 4 is neither 34 nor a list"),
    (r"\\q?quad(?![a-zA-Z])", ", ", "a list by spaces"),
    (
        r"(?:(?<=c\{)|(?<=rt\{)|(?<=\}\{))[1-9][0-9]{0,2}(?:,[0-9]{3})+(?=\})|(?<=/)[1-9][0-9]{0,2}(?:,[0-9]{3}){2,}(?![0-9,])",
        lambda m: m.group().replace(",", ""),
        "\\frac{12}{5,525} and 1/29,322,216",
    ),
    (r"(?:\s|\\[,;:! ]|[.,;:=]|\\\\|\\(?=\s*$))+$", "", "punctuation at the end"),
    (r"\\frac\s*([0-9a-zA-Z]|\\pi)\s*\{", r"\\frac{\1}{", "\\frac1{23}"),
    (r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", "\\frac{12}3"),
    (r"\\frac\s*(\\pi)\s*([0-9a-zA-Z])", r"\\frac{\1}{\2}", "\\frac\\pi2"),
    (r"\\sqrt(\[[0-9]\])?\s*([0-9a-zA-Z])", r"\\sqrt\1{\2}", "\\sqrt2"),
    (rf"([\^_])\s*\{{\s*([0-9a-zA-Z])\s*\}}(?!{_GAP}*[0-9])", r"\1\2", "x^{2}"),
]
_SPELLINGS, _LAYOUT = ([(re.compile(rule[0]), rule[1]) for rule in rules] for rules in (_SPELLINGS, _LAYOUT))

_BEFORE = [  # characters in a row, and what the wrappers would hide
    (re.compile("[\u00a0\u2002\u2003\u2007\u3000]"), " "), (re.compile("[\u2009\u202f]"), r"\\,"),
    (re.compile("[\U0001d400-\U0001d7ff]+"), lambda m: normalize("NFKC", m.group())),
    (re.compile("([\u221a\u221b\u221c]) ?([0-9]+(?:\\.[0-9]+)?)"),
     lambda m: "\\sqrt" + {"\u221b": "[3]", "\u221c": "[4]"}.get(m.group(1), "") + "{" + m.group(2) + "}"),
    (re.compile("[\u207a\u207b\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+"),
     lambda m: "^{" + m.group().translate(_RAISED) + "}"),
    (re.compile(r"\\(?:mathbf|Bbb|boldsymbol|mathbb)\s*\{?\s*([RZNQ])(?![a-zA-Z])\s*\}?"), r"\\mathbb{\1}"),
    (re.compile(r"\\math(?:bf|rm|sf)\s?\{\s?C\s?\}(?=\s?[_^])"), "C"),
]  # fmt: skip
_RAISED = str.maketrans("\u207a\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "+-0123456789")

_SPACES = re.compile(r"(\\\\)|(?:\s|~|\\[,;:!> ])+")
_SPACING = re.compile(r"(\\\\)|(\\text\{[^{}]*\})|\\[,;:!> ]|~|\s+")
_ARRAY = re.compile(  # a matrix in brackets of its own
    r"(?:\\left\s?)?[(\[]\s?\\begin\s?\{(?:array|matrix)\}(?:\{[lcr|]*\})?((?:(?!\\begin).)*?)"
    r"\\end\s?\{(?:array|matrix)\}\s?(?:\\right\s?)?[)\]]",
    re.S,
)
_CASES = re.compile(
    r"(?:\\left\s?\\\{\s?)?\\begin\s?\{(d?cases|array|aligned|(?:align|gather|equation)\*?|gathered|split)\}"
    r"(?:\{[lcr|]*\})?(.*?)\\end\s?\{\1\}(?:\s?\\right\s?\.)?",
    re.S,
)
_SYSTEM = re.compile(r"(\\left\s?\\\{\s?\\begin\s?\{)matrix(\}.*?\\end\s?\{)matrix(?=\})", re.S)


def one_line(raw: str) -> str:
    r"""The form that is parsed.

    >>> [one_line(s) for s in (r"$\dfrac12$", r"1\,234", "42 cm", r"x>1\text{ and }x<2", "2 1/2", "pi/2")]
    ['\\frac{1}{2}', '1234', '42\\text{cm}', 'x>1\\text{and}x<2', '2\\frac{1}{2}', '\\pi/2']
    """
    text = _INVISIBLE.sub("", raw)
    for pattern, new in _BEFORE:
        text = pattern.sub(new, text)
    text = text.translate(_UNICODE)
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[a-zA-Z])", r"\\", text)  # a ground truth that was escaped twice
    text = _cut(text)
    text = _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", _SPACES.sub(_one_space, text))
    text = _unwrapped(_CASES.sub(_case_lines, _SYSTEM.sub(r"\1cases\2cases", text)))
    for pattern, new in _SPELLINGS:
        text = pattern.sub(new, text)
    text = _marked(text)
    for pattern, new in _LAYOUT:
        text = pattern.sub(new, text)
    return _unspaced(text)


def _cut(text: str) -> str:
    """The text up to a brace that closes none."""
    end = closing_brace(text, 0, len(text))
    return text if end is None else text[:end]


def _one_space(run: re.Match) -> str:
    """Runs of spaces made short, so that a pattern that searches on from each space takes linear time."""
    if run.group(1) or len(run.group()) < 3:
        return run.group()
    return " " if run.group().isspace() else "\\!" if "\\!" in run.group() else "\\,"


def _case_lines(match: re.Match) -> str:
    """The lines of a system of equations, joined by "and"; one that starts with = goes on with the one before."""
    lines = [line.strip(" &,.") for line in re.split(r"\\\\", match.group(2))]
    return re.sub(r"\\text\{ and \}(?==)", " ", "\\text{ and }".join(filter(None, lines)))


def _unwrapped(text: str) -> str:
    """Every wrapper replaced by its content."""
    while match := _WRAPPER.search(text):
        end = closing_brace(text, match.end(), len(text))
        if end is None:
            return text[: match.start()] + text[match.end() :]
        text = text[: match.start()] + " " + text[match.end() : end] + " " + text[end + 1 :]
    return text


_ASCII_COMMAND = re.compile(  # mathematics as a keyboard writes it
    rf"sqrt|pi|infinity|infty|theta|alpha|beta|{_FUNCTIONS}|arc(?:sin|cos|tan)|cup"
)
_BARE = re.compile(
    rf"\\text\{{([^{{}}]*)\}}|\\(?:begin|end|mathbb|mathrm|mathcal|operatorname)\s?\{{[^{{}}]*\}}|\\[a-zA-Z]+|\\.|{WORD}"
)


def _marked(text: str) -> str:
    r"""Words put into \text{...}, each connective into one of its own; commands and letters for quantities stay."""
    text = re.sub(r"(_\s?\{?\s?)\\text\{([^{}]*)\}", r"\1\\mathrm{\2}", text)  # x_{\text{max}}
    only_words = re.search(r"[0-9\\=<>^_+*/|$]", re.sub(r"\\text\b|\\[^a-zA-Z]", "", text)) is None

    def mark(match: re.Match) -> str:
        inside, word = match.group(1), match.group()
        if inside is not None and re.search(r"[0-9=<>]", inside) and not read_unit(inside):
            return f" {_BARE.sub(mark, inside)} "
        if word[0] == "\\":
            return word
        unit = word in ("min", "sec", "max") and text[match.end() :].strip()[:1] in ("", ".", "}")
        if _ASCII_COMMAND.fullmatch(word) and not unit:
            return "\\" + word.replace("infinity", "infty") + " "
        known = is_known(word) or (only_words and (len(word) > 2 or word == "NO"))
        return f"\\text{{{word}}}" if known else word

    return _TEXT_RUN.sub(_connectives, _BARE.sub(mark, text))


_TEXT_RUN = re.compile(r"\\text\{[^{}]*\}(?:\s*\\text\{[^{}]*\})*")
_CONNECTIVE = re.compile(r"(?i)(?<![a-z])(?:(and/or|or|\u6216\u8005|\u6216)|and|\u548c|\u4e14|\u4e0e)(?![a-z])")


def _connectives(run: re.Match) -> str:
    """Texts in a row as one, without its "and" and "or": "is odd and x is" -> is odd, and, x is."""
    words, out, end = re.sub(r"\}\s*\\text\{", " ", run.group())[6:-1], [], 0
    for mark in [*_CONNECTIVE.finditer(words), None]:
        between = words[end : mark.start() if mark else None]
        out.append("\\text{" + between.strip(" ,;") + "}" if between.strip(" ,;") else between.strip())
        if mark:
            out.append("\\text{or}" if mark.group(1) else "\\text{and}")
            end = mark.end()
    return " ".join(part for part in out if part)


def _unspaced(text: str) -> str:
    """Without spaces, except in words, in ", " and after a command before a letter."""
    text = re.sub(r"(\\[a-zA-Z]+)(?:\\[,;:!> ]|~|\s)+(?=[a-zA-Z])", "\\1\0", text)
    text = _SPACING.sub(lambda m: m.group(1) or m.group(2) or "", text.replace(", ", ",\1"))
    text = re.sub(r"\s+", " ", text.replace("\0", " ").replace("\1", " "))
    while text.startswith("{") and closing_brace(text, 1, len(text)) == len(text) - 1:
        text = text[1:-1]
    return text.strip()
