"""`train.py --dry-run` tells what a config would do, without weights and within seconds."""

from __future__ import annotations

import re
from pathlib import Path

import huggingface_hub
import pytest
import torch
from helpers.plain_model import PlainLayers
from helpers.tiny import BERT, LLAMA_2_7B, Golden, build_tiny, golden_batch, llama_folder, tiny_config, write_json
from helpers.training import ROOT, VIDEOS, item, make_videos, training_config, video_entry
from omegaconf import OmegaConf

from timechat.cli import train as train_script
from timechat.config import load_config
from timechat.models import build_model, loss
from timechat.models.base import StepSize
from timechat.registry import registry
from timechat.runners.dry_run import dry_run
from timechat.runners.engines import DDPEngine, FSDPEngine
from timechat.runners.memory import _kept, activation_bytes, estimate_memory
from timechat.runners.stand_ins import stand_ins
from timechat.text import tokenizers
from timechat.text.conversation import encode_conversation
from timechat.text.tokenizers import load_tokenizer

STAGE2 = ROOT / "train_configs" / "stage2_finetune_time104k_asr_valley72k.yaml"


def _numbers(report: str, line: str) -> list[str]:
    """What stands behind the first words of a line."""
    (found,) = (row for row in report.splitlines() if row.startswith(f"{line} "))
    return found[len(line) :].split()


def test_the_published_recipe(tmp_path: Path) -> None:
    """7.97 billion parameters, none of which is there."""
    folder = llama_folder(tmp_path / "llama", **LLAMA_2_7B)
    (folder / "model.safetensors").unlink()
    cfg = load_config(STAGE2, [f"model.llama_model={folder}", f"model.qformer_tokenizer={BERT}"])
    report = dry_run(cfg).text
    assert _numbers(report, "llama_model") == ["6,738,415,616", "0", "bfloat16"]
    assert _numbers(report, "LoRA") == ["33,554,432", "33,554,432", "float32"]
    assert _numbers(report, "visual_encoder")[1:] == ["0", "float16"]
    assert _numbers(report, "all")[:2] == ["7,965,705,344", "241,392,384"]
    assert "vit_model=ckpt/blip2/eva_vit_g.pth  (missing)" in report
    assert _numbers(report, "frames of a video")[0] == "96"
    assert _numbers(report, "video")[0] == "96"
    assert int(_numbers(report, "left for words")[0]) == 2048 - 96 - int(_numbers(report, "prompt around it")[0])
    assert "Schedule on 8 processes" in report
    assert _numbers(report, "optimizer steps")[:4] == ["5,500", "per", "epoch,", "16,500"]
    assert _numbers(report, "samples of a step")[0] == "32"
    assert _numbers(report, "warm-up")[0] == "3,300"
    rates = [float(rate) for rate in re.findall(r"learning rate of step \S+ +(\S+)", report)]
    assert rates == pytest.approx([1.01e-6, 3e-5, 2e-5, 1e-5], rel=0.01)
    assert report.count(": no file was looked for") == 2
    table = [row.split() for row in report.partition("== Memory")[2].splitlines()]
    memory = {tuple(row[:2]): list(map(float, row[2:])) for row in table if len(row) == 7 and row[1] == "8"}
    ddp, zero3 = memory["ddp", "8"], memory["deepspeed_zero3", "8"]
    # 6.74e9 numbers of 2 bytes, 0.986e9 of 2, 0.241e9 of 4; gradients twice; two moments.
    assert ddp[:3] == pytest.approx([15.29, 1.80, 1.80], abs=0.02)
    assert ddp[-1] == pytest.approx(sum(ddp[:-1]), abs=0.02)
    assert zero3[0] == pytest.approx((2 * 7.724 + 4 * 0.2414) / 8 / 1.0737, abs=0.02)
    # Recomputed layers keep their inputs: 32 of 2,048 x 4096 x 2 bytes alone are 0.5.
    assert 0.5 < ddp[3] < 2, "activations"


def test_a_tiny_config_with_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through train.py: a real batch is read, nothing is written."""
    cfg = training_config(tmp_path, {"tv": make_videos(tmp_path / "videos")}, "run.batch_size_train=2")
    cfg.run.output_dir, cfg.model.ckpt = str(tmp_path / "out"), "missing.pth"
    OmegaConf.save(cfg, tmp_path / "run.yaml")
    before = set(tmp_path.rglob("*"))
    assert train_script.main(["--cfg-path", str(tmp_path / "run.yaml"), "--dry-run"]) == 0
    report = capsys.readouterr().out
    assert set(tmp_path.rglob("*")) == before
    assert "datasets.tv: 4 of 4 files exist, for 4 of 4 samples" in report
    assert "train.py would not start:\n- 1 files or folders are missing, see above\n" in report
    assert report.count("\nread tv[") == 2
    assert re.search(r"first micro-batch: 2 x \d+ tokens, \d+ of them supervised", report)
    assert _numbers(report, "optimizer steps")[:4] == ["2", "per", "epoch,", "2"]
    assert "missing.pth  (missing)" in report


def test_what_a_decoder_costs_that_learns_whole(tmp_path: Path) -> None:
    """Weights, gradients and AdamW's moments in fp32: 16 bytes for each, LLaMA-2-7B's 6.74 billion alone 100 GiB."""
    llama = llama_folder(tmp_path / "llama", **LLAMA_2_7B)
    options = [f"model.llama_model={llama}", "model.ckpt=", "model.llama_precision=auto", "model.lora=false"]
    options += ["run.iters_per_epoch=8", "run.device=cpu"]
    text = dry_run(tiny_config([*options, "model.freeze_llama=false"])).text
    assert re.search(r"^llama_model +6,738,415,616 +6,738,415,616 +float32$", text, re.MULTILINE)
    assert "What learns is fp32 with every strategy: 100.4" in text
    assert re.search(r"^llama_model +6,738,415,616 +0 +bfloat16$", dry_run(tiny_config(options)).text, re.MULTILINE)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """One dataset is there and is read; the length of a pass over both is unknown."""
    there = make_videos(tmp_path / "videos")
    gone = video_entry(tmp_path / "videos", ["a.mp4"], "gone.json")
    bad = video_entry(tmp_path / "videos", ["no.mp4"], "bad.json", sample_ratio=0)
    cfg = training_config(tmp_path, {"tv": there, "gone": gone, "bad": bad})
    (tmp_path / "videos" / "gone.json").unlink()
    cfg.datasets.bad.build_info.videos_dir = str(tmp_path / "elsewhere")
    cfg.run.valid_splits, cfg.datasets.tv.build_info.valid_anno_dir = ["val"], "val.json"
    cfg.run.valid_benchmark.name, cfg.run.valid_benchmark.anno_path = "charades_sta", "charades.txt"
    report = dry_run(cfg).text
    missing = report.partition("== Missing")[2]
    for line in (
        f"datasets.gone.build_info.anno_dir={tmp_path / 'videos' / 'gone.json'}: no such annotation file",
        f"datasets.bad.build_info.videos_dir={tmp_path / 'elsewhere'}: no such folder",
        "datasets.tv.build_info.valid_anno_dir=val.json: no such annotation file",
        "run.valid_benchmark.anno_path=charades.txt: no such file",
    ):
        assert f"\n{line}" in missing
    assert "one pass over the datasets, which are not all there" in report
    assert "read tv[" in report


@pytest.mark.parametrize("recipe", sorted((ROOT / "train_configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_planned_where_there_is_no_file_at_all(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a fresh clone: published sizes in place of missing ones, and one list of all that is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(tokenizers, "vocabulary_from_hub", lambda name: pytest.fail("asked the hub"))
    cfg = load_config(recipe)
    found = dry_run(cfg)
    assert _numbers(found.text, "all")[:2] == ["7,965,705,344", "241,392,384"]
    assert "the sizes are those of LLaMA-2-7B (32 layers of 4096, 32,000 ids)" in found.text
    assert "EVA ViT-g, 39 blocks of 1408; BERT-base, 12 layers of 768" in found.text
    assert int(_numbers(found.text, "left for words")[0]) == pytest.approx(1260, abs=30)
    assert _numbers(found.text, "optimizer steps")
    assert "deepspeed_zero3" in found.text
    missing = found.text.partition("== Missing")[2]
    for name in (cfg.model.vit_model, cfg.model.q_former_model, cfg.model.ckpt, cfg.model.llama_model):
        assert re.search(rf"={re.escape(name)}: no such (file|folder).*\n +get it with: (curl|hf download) ", missing)
    assert "hf download bert-base-uncased vocab.txt --local-dir ckpt/bert-base-uncased" in missing
    for entry in cfg.datasets.values():
        assert f"{entry.build_info.anno_dir}: no such annotation file\n    get it with: git lfs install" in missing
    count = 5 + 2 * len(cfg.datasets)
    assert missing.endswith(f"train.py would not start:\n- {count} files or folders are missing, see above\n")
    assert found.exit_status == 1


def test_the_estimated_tokens_are_about_those_of_a_real_tokenizer(tmp_path: Path) -> None:
    """A tokenizer with 32,000 entries, made like LLaMA's, has 790 tokens for this prompt."""
    model = OmegaConf.create({"llama_model": str(tmp_path / "none")})
    seconds = [round(i * 600 / 96, 1) for i in range(96)]
    with stand_ins(model) as (keys, lines):
        tokenizer = load_tokenizer(keys["llama_model"])
        encoded = encode_conversation(
            [{"q": "", "a": ""}], seconds, tokenizer, num_video_tokens=96, max_txt_len=10**6, list_seconds=True
        )
    assert len(encoded.input_ids) == pytest.approx(790, rel=0.03)
    assert len(lines) == 2
    assert not Path(keys["llama_model"]).exists()


def test_what_there_is_of_a_llama_folder_is_used(tmp_path: Path) -> None:
    """Its config.json without a tokenizer, and the other way round."""
    datasets = {"tv": make_videos(tmp_path / "videos")}
    folder = llama_folder(tmp_path / "llama")
    (folder / "tokenizer.model").unlink()
    report = dry_run(training_config(tmp_path, datasets, f"model.llama_model={folder}")).text
    assert "LLaMA-2-7B" not in report
    assert "tokenizer.model is missing: tokens of text are estimated" in report
    assert "no batch was read: it needs the tokenizers" in report
    whole = dry_run(training_config(tmp_path, datasets)).text
    assert _numbers(report, "all") == _numbers(whole, "all")
    folder = llama_folder(tmp_path / "other")
    (folder / "config.json").unlink()
    report = dry_run(training_config(tmp_path, datasets, f"model.llama_model={folder}", "model.ckpt=")).text
    assert "the sizes are those of LLaMA-2-7B" in report
    assert _numbers(report, "left for words") == _numbers(whole, "left for words")


@pytest.mark.parametrize(
    ("policy", "there", "status"), [("error", 3, 0), ("drop", 3, 0), ("error", 0, 1), ("drop", 0, 1)]
)
def test_the_verdict_counts_videos(tmp_path: Path, policy: str, there: int, status: int) -> None:
    """Through train.py's exit status: 1 only where a dataset has no file at all."""
    entry = make_videos(tmp_path / "videos")
    for name in list(VIDEOS)[there:]:
        (tmp_path / "videos" / name).unlink()
    cfg = training_config(tmp_path, {"tv": entry}, f"run.missing_videos={policy}", "run.resume=never")
    OmegaConf.save(cfg, tmp_path / "run.yaml")
    found = dry_run(cfg)
    assert train_script.main(["--cfg-path", str(tmp_path / "run.yaml"), "--dry-run"]) == found.exit_status == status
    assert f"datasets.tv: {there} of 4 files exist, for {there} of 4 samples" in found.text
    verdict = found.text.partition("== Verdict\n")[2]
    if not there:
        assert verdict == "train.py would not start:\n- none of the videos of datasets.tv exists\n"
    elif policy == "drop":
        assert verdict == "train.py would start: everything that it needs is there.\n"
        assert _numbers(found.text, "optimizer steps")[0] == "3"
    else:
        assert "- 1 of 4 samples of datasets.tv lack their video (run.missing_videos=drop leaves them out)" in verdict
        assert _numbers(found.text, "optimizer steps")[0] == "4"
        assert "tv: 1 of 4 files are missing, such as d.mp4" in found.text.partition("== Missing")[2]
    assert ("\nread tv[" in found.text) == bool(there)


def test_validation_videos_count_for_the_verdict(tmp_path: Path) -> None:
    entry = make_videos(tmp_path / "videos")
    valid = write_json(tmp_path / "valid.json", [item(name) for name in ("a.mp4", "gone.mp4")])
    entry["build_info"]["valid_anno_dir"] = str(valid)
    found = dry_run(training_config(tmp_path, {"tv": entry}, "run.valid_splits=[val]"))
    assert "validation data: datasets.tv: 1 of 2 files exist, for 1 of 2 samples" in found.text
    assert "- 1 of 2 samples of datasets.tv for validation lack their video" in found.text
    assert found.exit_status == 0


def test_conversations_without_room_are_told(tmp_path: Path) -> None:
    cfg = training_config(tmp_path, {"tv": make_videos(tmp_path / "videos")}, "model.max_txt_len=60")
    cfg.datasets.tv.build_info.anno_dir = str(tmp_path / "none.json")
    report = dry_run(cfg).text
    assert "too long: no room is left for question and answer" in report
    assert "not estimated" in report


def test_activations_are_those_of_a_real_pass() -> None:
    """The fake pass keeps what autograd keeps when the tiny model really learns."""
    golden, model = Golden.load(), build_tiny().train()
    batch = golden_batch(golden, model.tokenizer)
    real = _kept(model, lambda: model(batch)["loss"])
    with torch.device("meta"):
        meta = build_model(model.cfg, load_weights=False)
    rows, length = batch.input_ids.shape
    size = StepSize(rows, batch.frame_counts[0], tokens=length, supervised=batch.num_supervised // rows)
    estimate = activation_bytes(meta, size, "fp32")
    assert estimate == pytest.approx(real, rel=0.05)


def test_recomputed_layers_and_chunks_of_the_loss_keep_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more layers recompute, the less is kept; a ViT that learns counts, too."""

    def kept(*options: str) -> float:
        cfg = build_tiny(["model.freeze_vit=false", *options]).cfg
        with torch.device("meta"):
            model = build_model(cfg, load_weights=False)
        return activation_bytes(model, StepSize(2, 4, tokens=60, supervised=20), "fp32") or 0.0

    amounts = [kept(f"model.use_grad_checkpoint={amount}") for amount in ("false", "1", "true")]
    assert amounts[0] > amounts[1] > amounts[2] > 0
    monkeypatch.setattr(loss, "MOST_LOGITS", 1)
    assert kept("model.use_grad_checkpoint=true") < amounts[2]


def test_what_is_cut_into_shards() -> None:
    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.Linear(10, 10, bias=False))
    model[0].requires_grad_(False)
    frozen = learns = 100
    parts = {
        "ddp": (4 * (frozen + learns), 2 * 4 * learns, 8 * learns),
        "fsdp": (4 * (frozen + learns / 4), 4 * learns / 4, 8 * learns / 4),
        "deepspeed_zero2": (4 * (frozen + learns), 4 * learns / 4, 12 * learns / 4),
        "deepspeed_zero3": (4 * (frozen + learns) / 4, 4 * learns / 4, 8 * learns / 4),
    }
    for strategy, expected in parts.items():
        estimate = estimate_memory(model, registry.get_engine_class(strategy), 4, 1, 7.0)
        assert (estimate.weights, estimate.gradients, estimate.optimizer) == expected, strategy
        assert estimate.total == sum(expected) + 7.0
    assert estimate_memory(model, DDPEngine, 1, 1, 0.0).gradients == 4 * learns
    assert estimate_memory(model, FSDPEngine, 4, 2, 0.0).gradients == 4 * learns


def test_no_estimate_for_a_model_that_does_not_rehearse() -> None:
    assert activation_bytes(PlainLayers(torch.nn.Linear(1, 1)), StepSize(1, 1), "fp32") is None


def test_without_data_there_is_no_schedule() -> None:
    found = dry_run(tiny_config(["model.ckpt=", "run.device=cpu"]))
    assert "which are not all there" in found.text
    assert found.text.endswith("train.py would not start:\n- the config names no dataset\n")
    assert found.exit_status == 1
