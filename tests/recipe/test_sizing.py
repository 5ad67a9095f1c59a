"""recipe/sizing.py by hand: shapes, memory, seconds and clusters, and the table of recipe/README.md."""

import functools
import sys

import pytest

from recipe import sizing
from tests.recipe.composing import ROOT, composed

PAGES = "\n".join(page.read_text() for page in (ROOT / "README.md", ROOT / "recipe" / "README.md"))
H100 = sizing.Gpu(memory=80e9, flops=989e12, bandwidth=3.35e12)


@functools.cache
def measured(run: str) -> sizing.Model:
    return sizing.measure(sizing.RUNS[run].shape)


@pytest.mark.parametrize(
    ("run", "parameters"),
    # The published counts: Qwen2.5-7B 7.62B, Qwen2.5-32B 32.8B, Llama-3.2-3B 3.21B.
    [("r1_distill_qwen_7b", 7_615_616_512), ("r1_distill_qwen_32b", 32_763_876_352), ("octothinker_3b", 3_212_749_824)],
)
def test_the_shapes_are_the_models(run, parameters):
    assert measured(run).parameters == parameters


def test_update_memory_by_hand():
    memory = sizing.update_memory(measured("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b"), gpus=16)
    assert memory["weights"] == memory["gradients"] == 4 * 7_615_616_512 / 16  # 1.90 GB
    assert memory["Adam"] == 8 * 7_615_616_512 / 16  # 3.81 GB
    # The output embedding, 152064 x 3584 = 544997376, is more than a layer.
    assert memory["gathered"] == 10 * 544_997_376
    assert memory["activations"] == 2 * 34_816 * 3584 * 28  # 6.99 GB
    assert memory["head"] == 8 * 34_816 * 152_064  # 42.35 GB, more than 2 * 34816 * (35840 + 75776)


def test_fused_kernels_would_save_the_logits():
    config = composed("r1_distill_qwen_7b").copy()
    config.actor_rollout_ref.model.use_fused_kernels = True
    memory = sizing.update_memory(measured("r1_distill_qwen_7b"), config, gpus=8)
    # 8 * 4 * 512 * 152064 + 4 * 152064 * 3584 = 4.67 GB is less than a layer, 2 * 34816 * (35840 + 75776)
    assert memory["head"] == 7_772_045_312
    # 16 * 7615616512 / 8 + 5.45 + 6.99 + 7.77 + 8 = 43.4 GB in the place of 78.0 GB
    assert sum(memory.values()) + sizing.RESERVED == pytest.approx(43.44e9, abs=5e6)
    short = config.copy()
    short.actor_rollout_ref.actor.ppo_max_token_len_per_gpu = 10_000
    assert sizing.update_memory(measured("r1_distill_qwen_7b"), short, gpus=8)["head"] == 4_671_406_080


def test_a_layer_counts_where_it_is_more_than_the_head():
    config = composed("r1_distill_qwen_7b").copy()
    model = measured("r1_distill_qwen_7b")._replace(config=sizing.shape(sizing.Qwen2Config, 64, 256, 2, 4, 2, 100))
    config.actor_rollout_ref.actor.ppo_max_token_len_per_gpu = 1000
    # 2 * 1000 * (640 + 1024) = 3328000 against 8 * 1000 * 100 = 800000
    assert sizing.update_memory(model, config, 8)["head"] == 3_328_000


def test_rollout_memory_by_hand():
    model, config = measured("r1_distill_qwen_32b"), composed("r1_distill_qwen_32b")
    # 0.8 * 80e9 - 2 * 32763876352 / 4 = 64e9 - 16381938176
    memory = sizing.rollout_memory(model, config, 32, H100)
    assert memory == {"vLLM": 16_381_938_176, "KV cache": 64e9 - 16_381_938_176, "staying": 0}
    # Keys and values in bf16: 2 * 2 * 64 layers * 8 heads * 128 = 262144 bytes a token, over 4 GPUs
    assert sizing.cached_tokens(model, config, H100) == pytest.approx(4 * (64e9 - 16_381_938_176) / 262_144)
    kept = config.copy()
    kept.actor_rollout_ref.actor.fsdp_config.optimizer_offload = False
    assert sizing.rollout_memory(model, kept, 32, H100)["staying"] == 8 * 32_763_876_352 / 32


def test_seconds_by_hand():
    run, config = "r1_distill_qwen_7b", composed("r1_distill_qwen_7b")
    # 4096 sequences of 12200 tokens. Weights outside of attention scores, with both embeddings: 28 * (3 * 3584 * 18944
    # + 3584 * (3584 + 512 + 512 + 3584)) + 2 * 152064 * 3584 = 7615283200; 6 FLOPs for each and each token, and
    # 6 * 12200^2 * 128 * 28 * 28 in the scores of a sequence.
    flops = 6 * 7_615_283_200 * 4096 * 12_200 + 4096 * 6 * 12_200**2 * 128 * 28 * 28
    seconds = sizing.update_seconds(measured(run), config, 64, H100, 12_000, mfu=0.25)
    assert seconds == pytest.approx(flops / (64 * 989e12 * 0.25))
    # 64 engines of 64 answers; the cache holds (64e9 - 15231233024) / 57344 = 850458 tokens, 69.7 answers of 12200: one
    # wave, 32768 steps. Caches: 64 answers * 12000 steps * (200 + 6000) tokens * 57344 bytes.
    traffic = 32_768 * 2 * 7_615_616_512 + 64 * 12_000 * 6200 * 57_344
    seconds = sizing.rollout_seconds(measured(run), config, 64, H100, 12_000)
    assert seconds == pytest.approx(traffic / (3.35e12 * 0.4))
    # 16 GPUs: 256 answers for an engine, in 256 / 69.7 = 3.67 waves.
    traffic = (32_768 + 12_000 * (256 / (48_768_766_976 / 57_344 / 12_200) - 1)) * 2 * 7_615_616_512
    seconds = sizing.rollout_seconds(measured(run), config, 16, H100, 12_000)
    assert seconds == pytest.approx((traffic + 256 * 12_000 * 6200 * 57_344) / (3.35e12 * 0.4))


def test_a_step_against_the_one_that_skywork_quotes():
    """Issue 21 of Skywork-OR1: 32B at 32k, 32 prompts of 16 answers, 32 GPUs: 1000 to 2000 seconds.

    Its step recomputes old_log_probs, one forward more than an update of ours: 4/3.
    """
    config = composed("r1_distill_qwen_32b").copy()
    config.data.train_batch_size = 32
    model, response = measured("r1_distill_qwen_32b"), sizing.RUNS["r1_distill_qwen_32b"].response
    seconds = sizing.rollout_seconds(model, config, 32, H100, response)
    seconds += 4 / 3 * sizing.update_seconds(model, config, 32, H100, response)
    assert f"to {round(seconds / sizing.SHARE, -1):.0f} (tests/recipe/test_sizing.py)" in sizing.__doc__
    assert 1000 <= seconds / sizing.SHARE <= 2000


@pytest.mark.parametrize("run", sizing.RUNS)
def test_the_recommended_cluster_is_enough(run):
    assert sizing.fits(measured(run), composed(run), sizing.RUNS[run].nodes * 8, H100)


def test_what_does_not_fit():
    model, config = measured("r1_distill_qwen_7b"), composed("r1_distill_qwen_7b")
    assert sizing.fits(model, config, 16, H100)
    # 8 GPUs: 16 * 7615616512 / 8 + 5.45 + 6.99 + 42.35 + 8 = 78.0 GB, nine tenths of 86.7 GB
    assert not sizing.fits(model, config, 8, H100)
    assert sizing.fits(model, config, 8, H100._replace(memory=86.8e9))
    assert not sizing.fits(model, config, 8, H100._replace(memory=86.6e9))
    # Each sequence over two GPUs: 15.23 + 5.45 + 6.99 / 2 + 42.35 / 2 + 8 = 53.4 GB
    split = config.copy()
    split.actor_rollout_ref.actor.update(ulysses_sequence_parallel_size=2, ppo_max_token_len_per_gpu=17_408)
    assert sizing.fits(model, split, 8, H100)
    assert sum(sizing.update_memory(model, split, 8).values()) + sizing.RESERVED == pytest.approx(53.35e9, abs=5e6)
    assert "from 78 GB to 53" in PAGES
    assert not sizing.fits(model, config, 24, H100)  # 64 * 16 answers of an update over 24 ranks
    kept = config.copy()
    kept.actor_rollout_ref.actor.fsdp_config.update(param_offload=False, optimizer_offload=False)
    # While vLLM samples: 0.8 * 90 + 12 * 7.62 / 8 + 8 = 91.4 GB
    assert sizing.fits(model, config, 8, H100._replace(memory=90e9))
    assert not sizing.fits(model, kept, 8, H100._replace(memory=90e9))
    alone = composed("r1_distill_qwen_32b").copy()
    alone.actor_rollout_ref.rollout.tensor_model_parallel_size = 1  # 65.5 GB of weights in 0.8 * 80
    assert not sizing.fits(measured("r1_distill_qwen_32b"), alone, 32, H100)
    # Room for a sequence: 10 GB of cache are 174386 tokens of 57344 bytes.
    small = config.copy()
    small.actor_rollout_ref.rollout.gpu_memory_utilization = (10e9 + 2 * model.parameters) / H100.memory
    for longest, room in ((174_386, True), (174_387, False)):
        small.actor_rollout_ref.rollout.max_model_len = longest
        assert sizing.fits(model, small, 16, H100) == room


def test_the_table_is_printed_for_ones_own_cluster(capsys, monkeypatch, tmp_path):
    sizing.QWEN_7B.save_pretrained(tmp_path)
    own = "sizing.py r1_distill_qwen_32b --nodes 1 --gpu-memory 141 --model".split()
    monkeypatch.setattr(sys, "argv", [*own, str(tmp_path)])
    sizing.main()
    head, _, line, *_ = capsys.readouterr().out.splitlines()
    cells = dict(zip(head.strip("| ").split(" | "), line.strip("| ").split(" | "), strict=True))
    assert (cells["run"], cells["cluster"], cells["GPUs"]) == ("r1_distill_qwen_32b", "yours", "1 x 8")
    assert cells["weights"] == f"{4 * 7_615_616_512 / 8 / 1e9:.1f}"
    assert cells["checkpoint"] == "91"  # 12 * 7615616512 = 91.4 GB
    monkeypatch.setattr(sys, "argv", ["sizing.py", "r1"])
    with pytest.raises(SystemExit):
        sizing.main()
    assert "RECIPE must be one of octothinker_3b, r1_distill_qwen_7b" in capsys.readouterr().err


def test_the_page_has_the_sizes_of_the_script(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["sizing.py"])
    sizing.main()
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    head, rows = lines[0], [dict(zip(lines[0], line, strict=True)) for line in lines[2:] if len(line) == len(lines[0])]
    wanted = ["GPUs", "peak", "hours for 100 steps"]
    assert set(wanted) < set(head)
    expected = [
        [small["run"], small["tokens a step"], *(small[k] for k in wanted), *(large[k] for k in wanted)]
        for small, large in zip(rows[::2], rows[1::2], strict=True)
    ]
    lines = [line for line in PAGES.splitlines() if line.startswith(tuple(f"| {run} | " for run in sizing.RUNS))]
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert table == expected
