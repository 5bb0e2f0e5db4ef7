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

CPU = torch.device("cpu")
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
    optimizer, names = build_optimizer(nn.Linear(2, 3), lr=0.25, weight_decay=0.5, beta2=0.75, device=CPU)
    assert type(optimizer) is torch.optim.AdamW
    assert [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.25, (0.9, 0.75), 0.5),
        (0.25, (0.9, 0.75), 0.0),
    ]
    assert names == ["weight", "bias"]
    assert optimizer.defaults["fused"]


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
    optimizer = torch.optim.Rprop(nn.Linear(2, 3).parameters())  # knows one kind of kernels alone
    found = optimizer_state({"optimizer": {"state": {}, "param_groups": groups}}, optimizer)
    assert found == {"state": {}, "param_groups": [groups[0] | {"foreach": None}]}


@pytest.mark.parametrize(("before", "after"), [(False, True), (True, False)])
def test_fused_steps_are_those_of_plain_adamw_and_go_on_from_each_others_state(before: bool, after: bool) -> None:
    """Three steps with one kind of kernels, saved, three with the other; as six plain ones."""
    inputs = torch.randn(6, 4, 5)

    def learn(model: nn.Module, optimizer: torch.optim.Optimizer, steps: slice) -> None:
        for batch in inputs[steps]:
            model(batch).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

    def started(fused: bool) -> tuple[nn.Module, torch.optim.AdamW]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
        return model, torch.optim.AdamW(parameter_groups(model, 0.05)[0], lr=0.01, fused=fused)

    expected, optimizer = started(False)
    learn(expected, optimizer, slice(6))
    model, optimizer = started(before)
    learn(model, optimizer, slice(3))
    other, resumed = started(after)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(optimizer_state({"optimizer": optimizer.state_dict()}, resumed))
    assert {group["fused"] for group in resumed.param_groups} == {after}
    learn(other, resumed, slice(3, 6))
    for ours, theirs in zip(other.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_learns_in_16_bits_is_refused(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1).to(dtype))
    with pytest.raises(ConfigError, match=r"2 of the parameters that learn are not fp32, such as 1\.weight"):
        parameter_groups(model, 0.0)
    model[1].requires_grad_(False)
    assert parameter_groups(model, 0.0)[1] == ["0.weight", "0.bias"]


def test_a_model_without_anything_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="every part is frozen"):
        build_optimizer(nn.Linear(2, 3).requires_grad_(False), lr=0.1, weight_decay=0.0, beta2=0.9, device=CPU)
