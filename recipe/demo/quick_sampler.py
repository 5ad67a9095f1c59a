"""verl's samplers, looking for finished answers ten times a second and not every two: a step here takes two seconds.

Named by `trainer.v1.sampler.custom_sampler.path` and `.name`, where verl has no key for it.
"""

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer, ReplayBufferAsync

POLL_SECONDS = 0.1


class QuickReplayBuffer(ReplayBuffer):
    """For `trainer_mode=sync`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, poll_interval=POLL_SECONDS, **kwargs)


class QuickReplayBufferAsync(ReplayBufferAsync):
    """For `trainer_mode=colocate_async`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, poll_interval=POLL_SECONDS, **kwargs)
