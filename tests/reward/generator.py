r"""The table of reward/README.md: generated wrong answers and equal forms, ours beside math-verify (twenty minutes).

python -m tests.reward.generator
"""

from tests.reward.equal_forms import equal_pairs
from tests.reward.wrong_answers import wrong_pairs


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

    from tqdm import tqdm

    from tests.reward.test_generator import graded

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
