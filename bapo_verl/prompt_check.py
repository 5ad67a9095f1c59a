"""Whether a run's tokenizer makes prompts and keeps text, checked on the driver before Ray starts.

verl 0.9.1 drops each prompt that the chat template cannot make, all of them where a base model has no template, and
then ends in `num_samples=0`. transformers 5 gives a model of type `llama` the pipeline of SentencePiece when its
tokenizer_config.json says LlamaTokenizerFast; a byte-level tokenizer.json then loses every space, without a word
(huggingface/transformers issues 45488 and 46710; seen with 5.10.4).
"""

import transformers
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from verl.utils.fs import copy_to_local
from verl.utils.tokenizer import hf_tokenizer

SAMPLE = "a + b\n= 12"


class PromptCheck(Callback):
    """Hydra callback, named in recipe/config/math.yaml and evaluate.yaml."""

    def on_job_start(self, config: DictConfig, **kwargs) -> None:
        """Called with the composed config, before verl's main function.

        Raises:
            SystemExit: when verl would drop every prompt, or train on text without spaces. (Hydra turns any other
                exception of a callback into a warning: a tokenizer that does not load is verl's to report.)
        """
        model = config.actor_rollout_ref.model
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
