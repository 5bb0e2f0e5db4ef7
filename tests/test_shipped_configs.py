"""The configs that are shipped drive the code: they load, plan what they say, and a small twin of each really trains.

Also configs in the published form, with every key that published files carry.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import BERT, LLAMA, write_json
from helpers.training import ROOT, VIDEOS, Run, make_videos
from omegaconf import DictConfig, OmegaConf

from quickstart.ablation import read_plan
from quickstart.builders import LessonBuilder
from quickstart.spread import FOUND
from quickstart.spread import PLAN as SPREAD
from quickstart.stages import checkpoint_name
from timechat.config import frames_per_video, is_no_op, load_config
from timechat.models import build_model
from timechat.models.checkpoints import canonical_name
from timechat.registry import registry
from timechat.runners import build_runner
from timechat.runners.plan import make_plan

PUBLISHED = ROOT / "tests" / "golden" / "published_style"
KEYS = OmegaConf.load(PUBLISHED / "keys.yaml")
QUICKSTART = ROOT / "quickstart" / "configs"
STAGES = sorted(QUICKSTART.glob("[1-9]_*.yaml"))
TRAIN_CONFIGS = [*sorted((ROOT / "train_configs").glob("*.yaml")), *STAGES]
PLAN = QUICKSTART / "ablation.yaml"
STAGE2 = ROOT / "train_configs" / "stage2_finetune_time104k_asr_valley72k.yaml"
PUBLISHED_VIT = "ckpt/eva-vit-g/eva_vit_g.pth"  # where published files have it

# The published recipes, value by value --------------------------------------------------------------------------------

_MODEL = {
    "arch": "timechat",
    "model_type": "pretrain_llama_v2",
    "vit_model": "ckpt/blip2/eva_vit_g.pth",
    "image_size": 224,
    "vit_precision": "fp16",
    "q_former_model": "ckpt/instruct-blip/instruct_blip_vicuna7b_trimmed.pth",
    "num_query_token": 32,
    "qformer_text_input": True,
    "num_video_query_token": 32,
    "fusion_head_layers": 2,
    "max_frame_pos": 96,
    "window_size": 32,
    "stride": 32,
    "llama_model": "ckpt/Video-LLaMA-2-7B-Finetuned/llama-2-7b-chat-hf",
    "lora": True,
    "lora_r": 32,
    "lora_alpha": 32,
    "lora_dropout": 0.1,
    "max_txt_len": 2048,
    "low_resource": False,
    "freeze_vit": True,
}
TRAINED = {
    **_MODEL,
    "freeze_qformer": False,
    "frozen_llama_proj": False,
    "frozen_video_Qformer": False,
    "lora_inference_mode": False,
    "use_grad_checkpoint": True,
}
EVALUATED = {
    **_MODEL,
    "freeze_qformer": True,
    "frozen_llama_proj": True,
    "frozen_video_Qformer": True,
    "lora_inference_mode": True,
    "ckpt": "ckpt/timechat/timechat_7b.pth",
}
DATASET = {
    "builder": "video_instruct",
    "vis_processor.train.name": "alpro_video_train",
    "sample_type": "rand",
    "sample_ratio": 1.0,
}
RUN = {
    "task": "video_text_pretrain",
    "lr_sched": "linear_warmup_cosine_lr",
    "init_lr": 3e-5,
    "min_lr": 1e-5,
    "warmup_lr": 1e-6,
    "weight_decay": 0.05,
    "beta2": 0.999,
    "clip_grad_norm": None,
    "max_epoch": 3,
    "batch_size_eval": 4,
    "seed": 42,
    "amp": True,
}


@dataclass(frozen=True)
class Recipe:
    """What one training file says in addition to the values that all share.

    Attributes:
        ckpt: what it starts from.
        annotations: of each dataset, below data/TimeIT/data/.
        videos_dir: of all of them.
        run: its numbers.
        samples: of its datasets together.
        plan: global batch, steps of an epoch, samples of an epoch and of its last step.
    """

    ckpt: str
    annotations: dict[str, str]
    videos_dir: str
    run: dict[str, int]
    samples: int
    plan: tuple[int, int, int, int]


def _numbers(iters: int, warmup: int, batch: int, accum: int, workers: int, processes: int) -> dict[str, int]:
    return {
        "iters_per_epoch": iters,
        "warmup_steps": warmup,
        "batch_size_train": batch,
        "accum_grad_iters": accum,
        "num_workers": workers,
        "reference_world_size": processes,
    }


VIDEO_LLAMA = "ckpt/Video-LLaMA-2-7B-Finetuned/VL_LLaMA_2_7B_Finetuned.pth"
TIMECHAT = "ckpt/timechat/timechat_7b.pth"
RECIPES = {
    "time104k_asr_valley72k": Recipe(
        VIDEO_LLAMA,
        {
            "time_instruct": "time/instruct_time-sensitive_104k_asr.json",
            "valley72k_instruct": "valley/instruct_valley_72k.json",
        },
        "data/",
        _numbers(22000, 13200, batch=1, accum=4, workers=6, processes=8),
        176_000,
        (32, 5500, 176_000, 32),
    ),
    "charades": Recipe(
        TIMECHAT,
        {"charades_instruct": "temporal_video_grounding/charades/instruct_tvg_12.4k_charades.json"},
        "data/",
        _numbers(3102, 3102, batch=1, accum=8, workers=4, processes=4),
        12_408,
        (32, 388, 12_408, 24),
    ),
    "qvhighlights": Recipe(
        TIMECHAT,
        {"qvhighlights_instruct": "video_highlight_detection/qvhighlights/instruct_vhd_6.9k_qvhighlights.json"},
        "data/",
        _numbers(1714, 1714, batch=1, accum=8, workers=4, processes=4),
        6858,
        (32, 215, 6856, 8),
    ),
    "youcook2": Recipe(
        TIMECHAT,
        {"youcook2_instruct": "dense_video_captioning/youcook2/instruct_dvc_1.2k_youcook2.json"},
        "data/YouCook2-BB/",
        _numbers(1192, 1192, batch=2, accum=4, workers=4, processes=1),
        1192,
        (8, 298, 2384, 8),
    ),
}

# Sizes that make a twin small; everything else stays as shipped.
SMALL = (
    "model.image_size=56",
    "model.vit.embed_dim=88",
    "model.vit.depth=2",
    "model.vit.num_heads=4",
    "model.qformer.hidden_size=48",
    "model.qformer.num_hidden_layers=2",
    "model.qformer.num_attention_heads=4",
    "model.qformer.intermediate_size=96",
    "model.qformer.vocab_size=88",
    "model.qformer.max_position_embeddings=64",
    f"model.llama_model={LLAMA}",
    f"model.qformer_tokenizer={BERT}",
    "run.max_epoch=1",
    "run.reference_world_size=1",
    "run.device=cpu",
    "run.num_workers=0",
)
WEIGHTS = ("vit_model", "q_former_model", "ckpt", "ckpt_2")


def _name(path: Path) -> str:
    return path.stem


def _recipe_file(name: str) -> Path:
    return ROOT / "train_configs" / f"stage2_finetune_{name}.yaml"


def _values(section: DictConfig, expected: Mapping[str, Any]) -> dict[str, Any]:
    """What a section says about the keys of a table."""
    return {key: OmegaConf.select(section, key) for key in expected}


def _assert_trains(cfg: DictConfig, recipe: Recipe, model: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    assert _values(cfg.model, model) == model
    assert cfg.model.ckpt == recipe.ckpt
    assert frames_per_video(cfg.model) == 96
    assert list(cfg.datasets) == list(recipe.annotations)
    for name, entry in cfg.datasets.items():
        assert entry.build_info.anno_dir == f"data/TimeIT/data/{recipe.annotations[name]}"
        assert entry.build_info.videos_dir == recipe.videos_dir
    assert _values(cfg.run, run) == run


# Shipped --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_recipe_is_the_published_one(name: str) -> None:
    recipe, cfg = RECIPES[name], load_config(_recipe_file(name))
    _assert_trains(cfg, recipe, TRAINED, {**RUN, **recipe.run})
    for entry in cfg.datasets.values():
        assert _values(entry, DATASET) == DATASET
    sizes = (cfg.model.vit.embed_dim, cfg.model.vit.depth, cfg.model.vit.num_heads)
    assert sizes == (1408, 39, 16)
    assert (cfg.model.freeze_llama, cfg.model.keep_timestamp_tokens) == (True, True)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_shipped_recipe_means_on_the_processes_that_it_is_meant_for(name: str) -> None:
    recipe, run = RECIPES[name], load_config(_recipe_file(name)).run
    plan = make_plan(run, run.reference_world_size, recipe.samples)
    assert (plan.micro_batch, plan.accumulation) == (run.batch_size_train, run.accum_grad_iters)
    last = plan.samples_of(plan.steps_per_epoch - 1)
    assert (plan.global_batch, plan.steps_per_epoch, plan.samples, last) == recipe.plan
    assert (plan.max_epoch, plan.draws) == (3, plan.samples)
    schedule = plan.schedule
    assert (type(schedule).__name__, schedule.iters_per_epoch) == ("LinearWarmupCosineLR", run.iters_per_epoch)
    rates = (schedule.init_lr, schedule.min_lr, schedule.warmup_start_lr, schedule.warmup_steps)
    assert rates == (3e-5, 1e-5, 1e-6, run.warmup_steps)


def test_every_recipe_is_in_the_table() -> None:
    assert {path.stem for path in ROOT.glob("train_configs/*.yaml")} == {_recipe_file(name).stem for name in RECIPES}


def test_the_shipped_evaluation_is_the_published_one() -> None:
    """Frames are always sampled evenly then; a `datasets` section would have no say."""
    cfg = load_config(ROOT / "eval_configs" / "timechat.yaml")
    assert _values(cfg.model, EVALUATED) == EVALUATED
    assert frames_per_video(cfg.model) == 96
    assert not cfg.datasets
    assert (cfg.run.batch_size_eval, cfg.run.seed) == (4, 42)


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=_name)
def test_every_shipped_training_config_says_what_its_numbers_are_meant_for(path: Path) -> None:
    run = load_config(path).run
    assert run.reference_world_size
    plans = [make_plan(run, world_size, 1000) for world_size in (1, run.reference_world_size)]
    assert plans[0].global_batch == plans[1].global_batch
    assert plans[1].accumulation == run.accum_grad_iters


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=_name)
def test_paths_of_shipped_configs_are_relative(path: Path) -> None:
    cfg = load_config(path)
    named = [cfg.model[key] for key in (*WEIGHTS, "llama_model", "qformer_tokenizer")] + [cfg.run.output_dir]
    named += [value for entry in cfg.datasets.values() for value in (*entry.build_info.values(), entry.cache_dir)]
    assert not [value for value in named if value.startswith(("/", "~", ".."))]


def test_no_file_is_forgotten() -> None:
    """Every file that is not a training config is included by all stages, or is a plan or result of theirs."""
    others = {path for folder in ("train_configs", "quickstart/configs") for path in (ROOT / folder).glob("**/*.yaml")}
    included = {path.parent / name for path in STAGES for name in OmegaConf.load(path).include}
    assert others - set(TRAIN_CONFIGS) == included | {PLAN, SPREAD, FOUND, *QUICKSTART.glob("evaluate*.yaml")}
    assert [path.stem.split("_")[0] for path in STAGES] == [str(i + 1) for i in range(len(STAGES))]
    assert len(STAGES) >= 4


def test_each_stage_of_the_quick_start_begins_where_one_before_it_ended() -> None:
    """And the evaluation as the last one did, with that on top. Folders are named as files are."""
    given: list[str] = []
    for path in STAGES:
        cfg = load_config(path)
        assert cfg.run.output_dir == f"runs/quickstart/{path.stem}"
        named = [cfg.model[key] for key in ("vit_model", "ckpt", "ckpt_2") if cfg.model[key]]
        assert set(named) <= set(given), path
        assert not given or given[-1] in named, path
        given.append(f"{cfg.run.output_dir}/{checkpoint_name(cfg)}")
    evaluated = load_config(QUICKSTART / "evaluate.yaml").model
    last = load_config(STAGES[-1]).model
    assert (evaluated.vit_model, evaluated.ckpt, evaluated.ckpt_2) == (last.vit_model, last.ckpt, given[-1])


def test_all_stages_of_the_quick_start_are_about_one_model() -> None:
    """Sizes above all; a stage may freeze parts, and choose what the prompt says."""
    frozen = {"freeze_vit", "freeze_qformer", "frozen_video_Qformer"}
    own = frozen | {"arch", "num_words", "list_seconds", "vit_model", "ckpt", "ckpt_2", "system_prompt"}
    models = [load_config(path).model for path in (*STAGES, QUICKSTART / "evaluate.yaml")]
    settings = [{key: value for key, value in _settings(model).items() if key not in own} for model in models]
    assert all(other == settings[0] for other in settings)


def test_the_shipped_ablation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stages are a beginning of the quick start, and every variant is a config that loads."""
    monkeypatch.chdir(ROOT)
    plan = read_plan(PLAN)
    assert [ROOT / stage for stage in plan.stages] == STAGES[: len(plan.stages)]
    assert "full" in plan.variants
    for changes in plan.variants.values():
        for stage in plan.stages[plan.shared :]:
            load_config(stage, changes)
        load_config(plan.evaluation["cfg_path"], [change for change in changes if change.startswith("model.")])
    assert Path(plan.evaluation["prompt_file"]).is_file()
    assert_evaluated_as_trained(plan.stages[-1], plan.evaluation["cfg_path"])


def test_the_quick_start_is_evaluated_as_it_was_trained() -> None:
    assert_evaluated_as_trained(STAGES[-1], QUICKSTART / "evaluate.yaml")


def assert_evaluated_as_trained(stage: str | Path, evaluation: str | Path) -> None:
    """A prompt that a tiny model has never seen would be scored as ignorance."""
    trained, evaluated = load_config(stage), load_config(evaluation)
    assert evaluated.model.list_seconds == trained.model.list_seconds
    assert evaluated.model.ckpt_2 == f"{trained.run.output_dir}/{checkpoint_name(trained)}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shipped")
    info = make_videos(folder / "videos")["build_info"]
    segments, captions = [[0.0, 0.2], [0.3, 0.4]], ["a red circle appears.", "a blue cross appears."]
    rows = [{"image_id": name, "segments": segments, "captions": captions} for name in VIDEOS]
    return {"folder": folder, **info, "events": str(write_json(folder / "events.json", {"annotations": rows}))}


def _twin_options(path: Path, data: dict[str, Any]) -> list[str]:
    """Options that make a shipped config small and point it to the data made here."""
    cfg = load_config(path)
    steps = f"run.iters_per_epoch={cfg.run.accum_grad_iters}"
    infos = []
    for name, entry in cfg.datasets.items():
        events = issubclass(registry.get_builder_class(entry.builder), LessonBuilder)
        infos += [
            f"datasets.{name}.build_info.anno_dir={data['events' if events else 'anno_dir']}",
            f"datasets.{name}.build_info.videos_dir={data['videos_dir']}",
            f"datasets.{name}.build_info.valid_anno_dir={data['events'] if entry.build_info.valid_anno_dir else ''}",
            f"datasets.{name}.build_info.valid_videos_dir=",
            f"datasets.{name}.cache_dir={data['folder'] / 'cache' if entry.cache_dir else ''}",
        ]
    batch = f"run.batch_size_train={min(2, cfg.run.batch_size_train)}"
    words = ["model.num_words=4"] if "num_words" in cfg.model else []  # of the captions above
    return [*SMALL, *infos, *words, steps, batch, f"run.output_dir={data['folder'] / path.stem}"]


def _weight_files(path: Path, options: list[str], folder: Path) -> list[str]:
    """The files that a config names, with random numbers, in the published form of each."""
    named = [key for key in WEIGHTS if load_config(path).model[key]]
    if not named:
        return []
    model = build_model(load_config(path, [*options, *(f"model.{key}=" for key in WEIGHTS)]).model)
    state = {canonical_name(name): tensor for name, tensor in model.state_dict().items()}
    vit = {k.removeprefix("visual_encoder."): v for k, v in state.items() if k.startswith("visual_encoder.")}
    contents = {
        "vit_model": vit,
        "q_former_model": {"model": state},
        "ckpt": {"model": state},
        "ckpt_2": {"model": state},
    }
    for key in named:
        torch.save(contents[key], folder / f"{path.stem}_{key}.pth")
    return [f"model.{key}={folder / f'{path.stem}_{key}.pth'}" for key in named]


@pytest.mark.parametrize("path", TRAIN_CONFIGS, ids=lambda path: path.stem)
def test_a_small_twin_of_every_shipped_training_config_runs_one_step(path: Path, data: dict[str, Any]) -> None:
    options = _twin_options(path, data)
    cfg = load_config(path, [*options, *_weight_files(path, options, data["folder"])])
    runner = build_runner(cfg)
    runner.train()
    run = Run(runner, data["folder"] / path.stem)
    assert len(run.losses) == 1
    assert math.isfinite(run.losses[0])
    assert run.checkpoint(0)["epoch"] == 0


# Published ------------------------------------------------------------------------------------------------------------


def test_a_published_training_file_means_the_same_as_the_shipped_one() -> None:
    published, shipped = load_config(PUBLISHED / "train.yaml"), load_config(STAGE2)
    assert make_plan(published.run, 8, 176_000) == make_plan(
        OmegaConf.merge(shipped.run, {"lr_decay_rate": 0.9}), 8, 176_000
    )
    expected = {**_settings(shipped.model), "vit_model": PUBLISHED_VIT}
    assert _settings(published.model) == expected
    recipe = RECIPES["time104k_asr_valley72k"]
    own = {**RUN, **recipe.run, "reference_world_size": None}
    _assert_trains(published, recipe, {**TRAINED, "vit_model": PUBLISHED_VIT}, own)
    assert list(published.datasets) == list(shipped.datasets)
    for name, entry in published.datasets.items():
        assert entry.build_info == shipped.datasets[name].build_info
        assert entry.builder == shipped.datasets[name].builder
        assert entry.vis_processor.train.name == shipped.datasets[name].vis_processor.train.name
        assert entry.sample_type == shipped.datasets[name].sample_type
    assert len({entry.sample_ratio for entry in published.datasets.values()}) == 1
    for key in ("task", "weight_decay", "beta2", "amp", "seed", "num_workers", "output_dir", "train_splits"):
        assert published.run[key] == shipped.run[key]


def _settings(model: Any) -> dict[str, Any]:
    return {key: value for key, value in OmegaConf.to_container(model).items() if not is_no_op(f"model.{key}")}


def test_a_published_evaluation_file_means_the_same_as_the_shipped_one() -> None:
    """Apart from what is frozen, which evaluation does not see."""
    published = load_config(PUBLISHED / "eval.yaml")
    shipped = load_config(ROOT / "eval_configs" / "timechat.yaml")
    seen = [
        {key: value for key, value in _settings(cfg.model).items() if not key.startswith(("freeze_", "frozen_"))}
        for cfg in (published, shipped)
    ]
    assert seen[0] == {**seen[1], "vit_model": PUBLISHED_VIT}
    expected = {**EVALUATED, "vit_model": PUBLISHED_VIT}
    assert _values(published.model, expected) == expected
    assert published.datasets.webvid.sample_type == "uniform"
    assert published.run.batch_size_eval == shipped.run.batch_size_eval
    assert published.run.evaluate
    assert not published.datasets.webvid.build_info.anno_dir


@pytest.mark.parametrize("name", ["train", "eval"])
def test_keys_without_effect_are_mentioned_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "timechat.config")
    load_config(PUBLISHED / f"{name}.yaml")
    (message,) = [record.getMessage() for record in caplog.records if "without effect" in record.getMessage()]
    dataset = {"train": "time_instruct", "eval": "webvid"}[name]
    for key in (
        "model.fusion_header_type",
        "model.prompt_template",
        "model.end_sym",
        "run.world_size",
        "run.dist_url",
        "run.distributed",
        "run.test_splits",
        f"datasets.{dataset}.text_processor.train.name",
    ):
        assert key in message.split(": ")[1].split(", ")
    assert ("preprocess." in message) == (name == "train")
    for key in ("run.seed", "model.lora", "sample_ratio", "vis_processor.train"):
        assert key not in message.replace("preprocess.vis_processor", "")


def test_the_published_training_file_has_every_published_key() -> None:
    written = OmegaConf.load(PUBLISHED / "train.yaml")
    for section in ("model", "preprocess", "run"):
        assert set(written[section]) == set(KEYS[section])
    for entry in written.datasets.values():
        assert not [key for key in KEYS.dataset if OmegaConf.select(entry, key) is None]


@pytest.mark.parametrize("name", KEYS.datasets)
def test_every_published_dataset_takes_the_published_keys(name: str, tmp_path: Path) -> None:
    written = OmegaConf.load(PUBLISHED / "train.yaml")
    entry = OmegaConf.merge(written.datasets.time_instruct, {"data_type": "images"} if name == "llava_instruct" else {})
    del written["datasets"]
    written["datasets"] = {name: entry}
    OmegaConf.save(written, tmp_path / "x.yaml")
    cfg = load_config(tmp_path / "x.yaml")
    assert cfg.datasets[name].builder == ("image_instruct" if name == "llava_instruct" else "video_instruct")


def test_numbers_in_scientific_notation_are_numbers() -> None:
    """`3e-5` is a text to plain YAML 1.1."""
    assert "init_lr: 3e-5" in (PUBLISHED / "train.yaml").read_text()
    assert load_config(PUBLISHED / "train.yaml").run.init_lr == 3e-5
