"""The tokenizer's check on the driver, with real tokenizers: small ones in the files of Hugging Face's format."""

import json

import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer, LlamaConfig, Qwen2Config

from bapo_verl.prompt_check import SAMPLE, check_model
from tests.pipeline.tiny_models import R1_TEMPLATE, tokenizer


@pytest.fixture
def model(tmp_path):
    """A folder with a config.json and a byte-level tokenizer, whose class is what a hub's file says."""

    def make(config, chat_template=R1_TEMPLATE, tokenizer_class=None):
        config(vocab_size=64).save_pretrained(tmp_path)
        tokenizer(chat_template).save_pretrained(tmp_path)
        if tokenizer_class:
            path = tmp_path / "tokenizer_config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": tokenizer_class}))
        return str(tmp_path)

    return make


def check(path, **model):
    node = {"path": path, "tokenizer_path": None, "trust_remote_code": False, "custom_chat_template": None, **model}
    check_model(OmegaConf.create({"actor_rollout_ref": {"model": node}}))


@pytest.mark.parametrize("config", [Qwen2Config, LlamaConfig])
def test_a_tokenizer_that_makes_prompts_and_keeps_text_passes(config, model):
    check(model(config))


def test_a_base_model_without_a_chat_template_is_refused_until_it_gets_one(model):
    path = model(LlamaConfig, chat_template=None)
    with pytest.raises(SystemExit, match=rf"path={path}: .*no chat template, .* Set .*model\.custom_chat_template"):
        check(path)
    check(path, custom_chat_template="{{ messages[0].content }}")


def test_a_llama_whose_tokenizer_loses_its_spaces_is_refused_until_its_class_is_changed(model):
    """Fails when transformers keeps tokenizer.json's pipeline: then this half of the check can go."""
    path = model(LlamaConfig, tokenizer_class="LlamaTokenizerFast")
    assert AutoTokenizer.from_pretrained(path).decode(AutoTokenizer.from_pretrained(path).encode(SAMPLE)) == "a+b=12"
    with pytest.raises(SystemExit, match=r"as LlamaTokenizer, which turns 'a \+ b\\n= 12' into 'a\+b=12'"):
        check(path)
    check(model(LlamaConfig, tokenizer_class="PreTrainedTokenizerFast"))  # what the message says


def test_deepseeks_distilled_qwens_say_the_same_class_and_keep_their_spaces(model):
    """The paper's models: transformers goes by the type qwen2."""
    check(model(Qwen2Config, tokenizer_class="LlamaTokenizerFast"))


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("/no/model", r"model\.path=/no/model must be a folder, or the name of a model on the hub"),
        ("{}/empty", r"model\.path=.*/empty must have a file config\.json, and has none"),
        ("{}/weights", r"model\.path=.*/weights must have a file tokenizer\.json or vocab\* or .*, and has none"),
    ],
)
def test_a_folder_that_is_no_model_is_a_sentence(path, rule, tmp_path):
    (tmp_path / "empty").mkdir()
    Qwen2Config().save_pretrained(tmp_path / "weights")
    with pytest.raises(SystemExit, match=rule):
        check(path.format(tmp_path))
