"""`actor/entropy` without its graph, which verl makes at coefficient 0 too: 8 bytes a token and vocabulary entry."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from verl.workers.engine import BaseEngine


@contextmanager
def without_entropy_graph(engine: BaseEngine, loss_function: Callable) -> Iterator[Callable]:
    """Inside it the engine computes the entropy under no_grad where it lets us; the loss function cuts the graph off.

    Packed batches on FSDP, veOmni, TorchTitan and AutoModel call `compute_entropy_from_logits`, an attribute of the
    engine. Padded batches and Megatron's engines make the graph; it is dropped when the loss is computed.
    """
    compute = getattr(engine, "compute_entropy_from_logits", None)
    if compute is not None:
        engine.compute_entropy_from_logits = torch.no_grad()(compute)
    try:
        yield partial(_with_detached_entropy, loss_function)
    finally:
        if compute is not None:
            engine.compute_entropy_from_logits = compute


def _with_detached_entropy(loss_function: Callable, **arguments) -> Any:
    output = arguments.get("model_output", {})
    if "entropy" in output:
        output["entropy"] = output["entropy"].detach()
    return loss_function(**arguments)
