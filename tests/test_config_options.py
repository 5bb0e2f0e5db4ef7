"""`--options`: a value is what the schema of its key wants, and a text is as it was typed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers.plain_model import PlainLayers
from omegaconf import DictConfig

from timechat.config import load_config
from timechat.errors import ConfigError
from timechat.models.config import TimeChatConfig
from timechat.registry import registry
from timechat.schema import key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A config that says little."""
    path = tmp_path / "x.yaml"
    path.write_text("datasets: {webvid: {}}\nrun: {output_dir: runs/x}\n")
    return path


def value_of(cfg: DictConfig, dotted: str) -> Any:
    """What stands at a dotted key."""
    for name in dotted.split("."):
        cfg = cfg[name]
    return cfg


TEXTS = (
    *(
        "exp #3",
        "#3",
        "! now",
        "!now",
        "[a",
        "[a, b]",
        "{a: 1}",
        "a: b",
        "a:",
        "- a",
        "'a'",
        '"a" b',
        "@a",
        "`a`",
        "%a",
    ),
    *(
        "&a b",
        "*a",
        "|",
        ">",
        "a=b",
        "=",
        "5",
        "3e-5",
        "true",
        "~x",
        "a, b",
        " a ",
        "a\nb",
        "\\n",
        "---",
        "\u00e4 \u4e2d",
    ),
)


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_as_it_was_typed(file: Path, text: str) -> None:
    options = [f"model.system_prompt={text}", f"run.best_score={text}", f"datasets.webvid.cache_dir=x{text}"]
    cfg = load_config(file, options)
    assert (cfg.model.system_prompt, cfg.run.best_score, cfg.datasets.webvid.cache_dir) == (text, text, f"x{text}")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("run.max_epoch=5", 5),
        ("run.max_epoch= 5", 5),
        ("run.init_lr=3e-5", 3e-5),
        ("run.init_lr=1", 1),
        ("run.amp=true", True),
        ("run.amp=False", False),
        ("run.valid_splits=[]", []),
        ("run.loggers=[wandb, 'my tracker']", ["wandb", "my tracker"]),
        ("run.clip_grad_norm=null", None),
        ("run.clip_grad_norm=None", None),
        ("run.clip_grad_norm=", None),
        ("run.best_score=null", None),
        ("run.best_score=", None),
        ("run.precision=None", None),
        ("model.system_prompt=", ""),
        ("model.system_prompt=null", ""),
        ("model.vit={depth: 2, num_heads: 4}", {"embed_dim": 1408, "depth": 2, "num_heads": 4}),
        ("run.output_dir=runs/${run.seed}", "runs/42"),
        ("run.iters_per_epoch=${run.seed}", 42),
        ("run.best_score=${run.precision}", None),
    ],
)
def test_everything_else_is_one_yaml_value(file: Path, option: str, expected: Any) -> None:
    found = value_of(load_config(file, [option]), option.partition("=")[0])
    assert (found, type(found) is bool) == (expected, type(expected) is bool)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("run.max_epoch=3 #x", "run.max_epoch='3 #x' must be a whole number"),
        ("run.max_epoch=#3", "run.max_epoch='#3' must be a whole number"),
        ("run.max_epoch=3.5", "run.max_epoch=3.5 must be a whole number"),
        ("run.max_epoch=[3", "run.max_epoch='[3' must be a whole number"),
        ("run.max_epoch=", "run.max_epoch must be a whole number, not null"),
        ("run.amp=ja", "run.amp='ja' must be true or false"),
        ("run.valid_splits=[val] # loss", "run.valid_splits='[val] # loss' must be a list"),
        ("run.valid_splits=val", "run.valid_splits='val' must be a list"),
        ("run.loggers=[1]", "run.loggers=[1] must be a list, each entry a text"),
        ("model.vit=3", "model.vit must be a section with keys, not 3"),
        ("model.vit={depth: 3", "model.vit must be a section with keys, not '{depth: 3'"),
        ("model.vit={depth: 3, depth: 4}", "model.vit must be a section with keys, not '{depth: 3, depth: 4}'"),
        ("model.vit={1: 3}", "model.vit.1: YAML does not read this key as a text; write it in quotes, '1':"),
        ("model.ckpt=${nope", "model.ckpt=${nope: "),
        ("run.init_lr=.nan", "run.init_lr=nan: must be 0 or more"),
        ("run.init_lr=inf", "run.init_lr='inf' must be a number"),
        ("run.init_lr=.inf", "run.init_lr=inf: must be finite"),
        ("run.warmup_lr=.nan", "run.warmup_lr=nan: must be finite"),
        ("run.warmup_lr=-.inf", "run.warmup_lr=-inf: must be finite"),
        ("run.seed=18446744073709551616", "must be a number of 64 bits, up to 18446744073709551615"),
        ("run.seed=-1", "run.seed=-1: must be 0 or more"),
        ("run.lora=1", "unknown key run.lora"),
    ],
)
def test_what_does_not_fit_is_named_with_its_key(file: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file, [option])
    assert str(caught.value).startswith(
        f"--options: {message}" if "must be a number of" not in message else "--options"
    )
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "run.valid_splits[0]=val",
            "one entry of a list cannot be set; give the whole list, such as run.valid_splits=",
        ),
        ("run.=3", "expected section.key=value, got 'run.=3'"),
        (".seed=3", "expected section.key=value"),
        ("run..seed=3", "expected section.key=value"),
        ("run.seed", "expected section.key=value"),
        ("=", "expected section.key=value, got '='"),
        ("", "expected section.key=value, got ''"),
        ("run.seed =3", "unknown key run.seed  (did you mean 'seed'?)"),
    ],
)
def test_keys_that_are_none(file: Path, option: str, message: str) -> None:
    with pytest.raises(ConfigError, match="--options: ") as caught:
        load_config(file, [option])
    assert message in str(caught.value)


def test_the_last_one_counts_and_sections_add_up(file: Path) -> None:
    options = ["run.seed=1", "model.vit.depth=3", "run.seed=2", "model.vit={num_heads: 4}", "model.vit.depth=5"]
    cfg = load_config(file, [*options, "run.loggers=[wandb]", "run.loggers=[]"])
    assert (cfg.run.seed, cfg.model.vit.depth, cfg.model.vit.num_heads, cfg.run.loggers) == (2, 5, 4, [])


def test_the_largest_seed_is_the_largest_that_torch_takes(file: Path) -> None:
    import torch

    seed = load_config(file, [f"run.seed={2**64 - 1}"]).run.seed
    torch.manual_seed(seed)
    with pytest.raises(ValueError, match="Overflow"):
        torch.manual_seed(seed + 1)


def test_names_in_options_decide_which_keys_there_are(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In whatever order, in a section or alone, and from the environment."""
    for tables in (registry._tables, registry._configs):
        registry.names("model")
        monkeypatch.setitem(tables, "model", dict(tables["model"]))

    @dataclass
    class OwnConfig(TimeChatConfig):
        greeting: str = key("", "a text")
        rate: float = key(0.0, "a number")

    registry.register_model("own", config=OwnConfig)(PlainLayers)
    monkeypatch.setenv("ARCH", "own")
    own = ["model.greeting=5 #1", "model.rate=1e-3"]
    for options in (
        [*own, "model.arch=own"],
        ["model.arch=timechat", *own, "model.arch=${oc.env:ARCH}"],
        ["model={arch: own, rate: 1}", *own],
    ):
        model = load_config(file, options).model
        assert (model.greeting, model.rate) == ("5 #1", 1e-3)
    data = load_config(file, ["datasets.mine={builder: caption}", "datasets.mine.cache_dir=a #b"]).datasets.mine
    assert (data.builder, data.cache_dir) == ("caption", "a #b")


def test_no_op_keys_take_anything(file: Path) -> None:
    cfg = load_config(file, ["model.end_sym=###", "model.prompt=[a", "run.world_size=8"])
    assert (cfg.model.end_sym, cfg.model.prompt, cfg.run.world_size) == ("###", "[a", 8)
