"""Items that are text alone: refused, dropped or trained, by a key; what the model makes of them."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import build_tiny, write_json
from helpers.training import NO_DROPOUT, build, image_entry, train
from omegaconf import DictConfig

from timechat.composition import schema_for
from timechat.datasets import build_datasets
from timechat.datasets.annotations import read_instructions
from timechat.datasets.collate import Fetched, collate
from timechat.errors import AnnotationError
from timechat.text.conversation import encode_conversation

TALK = {"conversations": [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "Hello, chef."}]}
PICTURE = {"image": "0.png", "QA": [{"q": "What is it?", "a": "The bread."}]}


def entry(folder: Path, text_only: str) -> dict[str, Any]:
    """A `datasets` entry: a picture, and text alone."""
    made = image_entry(folder)
    write_json(Path(made["build_info"]["anno_dir"]), [PICTURE, TALK])
    return made | {"text_only": text_only}


def test_without_the_key_it_is_an_error(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", [PICTURE, TALK])
    with pytest.raises(AnnotationError, match="item 1: image is missing"):
        read_instructions(path, tmp_path, "image")


@pytest.mark.parametrize(("text_only", "paths"), [("drop", ["0.png"]), ("train", ["0.png", ""])])
def test_dropped_or_kept_and_counted(
    text_only: str, paths: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_json(tmp_path / "a.json", [PICTURE, TALK])
    with caplog.at_level(logging.INFO):
        items = read_instructions(path, tmp_path, "image", text_only=text_only)
    assert [item.path for item in items] == paths
    assert f"a.json: 1 item is text alone; text_only={text_only}" in caplog.text


def test_a_misspelled_key_is_not_taken_for_text_alone(tmp_path: Path) -> None:
    """A broken conversation stays an error; so does an item about a video among pictures."""
    path = write_json(tmp_path / "a.json", [PICTURE, {"conversations": []}, {**PICTURE, "video": "a.mp4"}])
    with pytest.raises(AnnotationError, match="item 1: conversations is empty"):
        read_instructions(path, tmp_path, "image", text_only="train")
    moved = {key: value for key, value in PICTURE.items() if key != "image"} | {"video": "a.mp4"}
    with pytest.raises(AnnotationError, match="item 0: image is missing"):
        read_instructions(write_json(tmp_path / "b.json", [moved]), tmp_path, "image", text_only="train")


def samples(folder: Path) -> tuple[Any, list[Any]]:
    """The dataset's model and its two samples."""
    runner = build(folder / "run", {"mixed": entry(folder / "data", "train")}, *NO_DROPOUT)
    (data,) = build_datasets(runner.cfg)
    return runner.engine.unwrap(), [data.sample(i, torch.Generator().manual_seed(0)) for i in range(2)]


def test_the_conversation_shows_no_picture(tmp_path: Path) -> None:
    model, (picture, talk) = samples(tmp_path)
    assert talk.frames.shape == picture.frames.shape
    assert not talk.frames.any()
    turns = [{"q": "Hi!", "a": "Hello, chef."}]
    wanted = encode_conversation(turns, None, model.tokenizer, num_video_tokens=0, max_txt_len=2048)
    assert (talk.input_ids, talk.labels) == (wanted.input_ids, wanted.labels)
    text = model.tokenizer.decode(talk.input_ids)
    assert "Image" not in text
    assert "Hi!" in text


def test_the_loss_is_the_decoders_alone_and_neighbours_do_not_matter(tmp_path: Path) -> None:
    model, (picture, talk) = samples(tmp_path)
    model.eval()
    with torch.no_grad():
        both = model(collate([Fetched(picture), Fetched(talk)]))["sample_losses"]
        alone = [model(collate([Fetched(sample)]))["sample_losses"] for sample in (picture, talk)]
        brighter = talk.frames + 200
        talk.frames = brighter
        other = model(collate([Fetched(talk)]))["sample_losses"]
    torch.testing.assert_close(both, torch.cat(alone))
    torch.testing.assert_close(other, alone[1])
    ids = torch.tensor([talk.input_ids])
    with torch.no_grad():
        logits = model.llama_model(input_ids=ids).logits[0, :-1]
    targets = torch.tensor(talk.labels[1:])
    by_hand = torch.nn.functional.cross_entropy(logits[targets != -100].float(), targets[targets != -100])
    torch.testing.assert_close(alone[1][0], by_hand)


def test_every_parameter_has_a_gradient_also_with_text_alone(tmp_path: Path) -> None:
    """As processes wait for each other's gradients; those of the encoder are 0."""
    model, (_, talk) = samples(tmp_path)
    model(collate([Fetched(talk)]))["loss"].backward()
    lacking = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    with_picture = build_tiny(NO_DROPOUT)
    assert lacking == lacking_with(with_picture, samples(tmp_path / "again")[1][0])
    assert not model.llama_proj.weight.grad.any()
    assert any(p.grad.any() for name, p in model.named_parameters() if "lora" in name and p.grad is not None)


def lacking_with(model: Any, sample: Any) -> list[str]:
    """The parameters that a sample with a picture gives no gradient."""
    model(collate([Fetched(sample)]))["loss"].backward()
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def test_both_kinds_train(tmp_path: Path) -> None:
    steps = ("run.max_epoch=1", "run.iters_per_epoch=2", "run.batch_size_train=1")
    run = train(tmp_path / "run", {"mixed": entry(tmp_path / "data", "train")}, *steps)
    assert [math.isfinite(loss) for loss in run.losses] == [True, True]


def test_the_key_is_in_the_schema_of_pictures_alone() -> None:
    for builder, there in (("image_instruct", True), ("video_instruct", False)):
        schema = schema_for(DictConfig({"datasets": {"any": {"builder": builder}}}))
        assert ("text_only" in schema.defaults()["datasets"]["any"]) == there
