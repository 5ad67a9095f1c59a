r"""The grader as verl calls it: by path, by value, in Ray actors, by each reward manager, by main_eval."""

import asyncio
import os
import pickle
import subprocess
import sys

import cloudpickle
import numpy as np
import pytest
from verl.utils.import_utils import load_extern_object

from tests.reward.loaded import REWARD, ROOT, compute_score_sync, score
from tests.reward.test_hostile import all_right, mixed

pytestmark = pytest.mark.slow


@pytest.mark.used_by("reward/math_reward.py")
def test_survives_being_sent_to_another_process():
    """The `remote` manager sends the function by value; results travel by pickle."""
    code = (
        "import sys, cloudpickle; f = cloudpickle.load(sys.stdin.buffer);"
        r"print(f('t', r'\boxed{2\sqrt2}', r'\sqrt 8')['reason'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=cloudpickle.dumps(compute_score_sync), capture_output=True
    )
    assert done.stdout.decode().strip() == "correct", done.stderr.decode()
    assert type(pickle.loads(pickle.dumps(score("42", r"\boxed{42}")))) is dict


def test_imported_as_a_module(tmp_path):
    code = r"import reward.math_reward as m; print(m.compute_score_sync('t', r'\boxed{2\sqrt2}', r'\sqrt 8')['reason'])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "correct", done.stderr


def test_the_entry_point_of_main_eval_returns_a_float():
    compute_score_float = load_extern_object(str(REWARD), "compute_score_float")
    scores = [compute_score_float("t", response, "42") for response in (r"\boxed{42}", r"\boxed{41}")]
    assert scores == [1.0, 0.0] and {type(score) for score in scores} == {float}


@pytest.fixture(scope="module")
def ray_cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    yield ray
    ray.shutdown()


def test_in_a_ray_actor(ray_cluster):
    """As a RewardLoopWorker holds it: loaded by path in an actor with async methods."""
    path = str(REWARD)

    class Actor:
        def __init__(self):
            self.compute_score = load_extern_object(path, "compute_score")

        async def score_all(self, work):
            return await asyncio.gather(
                *(self.compute_score("t", text, gold, time_limit=2.0) for gold, text, _ in work)
            )

    work = mixed()
    actor = ray_cluster.remote(Actor).options(num_cpus=0).remote()
    all_right(work, ray_cluster.get(actor.score_all.remote(work)))


def _reward_config(name, **kwargs):
    from omegaconf import OmegaConf

    function = {"path": str(REWARD), "name": name, "reward_kwargs": kwargs}
    return OmegaConf.create({
        "reward": {"custom_reward_function": function, "num_workers": 1, "reward_kwargs": {}},
        "trainer": {"experiment_name": "test"},
    })  # fmt: skip


class Tokenizer:
    def decode(self, ids, skip_special_tokens):
        return "".join(chr(i) for i in ids)


def _batch(gold, text):
    import torch
    from verl import DataProto

    ids = torch.tensor([[ord(char) for char in text]])
    batch = DataProto.from_dict(
        tensors={"responses": ids, "attention_mask": torch.ones_like(ids)},
        non_tensors={
            "data_source": np.array(["aime"], dtype=object),
            "reward_model": np.array([{"ground_truth": gold}], dtype=object),
            "extra_info": np.array([{}], dtype=object),
        },
    )
    return batch


@pytest.mark.used_by("reward/math_reward.py")
@pytest.mark.parametrize("manager", ["naive", "dapo", "gdpo", "rate_limited", "remote"])
def test_reward_managers(manager, ray_cluster):
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.trainer.ppo.reward import get_custom_reward_fn

    config = _reward_config("compute_score_sync" if manager == "remote" else "compute_score", time_limit=4.0)

    async def run():
        reward = get_reward_manager_cls(manager)(config, Tokenizer(), get_custom_reward_fn(config))
        return [await reward.run_single(_batch(r"\sqrt{8}", text)) for text in (r"\boxed{2\sqrt2}", r"\boxed{3}")]

    right, wrong = asyncio.run(run())
    assert (right["reward_score"], wrong["reward_score"]) == (1.0, 0.0)
    assert right["reward_extra_info"]["reason"] == "correct" and wrong["reward_extra_info"]["reason_wrong"] == 1.0


def test_main_eval(ray_cluster):
    from verl.trainer.main_eval import process_item

    config = _reward_config("compute_score_float")
    responses = [r"\boxed{2\sqrt2}", r"\boxed{3}", r"\boxed{\sqrt8}", ""]
    source, mean = ray_cluster.get(process_item.remote(config, "aime", responses, {"ground_truth": r"\sqrt{8}"}))
    assert (source, mean) == ("aime", 0.5)
