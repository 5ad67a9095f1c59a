"""The file of the rehearsals, rehearsals.yaml, as commands."""

from pathlib import Path

import yaml

from tests.examples.stubs import EXAMPLES

FILE = yaml.safe_load(Path(__file__).with_name("rehearsals.yaml").read_text())
SCRIPTS, COMPOSED = FILE["scripts"], FILE["composed"]
BASE_TEMPLATE = SCRIPTS["octothinker_3b_fsdp"]["set"]["actor_rollout_ref.model.custom_chat_template"]["value"]


def script_of(name: str) -> Path:
    return EXAMPLES / f"run_bapo_{name}.sh"


def values(name: str) -> dict[str, object]:
    """What a rehearsal sets beside the platform, by key."""
    return {key: given["value"] for key, given in {**FILE["every_script"], **SCRIPTS[name]["set"]}.items()}


def overrides(name: str) -> list[str]:
    return ["+platform=cpu", *(f"{key}={value}" for key, value in values(name).items())]
