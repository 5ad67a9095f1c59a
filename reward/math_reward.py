"""A verl reward function for math: the content of the last \\boxed{} of the final text, graded by value.

    reward.custom_reward_function.path=/absolute/path/to/reward/math_reward.py
    reward.custom_reward_function.name=compute_score     # _sync for the manager `remote`, _float for main_eval
    +reward.custom_reward_function.reward_kwargs.time_limit=5  # grade.Options lists them all

The way of an answer, each step a file of this folder:

    response -- extract --> the last box -- latex, parse (quantity, realsets) --> a value
    value and the ground truth's value -- compare (realsets) --> verdict, here if written numbers and words decide it
                                       -- pool, worker: compare with algebra (identity, math-verify) --> verdict
    verdict -- grade --> the dict that verl gets

verl loads this file by path under a generated module name, and may send a function of it to another actor by value. So
nothing here may use a relative import, keep state in a global, or be pickled by name. The functions import the other
files of this folder from disk, as the modules of one private package per process. Run as a script, this file is a
worker. The rules of grading are in compare.py, the options in grade.py.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from zlib import crc32


def _sibling(name: str):
    """A module of this folder, loaded once per process under any module name of this file."""
    folder = Path(__file__).resolve().parent
    package = f"_math_reward_{crc32(str(folder).encode())}"  # the same name in a worker, which unpickles values
    if package not in sys.modules:
        spec = importlib.machinery.ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    return importlib.import_module(f"{package}.{name}")


async def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs) -> dict:
    """Grade one response, for the reward managers that await a coroutine: `naive`, `dapo`, `gdpo`, `rate_limited`.

    Args:
        data_source, extra_info: verl's; not used.
        solution_str: the response, without the prompt.
        ground_truth: the acceptable answer, or a JSON list of them.
        kwargs: grade.Options, from `reward_kwargs`.

    Returns:
        The keys grade.KEYS, always all of them: `score` (0.0 or 1.0), `acc`, `pred` (the normalised
        answer), `reason` and one 0/1 flag `reason_<reason>` for each, `grading_seconds`, `worker_killed`,
        `gold_unparsed`.

    Raises:
        ValueError: for a bad option; never for an answer.
    """
    return await _sibling("grade").grade_async(solution_str, ground_truth, **kwargs)


def compute_score_sync(data_source, solution_str, ground_truth, extra_info=None, **kwargs) -> dict:
    """The same for callers that refuse coroutines: the `remote` manager, and an evaluation in threads."""
    return _sibling("grade").grade(solution_str, ground_truth, **kwargs)


def compute_score_float(data_source, solution_str, ground_truth, extra_info=None, **kwargs) -> float:
    """1.0 or 0.0, for `verl.trainer.main_eval`, which takes the mean over what a reward function returns."""
    return compute_score_sync(data_source, solution_str, ground_truth, extra_info, **kwargs)["acc"]


def can_parse(ground_truth) -> bool:
    """Whether the grader can parse a gold. Data preparation reports one that it cannot parse."""
    return _sibling("grade").can_parse(ground_truth)


if __name__ == "__main__":
    _sibling("worker").main()
