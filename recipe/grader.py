"""The repository's grader for the scripts of this folder."""

import importlib.util
from pathlib import Path
from types import ModuleType

REWARD = Path(__file__).resolve().parents[1] / "reward" / "math_reward.py"


def load_reward() -> ModuleType:
    """reward/math_reward.py, by path as verl loads it."""
    spec = importlib.util.spec_from_file_location("math_reward", REWARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
