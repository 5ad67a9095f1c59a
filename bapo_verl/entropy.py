"""Computes the entropy (`actor.calculate_entropy=True`) without an autograd graph where its coefficient is 0.

verl keeps the graph even there. It takes 8 bytes for each token and vocabulary entry.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from verl.workers.engine import BaseEngine


@contextmanager
def without_entropy_graph(engine: BaseEngine, loss_function: Callable) -> Iterator[Callable]:
    """The engine computes the entropy under no_grad where it can. The loss function that is yielded detaches it anyway.

    Packed batches on FSDP, veOmni, TorchTitan and AutoModel call `compute_entropy_from_logits`, an attribute of the
    engine. For padded batches, and in Megatron, the engine builds the graph, which is freed when the loss is computed.
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
    output = arguments.get("model_output", {})  # under distillation verl also calls it with logits alone
    if "entropy" in output:  # in place: the engine keeps this dict, and with it the graph, until the backward pass
        output["entropy"] = output["entropy"].detach()
    return loss_function(**arguments)
