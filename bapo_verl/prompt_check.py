"""Whether a run's model is there, and its tokenizer makes prompts and keeps text.

verl 0.9.1 drops each prompt that the chat template cannot make, all of them where a base model has no template, and
then ends in `num_samples=0`. transformers 5 gives a model of type `llama` the pipeline of SentencePiece when its
tokenizer_config.json says LlamaTokenizerFast; a byte-level tokenizer.json then loses every space, without a word
(huggingface/transformers issues 45488 and 46710; seen with 5.10.4).
"""

from pathlib import Path

import transformers
from omegaconf import DictConfig
from verl.utils.fs import copy_to_local
from verl.utils.tokenizer import hf_tokenizer

SAMPLE = "a + b\n= 12"
VOCABULARIES = ["tokenizer.json", "vocab*", "*.model", "*.tiktoken"]


def check_folder(key: str, name: str, patterns: list[str]) -> None:
    """A folder with a file of one of these names, or the name of a model on the hub.

    Raises:
        SystemExit: for a path that is no such folder.
    """
    folder, key = Path(name).expanduser(), f"actor_rollout_ref.model.{key}"
    if folder.is_dir():
        if not any(True for pattern in patterns for _ in folder.glob(pattern)):
            raise SystemExit(f"{key}={name} must have a file {' or '.join(patterns)}, and has none")
    elif "://" not in name and (name.startswith(("/", "~", ".")) or name.count("/") > 1):
        raise SystemExit(f"{key}={name} must be a folder, or the name of a model on the hub: there is no such folder")


def check_model(config: DictConfig) -> None:
    """
    Raises:
        SystemExit: when model or tokenizer are not there, when verl would drop every prompt, or train on text without
            spaces. (A tokenizer that does not load is verl's to report.)
    """
    model = config.actor_rollout_ref.model
    check_folder("path", model.path, ["config.json"])
    check_folder("tokenizer_path" if model.tokenizer_path else "path", model.tokenizer_path or model.path, VOCABULARIES)
    path = copy_to_local(model.tokenizer_path or model.path)
    tokenizer = hf_tokenizer(path, trust_remote_code=model.trust_remote_code)
    if not (tokenizer.chat_template or model.custom_chat_template):
        raise SystemExit(
            f"actor_rollout_ref.model.path={model.path}: its tokenizer has no chat template, and verl would drop "
            "every prompt. Set actor_rollout_ref.model.custom_chat_template."
        )
    decoded = tokenizer.decode(tokenizer.encode(SAMPLE, add_special_tokens=False))
    if decoded.split() != SAMPLE.split():
        raise SystemExit(
            f"actor_rollout_ref.model.path={model.path}: transformers {transformers.__version__} loads its "
            f"tokenizer as {type(tokenizer).__name__}, which turns {SAMPLE!r} into {decoded!r}. In a copy set "
            '"tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json.'
        )
