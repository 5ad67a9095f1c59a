"""The rehearsals against the runs that they stand for: the composed configs differ in the keys of the list alone.

So a new key of a recipe is rehearsed, or it is named in rehearsals.yaml.
"""

import re

import pytest
from omegaconf import OmegaConf
from verl.checkpoint_engine import CheckpointEngineRegistry

from tests.examples.stubs import SCRIPTS as ALL
from tests.examples.stubs import Stubs, overrides_of, variables
from tests.pipeline.rehearsals import COMPOSED, FILE, SCRIPTS, overrides, script_of, values
from tests.recipe.composing import composed, differing


@pytest.fixture
def compose_script(tmp_path):
    """The config that a script gives, with the run's names but for its time."""
    stubs = Stubs(tmp_path, "python3")

    def compose(name, *arguments, **changed):
        done, (call,) = stubs.run(script_of(name), *arguments, **variables(name, EXPERIMENT_NAME="run", **changed))
        assert done.returncode == 0, done.stderr
        run, given = overrides_of(call)
        return composed(run, *(o for o in given if not o.startswith("trainer.experiment_name")))

    return compose


def test_every_script_is_run_or_composed():
    assert {f"run_bapo_{name}" for name in (*SCRIPTS, *COMPOSED)} == {script.stem for script in ALL}
    assert all(rest["as"] in SCRIPTS for rest in COMPOSED.values())
    assert {script["ranks"] for script in SCRIPTS.values()} == {1, 2}


def test_every_override_has_a_reason():
    given = [FILE["every_script"], *(script["set"] for script in SCRIPTS.values())]
    assert all(one.keys() == {"value", "reason"} and one["reason"] for overrides in given for one in overrides.values())
    assert all(FILE["not_rehearsed"].values())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_rehearsal_differs_from_its_run_in_the_list_alone(name, compose_script):
    run = compose_script(name)
    rehearsal = compose_script(name, *overrides(name), NNODES="1", NGPUS_PER_NODE=str(SCRIPTS[name]["ranks"]))
    listed = FILE["not_rehearsed"].keys() | values(name).keys()
    assert differing(run, rehearsal) - listed == set()


def test_every_key_of_the_list_differs_somewhere(compose_script):
    seen = set()
    for name in SCRIPTS:
        ranks = {"NNODES": "1", "NGPUS_PER_NODE": str(SCRIPTS[name]["ranks"])}
        seen |= differing(compose_script(name), compose_script(name, *overrides(name), **ranks))
    assert FILE["not_rehearsed"].keys() - seen == set()


@pytest.mark.parametrize("name", COMPOSED)
def test_a_script_that_is_composed_differs_from_the_one_that_is_run_in_the_list_alone(name, compose_script):
    other = COMPOSED[name]["as"]
    assert differing(compose_script(name), compose_script(other)) == set(COMPOSED[name]["differs"])


def test_separate_async_ends_at_its_transfer_of_weights():
    """Why its script is composed and not run. When this fails, verl can move weights between pools without NCCL."""
    backend = OmegaConf.select(
        composed("r1_distill_qwen_7b_separate_async"), "actor_rollout_ref.rollout.checkpoint_engine.backend"
    )
    with pytest.raises(ValueError, match=re.escape(f"Checkpoint engine {backend} not registered")):
        CheckpointEngineRegistry.get(backend)
