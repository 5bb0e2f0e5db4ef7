"""AdamW's groups are the published ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch
from helpers.tiny import Golden, build_tiny
from torch import nn

from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.models.checkpoints import canonical_name
from timechat.runners.engines.base import optimizer_state
from timechat.runners.optimizers import build_optimizer, parameter_groups

NAMES = Path(__file__).parents[1] / "golden" / "published_names.json.gz"


def _published_without_decay(name: str, ndim: int) -> bool:
    """The rule of the published code."""
    return ndim < 2 or "bias" in name or "ln" in name or "bn" in name


def _expected(parameters: dict[str, int]) -> tuple[list[str], list[str]]:
    decayed = [name for name, ndim in parameters.items() if not _published_without_decay(name, ndim)]
    return decayed, [name for name in parameters if name not in set(decayed)]


def test_groups_and_their_order_on_the_tiny_model(golden: Golden, tiny_model: TimeChat) -> None:
    trainable = {canonical_name(n): p for n, p in tiny_model.named_parameters() if p.requires_grad}
    assert set(trainable) == set(golden.expected["trainable"])
    decayed, plain = _expected({name: p.ndim for name, p in trainable.items()})
    groups, names = parameter_groups(tiny_model, 0.05)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    assert names == decayed + plain
    in_order = [p for group in groups for p in group["params"]]
    assert [id(p) for p in in_order] == [id(trainable[name]) for name in names]
    assert len(groups[0]["params"]) == len(decayed)


def test_groups_of_the_published_model() -> None:
    """By names and shapes of the full-size model alone."""
    shapes = json.loads(gzip.decompress(NAMES.read_bytes()))["trainable"]
    model = nn.Module()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        owner = model
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        owner.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta")))
    groups, names = parameter_groups(model, 0.05)
    decayed, plain = _expected({name: len(shape) for name, shape in shapes.items()})
    count = len(groups[0]["params"])
    assert (set(names[:count]), set(names[count:])) == (set(decayed), set(plain))
    assert len(names) == 643


def test_settings_of_adamw() -> None:
    optimizer, names = build_optimizer(nn.Linear(2, 3), lr=0.25, weight_decay=0.5, beta2=0.75)
    assert type(optimizer) is torch.optim.AdamW
    assert [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.25, (0.9, 0.75), 0.5),
        (0.25, (0.9, 0.75), 0.0),
    ]
    assert names == ["weight", "bias"]


def test_no_group_is_empty() -> None:
    """LoRA alone has no biases; DeepSpeed drops an empty group, and its checkpoints would have one less."""
    lora = build_tiny(["model.freeze_qformer=true", "model.frozen_video_Qformer=true", "model.frozen_llama_proj=true"])
    groups, names = parameter_groups(lora, 0.05)
    assert [group["weight_decay"] for group in groups] == [0.05]
    assert names
    assert all(".lora_" in name for name in names)
    biases = nn.Linear(2, 3)
    biases.weight.requires_grad_(False)
    assert [group["weight_decay"] for group in parameter_groups(biases, 0.05)[0]] == [0.0]


def test_an_empty_group_of_an_older_checkpoint_is_left_out() -> None:
    groups = [{"params": [0, 1], "weight_decay": 0.05}, {"params": [], "weight_decay": 0.0}]
    found = optimizer_state({"optimizer": {"state": {}, "param_groups": groups}})
    assert found == {"state": {}, "param_groups": groups[:1]}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_learns_in_16_bits_is_refused(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).to(dtype))
    with pytest.raises(ConfigError, match=r"2 of the parameters that learn are not fp32, such as 1\.weight"):
        parameter_groups(model, 0.0)
    model[1].requires_grad_(False)
    assert parameter_groups(model, 0.0)[1] == ["0.weight", "0.bias"]


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="every part is frozen"):
        build_optimizer(nn.Linear(2, 3).requires_grad_(False), lr=0.1, weight_decay=0.0, beta2=0.9)
