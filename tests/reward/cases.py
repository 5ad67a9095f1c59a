r"""Answers graded by hand: the lines of cases.tsv, (ground truth, what the model wrote, whether it is right, why).

The verdicts follow mathematics first and the rules in reward/compare.py where mathematics leaves a choice. Most forms
come from what was measured to go wrong in verl's scorers and math-verify (issues named in the reasons), or from real
models' answers. The table has the content of the box, or a whole response that has a box or think tags, or is of the
set "responses". There ⏎ stands for the end of a line and ␀ for a NUL.
"""

from pathlib import Path

_WHOLE = ("\\boxed", "\\fbox", "think>")
_LINES = (Path(__file__).parent / "cases.tsv").read_text(encoding="utf-8").split("\n")[1:-1]


def _case(line: str) -> tuple[str, str, bool, str]:
    group, verdict, gold, text, why = line.replace("\u23ce", "\n").replace("\u2400", "\0").split("\t")
    whole = group == "responses" or any(mark in text for mark in _WHOLE)
    response = text if whole else f"Therefore the answer is $\\boxed{{{text}}}$."
    return gold, response, verdict == "right", f"{group}: {why}"


CASES = [_case(line) for line in _LINES]
OLDER = [case for case in CASES if case[3].startswith(  # from before the rules were written down
    ("integers", "numbers", "expressions", "collections", "words", "holes", "responses"))]  # fmt: skip
