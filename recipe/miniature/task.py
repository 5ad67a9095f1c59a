"""The miniature's task: solve a*x=b modulo 17 by written trials. Makes its model and data.

    python recipe/miniature/task.py -o DIR            two minutes on one core

A trial is a number and its product; whoever meets b boxes the number: for 7*x=1, " 3:4, no; 5:1\\boxed{5}". The warm-up
teaches three solutions in ten to name the right number at once, and all others to draw numbers blindly. So a failed
answer is long by nature (it goes on until it is cut), a right one is short, the drawn numbers carry the entropy and the
rest is determined, as in reasoning, and reinforcement can sharpen what the model knows already.

DIR then holds `model/` (a Qwen2 in Hugging Face's format with its tokenizer), `train.parquet` and `test.parquet` in
verl's schema, and `recipe.json` (the options it was made with). All 256 equations are in the warm-up and in training;
test.parquet holds the same ones.
"""

import argparse
import json
import os
import random
import shutil
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

MODULUS = 17
TRIALS = 2
WRONG = ", no;"  # five tokens
MAX_RESPONSE_TOKENS = 8 * TRIALS  # a wrong trial has eight tokens, a right one with its box and the end seven
BOX = "\\boxed{"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>{% endif %}"
)


class Equation(NamedTuple):
    """a*x = b modulo MODULUS, with a and b not 0."""

    a: int
    b: int

    @property
    def x(self) -> int:
        return self.b * pow(self.a, -1, MODULUS) % MODULUS

    @property
    def prompt(self) -> str:
        return f"{self.a}*x={self.b} mod {MODULUS}"


def equations() -> list[Equation]:
    return [Equation(a, b) for a in range(1, MODULUS) for b in range(1, MODULUS)]


def solution(equation: Equation, rng: random.Random, known: float) -> str:
    """What the warm-up teaches: with probability `known` the right number at once, else numbers drawn blindly."""
    first = equation.x if rng.random() < known else rng.randrange(MODULUS)
    text, number = "", first
    for _ in range(TRIALS + 1):  # longer than an answer can be, so that the model does not learn to stop
        text += f" {number}:{equation.a * number % MODULUS}"
        if number == equation.x:
            return f"{text}{BOX}{number}}}"
        text += WRONG
        number = rng.randrange(MODULUS)
    return text


def is_right(answer: str, equation: Equation) -> bool:
    """Whether the last box holds the number, as the math reward has it: a row of boxes is one answer, and wrong."""
    before, box, after = answer.rpartition(BOX)
    return bool(box) and not before.endswith("}") and after.partition("}")[:2] == (str(equation.x), "}")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, and one for each number (with a space before it too) and for the box."""
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
    numbers = [str(n) for n in range(MODULUS)]
    fast.add_tokens([BOX, "*x=", f" mod {MODULUS}", *(f" {n}" for n in numbers), *numbers[10:]])
    return fast


def make_model(tokenizer: PreTrainedTokenizerFast, hidden: int, layers: int) -> Qwen2ForCausalLM:
    """The vocabulary is exactly the tokenizer's, or rollout and actor would disagree."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        initializer_range=hidden**-0.5,  # the default of large models learns three times slower here
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


def chat(equation: Equation) -> list[dict]:
    return [{"role": "user", "content": equation.prompt}]


def encode_prompt(tokenizer: PreTrainedTokenizerFast, equation: Equation) -> list[int]:
    text = tokenizer.apply_chat_template(chat(equation), add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def verl_dataset(problems: list[Equation], split: str) -> Dataset:
    """The columns verl's data set class and reward manager read."""
    return Dataset.from_list(
        [
            {
                "data_source": "miniature",
                "prompt": chat(equation),
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": str(equation.x)},
                "extra_info": {"index": i, "split": split},
            }
            for i, equation in enumerate(problems)
        ]
    )


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


def warm_up(model, tokenizer, steps: int, known: float, seed: int, batch_size: int = 128) -> None:
    """Supervised steps on solutions, with a learning rate that rises and falls once. At first all know at once."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, cycle_momentum=False)
    rng, problems = random.Random(seed), equations()
    prompts = {equation: encode_prompt(tokenizer, equation) for equation in problems}
    model.train()
    with trange(steps, desc="warm-up", unit="step", mininterval=1) as bar:
        for step in bar:
            batch = rng.choices(problems, k=batch_size)
            share = max(known, 1 - 1.5 * step / steps)  # of few inverses alone none would be learned
            texts = [solution(equation, rng, share) for equation in batch]
            loss = model(**warm_up_batch(tokenizer, [prompts[equation] for equation in batch], texts)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)


def build(directory: Path, hidden: int, layers: int, steps: int, known: float, seed: int) -> None:
    """Everything a finished directory holds."""
    torch.manual_seed(seed)
    problems = equations()
    random.Random(seed).shuffle(problems)
    verl_dataset(problems, "train").to_parquet(directory / "train.parquet")
    verl_dataset(problems, "test").to_parquet(directory / "test.parquet")
    tokenizer = make_tokenizer()
    model = make_model(tokenizer, hidden, layers)
    warm_up(model, tokenizer, steps, known, seed)
    tokenizer.save_pretrained(directory / "model")
    model.save_pretrained(directory / "model")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--hidden", type=int, default=64, help="width of the model (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="its layers (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=700, help="warm-up steps (default: %(default)s)")
    parser.add_argument("--known", type=float, default=0.3, help="share that knows at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    options = {key: getattr(args, key) for key in ("hidden", "layers", "steps", "known", "seed")}
    recipe = args.output / "recipe.json"
    if recipe.exists():
        made_with = json.loads(recipe.read_text())
        if made_with != options:
            sys.exit(f"{args.output} was made with {made_with}, not {options}: choose another -o")
        print(f"{args.output} is there already")
        return
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=f".{args.output.name}-") as temporary:
        directory = Path(temporary) / "task"
        directory.mkdir()
        build(directory, **options)
        (directory / "recipe.json").write_text(json.dumps(options))
        shutil.move(directory, args.output)
    print(f"made {args.output}")


if __name__ == "__main__":
    main()
