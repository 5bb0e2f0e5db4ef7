"""The verb `export`: arguments, and mistakes as one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.exports import plain, scores
from helpers.tiny import WEIGHTS, build_tiny, tiny_config
from omegaconf import OmegaConf

from timechat.cli.export import main
from timechat.models.export import RECORD_FILE


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--ckpt` takes the place of model.ckpt; a mistake is one message, before weights are loaded."""
    file = tmp_path / "config.yaml"
    OmegaConf.save({"model": {**tiny_config().model, "ckpt": "no_such_file.pth"}}, file)
    arguments = ["--cfg-path", str(file), "--format", "llama", "--output", str(tmp_path / "llama")]
    assert main([*arguments, "--options", "model.lora=false"]) == 1
    assert "there is no LoRA to export" in capsys.readouterr().err
    assert main([*arguments, "--ckpt", str(WEIGHTS)]) == 0
    assert json.loads((tmp_path / "llama" / RECORD_FILE).read_text())["model"]["ckpt"] == str(WEIGHTS)
    torch.testing.assert_close(scores(plain(tmp_path / "llama")), scores(build_tiny().llama_model), rtol=0, atol=1e-5)
