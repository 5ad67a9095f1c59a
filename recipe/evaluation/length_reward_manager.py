"""verl's naive reward manager, which also says how long each answer is and whether it was cut off.

verl's dump of a validation has the text of an answer but neither its tokens nor its end. A reward manager sees both,
and every key that it returns travels into the dump. It also sees the prompt, and with it whether an answer begins
inside the model's thoughts:

    reward.reward_manager.source=importlib
    reward.reward_manager.name=LengthRewardManager
    reward.reward_manager.module.path=/absolute/path/to/recipe/evaluation/length_reward_manager.py
"""

from copy import copy
from functools import partial
from pathlib import Path
from uuid import uuid4

from verl.experimental.reward_loop.reward_manager import NaiveRewardManager

COUNTER = ".answered"


def opens_thoughts(prompt: str) -> bool:
    """Whether the chat template opened `<think>`: an answer that never closes it was cut off in its thoughts."""
    return prompt.rstrip().endswith("<think>")


class LengthRewardManager(NaiveRewardManager):
    """Adds `response_tokens` and `cut_off` (0 or 1), and a byte per answer to a file of its own beside the dump."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.ends = set(self.tokenizer.all_special_ids)  # a model may stop with another token than the tokenizer's eos
        self.counter = Path(self.config.trainer.validation_data_dir) / f"{COUNTER}-{uuid4().hex}"

    async def run_single(self, data) -> dict:
        item = data[-1]
        prompt = self.tokenizer.decode(item.batch["prompts"], skip_special_tokens=True)
        grader = copy(self)  # of this answer alone: others are graded at the same time
        grader.compute_score = partial(self.compute_score, thinking=opens_thoughts(prompt))
        result = await super(LengthRewardManager, grader).run_single(data)
        response = item.batch["responses"]
        tokens = int(item.batch["attention_mask"][-len(response) :].sum())
        ended = tokens > 0 and int(response[tokens - 1]) in self.ends
        result["reward_extra_info"] |= {"response_tokens": tokens, "cut_off": int(not ended)}
        self.count()
        return result

    def count(self) -> None:
        """One byte more: evaluate.py adds up the sizes. Ray's log would fold equal lines of several workers."""
        if self.counter.parent.is_dir():  # on another node without this file system the bar stands still
            with open(self.counter, "ab") as counter:
                counter.write(b".")
