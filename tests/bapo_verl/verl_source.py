"""Reads verl's source, for the tests of what we rely on: the packages of most engines are not installed here."""

import ast
from functools import lru_cache
from pathlib import Path

import pytest
import verl
from hydra import compose, initialize_config_module

used_by = pytest.mark.used_by  # our files that rely on what a test checks


def source(module: str) -> str:
    """A module's source, without importing it: the packages of most engines are not installed here."""
    return (Path(verl.__file__).parents[1] / module.replace(".", "/")).with_suffix(".py").read_text()


@lru_cache
def engine_source(name: str) -> str:
    """The sources of one of verl's engines; with fsdp that of its variant FSDP-Turbo."""
    folder = Path(verl.__file__).parent / "workers" / "engine" / name
    return "\n".join(path.read_text() for path in sorted(folder.glob("*_impl.py")))


def functions(text: str) -> list[tuple[str, ast.FunctionDef]]:
    """(class, method) of every method in a source."""
    classes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)]
    return [(cls.name, node) for cls in classes for node in cls.body if isinstance(node, ast.FunctionDef)]


def arguments(text: str, cls: str, name: str) -> list[str]:
    """The names of a method's arguments, without self."""
    (method,) = [method for owner, method in functions(text) if (owner, method.name) == (cls, name)]
    return [argument.arg for argument in method.args.args[1:]]


def composed(*overrides: str):
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=1", *overrides])
