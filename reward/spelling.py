r"""One spelling for an answer: `read` turns what was boxed into one line of LaTeX without decoration.

Gone: delimiters, fonts, colours, alphabets, spacing, thousands separators, units, currency, labels and words around
mathematics. Kept, because they carry meaning: percent signs, degrees, equations, the ", " that tells a list from 1,234.
Nothing is computed. Answers are at most some thousand characters here (judge.py), so these run on the event loop too.
"""

import re
from functools import lru_cache

from .box import closing_brace

_UNICODE = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\ufe63": "-", "\u2010": "-", "\u2011": "-",
    "\u00d7": "\\times ", "\u00b7": "\\cdot ", "\u22c5": "\\cdot ", "\u2217": "*", "\u00f7": "/", "\u2044": "/",
    "\u03c0": "\\pi ", "\u221e": "\\infty ", "\u221a": "\\sqrt ", "\u00b0": "^\\circ ", "\u00ba": "^\\circ ",
    "\u2264": "\\le ", "\u2265": "\\ge ", "\u2260": "\\ne ", "\u2248": "\\approx ", "\u00b1": "\\pm ",
    "\u222a": "\\cup ", "\u2229": "\\cap ", "\u2208": "\\in ", "\u2205": "\\emptyset ", "\u2192": "\\to ",
    "\u211d": "\\mathbb{R}", "\u2124": "\\mathbb{Z}", "\u2115": "\\mathbb{N}", "\u211a": "\\mathbb{Q}",
    "\u00bd": "\\frac{1}{2}", "\u00bc": "\\frac{1}{4}", "\u00be": "\\frac{3}{4}",
    "\u2153": "\\frac{1}{3}", "\u2154": "\\frac{2}{3}",
    "\u03b1": "\\alpha ", "\u03b2": "\\beta ", "\u03b8": "\\theta ", "\u03bb": "\\lambda ", "\u03c6": "\\phi ",
    "\u00a0": " ", "\u2009": "\\,", "\u202f": "\\,", "\u2007": " ", "\u3000": " ", "\u2003": " ", "\u2002": " ",
    "\u201c": "", "\u201d": "", "\u20ac": "\\$", "\u00a3": "\\$", "\u00a5": "\\$", "\u20b9": "\\$",
    "\u3001": ",", "\u3002": ".", "\u2019": "'", "\u2032": "'", "\u27e8": "(", "\u27e9": ")",
}  # fmt: skip
_UNICODE |= {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}  # full-width ASCII
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_UNICODE |= {char: f"^{digit}" for digit, char in enumerate(_SUPERSCRIPTS)}
_UNICODE |= {chr(0x2080 + digit): f"_{digit}" for digit in range(10)}
# NUL and other controls, zero-width and direction marks, lone surrogates: nothing a reader sees, and nothing UTF-8
# or a C parser takes.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]")
_TRANSLATE = str.maketrans(_UNICODE)

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip
_REWRITES = [  # (what, with what), in order
    (r"\\(?:d|t|c|x)frac(?![a-zA-Z])", r"\\frac"),
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?=[\s()\[\]|.<>\\{}/])(?:\.)?", ""),
    (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|bf|rm|it|large|Large|huge|Huge)(?![a-zA-Z])", " "),
    (r"\\(?:lbrace|lvert|rvert|rbrace)(?![a-zA-Z])",
     lambda m: {"\\lbrace": "\\{", "\\rbrace": "\\}"}.get(m.group(), "|")),
    (r"\\(?:langle|lparen)(?![a-zA-Z])|\\rangle(?![a-zA-Z])|\\rparen(?![a-zA-Z])",
     lambda m: "(" if m.group()[1] == "l" and m.group() != "\\rparen" else ")"),
    (r"\\lbrack(?![a-zA-Z])", "["),
    (r"\\rbrack(?![a-zA-Z])", "]"),
    (r"\\(?:leqslant|leqq|leq)(?![a-zA-Z])|<=", r"\\le "),
    (r"\\(?:geqslant|geqq|geq)(?![a-zA-Z])|>=", r"\\ge "),
    (r"\\lt(?![a-zA-Z])", "<"),
    (r"\\gt(?![a-zA-Z])", ">"),
    (r"\\neq(?![a-zA-Z])|(?<![0-9)}])!=", r"\\ne "),  # 5!=120 is a factorial
    (r"\\(?:rightarrow|longrightarrow|Rightarrow|implies|iff|Longrightarrow)(?![a-zA-Z])", r"\\to "),
    (r"\\coloneqq|:=", "="),
    (r"\\(?:simeq|cong|doteq|thickapprox)(?![a-zA-Z])", r"\\approx "),
    (r"\\(?:varnothing|empty|O)(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset "),
    (r"\\infin(?![a-zA-Z])", r"\\infty "),
    (r"\+\s*\\infty", r"\\infty"),
    (r"\\(?:varphi)(?![a-zA-Z])", r"\\phi "),
    (r"\\degrees?(?![a-zA-Z])|\^\s*\{\s*\\(?:circ|degree)\s*\}|\^\s*\\(?:circ|degree)(?![a-zA-Z])", r"^\\circ "),
    (r"\\(?:bmod|mod)(?![a-zA-Z])", r"\\bmod "),
    (r"\\colon(?![a-zA-Z])", ":"),
    (r"(?<=[0-9])\s*\\text\s*\{\s*to\s*\}\s*(?=[0-9])", ":"),
    (r"\(?\s?\\(?:text|mathrm)\s*\{\s*\(?\s*mod(?:ulo)?\s*\}\s*([0-9]+)\s*\)?", r"\\pmod{\1}"),
    (r"\^\\circ\s*(?:\\[,;:! ]\s*)?[CF](?![a-zA-Z])", r"^\\circ "),
    (r"\\R(?![a-zA-Z])", r"\\mathbb{R}"),
    (r"\\(?:hspace|vspace|phantom|hphantom|label|tag)\*?\s*\{[^{}]*\}", " "),
    (r"\\color\s*\{[^{}]*\}|\\color\s*\[[^\[\]]*\]\s*\{[^{}]*\}", ""),
    (r"\\(?:dots|ldots|cdots|dotsc|dotsb)(?![a-zA-Z])", r"\\ldots "),
    (r"\\ast(?![a-zA-Z])", "*"),
    (r"\\(?:checkmark|blacksquare|square|qed|Box)(?![a-zA-Z])", " "),
    (r"\\(?:pounds|euro|texteuro|textdollar)(?![a-zA-Z])", r"\\$"),
    (r"\\(?:lor|vee|land|wedge)(?![a-zA-Z])", " , "),
    (r"\{\s?([0-9a-zA-Z+-]+)\s?\\choose\s?([0-9a-zA-Z+-]+)\s?\}", r"\\binom{\1}{\2}"),
    (r"\\(?:mathrm|text)\s*\{\s*([ei])\s*\}", r"\1 "),
    (r"\\(?:mathrm|text)\s*\{\s*((?:arc)?(?:sin|cos|tan)|cot|csc|ln|lg|log|exp|gcd|lcm)\s*\}", r"\\\1 "),
    (r"\\text\s*\{\s*(?:-|negative|minus)\s*\}", "-"),
    (r"(?<=[0-9])(?:\s|~|\\[,;:! ])*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion)(?![a-zA-Z])\s*",
     lambda m: f"\\times 10^{{{_MAGNITUDES[m.group(1)]}}}" + ("\\text{" if "{" in m.group() else " ")),
    (r"\\(?:operatorname|mathop)\*?\s*\{\s*(?:\\rm\s*)?([a-zA-Z]+)\s*\}", r"\\\1 "),
]  # fmt: skip
_REWRITES = [(re.compile(pattern), new) for pattern, new in _REWRITES]

_WRAPPERS = ("boxed", "fbox", "underline", "uline", "mathbf", "boldsymbol", "bm", "mathit", "mathsf", "ensuremath",
             "displaystyle", "mathstrut", "emph", "textit", "cancel", "mathnormal", "pmb", "bold")  # fmt: skip
_TEXTS = ("text", "mbox", "textbf", "textrm", "textnormal", "mathrm", "textsf", "texttt", "hbox", "textup")
_WRAPPER = re.compile(r"\\(" + "|".join(_WRAPPERS) + r")\s{0,4}\{")
_TEXT = re.compile(r"\\(?:" + "|".join(_TEXTS) + r")\s{0,4}\{([^{}]*)\}")
_TEXTCOLOR = re.compile(r"\\(?:textcolor|colorbox)\s{0,4}\{[^{}]*\}\s{0,4}\{")

_BASE = re.compile(r"_\s?(?:\{\s?)?\\text\{\s*(" + "|".join(_BASES) + r")\s*\}(?:\s?\})?")  # 17_{\text{eight}}
_PER = re.compile(r"\\text\{([^{}0-9]*)\}\s?/\s?\\text\{([^{}0-9]*)\}")  # \text{ km}/\text{h}

_ALIGNED = re.compile(r"\\(?:begin|end)\s{0,4}\{(?:aligned|align\*?|gathered|gather\*?|split|equation\*?)\}")

_GROUP_SEPARATOR = r"(?:\\[,;:! ]|\{,\}|,\\!|~|\s)"
# 1\,234  1{,}234  1,\!234  1~234: digits in groups of three, whatever stands between them but a bare comma.
_GROUPED = re.compile(rf"(?<![0-9.,])[0-9]{{1,3}}(?:{_GROUP_SEPARATOR}{{1,3}}[0-9]{{3}})+(?![0-9])")
_GROUPED_DECIMALS = re.compile(rf"(?<=[.])[0-9]{{3}}(?:{_GROUP_SEPARATOR}[0-9]{{3}})+(?![0-9])")
COMMA_GROUPED = re.compile(r"[1-9][0-9]{0,2}(?:,[0-9]{3})+")
_SPACING = re.compile(r"(\\\\)|\\[,;:!> ]|\\q?quad(?![a-zA-Z])|~|\s+")
_SEPARATOR_WORDS = re.compile(r"(?i)\s*(?:,|;)?\s*(?:and|or|and/or)\s*,?\s*")
_NEGATION = re.compile(
    r"(?i)\b(?:not|no|none|never|isn't|except|without|cannot|undefined"
    r"|least|most|less|more|greater|fewer|up to|over|under)\b"
)


def _unwrap(text: str, opening: re.Pattern) -> str:
    """Drop every `opening` and the brace that closes it, keep what is inside."""
    while match := opening.search(text):
        end = closing_brace(text, match.end(), len(text))
        if end is None:
            return text[: match.start()] + text[match.end() :]
        text = text[: match.start()] + " " + text[match.end() : end] + " " + text[end + 1 :]
    return text


def _brace_arguments(text: str) -> str:
    r"""\frac12 -> \frac{1}{2}, \sqrt3 -> \sqrt{3}, x^{2} -> x^2: one spelling each."""
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\sqrt\s*([0-9a-zA-Z])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\binom\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\binom{\1}{\2}", text)
    return re.sub(r"([\^_])\s*\{\s*([0-9a-zA-Z])\s*\}", r"\1\2", text)


_SPACES = re.compile(r"(\\\\)|(?:\s|~|\\[,;:!> ])+")


def _one_space(run: re.Match) -> str:
    """One space for many: what follows may then search to the end from each space without being quadratic."""
    if run.group(1) or len(run.group()) < 3:
        return run.group()
    return " " if run.group().isspace() else "\\!" if "\\!" in run.group() else "\\,"


@lru_cache(maxsize=4000)
def plain(raw: str) -> str:
    """Spelling only: delimiters, colours, fonts, alphabets. Text wrappers are kept as \\text{...}."""
    text = _SPACES.sub(_one_space, _INVISIBLE.sub("", raw).translate(_TRANSLATE))
    text = re.sub(r"\\[\[\]()]", " ", re.sub(r"\\\\(?=\[)", " ", text)) if "\\begin" not in text else text
    text = re.sub(r"(?<!\\)\$+|\*\*|`", " ", text)
    if _ALIGNED.search(text):
        text = _ALIGNED.sub(" ", text).replace("&", " ")
    text = _unwrap(_unwrap(text, _TEXTCOLOR), _WRAPPER)
    for pattern, new in _REWRITES:
        text = pattern.sub(new, text)
    text = _TEXT.sub(lambda m: "\\text{" + m.group(1).replace("~", " ") + "}", text)
    text = _BASE.sub(lambda m: f"_{{{_BASES[m.group(1)]}}}", text)
    return _PER.sub(r"\\text{\1/\2}", text)


def _join_digit_groups(text: str) -> str:
    text = _GROUPED.sub(lambda m: re.sub(r"[^0-9]", "", m.group()), text)
    return _GROUPED_DECIMALS.sub(lambda m: re.sub(r"[^0-9]", "", m.group()), text)


_UNITS = {
    "m": "m|meter|metre", "cm": "cm|centimeter|centimetre", "mm": "mm|millimeter|millimetre",
    "km": "km|kilometer|kilometre", "in": "in|inch|inches", "ft": "ft|foot|feet", "yd": "yd|yard",
    "mi": "mi|mile", "kg": "kg|kilogram", "g": "g|gram", "mg": "mg|milligram", "lb": "lb|lbs|pound", "oz": "oz|ounce",
    "s": "s|sec|second", "min": "min|minute", "h": "h|hr|hrs|hour", "day": "day", "week": "week", "month": "month",
    "year": "year|yr", "dollar": "dollar|usd", "cent": "cent", "mph": "mph", "L": "L|liter|litre",
    "mL": "mL|ml|milliliter|millilitre", "gal": "gallon|gal", "degree": "degree|deg",
}  # fmt: skip
_UNIT_OF = {name: unit for unit, names in _UNITS.items() for name in names.split("|")}
_UNIT_OF |= {name + "s": unit for name, unit in list(_UNIT_OF.items()) if len(name) > 2}
_OTHER_WORDS = ("square|sq|cubic|per|units?|people|persons?|students?|ways|pairs?|apples?|points?|inhabitants|yuan|"
                "rupees|euros?|marbles?|balls?|coins?|books?|integers?|solutions?|numbers?|triangles?|sides?|"
                "times|radians?|rad|percent|percentage|pct|men|women|girls|"
                "boys|children|games?|edges|vertices")  # fmt: skip
# Written without \text, only words that can be nothing else: "5m" is a product, "5 cm" a length.
_BARE_UNIT = re.compile(
    r"(?<=[0-9})\s])\s*(?:(?:" + "|".join(sorted((u for u in _UNIT_OF if len(u) > 1), key=len, reverse=True)) + "|"
    + _OTHER_WORDS + r")(?![a-zA-Z])[./]?\s*)+(?:\^\s*\{?[23]\}?)?\s*$"
)  # fmt: skip
_TEXT_UNIT = re.compile(r"\\text\{([^{}]*)\}\s*(?:\^\s*\{?\s*(-?[0-9])\s*\}?)?")
_CURRENCY = re.compile(r"\\\$|\\text\{\s*\\?\$\s*\}")
_PERCENT = re.compile(r"\\?%|(?:\\text\{\s*)?\b(?:percent|percentage|pct)\b\.?(?:\s*\})?")
LABEL = re.compile(
    r"^\s*(?:\\text\{)?\s*(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\s*:?\s*)?\(?([A-Ja-j])[).:](?![0-9])\s*\}?\s*"
)
_INTRODUCTION = re.compile(
    r"(?i)^\s*(?:(?:so|thus|hence|the|final|answer|result|value|is|equals?|about|approximately)\b[\s,:]*)+"
)
_LEAD = re.compile(r"^(?:\s|[=:]|\\(?:approx|sim)(?![a-zA-Z])|\\therefore(?![a-zA-Z])|\\text\{\s*:?\s*\})+")
_TRAIL = re.compile(r"(?:\s|[.,;:=]|\\\\|\\(?=\s*$)|\\text\{\s*[.,;:]?\s*\})+$")


def unit(text: str) -> str | None:
    """The unit a plain answer carries, e.g. 'cm^2', if it is one of the known ones."""
    match = re.search(r"(?:\\text\{([^{}]*)\}|\b([a-zA-Z]+)) *(?:\^ *\{?([23])\}?)?\s*$", text)
    if not match:
        return None
    words = (match.group(1) or match.group(2) or "").strip(" .").split()
    power = match.group(3) or ""
    if words and words[0] in ("square", "sq", "sq.", "cubic"):
        power, words = ("3" if words[0] == "cubic" else "2"), words[1:]
    name = words[0] if len(words) == 1 else ""
    known = _UNIT_OF.get(name) or _UNIT_OF.get(name.lower())
    return f"{known}^{power}" if known and power else known


def settle_text(text: str) -> str:
    """Texts beside mathematics are units, labels or introductions: drop them; "and", "or" are commas."""
    text = re.sub(r"\\text\{([^{}]*)\}", lambda m: " , " if _SEPARATOR_WORDS.fullmatch(m.group(1)) else m.group(), text)
    rest = _TEXT_UNIT.sub("", text)
    if re.search(r"[0-9]|\\[a-zA-Z]|(?<![a-zA-Z])[a-zA-Z](?![a-zA-Z])|[+*/^=]", rest) is None:
        # Nothing but words: the words are the answer.
        return re.sub(r"\\text\{([^{}]*)\}", r" \1 ", text)

    def drop(match):
        if re.fullmatch(r"\s*[0-9.,]+\s*", match.group(1)):
            return f" {match.group(1)} "
        index = re.search(r"_\s?\{?\s?$", text[: match.start()])  # x_{\text{max}}: a part of the name
        return match.group() if index or _NEGATION.search(match.group(1)) else " "

    return _TEXT_UNIT.sub(drop, text)


def _settle_words(text: str) -> str:
    """The same for words outside \\text: "12 and 13", "35 cm", "The answer is 42"."""
    text = re.sub(r"(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])", " , ", text) if re.search(r"[0-9=\\]", text) else text
    if re.search(r"[0-9]", text):
        text = _BARE_UNIT.sub("", text)
        text = _INTRODUCTION.sub("", text)
    return text


@lru_cache(maxsize=4000)
def read(raw: str) -> str:
    """Everything `normalize` does short of arithmetic; keeps percent, degrees and equations."""
    text = _CURRENCY.sub(" ", plain(raw))
    text = _PERCENT.sub(r"\\% ", text)
    text = _join_digit_groups(text)
    label = LABEL.match(text)
    if label and text[label.end() :].strip(" .}"):
        text = text[label.end() :]
    text = _settle_words(settle_text(text))
    text = re.sub(r"([_^])([0-9])\s+(?=[0-9])", r"\1{\2}", text)  # \log_2 8
    text = re.sub(r"(?<=[0-9])(?:\\[,;:! ]|~|\s|\\q?quad)+(?=[0-9])", ", ", text)  # "3 4" is two numbers, not 34
    text = re.sub(r"\\q?quad(?![a-zA-Z])", " , ", text)
    text = re.sub(r"(?:\s*,(?:\s|\\[,;:! ]|~)*)+", lambda m: "," if m.group() == "," else ", ", text)
    text = _TRAIL.sub("", _LEAD.sub("", text))
    text = _brace_arguments(text)
    if not is_words(text):
        # A space that ends a command must stay where a letter follows; a ", " stays: it tells lists from 1,234.
        text = re.sub(r"(\\[a-zA-Z]+)(?:\\[,;:!> ]|~|\s)+(?=[a-zA-Z])", "\\1\0", text)
        text = _SPACING.sub(lambda m: m.group(1) or "", text.replace(", ", ",\1")).replace("\0", " ").replace("\1", " ")
    text = re.sub(r"\s+", " ", text)
    while text.startswith("{") and closing_brace(text, 1, len(text)) == len(text) - 1:
        text = text[1:-1]
    return _TRAIL.sub("", _LEAD.sub("", text))


_FUNCTION_NAMES = "sin|cos|tan|cot|sec|csc|log|ln|exp|lim|max|min|gcd|lcm|arcsin|arccos|arctan|sqrt|frac|pi|infty|deg"


def is_words(text: str) -> bool:
    """Nothing but words: "Evelyn", "no solution"; not x, not xy, not sin x."""
    if not re.fullmatch(r"[A-Za-z .,'!?\-]*[A-Za-z]{3}[A-Za-z .,'!?\-]*", text):
        return text.lower() == "no"
    return re.match(rf"(?:{_FUNCTION_NAMES})\b", text.strip()) is None
