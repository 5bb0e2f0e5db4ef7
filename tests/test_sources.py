"""Where published files come from is said once, and everywhere the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny import tiny_config
from helpers.training import ROOT

from timechat.config import load_config
from timechat.errors import TimeChatError
from timechat.models import build_model
from timechat.models.checkpoints import WEIGHT_FILES
from timechat.sources import _VIDEOS, SOURCES, advice, command_for, elsewhere, find, videos_from

NAMED = {name: source.places[0] for name, source in SOURCES.items()}


@pytest.mark.parametrize("name", SOURCES)
def test_the_documents_give_the_same_command(name: str) -> None:
    command = command_for(NAMED[name])
    assert command
    assert NAMED[name] in command or str(Path(NAMED[name]).parent) in command
    assert command in (ROOT / "docs" / "CHECKPOINTS.md").read_text()
    assert f"`{NAMED[name]}" in (ROOT / "README.md").read_text()


def test_every_weight_file_that_a_shipped_recipe_names_has_a_source() -> None:
    named = set()
    for path in [*ROOT.glob("train_configs/stage2_*.yaml"), ROOT / "eval_configs" / "timechat.yaml"]:
        model = load_config(path).model
        named |= {model[key] for key in (*WEIGHT_FILES, "llama_model") if model[key]}
        named.add(f"ckpt/{model.qformer_tokenizer}")
    assert named == set(NAMED.values())


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("q_former_model=X/instruct_blip_vicuna7b_trimmed.pth", "curl -L --create-dirs -o X/instruct_blip_vicuna7b"),
        ("ckpt=X/timechat_7b.pth", "hf download ShuhuaiRen/TimeChat-7b timechat_7b.pth --local-dir X;"),
        ("ckpt_2=X/VL_LLaMA_2_7B_Finetuned.pth", "hf download DAMO-NLP-SG/Video-LLaMA-2-7B-Finetuned VL_LLaMA"),
        ("llama_model=X/llama-2-7b-chat-hf", "hf download DAMO-NLP-SG/Video-LLaMA-2-7B-Finetuned --include"),
        ("qformer_tokenizer=X/bert-base-uncased", "hf download X/bert-base-uncased vocab.txt --local-dir"),
    ],
)
def test_a_missing_file_is_told_with_its_command(option: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TimeChatError) as error:
        build_model(tiny_config([f"model.{option}"]).model)
    assert command in str(error.value)


def test_files_of_a_published_folder_come_with_it() -> None:
    """A shard, config.json and vocab.txt are fetched with their folder; other files have no command."""
    folder = "ckpt/Video-LLaMA-2-7B-Finetuned/llama-2-7b-chat-hf"
    assert command_for(f"{folder}/config.json") == command_for(folder)
    assert command_for("ckpt/mine.pth") is None
    assert advice("ckpt/mine.pth", "model.ckpt") == ""


def test_annotations_of_shipped_recipes_come_with_a_clone_and_their_videos_from_pages() -> None:
    """The same in docs/DATA.md; a collection that nobody knows has no page."""
    data = (ROOT / "docs" / "DATA.md").read_text()
    for path in ROOT.glob("train_configs/stage2_*.yaml"):
        for entry in load_config(path).datasets.values():
            command = command_for(entry.build_info.anno_dir)
            assert (
                command == "git lfs install && git clone https://huggingface.co/datasets/ShuhuaiRen/TimeIT data/TimeIT"
            )
            assert command in data
    pages = {folder: page.partition(" ")[0].rstrip(",") for folder, page in _VIDEOS.items()}
    assert [folder for folder, page in pages.items() if f"]({page})" not in data and folder != "jukin"] == []
    assert str(videos_from("COIN/videos_ali/3/x.mp4")).startswith("https://coin")
    assert videos_from("x.mp4") is None


def test_names_with_spaces_are_quoted() -> None:
    assert "--local-dir 'my files'" in str(command_for("my files/timechat_7b.pth"))


def test_a_file_is_not_elsewhere_when_it_is_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = map(Path, SOURCES["eva_vit_g.pth"].places)
    assert find("eva_vit_g.pth") == str(first)
    second.parent.mkdir(parents=True)
    second.touch()
    assert find("eva_vit_g.pth") == str(second)
    assert elsewhere(second) is None
    assert elsewhere("deep/in/another/eva_vit_g.pth") == second
