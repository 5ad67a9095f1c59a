"""recipe/sizing.py by hand: shapes, memory and clusters, and the table of recipe/README.md."""

import functools
import sys

import pytest

from recipe import sizing
from tests.recipe.composing import ROOT, composed

PAGES = "\n".join(page.read_text() for page in (ROOT / "README.md", ROOT / "recipe" / "README.md"))
H100 = 80e9  # bytes


@functools.cache
def model_of(run: str) -> sizing.Model:
    return sizing.model_of(sizing.RUNS[run].shape)


def test_update_memory_by_hand():
    """Qwen2.5-7B's published 7.62 billion parameters; 32.8 below are Qwen2.5-32B's."""
    model, config = model_of("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b").copy()
    memory = sizing.update_memory(model, config, gpus=16)
    assert memory["weights"] == memory["gradients"] == 4 * 7_615_616_512 / 16  # 1.90 GB
    assert memory["Adam"] == 8 * 7_615_616_512 / 16  # 3.81 GB
    # The output embedding, 152064 x 3584 = 544997376, is more than a layer.
    assert memory["gathered"] == 10 * 544_997_376
    assert memory["activations"] == 2 * 34_816 * 3584 * 28  # 6.99 GB
    assert memory["head"] == 8 * 34_816 * 152_064  # 42.35 GB, more than 2 * 34816 * (35840 + 75776)
    # Fused, 8 * 4 * 512 * 152064 + 4 * 152064 * 3584 = 4.67 GB is less than a layer, 2 * 34816 * (35840 + 75776)
    config.actor_rollout_ref.model.use_fused_kernels = True
    assert sizing.update_memory(model, config, gpus=8)["head"] == 7_772_045_312
    config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu = 10_000
    assert sizing.update_memory(model, config, gpus=8)["head"] == 4_671_406_080


def test_rollout_memory_by_hand():
    model, config = model_of("r1_distill_qwen_32b"), composed("r1_distill_qwen_32b").copy()
    # 0.8 * 80e9 - 2 * 32763876352 / 4 = 64e9 - 16381938176
    memory = sizing.rollout_memory(model, config, 32, H100)
    assert memory == {"vLLM": 16_381_938_176, "KV cache": 64e9 - 16_381_938_176, "staying": 0}
    config.actor_rollout_ref.actor.fsdp_config.optimizer_offload = False
    assert sizing.rollout_memory(model, config, 32, H100)["staying"] == 8 * 32_763_876_352 / 32


@pytest.mark.parametrize("run", sizing.RUNS)
def test_the_recommended_cluster_is_enough(run):
    assert sizing.fits(model_of(run), composed(run), sizing.RUNS[run].nodes * 8, H100)


def test_what_does_not_fit():
    model, config = model_of("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b")
    assert sizing.fits(model, config, 16, H100)
    # 8 GPUs: 16 * 7615616512 / 8 + 5.45 + 6.99 + 42.35 + 8 = 78.0 GB, nine tenths of 86.7 GB
    assert not sizing.fits(model, config, 8, H100)
    assert sizing.fits(model, config, 8, 86.8e9)
    assert not sizing.fits(model, config, 8, 86.6e9)
    # Each sequence over two GPUs: 15.23 + 5.45 + 6.99 / 2 + 42.35 / 2 + 8 = 53.4 GB
    split = config.copy()
    split.actor_rollout_ref.actor.update(ulysses_sequence_parallel_size=2, ppo_max_token_len_per_gpu=17_408)
    assert sizing.fits(model, split, 8, H100)
    assert sum(sizing.update_memory(model, split, 8).values()) + sizing.RESERVED == pytest.approx(53.35e9, abs=5e6)
    assert not sizing.fits(model, config, 24, H100)  # 64 * 16 answers of an update over 24 ranks
    kept = config.copy()
    kept.actor_rollout_ref.actor.fsdp_config.update(param_offload=False, optimizer_offload=False)
    # While vLLM samples: 0.8 * 90 + 12 * 7.62 / 8 + 8 = 91.4 GB
    assert sizing.fits(model, config, 8, 90e9)
    assert not sizing.fits(model, kept, 8, 90e9)
    alone = composed("r1_distill_qwen_32b").copy()
    alone.actor_rollout_ref.rollout.tensor_model_parallel_size = 1  # 65.5 GB of weights in 0.8 * 80
    assert not sizing.fits(model_of("r1_distill_qwen_32b"), alone, 32, H100)
    # Room for a sequence: 10 GB of cache are 174386 tokens of 2 * 2 * 28 layers * 4 heads * 128 = 57344 bytes.
    small = config.copy()
    small.actor_rollout_ref.rollout.gpu_memory_utilization = (10e9 + 2 * model.parameters) / H100
    for longest, room in ((174_386, True), (174_387, False)):
        small.actor_rollout_ref.rollout.max_model_len = longest
        assert sizing.fits(model, small, 16, H100) == room


def printed(capsys, monkeypatch, *arguments) -> list[dict[str, str]]:
    monkeypatch.setattr(sys, "argv", ["sizing.py", *arguments])
    sizing.main()
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_the_table_is_printed_for_ones_own_cluster(capsys, monkeypatch, tmp_path):
    sizing.QWEN_7B.save_pretrained(tmp_path)
    own = "r1_distill_qwen_32b --nodes 1 --gpu-memory 141 --model".split()
    (cells,) = printed(capsys, monkeypatch, *own, str(tmp_path))
    assert (cells["run"], cells["cluster"], cells["GPUs"]) == ("r1_distill_qwen_32b", "yours", "1 x 8")
    assert cells["weights"] == f"{4 * 7_615_616_512 / 8 / 1e9:.1f}"
    assert cells["checkpoint"] == "91"  # 12 * 7615616512 = 91.4 GB
    with pytest.raises(SystemExit):
        printed(capsys, monkeypatch, "r1")
    assert "RECIPE must be one of octothinker_3b, r1_distill_qwen_7b" in capsys.readouterr().err


def test_the_page_has_the_sizes_of_the_script(capsys, monkeypatch):
    rows = printed(capsys, monkeypatch)
    expected = [
        [small["run"], small["GPUs"], small["peak"], large["GPUs"], large["peak"]]
        for small, large in zip(rows[::2], rows[1::2], strict=True)
    ]
    lines = [line for line in PAGES.splitlines() if line.startswith(tuple(f"| {run} | " for run in sizing.RUNS))]
    assert [line.strip("| ").split(" | ") for line in lines] == expected
