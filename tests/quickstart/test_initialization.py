"""How weights begin that no file gives."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny import build_tiny
from torch import nn

from quickstart import small_timechat  # noqa: F401 - registers the model
from quickstart.initialization import begin_at_fan_in


def test_fan_in_scales_matrices_by_their_inputs_and_leaves_the_rest() -> None:
    module = nn.ModuleDict({"wide": nn.Linear(400, 100), "lookup": nn.Embedding(100, 50), "norm": nn.LayerNorm(50)})
    rest = ("wide.bias", "norm.weight", "norm.bias")
    before = {name: module.get_parameter(name).clone() for name in rest}
    begin_at_fan_in(module)
    assert module["wide"].weight.std().item() == pytest.approx(0.05, rel=0.02)
    assert module["lookup"].weight.std().item() == pytest.approx(1.0, rel=0.05)
    assert all(torch.equal(module.get_parameter(name), value) for name, value in before.items())


def test_the_seed_decides() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        layer = nn.Linear(3, 3)
        begin_at_fan_in(layer)
        return layer.weight.detach()

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_a_model_that_begins_so_lets_the_timestamp_through() -> None:
    """Queries and embeddings of 1: at the published 0.02 a narrow model's tokens hardly differ with the times."""
    frames = torch.randint(0, 256, (4, 3, 56, 56), dtype=torch.uint8)
    difference = {}
    for kind in ("published", "fan_in"):
        torch.manual_seed(0)
        model = build_tiny(["model.arch=small_timechat", "model.ckpt=", f"model.initialization={kind}"]).eval()
        first, second = (
            model.encode_video([frames], [times])[0] for times in ([0.0, 1.0, 2.0, 3.0], [5.0, 6.0, 7.0, 8.0])
        )
        difference[kind] = ((first - second).norm() / first.norm()).item()
    assert difference["fan_in"] > 3 * difference["published"]


def test_weight_files_win() -> None:
    """What a file gives is not drawn again."""
    models = [
        build_tiny(["model.arch=small_timechat", f"model.initialization={kind}"]) for kind in ("published", "fan_in")
    ]
    assert torch.equal(models[0].llama_proj.weight, models[1].llama_proj.weight)
