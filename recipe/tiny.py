"""Makes a model and data small enough to run the whole of verl on two cores.

    python recipe/tiny.py -o DIR            two to five minutes on two cores
    python recipe/tiny.py -o DIR --tied     with tied embeddings

The warm-up teaches a slip: half of its worked solutions have a wrong product and look at it twice. So the model is
unsure at one place, its failed answers are longer than its right ones, as in the paper's Fig. 6, and there is something
that reinforcement can unlearn: sampling, it is right two times in five.

DIR then holds `model/` (a Qwen2 of 0.8M parameters with a byte-level tokenizer, in Hugging Face's format),
`train.parquet` and `test.parquet` (problems `a+b*c` in verl's schema) and `recipe.json` (the options it was made
with).

A finished DIR made with the same options is left alone; an interrupted run leaves nothing behind.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

# Before torch is loaded: waiting threads sleep instead of spinning, five times faster where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.utils.rnn import pad_sequence
from tqdm import trange
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

PROMPT = "{a}+{b}*{c}=?"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MAX_RESPONSE_TOKENS = 48
TEST_SIZE = 128
SLIPS = (-2, -1, 1, 2)  # how far off a wrong product is


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte ("\\n" too: verl looks it up), and three special ones."""
    vocabulary = {byte: i for i, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, tied: bool) -> Qwen2ForCausalLM:
    """0.8M parameters. The vocabulary is exactly the tokenizer's, or rollout and actor would disagree."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        initializer_range=0.08,  # about 1/sqrt(hidden_size); the default of large models learns three times slower here
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


def make_problems(seed: int) -> list[tuple[int, int, int]]:
    """Every a+b*c of the range once, in an order that the seed decides."""
    problems = [(a, b, c) for a in range(10, 50) for b in range(2, 10) for c in range(2, 10)]
    random.Random(seed).shuffle(problems)
    return problems


def solution(a: int, b: int, c: int, slip: int = 0) -> str:
    """What the warm-up teaches: the product, the sum, the box; with a slip, the wrong product twice."""
    product = b * c + slip
    again = f"{b}*{c}={product}, " if slip else ""
    return f"{b}*{c}={product}, {again}{a}+{product}={a + product}. \\boxed{{{a + product}}}"


def chat(problem: tuple[int, int, int]) -> list[dict]:
    a, b, c = problem
    return [{"role": "user", "content": PROMPT.format(a=a, b=b, c=c)}]


def verl_dataset(problems: list[tuple[int, int, int]], split: str) -> Dataset:
    """The columns verl's data set class and reward manager read."""
    return Dataset.from_list(
        [
            {
                "data_source": "tiny_arithmetic",
                "prompt": chat((a, b, c)),
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": str(a + b * c)},
                "extra_info": {"index": i, "split": split},
            }
            for i, (a, b, c) in enumerate(problems)
        ]
    )


def encode_prompt(tokenizer: PreTrainedTokenizerFast, problem: tuple[int, int, int]) -> list[int]:
    text = tokenizer.apply_chat_template(chat(problem), add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def collate(
    tokenizer: PreTrainedTokenizerFast, problems: list[tuple[int, int, int]], slips: list[int]
) -> dict[str, torch.Tensor]:
    """Prompts with worked solutions, padded to the right; only the solution and its end count in the loss."""
    ids, labels = [], []
    for problem, slip in zip(problems, slips, strict=True):
        prompt = encode_prompt(tokenizer, problem)
        response = tokenizer.encode(solution(*problem, slip), add_special_tokens=False) + [tokenizer.eos_token_id]
        ids.append(torch.tensor(prompt + response))
        labels.append(torch.tensor([-100] * len(prompt) + response))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def warm_up(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: list,
    steps: int,
    slips: float,
    seed: int,
    batch_size: int = 64,
) -> None:
    """Supervised steps on worked solutions, with a learning rate that rises and falls once."""
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps, cycle_momentum=False)
    rng = random.Random(seed)
    model.train()
    with trange(steps, desc="warm-up", unit="step") as bar:
        for _ in bar:
            slip = [rng.choice(SLIPS) if rng.random() < slips else 0 for _ in range(batch_size)]
            loss = model(**collate(tokenizer, rng.sample(problems, batch_size), slip)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}")


def is_right(answer: str, problem: tuple[int, int, int]) -> bool:
    a, b, c = problem
    return answer.endswith(f"\\boxed{{{a + b * c}}}")


@torch.no_grad()
def sampling_accuracy(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, problems: list) -> float:
    """Share of problems answered right by one sample at temperature 1."""
    model.eval()
    prompts = [torch.tensor(encode_prompt(tokenizer, problem)) for problem in problems]
    ids = pad_sequence(prompts, batch_first=True, padding_value=tokenizer.pad_token_id, padding_side="left")
    output = model.generate(
        input_ids=ids,
        attention_mask=(ids != tokenizer.pad_token_id).long(),
        max_new_tokens=MAX_RESPONSE_TOKENS,
        top_k=0,
    )
    answers = tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return sum(map(is_right, answers, problems)) / len(problems)


def build(directory: Path, tied: bool, steps: int, slips: float, train_size: int, seed: int) -> None:
    """Everything a finished directory holds."""
    torch.manual_seed(seed)
    problems = make_problems(seed)
    test, train = problems[:TEST_SIZE], problems[TEST_SIZE : TEST_SIZE + train_size]
    verl_dataset(train, "train").to_parquet(directory / "train.parquet")
    verl_dataset(test, "test").to_parquet(directory / "test.parquet")

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, tied)
    warm_up(model, tokenizer, train, steps, slips, seed)
    print(f"sampling accuracy on {TEST_SIZE} test problems: {sampling_accuracy(model, tokenizer, test):.0%}")
    tokenizer.save_pretrained(directory / "model")
    model.save_pretrained(directory / "model")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tied", action="store_true", help="tie the embeddings")
    parser.add_argument("--steps", type=int, default=600, help="warm-up steps (default: %(default)s)")
    parser.add_argument("--slips", type=float, default=0.5, help="share of wrong solutions (default: %(default)s)")
    parser.add_argument("--train-size", type=int, default=2048, help="training problems (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--force", action="store_true", help="make DIR anew")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    options = {key: getattr(args, key) for key in ("tied", "steps", "slips", "train_size", "seed")}
    recipe = args.output / "recipe.json"
    if recipe.exists() and not args.force:
        made_with = json.loads(recipe.read_text())
        if made_with != options:
            sys.exit(f"{args.output} was made with {made_with}, not {options}: choose another -o, or --force")
        print(f"{args.output} is there already (--force makes it anew)")
        return

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a terminated run, too, removes what it began
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.output.parent, prefix=f".{args.output.name}-") as temporary:
        directory = Path(temporary) / "tiny"
        directory.mkdir()
        build(directory, **options)
        (directory / "recipe.json").write_text(json.dumps(options))
        if recipe.exists():  # only what this script has made is ever removed
            shutil.rmtree(args.output)
        directory.rename(args.output)
    print(f"made {args.output}")


if __name__ == "__main__":
    main()
