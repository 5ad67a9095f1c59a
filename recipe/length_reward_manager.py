"""verl's naive reward manager, which also says how long each answer is and whether it was cut off.

verl's dump of a validation has the text of an answer but neither its tokens nor its end. A reward manager sees both,
and every key that it returns travels into the dump:

    reward.reward_manager.source=importlib
    reward.reward_manager.name=LengthRewardManager
    reward.reward_manager.module.path=/absolute/path/to/recipe/length_reward_manager.py
"""

import time

from verl.experimental.reward_loop.reward_manager import NaiveRewardManager


class LengthRewardManager(NaiveRewardManager):
    """Adds `response_tokens` and `cut_off` (0 or 1), and prints a count at most once a second."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ends = set(self.tokenizer.all_special_ids)  # a model may stop with another token than the tokenizer's eos
        self.answers, self.printed = 0, 0.0

    async def run_single(self, data) -> dict:
        result = await super().run_single(data)
        item = data[-1]
        response = item.batch["responses"]
        tokens = int(item.batch["attention_mask"][-len(response) :].sum())
        ended = tokens > 0 and int(response[tokens - 1]) in self.ends
        result["reward_extra_info"] |= {"response_tokens": tokens, "cut_off": int(not ended)}
        self.count()
        return result

    def count(self) -> None:
        self.answers += 1
        if time.monotonic() - self.printed >= 1:
            self.printed = time.monotonic()
            print(f"[length] {self.answers} answers", flush=True)
