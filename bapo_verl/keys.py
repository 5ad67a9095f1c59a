"""Where BAPO's keys are in the user's config. Under policy_loss_config.py and driver_check.py, and without verl."""

ACTOR = "actor_rollout_ref.actor"
KEY = f"{ACTOR}.policy_loss"
CORRECTION = "algorithm.rollout_correction"

# Keys of KEY that the YAML copies from others, for the workers, which see no other part of the user's config.
COPIES = {
    "bypass_mode": f"{CORRECTION}.bypass_mode",
    "dynamic_context_parallel": f"{ACTOR}.megatron.dynamic_context_parallel",
}
