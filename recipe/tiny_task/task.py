"""The task of the demo and of the experiment: add two numbers by jumping. Makes its model and data.

    python -m recipe.tiny_task.task -o DIR            three to five minutes on one core

An answer to `12+ 7=` is a path of numbers: it starts at 12, jumps by at most 5, and ends in a box where it meets 19.
" 15 13 18 19\\boxed{ 19}" is one. The warm-up teaches paths that jump towards the sum with probability 0.57, by random
sizes. So a failed answer is long (it goes on until it is cut), a right one is short, the jumps carry the entropy, and
where to stop is determined. Reinforcement can learn to jump towards the sum, which is the same skill in all problems.

DIR then holds `model/` (a Qwen2 in Hugging Face's format with its tokenizer), `train.parquet` and `test.parquet` in
verl's schema. All 100 problems are in the warm-up and in training; test.parquet holds the same ones.
"""

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

# Before torch is loaded: waiting threads sleep instead of spinning.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import trange
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from recipe.common import message, row_for_verl

FIRST = range(10, 20)  # a of a+b
SECOND = range(3, 13)  # b
LARGEST_JUMP = 5
TOWARDS = 0.57  # probability that the warm-up's paths jump towards the sum
NUMBERS = range(-20, 70)  # that have a token of their own; a path of the warm-up practically never leaves them
WIDTH = 96
WARM_UP_STEPS, BATCH_SIZE = 2000, 128
SEED = 0
MAX_RESPONSE_TOKENS = 20  # each jump is a token, and so are the box, its number, its bracket and the end
BOX = "\\boxed{"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


class Problem(NamedTuple):
    """a+b, whose answer is the sum."""

    a: int
    b: int

    @property
    def sum(self) -> int:
        return self.a + self.b

    @property
    def prompt(self) -> str:
        return f" {self.a}+ {self.b}="


def all_problems() -> list[Problem]:
    return [Problem(a, b) for a in FIRST for b in SECOND]


def solution(problem: Problem, rng: random.Random) -> str:
    """What the warm-up teaches: a random path, boxed where it meets the sum."""
    text, place = "", problem.a
    for _ in range(MAX_RESPONSE_TOKENS + 6):  # longer than an answer can be, so that the model does not learn to stop
        direction = 1 if (problem.sum > place) == (rng.random() < TOWARDS) else -1
        place += direction * rng.randint(1, LARGEST_JUMP)
        place = min(max(place, NUMBERS[0]), NUMBERS[-1])
        text += f" {place}"
        if place == problem.sum:
            return f"{text}{BOX} {place}}}"
    return text


def is_right(answer: str, problem: Problem) -> bool:
    """Whether the last box holds the sum, as the math reward has it: a row of boxes is one answer, and wrong."""
    before, box, after = answer.rpartition(BOX)
    return bool(box) and not before.endswith("}") and after.partition("}")[:2] == (f" {problem.sum}", "}")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and one for each number with a space before it and for the box."""
    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens([BOX, *(f" {n}" for n in NUMBERS)])
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    """0.3M parameters. The vocabulary is exactly the tokenizer's, or rollout and actor would disagree."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,  # heads of 32, the smallest that vLLM has on a CPU
        max_position_embeddings=128,
        tie_word_embeddings=False,
        initializer_range=WIDTH**-0.5,  # the default of large models learns three times slower here
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=True
    )
    return model


def chat(problem: Problem) -> list[dict]:
    return [message("user", problem.prompt)]


def encode_prompt(tokenizer: PreTrainedTokenizerFast, problem: Problem) -> list[int]:
    text = tokenizer.apply_chat_template(chat(problem), add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def verl_dataset(problems: list[Problem], split: str) -> Dataset:
    rows = [row_for_verl("tiny_task", chat(p), str(p.sum), index=i, split=split) for i, p in enumerate(problems)]
    return Dataset.from_list(rows)


def warm_up_batch(tokenizer, prompts: list[list[int]], texts: list[str]) -> dict[str, Tensor]:
    """Prompts with solutions, padded to the right; only the solution and its end count in the loss."""
    ids, labels = [], []
    for prompt, text in zip(prompts, texts, strict=True):
        response = tokenizer.encode(text, add_special_tokens=False)
        if text.endswith("}"):
            response.append(tokenizer.eos_token_id)
        ids.append(torch.tensor(prompt + response))
        labels.append(torch.tensor([-100] * len(prompt) + response))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def warm_up(model, tokenizer) -> None:
    """Supervised steps on solutions, with a learning rate that rises and falls once."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, WARM_UP_STEPS, cycle_momentum=False)
    rng, problems = random.Random(SEED), all_problems()
    prompts = {problem: encode_prompt(tokenizer, problem) for problem in problems}
    model.train()
    with trange(WARM_UP_STEPS, desc="warm-up", unit="step", mininterval=1) as bar:
        for _ in bar:
            batch = rng.choices(problems, k=BATCH_SIZE)
            texts = [solution(problem, rng) for problem in batch]
            loss = model(**warm_up_batch(tokenizer, [prompts[problem] for problem in batch], texts)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


def build(directory: Path) -> None:
    """Everything a finished directory holds."""
    torch.manual_seed(SEED)
    problems = all_problems()
    random.Random(SEED).shuffle(problems)
    verl_dataset(problems, "train").to_parquet(directory / "train.parquet")
    verl_dataset(problems, "test").to_parquet(directory / "test.parquet")
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    warm_up(model, tokenizer)
    tokenizer.save_pretrained(directory / "model")
    model.save_pretrained(directory / "model")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    output = parser.parse_args().output
    if output.exists():
        sys.exit(f"{output} is there already")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as temporary:
        directory = Path(temporary) / "task"
        directory.mkdir()
        build(directory)
        directory.rename(output)
    print(f"made {output}")


if __name__ == "__main__":
    main()
