r"""Extracts the answer from a response. Pure functions in linear time: they run on the event loop, on text that may be
adversarial. The rules are in compare.py.
"""

import json
import re

NO_ANSWER, OVER_LENGTH = "[NO_ANSWER]", "[OVER_LENGTH]"  # the values of `pred` where there is no answer
MAX_BOXES = 64  # more in a row than this are not a list

_BRACE = re.compile(r"\\.|[{}]", re.S)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s{0,8}\{")
_BOXED_TOKEN = re.compile(r"\\boxed\s{0,8}([0-9A-E])(?![0-9a-zA-Z^_({\\]|[.,][0-9])")  # TeX boxes one token: \boxed 5
_BETWEEN = re.compile(  # text allowed between two boxes of one list (rule 2)
    r"(?:[\s$,;&|/*~.:\-\u3001\uff0c\uff1b]"
    r"|\\[\[\]()\\,;:! ]|\\q?quad|\\(?:text|mbox|textbf)\{|\}|\\(?:lor|vee|land|wedge)(?![a-zA-Z])"
    r"|(?:or|and|also|either|both|possibly|maybe|perhaps|alternatively|else|option|case|answer|solution|candidate)s?\b"
    r"|\(?(?:[0-9]{1,2}|[a-zA-Z]|i{2,3}|iv)[.):])*"
)


def final_text(response: str, thinking: bool = False) -> str | None:
    """The text after the last `</think>`, or None if `<think>` is never closed.

    Args:
        response: the model's text, without the prompt.
        thinking: True where the chat template itself opens `<think>` in the prompt, so that a response without
            `</think>` was cut off.

    >>> final_text("<think>5?</think> so 6"), final_text("<think> 5"), final_text("7", thinking=True)
    (' so 6', None, None)
    """
    closed = response.rfind("</think>")
    if closed < 0 and thinking:
        return None
    text = response[closed + len("</think>") :] if closed >= 0 else response
    return None if "<think>" in text else text


# "3 cm and y =", "41 apples or": a short phrase that ends in a list word, without a correction
_PHRASE = re.compile(r"(?:[^.!?\n\\]|\\[()\[\],; ]|\\text\{|\\q?quad){0,50}?(?:\b(?:or|and)\b|[,\u3001\uff0c])"
                     r"(?:[\s$}]|\\[(,; ]|\\q?quad)*"
                     r"(?:[a-zA-Z](?:_\{?[a-zA-Z0-9]{1,3}\}?)?(?:\([^()=]{1,30}\))?\s*=\s*)?")  # fmt: skip
_TAKEN_BACK = re.compile(
    r"(?i)\b(?:wait|no|not|nope|actually|but|so|then|thus|hence|therefore|which|that|instead|rather|sorry|wrong|incorrect|"
    r"correct|correction|recheck|check|is|was|be|are|gives?|giving|we|get|finally|yields?|now|because|since|if|when)\b"
)


def _is_list_gap(gap: str) -> bool:
    """Whether the text between two boxes makes them one list (rule 2)."""
    if len(gap) > 80:
        return False
    return bool(_BETWEEN.fullmatch(gap)) or bool(_PHRASE.fullmatch(gap) and not _TAKEN_BACK.search(gap))


def closing_brace(text: str, start: int, limit: int) -> int | None:
    """Index of the brace that closes the one before `start`; None if it is not within `limit` characters."""
    depth = 1
    for token in _BRACE.finditer(text, start, min(len(text), start + limit)):
        if token.group() == "{":
            depth += 1
        elif token.group() == "}":
            depth -= 1
            if depth == 0:
                return token.start()
    return None


def _boxes_from_the_end(text: str):
    """(start, content start) of each `\\boxed{` or `\\fbox{`, last first. Those without a brace are skipped."""
    end = len(text)
    while (end := text.rfind("box", 0, end)) >= 0:  # one search for both, so that each character is seen once
        start = end - 1 if text.startswith("\\boxed", end - 1) else text.rfind("\\", max(0, end - 6), end)
        if start >= 0 and (match := _BOX.match(text, start)):
            yield match.start(), match.end()


def last_boxes(text: str, max_chars: int) -> list[str] | None:
    r"""Contents of the last non-empty box, preceded by the boxes that are listed right before it (rule 2).

    Returns:
        The contents, in reading order. None if there is no box, or the last one never closes. A content may be longer
        than `max_chars`; the caller refuses it.

    >>> last_boxes(r"first \boxed{1}, no: \boxed{2} or $\boxed{3}$ (in \boxed{})", 100)
    ['2', '3']
    """
    contents: list[str] = []
    first_start, last_end = None, None
    text = _BOXED_TOKEN.sub(r"\\boxed{\1}", text)
    for start, inside in _boxes_from_the_end(text):
        # The last box may have any length, which the caller then refuses. Earlier ones matter only if they are short.
        limit = len(text) if first_start is None else max_chars + last_end - start
        end = closing_brace(text, inside, limit)
        if first_start is None:
            if end is None:
                return None
            if text[inside:end].strip():
                contents, first_start, last_end = [text[inside:end]], start, end
        elif end is not None and end > last_end:  # this box encloses the one found before: \boxed{x = \boxed{2}}
            contents, first_start, last_end = [text[inside:end]], start, end
            if end - inside > max_chars:  # too long already: a search for an enclosing box would take quadratic time
                break
        elif end is None or not _is_list_gap(text[end + 1 : min(first_start, end + 100)]):
            break
        elif text[inside:end].strip():
            contents.insert(0, text[inside:end])
            first_start = start
            if len(contents) == MAX_BOXES:
                break
    return contents or None


_STATED = re.compile(r"(?i)(?:answer|result)\s{0,3}(?:is|:|=)\s{0,3}")


def unboxed_answer(text: str) -> str | None:
    """What follows the last "answer is" or "answer:", to the end of its sentence (`allow_unboxed`).

    >>> unboxed_answer("So the answer is $42$. Bye.")
    '$42$'
    """
    last = None
    for last in _STATED.finditer(text):  # noqa: B007 (the last match is what is wanted)
        pass
    if last is None:
        return None
    line = text[last.end() : last.end() + 400].split("\n", 1)[0]
    return re.split(r"\.(?:\s|$)", line, maxsplit=1)[0].strip(" *`") or None


def acceptable(ground_truth) -> list[str]:
    r"""The answers that count as right: one string, or a JSON list of strings (Skywork), or a list of them.

    >>> acceptable('["\\\\frac{1}{2}", "0.5"]'), acceptable("[0, 1]"), acceptable(7)
    (['\\frac{1}{2}', '0.5'], ['[0, 1]'], ['7'])
    """
    if hasattr(ground_truth, "tolist"):  # parquet gives numpy arrays and scalars
        ground_truth = ground_truth.tolist()
    if isinstance(ground_truth, (list, tuple)):
        return [str(gold) for gold in ground_truth]
    text = str(ground_truth)
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except ValueError:  # an interval or a LaTeX list: [0, \infty)
            return [text]
        if isinstance(values, list) and values and all(isinstance(value, str) for value in values):
            return values
    return [text]
