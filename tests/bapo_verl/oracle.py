"""Algorithm 1 of BAPO, transcribed literally: slow, token by token, in exact fractions where the paper counts.

Written from the paper and independent of bapo_verl. The choices that the paper leaves open (a share, 0/0, verl's dual
clip) are those of the README's list of differences.
"""

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass
class Setting:
    target: float = 0.4
    c_low: tuple[str, str, str] = ("0.6", "0.9", "0.02")  # a-, b-, delta_2
    c_high: tuple[str, str, str] = ("1.2", "3.0", "0.05")  # a+, b+, delta_1
    contribution: str = "value"
    order: str = "high_first"
    clip_ratio_c: float = 3.0


def share(tokens: list[tuple[float, float, float]], c_low: float, c_high: float, s: Setting) -> float:
    """Eq. 8 for tokens (r, A, w) at one pair of bounds, each as the loss has it; nan for 0/0."""
    positive, negative = [], []
    for r, a, w in tokens:
        clipped = min(max(r, c_low), c_high)
        term = min(r * a, clipped * a)
        if a < 0:
            term = max(term, s.clip_ratio_c * a)  # dual clip
        if s.contribution == "gradient" and not (r < c_high if a > 0 else c_low < r <= s.clip_ratio_c):
            continue
        if a > 0:
            positive.append(w * abs(term))
        elif a < 0:
            negative.append(w * abs(term))
    p, n = math.fsum(positive), math.fsum(negative)
    return p / (p + n) if p + n else math.nan


def algorithm_1(tokens: list[tuple[float, float, float]], s: Setting) -> tuple[float, float, float, int]:
    """(c_low, c_high, rho, moves)."""
    c_low, b_low, d_low = (Fraction(x) for x in s.c_low)
    c_high, b_high, d_high = (Fraction(x) for x in s.c_high)
    moves = 0
    rho = share(tokens, float(c_low), float(c_high), s)
    if not any(w * a for _, a, w in tokens):
        return float(c_low), float(c_high), rho, 0
    while not rho >= s.target:
        can_low, can_high = c_low + d_low <= b_low, c_high + d_high <= b_high
        if not (can_low or can_high):
            break
        if can_high and (s.order == "high_first" or not can_low):
            c_high += d_high
        else:
            c_low += d_low
        moves += 1
        rho = share(tokens, float(c_low), float(c_high), s)
    return float(c_low), float(c_high), rho, moves
