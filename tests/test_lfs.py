"""A git-lfs pointer in the place of a file is called by its name, whoever reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import BERT, LLAMA

from timechat.cli.doctor.config_files import problem_of_file
from timechat.datasets.annotations import read_captions, read_instructions
from timechat.datasets.entries import read_json
from timechat.datasets.video import load_image, load_video
from timechat.errors import AnnotationError, CheckpointError, ConfigError, TimeChatError, VideoError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.annotations import read_annotation_text
from timechat.evaluation.benchmarks.timeit import read_timeit
from timechat.evaluation.prompting import load_prompt
from timechat.evaluation.transcripts import read_transcript
from timechat.lfs import MARK, pointer_problem, refuse_pointer
from timechat.models import llama
from timechat.models.weight_files import open_folder, open_weights, read_file
from timechat.registry import registry
from timechat.text.tokenizers import load_qformer_tokenizer, load_tokenizer

POINTER = MARK + b"\noid sha256:4d7a\nsize 5401267456\n"
WORDS = "is a git-lfs pointer, not the file of 5.4 GB itself; run `git lfs install && git lfs pull` in its folder"


def _llama(path: Path) -> Any:
    return llama.build_llama(path.parent)


# Who reads what: a name, the reader, the kind of its error.
READERS: dict[str, tuple[str, Callable[[Path], Any], type[TimeChatError]]] = {
    "instructions": ("train.json", lambda path: read_instructions(path, path.parent), AnnotationError),
    "captions": ("train.csv", lambda path: read_captions(path, path.parent), AnnotationError),
    "events": ("events.json", read_json, AnnotationError),
    "evaluation annotations": ("val.json", read_annotation_text, AnnotationError),
    "train annotations of controls": ("train.json", lambda path: read_timeit(path, str), AnnotationError),
    "prompt": ("prompt.txt", load_prompt, ConfigError),
    "transcript": ("a.srt", read_transcript, AnnotationError),
    "transcript of Whisper": ("a.json", read_transcript, AnnotationError),
    "tokenizer.model": ("tokenizer.model", load_tokenizer, ConfigError),
    "folder of a tokenizer": ("tokenizer.model", lambda path: load_tokenizer(path.parent), ConfigError),
    "vocab.txt": ("vocab.txt", load_qformer_tokenizer, ConfigError),
    "weights": ("w.pth", lambda path: open_weights(path, "model.ckpt"), CheckpointError),
    "safetensors": ("w.safetensors", lambda path: open_weights(path, "model.ckpt"), CheckpointError),
    "checkpoint to resume": ("checkpoint.pth", lambda path: read_file(path, "run.resume"), CheckpointError),
    "weights of LLaMA": ("pytorch_model.bin", lambda path: open_folder(path.parent, "k"), CheckpointError),
    "index": ("model.safetensors.index.json", lambda path: open_folder(path.parent, "k"), CheckpointError),
    "config.json": ("config.json", _llama, ConfigError),
    "video": ("v.mp4", lambda path: load_video(str(path), n_frms=2), VideoError),
    "image": ("v.jpg", lambda path: load_image(str(path)), VideoError),
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_name_a_pointer(reader: str, tmp_path: Path) -> None:
    name, read, error = READERS[reader]
    (path := tmp_path / name).write_bytes(POINTER)
    with pytest.raises(error) as raised:
        read(path)
    assert f"{path}" in str(raised.value)
    assert WORDS in str(raised.value)


@pytest.mark.parametrize("name", registry.names("benchmark"))
def test_every_benchmark_names_a_pointer(name: str, tmp_path: Path) -> None:
    """As the file of its annotations, or as one of them where these are a folder."""
    files = {"mvbench": "action_count.json", "egoschema": "questions.json"}
    (path := tmp_path / files.get(name, "yes_no.json")).write_bytes(POINTER)
    with pytest.raises(AnnotationError, match="is a git-lfs pointer"):
        get_benchmark(name).read(path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
def test_a_llama_folder_with_one_pointer(name: str, tmp_path: Path) -> None:
    shutil.copytree(LLAMA, tmp_path / "llama")
    (tmp_path / "llama" / name).write_bytes(POINTER)
    with pytest.raises(TimeChatError, match=rf"{name} is a git-lfs pointer"):
        _ = load_tokenizer(tmp_path / "llama"), _llama(tmp_path / "llama" / name)


def test_a_shard_that_is_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "1.safetensors").write_bytes(POINTER)
    index = {"weight_map": {"a": "1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"model\.llama_model=.*/1\.safetensors is a git-lfs pointer"):
        open_folder(tmp_path, "model.llama_model")


def test_eight_bit_loading_names_a_pointer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama, "_eight_bit_options", lambda device: {})
    shutil.copytree(LLAMA, tmp_path / "llama")
    (tmp_path / "llama" / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a git-lfs pointer"):
        llama.build_llama(tmp_path / "llama", low_resource=True)


def test_the_doctor_uses_the_same_words(tmp_path: Path) -> None:
    (path := tmp_path / "w.pth").write_bytes(POINTER)
    assert problem_of_file(path) == f"{WORDS}."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (MARK + b"\n", "not the file itself;"),
        (MARK + b"\nsize 1234567\n", "not the file of 1.2 MB itself;"),
        (MARK + b"\n" + b"x" * 2000, None),
        (b"version 1", None),
        (b"", None),
    ],
)
def test_what_is_a_pointer(content: bytes, words: str | None, tmp_path: Path) -> None:
    (path := tmp_path / "file").write_bytes(content)
    problem = pointer_problem(path)
    assert (words in str(problem)) if words else problem is None


def test_what_is_no_file_passes(tmp_path: Path) -> None:
    """The reader has its own message for it."""
    for path in (tmp_path, tmp_path / "nowhere", BERT / "vocab.txt"):
        assert refuse_pointer(path, ConfigError) is None
