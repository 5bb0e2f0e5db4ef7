"""What a training step is, and the names that configs know it under."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny import Golden, dataset_config, golden_batch, tiny_config, tiny_dataset
from torch import nn

from timechat.errors import ConfigError
from timechat.models import TimeChat
from timechat.tasks import InstructionTask, build_task


@pytest.mark.parametrize("name", ["video_text_pretrain", "image_text_pretrain"])
def test_both_published_names(name: str) -> None:
    assert type(build_task(tiny_config([f"run.task={name}"]))) is InstructionTask


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'video_text_pretrain'.*known: .*image_text_pretrain, "):
        tiny_config(["run.task=video_text_pretraining"])


def test_the_loss_is_the_mean_of_the_samples_losses(golden: Golden, tiny_model: TimeChat) -> None:
    """Not of all tokens: a sample with a long answer does not weigh more."""
    batch = golden_batch(golden, tiny_model.tokenizer)
    with torch.no_grad():
        loss, out = InstructionTask(tiny_config()).train_step(tiny_model, batch), tiny_model(batch)
    torch.testing.assert_close(loss, out["sample_losses"].mean())
    assert abs(float(loss) - float(out["loss"])) > 1e-4


def test_the_step_calls_the_wrapped_model(golden: Golden, tiny_model: TimeChat) -> None:
    """DDP connects processes in its own forward; a step that bypassed it would train each process separately."""

    class Wrapper(nn.Module):
        calls = 0

        def forward(self, batch: object) -> dict[str, torch.Tensor]:
            self.calls += 1
            return {"sample_losses": torch.tensor([1.0, 3.0])}

    wrapper = Wrapper()
    assert float(InstructionTask(tiny_config()).train_step(wrapper, golden_batch(golden, tiny_model.tokenizer))) == 2.0
    assert wrapper.calls == 1


def test_datasets_and_model_come_from_the_config(tmp_path: Path) -> None:
    entry = {"builder": "video_instruct", "build_info": tiny_dataset(tmp_path)}
    cfg = dataset_config({"one": entry, "two": entry}, folder=tmp_path)
    task = InstructionTask(cfg)
    assert [(dataset.name, len(dataset)) for dataset in task.build_datasets(cfg)] == [("one", 2), ("two", 2)]
    assert isinstance(task.build_model(cfg), TimeChat)


def test_training_without_datasets_is_refused() -> None:
    with pytest.raises(ConfigError, match="datasets is empty"):
        InstructionTask(tiny_config()).build_datasets(tiny_config())
