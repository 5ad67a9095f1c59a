r"""The rewriting rules, in order, each with an example: (gold, answer, equal) that fails without it.

tests/test_math_reward.py removes one rule at a time and checks its example, so that every rule has an effect.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from .extract import closing_brace
from .words import BARE_UNIT, drop_label, drop_texts, is_words, texts_as_separators


@dataclass(frozen=True)
class Rule:
    """A rewriting of one string, with an example whose result depends on it."""

    rewrite: Callable[[str], str]
    gold: str
    answer: str
    equal: bool = True

    def __call__(self, text: str) -> str:
        return self.rewrite(text)


def _sub(pattern: str, new, gold: str, answer: str, equal: bool = True) -> Rule:
    compiled = re.compile(pattern)
    return Rule(lambda text: compiled.sub(new, text), gold, answer, equal)


def _command(names: str, new: str, gold: str, answer: str, equal: bool = True) -> Rule:
    """The rule for commands, given without their backslashes and separated by bars."""
    return _sub(rf"\\(?:{names})(?![a-zA-Z])", new.replace("\\", "\\\\"), gold, answer, equal)


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
# NUL and other controls, zero-width and direction marks, lone surrogates: invisible, and not valid in UTF-8 or in a
# C parser.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]")
_UNICODE = str.maketrans(_UNICODE)
_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip
_WRAPPER = re.compile(
    r"\\(?:boxed|fbox|underline|uline|mathbf|boldsymbol|bm|mathit|mathsf|ensuremath|emph|textit|cancel|mathnormal|pmb"
    r"|bold|(?:textcolor|colorbox)\s{0,4}\{[^{}]*\})\s{0,4}\{"
)
_TEXTS = "text|mbox|textbf|textrm|textnormal|mathrm|textsf|texttt|hbox|textup"
_ALIGNED = re.compile(r"\\(?:begin|end)\s{0,4}\{(?:aligned|align\*?|gathered|gather\*?|split|equation\*?)\}")
_SPACES = re.compile(r"(\\\\)|(?:\s|~|\\[,;:!> ])+")
_GAP = r"(?:\\[,;:! ]|\{,\}|,\\!|~|\s)"
_SPACING = re.compile(r"(\\\\)|\\[,;:!> ]|\\q?quad(?![a-zA-Z])|~|\s+")
_TRAIL = re.compile(r"(?:\s|\\[,;:!]|[.,;:=]|\\\\|\\(?=\s*$))+$")


def one_space(text: str) -> str:
    """Shorten runs of spaces, so that a rule that searches on from each space takes linear time."""
    return _SPACES.sub(_shorter, text)


def _shorter(run: re.Match) -> str:
    if run.group(1) or len(run.group()) < 3:
        return run.group()
    return " " if run.group().isspace() else "\\!" if "\\!" in run.group() else "\\,"


def _undelimited(text: str) -> str:
    """Without dollars, brackets of display mathematics, and Markdown's bold and code."""
    if "\\begin" not in text:
        text = re.sub(r"\\[\[\]()]", " ", re.sub(r"\\\\(?=\[)", " ", text))
    return re.sub(r"(?<!\\)\$+|\*\*|`", " ", text)


def _unaligned(text: str) -> str:
    return _ALIGNED.sub(" ", text).replace("&", " ") if _ALIGNED.search(text) else text


def _unwrapped(text: str) -> str:
    """Replace every wrapper by its content."""
    while match := _WRAPPER.search(text):
        end = closing_brace(text, match.end(), len(text))
        if end is None:
            return text[: match.start()] + text[match.end() :]
        text = text[: match.start()] + " " + text[match.end() : end] + " " + text[end + 1 :]
    return text


def _without_bare_words(text: str) -> str:
    """ "12 and 13", "35 cm", "The answer is 42", without \\text."""
    if re.search(r"[0-9=\\]", text):
        text = re.sub(r"(?<![\\a-zA-Z])(?:and|or)(?![a-zA-Z])", " , ", text)
    if re.search(r"[0-9]", text):
        text = _INTRODUCTION.sub("", BARE_UNIT.sub("", text))
    return text


_INTRODUCTION = re.compile(
    r"(?i)^\s*(?:(?:so|thus|hence|the|final|answer|result|value|is|equals?|about|approximately)\b[\s,:]*)+"
)


def _braced(text: str) -> str:
    r"""\frac12 -> \frac{1}{2}, \sqrt3 -> \sqrt{3}, x^{2} -> x^2: one way to write each."""
    text = re.sub(r"\\(frac|binom)\s*([0-9a-zA-Z])\s*([0-9a-zA-Z])", r"\\\1{\2}{\3}", text)
    text = re.sub(r"\\frac\s*([0-9a-zA-Z])\s*\{", r"\\frac{\1}{", text)
    text = re.sub(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])", r"\\frac\1{\2}", text)
    text = re.sub(r"\\sqrt(\[[0-9]\])?\s*([0-9a-zA-Z])", r"\\sqrt\1{\2}", text)
    return re.sub(rf"([\^_])\s*\{{\s*([0-9a-zA-Z])\s*\}}(?!{_GAP}*[0-9])", r"\1\2", text)


def _unspaced(text: str) -> str:
    """Remove spaces, except after a command before a letter, and in ", ", which distinguishes lists from 1,234."""
    if is_words(text):
        return re.sub(r"\s+", " ", text)
    text = re.sub(r"(\\[a-zA-Z]+)(?:\\[,;:!> ]|~|\s)+(?=[a-zA-Z])", "\\1\0", text)
    text = _SPACING.sub(lambda m: m.group(1) or "", text.replace(", ", ",\1")).replace("\0", " ").replace("\1", " ")
    return re.sub(r"\s+", " ", text)


def _unbraced(text: str) -> str:
    while text.startswith("{") and closing_brace(text, 1, len(text)) == len(text) - 1:
        text = text[1:-1]
    return text


SETTING = (
    _sub(_INVISIBLE.pattern, "", "42", "4\u200b2"),
    Rule(lambda text: text.translate(_UNICODE), "2\\pi", "2\u03c0"),
    Rule(_undelimited, "42", "$42$"),
    Rule(_unaligned, "42", r"\begin{aligned} x &= 42 \end{aligned}"),
    Rule(_unwrapped, "42", r"\mathbf{42}"),
    _sub(r"\\color\s*\{[^{}]*\}|\\color\s*\[[^\[\]]*\]\s*\{[^{}]*\}", "", "42", r"\color{red}{42}"),
    _sub(r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?=[\s()\[\]|.<>\\{}/])(?:\.)?", "", "(1,2)", r"\left(1,2\right)"),
    _command("displaystyle|textstyle|scriptstyle|limits|nolimits|bf|rm|it", " ", "42", r"\displaystyle 42"),
    _sub(r"\\(?:hspace|vspace|phantom|hphantom|label|tag)\*?\s*\{[^{}]*\}", " ", "42", r"42\hspace{1cm}"),
    _command("[dtc]frac", r"\frac", "0.5", r"\dfrac{1}{2}"),
    _command("lbrace", r"\{", "1,2", r"\lbrace 1,2\rbrace"),
    _command("rbrace", r"\}", "1,2", r"\lbrace 1,2\rbrace"),
    _command("langle|lparen", "(", "(1,2)", r"\langle 1,2\rangle"),
    _command("rangle|rparen", ")", "(1,2)", r"\langle 1,2\rangle"),
    _command("lbrack", "[", "[1,2)", r"\lbrack 1,2)"),
    _command("rbrack", "]", "(1,2]", r"(1,2\rbrack"),
    _command("[lr]vert", "|", "|x|", r"\lvert x\rvert"),
    _sub(r"\\(?:leqslant|leqq|leq)(?![a-zA-Z])|<=", r"\\le ", "[2,3]", r"2 \leq x \leq 3"),
    _sub(r"\\(?:geqslant|geqq|geq)(?![a-zA-Z])|>=", r"\\ge ", r"[2,\infty)", r"x \geq 2"),
    _command("lt", "<", "(2,3)", r"2 \lt x \lt 3"),
    _command("gt", ">", r"(2,\infty)", r"x \gt 2"),
    _sub(r"\\neq(?![a-zA-Z])|(?<![0-9)}])!=", r"\\ne ", r"(-\infty,2)\cup(2,\infty)", r"x \neq 2"),
    _command("(?:long)?rightarrow|Rightarrow|implies|Longrightarrow", r"\to ", "42", r"x \rightarrow 42"),
    _sub(r":=", "=", "42", "x := 42"),
    _sub(r"\\(?:varnothing|empty)(?![a-zA-Z])|\\\{\s*\\\}", r"\\emptyset ", r"\emptyset", r"\varnothing"),
    _sub(r"\+\s*\\infty", r"\\infty", r"(1,\infty)", r"(1,+\infty)"),
    _command("varphi", r"\phi ", r"2\phi", r"2\varphi"),
    _sub(r"\\degrees?(?![a-zA-Z])|\^\s*\{\s*\\(?:circ|degree)\s*\}|\^\s*\\(?:circ|degree)(?![a-zA-Z])", r"^\\circ ",
         "45", r"45^{\circ}"),
    _sub(r"\^\\circ\s*(?:\\[,;:! ]\s*)?[CF](?![a-zA-Z])", r"^\\circ ", "100", r"100^\circ C"),
    _sub(r"(?<=[0-9])\s*\\text\s*\{\s*to\s*\}\s*(?=[0-9])", ":", "3:2", r"3\text{ to }2"),
    _sub(r"\(?\s?\\(?:text|mathrm)\s*\{\s*\(?\s*mod(?:ulo)?\s*\}\s*([0-9]+)\s*\)?", r"\\pmod{\1}",
         "42", r"42 \; \text{(mod } 100)"),
    _sub(r"\\R(?![a-zA-Z])", r"\\mathbb{R}", r"\mathbb{R}", r"\R"),
    _command("ast", "*", "42", r"6\ast 7"),
    _command("checkmark|blacksquare|square|qed|Box", " ", "42", r"42 \blacksquare"),
    _command("lor|vee|land|wedge", " , ", "1,2", r"x=1 \lor x=2"),
    _sub(r"\{\s?([0-9a-zA-Z+-]+)\s?\\choose\s?([0-9a-zA-Z+-]+)\s?\}", r"\\binom{\1}{\2}", "15", r"{6 \choose 2}"),
    _sub(r"\\(?:mathrm|text)\s*\{\s*([ei])\s*\}", r"\1 ", "3-4i", r"-4\mathrm{i}+3"),
    _sub(r"\\(?:mathrm|text|operatorname\*?)\s*\{\s*((?:arc)?(?:sin|cos|tan)|cot|csc|ln|lg|log|exp|gcd|lcm)\s*\}",
         r"\\\1 ",
         r"2\ln 2", r"\text{ln }4"),
    _sub(r"\\text\s*\{\s*(?:-|negative|minus)\s*\}", "-", "-3", r"\text{negative }3"),
    _sub(r"(?<=[0-9])(?:\s|~|\\[,;:! ])*(?:\\text\s*\{\s*)?(hundred|thousand|million|billion|trillion)(?![a-zA-Z])\s*",
         lambda m: f"\\times 10^{{{_MAGNITUDES[m.group(1)]}}}" + ("\\text{" if "{" in m.group() else " "),
         "3000000", r"3\text{ million}"),
    _sub(rf"\\(?:{_TEXTS})\s{{0,4}}\{{([^{{}}]*)\}}", lambda m: "\\text{" + m.group(1).replace("~", " ") + "}",
         "42", r"42\textbf{ cm}"),
    _sub(r"_\s?(?:\{\s?)?\\text\{\s*(" + "|".join(_BASES) + r")\s*\}(?:\s?\})?", lambda m: f"_{{{_BASES[m.group(1)]}}}",
         "17_8", r"17_{\text{eight}}"),
    _sub(r"\\text\{([^{}0-9]*)\}\s?/\s?\\text\{([^{}0-9]*)\}", r"\\text{\1/\2}", "60", r"60 \text{ km}/\text{h}"),
)  # fmt: skip

CONTENT = (
    _sub(r"\\\$|\\text\{\s*\\?\$\s*\}|\\(?:pounds|euro|texteuro|textdollar)(?![a-zA-Z])", " ", "42", r"\$42"),
    _sub(r"\\?%|(?:\\text\{\s*)?\b(?:percent|percentage|pct)\b\.?(?:\s*\})?", r"\\% ", "0.28", r"28 \text{ percent}"),
    # 1\,234  1{,}234  1,\!234  1~234: digits in groups of three, whatever stands between them but a bare comma.
    _sub(rf"(?<![0-9.,])[0-9]{{1,3}}(?:{_GAP}{{1,3}}[0-9]{{3}})+(?![0-9])", lambda m: re.sub(r"[^0-9]", "", m.group()),
         "1234", r"1\,234"),
    Rule(drop_label, "42", r"\text{(A) }42"),
    Rule(texts_as_separators, "1,2", r"1\text{ and }2"),
    Rule(drop_texts, "42", r"42\text{ cm}"),
    Rule(_without_bare_words, "42", "42 cm"),
    _sub(r"([_^])([0-9])\s+(?=[0-9])", r"\1{\2}", "3", r"\log_2 8"),
    _sub(r"(?<=[0-9])(?:\\[,;:! ]|~|\s|\\q?quad)+(?=[0-9])", ", ", "34", "3 4", False),
    _command("q?quad", " , ", "1,x", r"x \quad 1"),
    _sub(r"(?:\s*,(?:\s|\\[,;:! ]|~)*)+", lambda m: "," if m.group() == "," else ", ", r"\{1,234\}", r"1,\ 234"),
    _sub(r"^\s*([a-zA-Z]?)\s*\\(?:approx|simeq)(?![a-zA-Z])", r"\1=", "42", r"x \approx 42"),
    _sub(r"^(?:\s|[=:]|\\therefore(?![a-zA-Z]))+", "", "42", r"\therefore 42"),
    Rule(lambda text: _TRAIL.sub("", text), "x+1", "x+1."),
    Rule(_braced, r"\frac{1}{2}", r"\frac12"),
    Rule(_unspaced, "x+1", r"x\, + \,1"),
    Rule(_unbraced, "1,2", "{1,2}"),
)  # fmt: skip
