"""Configs: everything wrong is found at once and named with its source; published files load.

That each key changes something: `test_config_effects.py` for `model` and `datasets`, `runners/test_run_keys.py` for
`run`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny import TINY
from omegaconf import DictConfig, OmegaConf

from timechat.config import frames_per_video, is_no_op, load_config
from timechat.errors import ConfigError

Load = Callable[..., DictConfig]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write a config (text, or sections) and load it."""

    def write_and_load(content: str | dict[str, Any], *options: str) -> DictConfig:
        path = tmp_path / "x.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        return load_config(path, list(options))

    return write_and_load


def problems(load: Load, content: str | dict[str, Any], *options: str) -> list[str]:
    """The lines of the error."""
    with pytest.raises(ConfigError) as caught:
        load(content, *options)
    return str(caught.value).splitlines()


# Reading --------------------------------------------------------------------------------------------------------------


def test_defaults_are_filled_in_and_what_is_written_wins(load: Load) -> None:
    cfg = load({"model": {"lora_r": 8, "vit": {"depth": 2}}, "run": {"max_epoch": 3}}, "run.max_epoch=5", "run.seed=7")
    assert (cfg.model.lora_r, cfg.model.vit.depth, cfg.model.vit.embed_dim) == (8, 2, 1408)
    assert (cfg.run.max_epoch, cfg.run.seed, cfg.run.beta2) == (5, 7, 0.999)
    assert cfg.datasets == {}


def test_the_published_sizes_are_the_defaults(load: Load) -> None:
    model = load({}).model
    assert (model.vit.embed_dim, model.vit.depth, model.vit.num_heads, model.image_size) == (1408, 39, 16, 224)
    assert (model.qformer.hidden_size, model.qformer.num_hidden_layers, model.num_query_token) == (768, 12, 32)
    assert (model.fusion_head_layers, model.num_video_query_token, model.window_size, model.stride) == (2, 32, 32, 32)
    assert (model.lora_r, model.lora_alpha, model.lora_dropout, model.max_frame_pos) == (32, 32, 0.1, 96)


def test_defaults_are_not_shared_between_configs(load: Load) -> None:
    first = load({"datasets": {"webvid": {}}})
    first.model.vit.depth = 1
    first.run.train_splits.append("x")
    again = load({"datasets": {"webvid": {}}})
    assert again.model.vit.depth == 39
    assert list(again.run.train_splits) == ["train"]


def test_interpolation_says_a_path_once(load: Load) -> None:
    cfg = load(
        "model: {llama_model: weights/llama, num_frm: 8}\n"
        "datasets:\n  webvid: {tokenizer_name: '${model.llama_model}', num_frm: '${model.num_frm}'}\n"
        "run: {output_dir: 'runs/${model.arch}'}\n"
    )
    assert cfg.datasets.webvid.tokenizer_name == "weights/llama"
    assert cfg.datasets.webvid.num_frm == 8
    assert cfg.run.output_dir == "runs/timechat"


def test_numbers_as_people_write_them(load: Load) -> None:
    """YAML 1.1 takes 3e-5 for a text."""
    assert load("run: {init_lr: 3e-5, weight_decay: 1}").run.init_lr == 3e-5
    assert load({}, "run.init_lr=1e-3").run.init_lr == 1e-3


@pytest.mark.parametrize("content", ["", "model:\n", "model:\ndatasets:\nrun:\npreprocess:\n"])
def test_empty_sections_say_nothing(load: Load, content: str) -> None:
    assert load(content) == load({})


def test_an_empty_value_of_a_text_is_the_empty_text(load: Load) -> None:
    cfg = load("model:\n  vit_model:\n  system_prompt: null\n", "model.ckpt=")
    assert (cfg.model.vit_model, cfg.model.system_prompt, cfg.model.ckpt) == ("", "", "")


@pytest.mark.parametrize("text", ["''", '""'])
def test_quotation_marks_alone_are_the_empty_text(load: Load, text: str) -> None:
    """Where null means something else: here it is a folder for caches."""
    assert load({}, f"model.looks_dir={text}", f"model.ckpt={text}").model.looks_dir == ""
    assert load({}, "model.looks_dir=").model.looks_dir is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model: [", "not valid YAML"),
        ("model:\n\tarch: x", "not valid YAML"),
        ("model: {lora_r: 1, lora_r: 2}", "not valid YAML.*duplicate key lora_r"),
        ("model: {ckpt: '${nope'}", "not valid YAML"),
        ("- model", "expected the sections model, datasets and run, found a list"),
        ("model: 3", "model must be a section with keys, not 3"),
        ("datasets: [webvid]", "datasets must be a section with keys"),
        ("datasets: {webvid: }", r"datasets\.webvid must be a section with keys"),
        ("model: {vit: 3}", r"model\.vit must be a section with keys, not 3"),
        ("model: {vit: '${model.image_size}'}", r"model\.vit=224 must be a section with keys"),
        ("model: {ckpt: '${nope.x}'}", r"Interpolation key 'nope\.x' not found"),
        ("model: {ckpt: '${model.ckpt_2}', ckpt_2: '${model.ckpt}'}", "Recursive interpolation detected"),
    ],
)
def test_broken_files_are_named(load: Load, tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"(?s)x\.yaml: .*{message}"):
        load(content)


def test_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x\.yaml: not valid YAML"):
        load_config(tmp_path / "x.yaml")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such config file"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("content", "found"),
    [("hello", "only the text 'hello'"), ("3", "only the text '3'"), ("model.yaml\n", "only the text 'model.yaml'")],
)
def test_a_bare_word_is_no_config(load: Load, content: str, found: str) -> None:
    (problem,) = problems(load, content)
    assert problem.endswith(f"x.yaml: expected the sections model, datasets and run, found {found}")


@pytest.mark.parametrize("content", ["---\n", "null", "~", "# nothing\n"])
def test_a_file_that_says_nothing(load: Load, content: str) -> None:
    assert load(content) == load({})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "datasets: {2024: {builder: caption}}",
            "datasets.2024: YAML does not read this key as a text; write it in quotes",
        ),
        ("datasets: {on: {builder: caption}}", "datasets.True: YAML does not read this key as a text"),
        ("datasets: {my.data: {builder: caption}}", "datasets.my.data: a key has no dots and brackets"),
        ("datasets: {'a[0]': {builder: caption}}", "rename it, such as 'a_0_'"),
        ("datasets: {'': {builder: caption}}", "datasets.: a key has no dots and brackets"),
        ("run.max_epoch: 3", "run.max_epoch: a key has no dots and brackets, which stand between keys; nest the keys"),
        ("3: {}", "3: YAML does not read this key as a text"),
        ("model: {system_prompt: '???'}", "model.system_prompt=??? means a missing value to OmegaConf"),
    ],
)
def test_keys_that_would_be_mistaken(load: Load, tmp_path: Path, content: str, message: str) -> None:
    (problem,) = problems(load, content)
    assert problem.startswith(f"{tmp_path / 'x.yaml'}: ")
    assert message in problem


def test_a_year_in_quotes_names_a_dataset(load: Load) -> None:
    cfg = load("datasets: {'2024': {builder: caption, sample_ratio: 2}}", "datasets.2024.cache_dir=x")
    assert (cfg.datasets["2024"].sample_ratio, cfg.datasets["2024"].cache_dir) == (2, "x")


def test_the_environment_gives_numbers(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {"LR": "1e-3", "N": "8", "AMP": "true", "CLIP": "null", "WHO": "[wandb]", "NAME": "007"}.items():
        monkeypatch.setenv(name, text)
    cfg = load(
        "run: {init_lr: '${oc.env:LR}', max_epoch: '${oc.env:N}', amp: '${oc.env:AMP}', loggers: '${oc.env:WHO}'}",
        "run.clip_grad_norm=${oc.env:CLIP}",
        "run.batch_size_train=${oc.env:N}",
        "run.output_dir=${oc.env:NAME}",
    )
    run = cfg.run
    assert (run.init_lr, run.max_epoch, run.amp, run.clip_grad_norm, run.loggers) == (1e-3, 8, True, None, ["wandb"])
    assert (run.batch_size_train, run.output_dir) == (8, "007")
    assert problems(load, {}, "run.max_epoch=${oc.env:LR}") == ["--options: run.max_epoch=0.001 must be a whole number"]
    monkeypatch.setenv("LR", "fast")
    (problem,) = problems(load, "run: {init_lr: '${oc.env:LR}'}")
    assert "x.yaml: run.init_lr='fast' must be a number" in problem
    assert "Environment variable 'GONE' not found" in "".join(problems(load, {}, "run.seed=${oc.env:GONE}"))


def test_a_tilde_is_the_home_directory_in_every_key_that_is_a_path(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    build = ("anno_dir", "videos_dir", "valid_anno_dir", "valid_videos_dir")
    keys = [f"model.{key}" for key in ("vit_model", "q_former_model", "qformer_tokenizer", "ckpt", "ckpt_2")]
    keys += [
        "model.llama_proj_model",
        "model.llama_model",
        "datasets.webvid.cache_dir",
    ]
    keys += [f"datasets.webvid.build_info.{key}" for key in build]
    keys += [f"run.valid_benchmark.{key}" for key in ("anno_path", "videos_dir", "prompt_file")]
    keys += ["run.output_dir", "run.deepspeed_config"]
    content = "datasets: {webvid: {}}\nrun: {strategy: deepspeed_zero2}\n"
    cfg = load(content, *(f"{key}=~/{key.rpartition('.')[0]}" for key in keys))
    assert [OmegaConf.select(cfg, key) for key in keys] == [f"/home/me/{key.rpartition('.')[0]}" for key in keys]
    copy = load("datasets: {webvid: {tokenizer_name: ~/llama}}").datasets.webvid
    assert copy.tokenizer_name == "/home/me/llama"
    for key in ("resume", "resume_ckpt_path"):
        assert load(f"run: {{{key}: ~/x.pth}}").run[key] == "/home/me/x.pth"
    assert load({}, "model.system_prompt=~/x").model.system_prompt == "~/x"


# Checking -------------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_listed_together_with_source_and_nearest(load: Load, tmp_path: Path) -> None:
    content = {
        "model": {"lora_rank": 3, "vit": {"dept": 1}},
        "datasets": {"webvid": {"sample_ration": 2, "build_info": {"anno_dirs": "x"}}},
        "runs": {},
    }
    file = tmp_path / "x.yaml"
    assert sorted(problems(load, content, "run.max_epochs=3", "model.xyzzy=1")) == sorted(
        [
            f"{file}: unknown key model.lora_rank (did you mean 'lora_r'?)",
            f"{file}: unknown key model.vit.dept (did you mean 'depth'?)",
            f"{file}: unknown key datasets.webvid.sample_ration (did you mean 'sample_ratio'?)",
            f"{file}: unknown key datasets.webvid.build_info.anno_dirs (did you mean 'anno_dir'?)",
            f"{file}: unknown key runs (did you mean 'run'?)",
            "--options: unknown key run.max_epochs (did you mean 'max_epoch'?)",
            "--options: unknown key model.xyzzy",
        ]
    )


def test_wrong_types_are_listed_together_with_their_source(load: Load, tmp_path: Path) -> None:
    content = {
        "model": {"lora_r": "many", "lora": 1, "ckpt": 5, "vit": {"depth": 2.5}},
        "run": {"train_splits": "train"},
    }
    file = tmp_path / "x.yaml"
    assert sorted(problems(load, content, "run.max_epoch=abc", "run.clip_grad_norm=true", "run.seed=null")) == sorted(
        [
            f"{file}: model.lora_r='many' must be a whole number",
            f"{file}: model.lora=1 must be true or false",
            f"{file}: model.ckpt=5 must be a text",
            f"{file}: model.vit.depth=2.5 must be a whole number",
            f"{file}: run.train_splits='train' must be a list",
            "--options: run.max_epoch='abc' must be a whole number",
            "--options: run.clip_grad_norm=True must be a number",
            "--options: run.seed must be a whole number, not null",
        ]
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("max_epoch", r"--options: expected section\.key=value, got 'max_epoch'"),
        ("=3", r"--options: expected section\.key=value, got '=3'"),
        ("model.vit.depth=[1", "--options: "),
        ("model.vit=3", r"--options: model\.vit must be a section with keys"),
        ("model.ckpt.x=3", r"--options: model\.ckpt=.* must be a text"),
        ("datasets.nope.sample_ratio=2", r"--options: unknown dataset datasets\.nope"),
        ("model.stride=0", r"--options: model\.stride=0 never moves the windows of model\.window_size=32"),
        ("model.stride=-1", r"--options: model\.stride=-1: must be 0 or more"),
    ],
)
def test_problems_of_options_name_them(load: Load, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load({}, option)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("model", "model_type", "pretrain_vicuna", "only pretrain_llama_v2 works"),
        ("model", "prompt_path", "prompts.txt", "must be empty"),
        ("model", "num_frm", 97, "is more than model.max_frame_pos=96"),
        ("model", "fps", 0, "give frames per second above 0"),
        ("model", "stride", 0, "never moves the windows of model.window_size=32; set it to 1 or more, or"),
        ("model", "stride", -1, "must be 0 or more"),
        ("model", "window_size", -1, "must be 0 or more"),
        ("model", "num_query_token", 0, "must be 1 or more"),
        ("model", "image_size", 0, "must be 1 or more"),
        ("model", "lora_r", 0, "must be 1 or more"),
        ("model", "lora_dropout", 1.0, "must be at least 0 and below 1"),
        ("model", "drop_path_rate", -0.1, "must be at least 0 and below 1"),
        ("model", "device_8bit", -1, "must be 0 or more"),
        ("model", "vit_precision", "fp8", "choose auto, fp32, fp16 or bf16"),
        ("model", "llama_precision", "half", "choose auto, fp32, fp16 or bf16"),
        ("run", "max_epoch", 0, "must be 1 or more"),
        ("run", "reference_world_size", 0, "must be 1 or more"),
        ("run", "num_workers", -1, "must be 0 or more"),
        ("run", "seed", -1, "must be 0 or more"),
        ("run", "warmup_steps", -1, "must be 0 or more"),
        ("run", "init_lr", -1e-3, "must be 0 or more"),
        ("run", "init_lr", float("nan"), "must be 0 or more"),
        ("run", "min_lr", -1e-3, "must be 0 or more"),
        ("run", "lr_decay_rate", -0.5, "must be 0 or more"),
        ("run", "weight_decay", -0.1, "must be 0 or more"),
        ("run", "clip_grad_norm", -1, "must be 0 or more"),
        ("run", "beta2", 1.0, "must be at least 0 and below 1"),
        ("run", "max_skip_ratio", 10, "must be from 0 to 1"),
        ("run", "output_dir", "", "is empty: name the folder"),
        ("run", "precision", "fp8", "choose fp32, fp16 or bf16"),
        ("run", "strategy", "ddpp", "known: ddp, deepspeed_zero2, deepspeed_zero3, fsdp"),
        ("run", "train_splits", ["val"], "the instruction datasets only have the split train"),
    ],
)
def test_values_that_cannot_be(load: Load, section: str, key: str, value: Any, message: str) -> None:
    (problem,) = problems(load, {section: {key: value}})
    assert f"x.yaml: {section}.{key}" in problem
    assert message in problem


def test_conflicts_are_listed_together(load: Load) -> None:
    content = {"model": {"stride": -1, "lora_r": -1, "qformer": {"num_hidden_layers": 0}}, "run": {"log_freq": 0}}
    assert len(problems(load, content)) == 4


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_decoder_that_learns_whole_is_not_kept_in_16_bits(load: Load, precision: str) -> None:
    (problem,) = problems(load, {"model": {"llama_precision": precision, "freeze_llama": False}})
    assert f"model.llama_precision={precision} with model.freeze_llama=false" in problem
    assert "16 bytes each" in problem
    assert "Set model.llama_precision=auto or fp32, or model.freeze_llama=true" in problem


def test_eight_bits_cannot_be_trained(load: Load) -> None:
    (problem,) = problems(load, {"model": {"low_resource": True, "freeze_llama": False}})
    assert "set model.freeze_llama=true" in problem


# Datasets -------------------------------------------------------------------------------------------------------------


def test_unknown_datasets_list_the_known_ones(load: Load) -> None:
    first, second = problems(load, {"datasets": {"time_instrukt": {}, "mine": {"sample_ratio": 1.0}}})
    assert (
        "unknown dataset datasets.time_instrukt (did you mean 'time_instruct'?); known: caption, charades_instruct, "
        in first
    )
    assert "for one of your own set datasets.mine.builder" in second
    (problem,) = problems(load, {"datasets": {"my_data": {"builder": "video_instruct"}, "train": {}}})
    assert "unknown dataset datasets.train; the others here are my_data; known: " in problem


def test_a_dataset_of_ones_own_names_its_builder(load: Load) -> None:
    cfg = load({"datasets": {"mine": {"builder": "video_instruct"}}})
    assert cfg.datasets.mine.vis_processor.train.name == "alpro_video_train"
    assert load({"datasets": {"llava_instruct": {}}}).datasets.llava_instruct.data_type == "images"


def test_datasets_keep_the_order_of_the_file(load: Load) -> None:
    cfg = load("datasets: {webvid: {}, charades_instruct: {}}", "datasets.a.builder=caption")
    assert list(cfg.datasets) == ["webvid", "charades_instruct", "a"]


COPIES = {
    "num_frm": 96,
    "num_video_query_token": 32,
    "stride": 32,
    "max_txt_len": 2048,
    "tokenizer_name": "ckpt/llama/",
    "model_type": "llama_v2",
}
BUILT = {"build_info": {"anno_dir": "x.json", "videos_dir": "v"}}
MODEL = {"llama_model": "ckpt/llama"}


def test_copies_of_model_settings_are_accepted_if_equal(load: Load) -> None:
    processors = {"vis_processor": {"train": {"name": "alpro_video_train", "n_frms": 96, "image_size": 224}}}
    entry = load({"model": MODEL, "datasets": {"webvid": BUILT | COPIES | processors}}).datasets.webvid
    assert {key: entry[key] for key in COPIES} == COPIES


def test_copies_that_differ_are_errors_that_name_both(load: Load) -> None:
    other = {"num_frm": 8, "num_video_query_token": 16, "stride": 16, "max_txt_len": 4096, "model_type": "vicuna"}
    other |= {"tokenizer_name": "ckpt/vicuna", "vis_processor": {"train": {"n_frms": 8, "image_size": 336}}}
    found = "\n".join(problems(load, {"model": MODEL, "datasets": {"webvid": BUILT | other}}))
    for line in (
        "datasets.webvid.num_frm=8 differs from model.num_frm=96",
        "datasets.webvid.num_video_query_token=16 differs from model.num_video_query_token=32",
        "datasets.webvid.stride=16 differs from model.stride=32",
        "datasets.webvid.max_txt_len=4096 differs from model.max_txt_len=2048",
        "datasets.webvid.tokenizer_name=ckpt/vicuna differs from model.llama_model=ckpt/llama",
        "datasets.webvid.vis_processor.train.n_frms=8 differs from model.num_frm=96",
        "datasets.webvid.vis_processor.train.image_size=336 differs from model.image_size=224",
        "datasets.webvid.model_type=vicuna: only llama_v2 works",
    ):
        assert line in found
    assert len(found.splitlines()) == 8


def test_a_published_evaluation_file_loads(load: Load) -> None:
    """Its datasets only have processors, for another number of frames: nothing is built from them."""
    cfg = load(
        "model:\n  arch: timechat\n  model_type: pretrain_llama_v2\n  end_sym: '</s>'\n  prompt_path: ''\n"
        "datasets:\n  webvid:\n    vis_processor:\n"
        "      train: {name: alpro_video_eval, n_frms: 8, image_size: 224}\n"
        "      eval: {name: alpro_video_eval, n_frms: 8}\n"
        "    text_processor: {train: {name: blip_caption}}\n"
        "    num_video_query_token: 32\n"
        "    sample_ratio: 100\n"
        "preprocess:\n  vis_processor: {eval: {name: alpro_video_eval, n_frms: 8}}\n"
        "  text_processor: {eval: {name: blip_caption}}\n"
        "run: {task: image_text_pretrain, evaluate: true, dist_url: 'env://', test_splits: [test]}\n"
    )
    assert cfg.datasets.webvid.vis_processor.train.n_frms == 8


def test_a_misspelt_split_is_no_split(load: Load) -> None:
    (problem,) = problems(load, {"datasets": {"webvid": {"vis_processor": {"trian": {"name": "alpro_video_eval"}}}}})
    assert "unknown key datasets.webvid.vis_processor.trian (did you mean 'train'?)" in problem


def test_keys_without_effect_are_mentioned_once(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "timechat"):
        load({"model": {"end_sym": "###", "prompt": "x"}, "run": {"world_size": 8}}, "model.end_sym=</s>")
    assert [record.getMessage() for record in caplog.records] == [
        "without effect, accepted from published configs: model.end_sym, model.prompt, run.world_size"
    ]


def test_nothing_is_mentioned_where_all_keys_have_effect(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "timechat"):
        load({"model": {"lora_r": 8}})
    assert not caplog.records


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.end_sym", True),
        ("model.end", False),
        ("model", False),
        ("preprocess.vis_processor.eval.name", True),
        ("datasets.x.text_processor.train.name", True),
        ("datasets.x.vis_processor.eval.n_frms", True),
        ("datasets.x.vis_processor.train.n_frms", False),
    ],
)
def test_is_no_op(key: str, expected: bool) -> None:
    assert is_no_op(key) is expected


def test_frames_by_number_and_by_rate_at_once(load: Load) -> None:
    (problem,) = problems(load, {"model": {"num_frm": 8, "fps": 2}})
    assert "model.fps=2 samples frames by rate, model.num_frm=8 a fixed number: set one of them" in problem


def test_frames_per_video(load: Load) -> None:
    assert frames_per_video(load({}).model) == 96
    assert frames_per_video(load({"model": {"num_frm": 8}}).model) == 8


def test_the_golden_config_loads() -> None:
    assert load_config(TINY / "config.yaml").model.vit.depth == 3


def test_a_stride_beyond_the_window_is_said(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """The published code takes it too, but nobody wants frames that are never seen."""
    with caplog.at_level("WARNING"):
        load({}, "model.window_size=2", "model.stride=4")
    assert "model.stride=4 is more than model.window_size=2" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING"):
        load({}, "model.window_size=0", "model.stride=4")
    assert not caplog.text


def test_a_model_without_windows_has_no_stride_either(load: Load) -> None:
    """The published defaults of both keys."""
    model = load({"model": {"window_size": 0, "stride": 0}}).model
    assert (model.window_size, model.stride) == (0, 0)
