"""The Entropy-Clip Rule (Eq. 6) put to the test: the change of entropy it predicts for an update, and the one measured.

    python recipe/entropy_rule.py TINY          writes recipe/miniature/entropy_rule.jsonl (four minutes on two cores)

TINY is the folder that recipe/tiny.py made for the miniature (`DIR/tiny`). From one step of a training to the next the
problems change, and with them the entropy, by more than an update moves it. So here prediction and measurement are of
the same tokens: eight updates on each batch of the miniature (16 problems of 8 answers, 16 answers an update), in plain
torch without Ray and vLLM, with verl's advantages, BAPO's loss at the fixed bounds [0.8, 1.2] and its metric
`actor/bapo/entropy_change`; before and after every update the mean entropy of pi_theta over that update's tokens.

The rule is of a step along the gradient, and training takes Adam's. Both are measured from the same weights.
"""

import argparse
import json
import os
from pathlib import Path

os.environ["VERL_PLATFORM"] = "cpu"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from files import write_whole
from miniature import BATCH, LEARNING_RATE, RESULTS, STEPS, four_digits
from tiny import MAX_RESPONSE_TOKENS, encode_prompt, is_right, make_problems
from torch import Tensor
from tqdm import trange
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage
from verl.utils.torch_functional import entropy_from_logits, get_response_mask, logprobs_from_logits
from verl.workers.config import FSDPActorConfig

from bapo_verl.policy_loss import compute_policy_loss_bapo
from bapo_verl.policy_loss_config import BapoPolicyLossConfig

UPDATES, ANSWERS = 8, 8
GRADIENT_STEP = 1e-3  # so small that the entropy it moves is linear in it
OUTPUT = RESULTS / "entropy_rule.jsonl"
FIXED = BapoPolicyLossConfig(
    search_scope="micro_batch", c_low_start=0.8, c_low_max=0.8, c_high_start=1.2, c_high_max=1.2
)
ACTOR = FSDPActorConfig(strategy="fsdp2", rollout_n=ANSWERS, ppo_micro_batch_size_per_gpu=1, policy_loss=FIXED)


@torch.no_grad()
def sample(model, tokenizer, problems: list[tuple[int, int, int]]) -> dict[str, Tensor]:
    """ANSWERS answers to each problem, with verl's GRPO advantages; every tensor has one row for each answer."""
    problems = [problem for problem in problems for _ in range(ANSWERS)]
    prompts = torch.tensor([encode_prompt(tokenizer, problem) for problem in problems])  # all of one length
    ids = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=MAX_RESPONSE_TOKENS, top_k=0)
    answers = ids[:, prompts.shape[1] :]
    mask = get_response_mask(answers, tokenizer.eos_token_id, dtype=torch.float32)  # up to the end token, with it
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    rewards = torch.zeros_like(mask)
    rewards[:, 0] = torch.tensor([*map(is_right, texts, problems)]).float()
    groups = np.arange(len(problems)) // ANSWERS
    advantages, _ = compute_grpo_outcome_advantage(rewards, mask, groups)
    batch = dict(ids=ids, answers=answers, response_mask=mask, advantages=advantages, reward=rewards.sum(1))
    return batch | {"old_log_prob": log_prob_and_entropy(model, batch)[0]}


def log_prob_and_entropy(model, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """log pi_theta of each token of the answers [B, T], and the mean entropy of pi_theta over them."""
    answers, mask = batch["answers"], batch["response_mask"]
    logits = model(batch["ids"]).logits[:, -answers.shape[1] - 1 : -1]
    entropy = (entropy_from_logits(logits) * mask).sum() / mask.sum()
    return logprobs_from_logits(logits, answers), entropy


@torch.no_grad()
def change_along_gradient(model, batch: dict[str, Tensor], before: float) -> float:
    """The change of entropy by a plain gradient step, divided by its size; the weights are put back."""
    weights = [p.clone() for p in model.parameters()]
    for p in model.parameters():
        p -= GRADIENT_STEP * p.grad
    change = log_prob_and_entropy(model, batch)[1].item() - before
    for p, weight in zip(model.parameters(), weights, strict=True):
        p.copy_(weight)
    return change / GRADIENT_STEP


def update(model, optimizer, batch: dict[str, Tensor]) -> dict[str, float]:
    """One update; what the rule predicted for it, and what it did."""
    log_prob, entropy = log_prob_and_entropy(model, batch)
    loss_inputs = {key: batch[key] for key in ("old_log_prob", "advantages", "response_mask")}
    loss, metrics = compute_policy_loss_bapo(log_prob=log_prob, config=ACTOR, **loss_inputs)
    optimizer.zero_grad()
    loss.backward()
    along_gradient = change_along_gradient(model, batch, entropy.item())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    with torch.no_grad():
        after = log_prob_and_entropy(model, batch)[1].item()
    return {
        "predicted": metrics["actor/bapo/entropy_change"],
        "gradient_step": along_gradient,
        "adam_step": after - entropy.item(),
        "entropy": entropy.item(),
        "reward": batch["reward"].mean().item(),
    }


def experiment(tiny: Path) -> list[dict[str, float]]:
    """One record for each update of a training like the miniature's."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny / "model")
    model = AutoModelForCausalLM.from_pretrained(tiny / "model")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.999), weight_decay=0.01)
    problems, records = make_problems(seed=1), []
    for step in trange(STEPS, unit="step"):
        batch = sample(model, tokenizer, problems[step * BATCH : (step + 1) * BATCH])
        for rows in torch.arange(BATCH * ANSWERS).chunk(UPDATES):
            part = {key: value[rows] for key, value in batch.items()}
            if part["advantages"].any():  # else there is nothing to learn, and nothing to predict
                records.append({"step": step + 1, **update(model, optimizer, part)})
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tiny", type=Path, metavar="TINY")
    records = experiment(parser.parse_args().tiny)
    lines = [json.dumps(four_digits(record)) for record in records]
    write_whole(OUTPUT, lambda path: path.write_text("\n".join(lines) + "\n"))


if __name__ == "__main__":
    main()
