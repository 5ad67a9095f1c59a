"""Weight sync into vLLM's CPU engine. Permanent: packed weights are how that engine works.

After loading, vLLM packs a linear layer's weight for oneDNN and drops the original, so verl's in-place update finds
no parameter to write to. vLLM's own `reload_weights` restores every layer, loads it and packs it again, but wants
all weights of a sync at once.
"""

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead


class CpuWorkerExtension(vLLMColocateWorkerExtension):
    """verl's extension of a vLLM worker, with the weights of one sync collected and loaded together."""

    def update_weights_from_ipc(self, peft_config: dict = None, base_sync_done=False, use_shm: bool = False):
        """Receive every bucket, then reload the model.

        Raises:
            NotImplementedError: for a LoRA adapter (vLLM's reload is for whole models).
        """
        if peft_config is not None:
            raise NotImplementedError("a LoRA adapter cannot be synced into vLLM's CPU engine; train full weights")
        self._received = []
        super().update_weights_from_ipc(peft_config, base_sync_done, use_shm)
        self.reload_weights(weights_iterator=iter(self._received))
        del self._received
        repack_tied_lm_head(self.model_runner.get_model())

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], peft_config, base_sync_done) -> None:
        # Copies: the tensors are views of the shared memory that the next bucket overwrites.
        self._received += [(name, tensor.clone()) for name, tensor in weights]

    def _iter_all_models_with_config(self):
        # verl would process the weights after loading; reload_weights does it itself, and packing the already
        # packed (now empty) weights a second time fails on a machine with AMX.
        return iter(())


def repack_tied_lm_head(model: torch.nn.Module) -> None:
    """Pack a tied head again. A head of its own is left alone: the reload has packed it.

    With tied embeddings the checkpoint holds no `lm_head.weight`, so the reload updates the shared parameter through
    `embed_tokens` and skips the head, whose packed copy would stay that of the first load.
    """
    if model.config.tie_word_embeddings:
        for layer in model.modules():
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)
