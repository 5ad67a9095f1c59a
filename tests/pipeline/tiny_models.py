"""Models of 0.1M parameters for the rehearsals, as they come from their initialization: nothing is trained.

With a vocabulary of 42 tokens and weights near zero, an answer is a row of random tokens that ends after 42 of them on
average. One token is `</think>` and two are boxes, so that about a tenth of the answers are right, and a group of 16
mostly has both kinds.
"""

from pathlib import Path

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

# As DeepSeek-R1's: it opens the thoughts of the answer.
R1_TEMPLATE = (
    "{% for message in messages %}{{ '<｜User｜>' + message.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)


def tokenizer(chat_template: str | None) -> PreTrainedTokenizerFast:
    """Byte-level, as Qwen's and Llama's, with some of the bytes; `Ġ` is the space and `Ċ` the end of a line."""
    vocabulary = {byte: i for i, byte in enumerate(["Ġ", "Ċ", *"abcdefghijklmnopx0123456789+=?.<>{}"])}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<｜end▁of▁sentence｜>",
        pad_token="<|endoftext|>",  # transformers gives every Qwen2 this one
        chat_template=chat_template,
        clean_up_tokenization_spaces=False,
    )
    fast.add_tokens(["</think>", "\\boxed{1}", "\\boxed{2}"])
    return fast


def save(directory: Path, config: type, model: type, tied: bool, chat_template: str | None) -> None:
    own = tokenizer(chat_template)
    torch.manual_seed(0)
    shape = config(
        vocab_size=len(own),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,  # of 32, the smallest that vLLM has on a CPU
        max_position_embeddings=131072,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=own.eos_token_id,
        pad_token_id=own.pad_token_id,
        dtype="float32",
    )
    model(shape).save_pretrained(directory)
    own.save_pretrained(directory)


def save_problems(path: Path, number: int) -> None:
    """In verl's schema."""
    Dataset.from_list(
        [
            {
                "data_source": "tiny",
                "prompt": [{"role": "user", "content": f"{i}+{i}=?"}],
                "ability": "math",
                "reward_model": {"style": "rule", "ground_truth": str(1 + i % 2)},
                "extra_info": {"index": i, "split": path.stem},
            }
            for i in range(number)
        ]
    ).to_parquet(path)


def save_all(directory: Path) -> None:
    """`qwen2` has untied embeddings and R1's template, `llama` tied ones and none, as a base model."""
    save(directory / "qwen2", Qwen2Config, Qwen2ForCausalLM, tied=False, chat_template=R1_TEMPLATE)
    save(directory / "llama", LlamaConfig, LlamaForCausalLM, tied=True, chat_template=None)
    save_problems(directory / "train.parquet", 32)
    save_problems(directory / "few.parquet", 4)
