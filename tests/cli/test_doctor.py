"""The doctor names each planted fault, and finds nothing wrong with a healthy set-up."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.timed_videos import OPEN, copy_packets, shifted
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS, llama_folder, tiny_config, tiny_dataset
from helpers.videos import write_video
from omegaconf import OmegaConf
from torch import Tensor

from timechat.cli.doctor.config_files import check_files, problem_of_file, problem_of_weights
from timechat.cli.doctor.environment import check_environment
from timechat.cli.doctor.main import main
from timechat.cli.doctor.prompt import abbreviated_prompt, check_prompt
from timechat.cli.doctor.questions import check_answers, questions, repeats_endlessly
from timechat.cli.doctor.report import ERROR, OK, WARNING, Report
from timechat.cli.doctor.video import check_video
from timechat.cli.doctor.weights import check_parameters, check_weights
from timechat.datasets.video import load_video
from timechat.models import TimeChat
from timechat.text.conversation import encode_prompt
from timechat.text.tokenizers import IMAGE_TOKEN, load_tokenizer

CPU = torch.device("cpu")
State = dict[str, Tensor]


class Findings:
    """A report that keeps its text."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.report = Report(self.pieces.append)

    @property
    def text(self) -> str:
        """Everything written."""
        return "".join(self.pieces)

    def of(self, level: str) -> str:
        """The findings of one level, one a line."""
        return "\n".join(finding.text for finding in self.report.findings if finding.level == level)


@pytest.fixture
def found() -> Findings:
    return Findings()


@pytest.fixture(scope="module")
def state() -> State:
    """All tensors of the golden file, by published name."""
    return torch.load(WEIGHTS, weights_only=True)["model"]


def pictures(count: int) -> np.ndarray:
    """Coloured squares that move: frames uint8 [count, 48, 64, 3]."""
    squares = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(squares, 4 * i, axis=1) for i in range(count)])


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "v.mp4", pictures(30))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny config as a file with absolute paths."""
    cfg = OmegaConf.load(TINY / "config.yaml")
    cfg.model.llama_model, cfg.model.qformer_tokenizer, cfg.model.ckpt = map(str, (LLAMA, BERT, WEIGHTS))
    path = tmp_path_factory.mktemp("config") / "c.yaml"
    OmegaConf.save(cfg, path)
    return str(path)


def save(path: Path, state: State) -> str:
    """Write a checkpoint; returns the option that names it."""
    torch.save({"model": state}, path)
    return f"model.ckpt={path}"


# The whole ------------------------------------------------------------------------------------------------------------


def test_a_healthy_set_up_passes_through_all_sections(
    config: str, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([config, str(video), "--max-new-tokens", "8", "--options", "run.device=cpu"]) == 0
    text = capsys.readouterr().out
    titles = ("1. Environment", "2. Files", "3. Weights", "4. Parameters", "5. Video", "6. Prompt", "7. Answers")
    assert [line[3:-3] for line in text.splitlines() if line.startswith("== ")] == [*titles, "All findings"]
    assert "ERROR" not in text
    sections, summary = text.split("== All findings ==")
    warnings = {line.split("] ")[1] for line in summary.splitlines() if "WARNING:" in line}
    assert all(warning in sections for warning in warnings)
    # Its weights are random: words that make no sense are right here, and nothing else is odd.
    assert [w for w in warnings if not w.startswith(("dense captioning:", "grounding:", "No GPU is used"))] == []
    assert f"0 errors, {len(warnings)} warning{'s' * (len(warnings) != 1)}: nothing was found that keeps" in summary


def test_a_missing_checkpoint_stops_nothing_but_what_needs_the_model(
    config: str, video: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone.pth"
    assert main([config, str(video), "--options", f"model.ckpt={gone}", "run.device=cpu"]) == 1
    text = capsys.readouterr().out
    assert f"model.ckpt={gone} is missing; correct the path" in text
    assert "Skipped: files of the model are missing, see section 2." in text
    assert text.count("there is no model, see section 3") == 2
    assert "pixels after preprocessing" in text
    assert "ids around the start of the video tokens" in text
    assert "1 error, 1 warning: this set-up does not work as it is." in text


def test_a_wrong_config_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nowhere.yaml")]) == 1
    assert "no such config file" in capsys.readouterr().err


def test_without_a_video_or_answers_says_so(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([config, "--no-answers", "--options", "run.device=cpu"]) == 0
    text = capsys.readouterr().out
    assert "Pixels are skipped: no video was given" in text
    assert "The video contains 12 frames sampled at 0.0, 2.0, 4.0" in text
    assert "Skipped: --no-answers was given and there is no video, see section 5." in text


# Environment ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "level", "words"),
    [
        ("model.vit_precision=fp16", WARNING, "model.vit_precision=fp16 on a CPU is slow"),
        ("model.low_resource=true", ERROR, "needs a CUDA GPU and the package bitsandbytes"),
        ("run.precision=fp16", ERROR, "run.precision=fp16 needs a GPU"),
        ("model.freeze_vit=false model.vit_precision=bf16", ERROR, "set model.vit_precision=fp32, not bf16"),
        ("model.llama_precision=bf16", OK, "The precisions of the config fit this machine."),
    ],
)
def test_precisions_that_do_not_fit(found: Findings, option: str, level: str, words: str) -> None:
    assert check_environment(found.report, tiny_config([*option.split(), "run.device=cpu"])) == CPU
    assert words in found.of(level)


@pytest.mark.parametrize(
    ("freeze", "words"), [("false", "auto (fp32: model.freeze_llama=false trains"), ("true", "auto\n")]
)
def test_what_auto_means_for_the_decoder(found: Findings, freeze: str, words: str) -> None:
    options = ["model.llama_precision=auto", f"model.freeze_llama={freeze}", "run.device=cpu"]
    check_environment(found.report, tiny_config(options))
    assert f"model.llama_precision={words}" in found.text


# Files ----------------------------------------------------------------------------------------------------------------

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5401267456\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "is a git-lfs pointer, not the file of 5.4 GB itself; run `git lfs install && git lfs pull`"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page (HTML)"),
        (b"", "is empty"),
        (b"Entry not found", "is not a weight file: it starts with b'Entry no'"),
    ],
)
def test_what_is_no_file_of_weights(found: Findings, tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    check_files(found.report, tiny_config([f"model.ckpt={path}"]))
    assert f"model.ckpt={path} {words}" in found.of(ERROR)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_were_cut_short(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    tensors = {"a": torch.ones(1000)}
    torch.save(tensors, path) if suffix == ".pth" else safetensors.torch.save_file(tensors, path)
    assert problem_of_file(path) is None
    assert problem_of_weights(path) is None
    whole = path.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 20, 6):
        path.write_bytes(whole[:length])
        assert "is truncated" in str(problem_of_weights(path)), length


def test_a_damaged_header(tmp_path: Path) -> None:
    (path := tmp_path / "w.safetensors").write_bytes((4).to_bytes(8, "little") + b"{!}}" + bytes(100))
    assert "its header cannot be read" in str(problem_of_weights(path))


def sharded(folder: Path, shards: Sequence[str], total_size: int) -> Path:
    """The tiny LLaMA folder with an index of shards; the weights themselves are the first one."""
    shutil.copytree(LLAMA, folder)
    (folder / "model.safetensors").rename(folder / shards[0])
    index = {"metadata": {"total_size": total_size}, "weight_map": {f"w{i}": name for i, name in enumerate(shards)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_are_looked_for_one_by_one(found: Findings, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "llama", ["1.safetensors", "2.safetensors"], 1)
    check_files(found.report, tiny_config([f"model.llama_model={folder}"]))
    assert "2 tensors in 2 shards" in found.text
    assert f"{folder}/2.safetensors is missing" in found.of(ERROR)
    assert "1.safetensors" not in found.of(ERROR)


def test_shards_that_hold_less_than_the_index_says(found: Findings, tmp_path: Path) -> None:
    folder = sharded(tmp_path / "llama", ["1.safetensors"], 2_000_000)
    check_files(found.report, tiny_config([f"model.llama_model={folder}"]))
    assert "have 689.5 kB, less than the 2.0 MB" in found.of(ERROR)


def test_a_llama_folder_that_lacks_files(found: Findings, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(POINTER)
    check_files(found.report, tiny_config([f"model.llama_model={tmp_path}"]))
    for words in ("/config.json is missing", "/tokenizer.model is a git-lfs pointer", " contains no weights"):
        assert f"{tmp_path}{words}" in found.of(ERROR)


def test_a_folder_of_an_adapter(found: Findings, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    check_files(found.report, tiny_config([f"model.ckpt_2={tmp_path}"]))
    assert f"model.ckpt_2={tmp_path / 'adapter_model.safetensors'} is missing" in found.of(ERROR)
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    fine = Findings()
    check_files(fine.report, tiny_config([f"model.ckpt_2={tmp_path}"]))
    assert fine.of(ERROR) == ""


def test_a_vocabulary_that_has_to_be_downloaded(found: Findings, tmp_path: Path) -> None:
    check_files(found.report, tiny_config([f"model.qformer_tokenizer={tmp_path / 'bert'}"]))
    assert "no vocab.txt on this machine, and it cannot be downloaded from here; with internet" in found.of(ERROR)


def data_options(info: dict[str, str]) -> list[str]:
    """The options that name a dataset's files."""
    return [f"datasets.time_instruct.build_info.{key}={value}" for key, value in info.items()]


def test_annotations_and_their_videos(found: Findings, tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path, names=("a.mp4", "b.mp4"))
    (tmp_path / "videos" / "b.mp4").unlink()
    check_files(found.report, tiny_config(data_options(info)))
    assert "datasets.time_instruct: 1 of 2 files exist, for 1 of 2 samples" in found.text
    assert "time_instruct: 1 of 2 files are missing, such as b.mp4" in found.text
    assert "1 of 2 files exist" in found.of(WARNING)
    assert found.of(ERROR) == ""


def test_videos_that_are_elsewhere_and_broken_annotations(found: Findings, tmp_path: Path) -> None:
    info = tiny_dataset(tmp_path, names=("a.mp4",))
    check_files(found.report, tiny_config(data_options(info | {"videos_dir": str(tmp_path)})))
    assert "contains none of the 1 videos, such as a.mp4; correct the path" in found.of(ERROR)
    Path(info["anno_dir"]).write_text("[{]")
    check_files(found.report, tiny_config(data_options(info)))
    assert "train.json: not valid JSON" in found.of(ERROR)


# Weights --------------------------------------------------------------------------------------------------------------


def test_a_part_without_a_source(found: Findings, state: State, tmp_path: Path) -> None:
    without = {name: tensor for name, tensor in state.items() if not name.startswith("llama_proj.")}
    assert check_weights(found.report, tiny_config([save(tmp_path / "c.pth", without)])) is not None
    assert "llama_proj keeps its random initial values" in found.of(WARNING)
    assert "llama_proj: no file, random initial values" in found.text
    assert found.of(OK) == ""
    assert found.report.exit_status == 0


def test_interpolated_and_foreign_and_unexpected_keys_are_told(found: Findings, state: State, tmp_path: Path) -> None:
    more = dict.fromkeys(("t5_proj.weight", "Qformer.bert.pooler.weight"), torch.ones(1))
    options = [save(tmp_path / "c.pth", state | more), "model.max_frame_pos=20", "model.allow_unexpected=true"]
    check_weights(found.report, tiny_config(options))
    assert "video_frame_position_embedding.weight had to be interpolated" in found.of(WARNING)
    assert "1 keys of our parts fit nothing" in found.of(WARNING)
    assert "1 belong to other models and are ignored: t5_proj.weight" in found.text


def test_zero_lora(found: Findings, tiny_model: TimeChat) -> None:
    model = with_change(tiny_model, lambda name, p: p.zero_() if "lora_B" in name else None)
    check_parameters(found.report, model, CPU)
    assert "LoRA is untrained: all of its B matrices are zero" in found.of(WARNING)
    assert found.report.exit_status == 0


def test_nan_and_empty_weights(found: Findings, tiny_model: TimeChat) -> None:
    def spoil(name: str, p: Tensor) -> None:
        if name == "llama_proj.weight":
            p[0, 0] = float("nan")
        if name == "ln_vision.weight":
            p.zero_()

    check_parameters(found.report, with_change(tiny_model, spoil), CPU)
    assert "1 tensors contain NaN or infinite numbers: llama_proj.weight" in found.of(ERROR)
    assert "1 tensors are all zero, which training never leaves: ln_vision.weight" in found.of(WARNING)


def with_change(model: TimeChat, change: Callable[[str, Tensor], object]) -> TimeChat:
    """A copy of the model with some parameters changed in place."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            change(name, p)
    return model


def test_the_table_adds_up(found: Findings, tiny_model: TimeChat) -> None:
    check_parameters(found.report, tiny_model, CPU)
    rows = {line.split()[0]: line.split()[1:] for line in found.text.splitlines() if line.startswith("  ")}
    params = list(tiny_model.parameters())
    trainable = sum(p.numel() for p in params if p.requires_grad)
    total = [str(len(params)), f"{sum(p.numel() for p in params) / 1e6:.3f}", f"{trainable / 1e6:.3f}", "float32"]
    assert rows["total"][:4] == total
    assert sum(int(rows[name][0]) for name in list(rows)[1 : list(rows).index("total")]) == len(params)
    assert found.of(OK) == "Every tensor has finite values, and none is all zero."


# Video ----------------------------------------------------------------------------------------------------------------


def test_pixels_and_times_of_a_good_video(found: Findings, video: Path) -> None:
    sampled, seconds = check_video(found.report, tiny_config().model, str(video))
    assert sampled is not None
    assert seconds == sampled.seconds == load_video(video, n_frms=12, image_size=56).seconds
    red = (sampled.frames[:, 0].float() / 255 - 0.48145466) / 0.26862954
    numbers = next(line.split()[1:] for line in found.text.splitlines() if line.startswith("  red"))
    expected = [red.mean().item(), red.std().item(), red.min().item(), red.max().item()]
    assert list(map(float, numbers)) == pytest.approx(expected, abs=2e-3)
    assert "12 frames sampled, the first at 0.00 s, the last at 2.70 s" in found.text
    assert "windows: 3 (window 4, stride 4), with 6 query tokens each: 18 video tokens" in found.text
    assert "its ids: [2, 13, 8, 9, 10, 7, 15, 6, 15, 11, 6, 3]" in found.text
    assert found.of(WARNING) + found.of(ERROR) == ""


def grays(levels: Sequence[int]) -> np.ndarray:
    """Frames of one brightness each."""
    return np.stack([np.full((48, 64, 3), level, np.uint8) for level in levels])


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (grays([0] * 12), ["12 of 12 frames are black", "11 of 11 frames are identical"]),
        (grays(range(40, 160, 10)), ["12 of 12 frames are constant"]),
        (pictures(1).repeat(12, axis=0), ["frames are identical to the one before"]),
    ],
)
def test_videos_that_show_nothing(found: Findings, tmp_path: Path, frames: np.ndarray, words: list[str]) -> None:
    lossless = {"qp": "0"}  # else the encoder refines a still picture from frame to frame
    path = write_video(tmp_path / "v.mp4", frames, codec_options=lossless)
    check_video(found.report, tiny_config().model, str(path))
    assert [word in found.of(WARNING) for word in words] == [True] * len(words)
    assert "shows something that changes" not in found.of(OK)


def test_which_reader_reads_a_file_and_why(found: Findings, video: Path, tmp_path: Path) -> None:
    check_video(found.report, tiny_config().model, str(video))
    assert "read with " in found.text
    path = write_video(tmp_path / "open.mp4", frames=30, gop=12, codec_options=OPEN)
    check_video(found.report, tiny_config().model, str(path))
    assert "PyAV" in found.text


def test_a_picture_that_begins_after_its_sound(found: Findings, video: Path, tmp_path: Path) -> None:
    """Not a variable rate."""
    path = copy_packets(video, tmp_path / "late.mp4", shifted(2.0), audio_s=3)
    check_video(found.report, tiny_config().model, str(path))
    assert "the picture begins 2.000 s after the sound" in found.text
    assert found.of(WARNING) == ""


def test_a_variable_frame_rate(found: Findings, tmp_path: Path) -> None:
    times = [0.1 * i + 0.6 * (i > 6) for i in range(12)]
    path = write_video(tmp_path / "v.mp4", pictures(12), times=times)
    check_video(found.report, tiny_config().model, str(path))
    assert "The video has a variable frame rate" in found.of(WARNING)


def test_a_text_that_is_called_mp4(found: Findings, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    path.write_text("I am no video\n")
    sampled, seconds = check_video(found.report, tiny_config().model, str(path))
    assert sampled is None
    assert seconds[:3] == [0.0, 2.0, 4.0]
    assert f"{path}: cannot be decoded" in found.of(ERROR)
    assert found.report.exit_status == 1


def test_a_wrong_vocabulary(found: Findings, tmp_path: Path) -> None:
    """Words that it lacks are named; and it has fewer ids than the Q-Former embeds."""
    words = (BERT / "vocab.txt").read_text().split("\n")
    kept = [word for word in words if word not in ("sampled", "frame", "f", "s")]
    (tmp_path / "vocab.txt").write_text("\n".join(kept))
    cfg = tiny_config([f"model.qformer_tokenizer={tmp_path}"])
    check_files(found.report, cfg)
    assert "probably not the vocabulary" in found.of(WARNING)
    check_video(found.report, cfg.model, None)
    assert "does not know ['frame', 'sampled'] ([UNK], id 1): it is the wrong vocabulary" in found.of(ERROR)


def test_a_vocabulary_in_another_order(found: Findings) -> None:
    check_video(found.report, tiny_config(["model.qformer.vocab_size=30523"]).model, None)
    assert "has other ids than bert-base-uncased" in found.of(ERROR)


# Prompt ---------------------------------------------------------------------------------------------------------------


def test_the_prompt_shown_is_the_prompt_encoded() -> None:
    tokenizer, seconds = load_tokenizer(LLAMA), [0.0, 1.5]
    shown = abbreviated_prompt("What happens?", seconds, 7, "Be brief.")
    assert f"<Video>{IMAGE_TOKEN} x 7</Video>" in shown
    whole = shown.replace(f"{IMAGE_TOKEN} x 7", IMAGE_TOKEN * 7)
    ids = encode_prompt("What happens?", seconds, tokenizer, num_video_tokens=7, system="Be brief.")
    assert tokenizer.encode(whole) == ids


@pytest.mark.parametrize(
    ("length", "level", "words"),
    [
        (60, ERROR, "model.max_txt_len=60 truncates the prompt inside the 18 video tokens"),
        (200, WARNING, "The prompt leaves 41 of model.max_txt_len=200 tokens"),
        (2048, OK, "The prompt leaves 1889 tokens for an answer"),
    ],
)
def test_room_for_the_answer(found: Findings, length: int, level: str, words: str) -> None:
    model = tiny_config([f"model.max_txt_len={length}"]).model
    check_prompt(found.report, model, [2.0 * i for i in range(12)], "What happens?")
    assert words in found.of(level)
    assert f"700:{IMAGE_TOKEN} 700:{IMAGE_TOKEN} 700:{IMAGE_TOKEN}\n" in found.text


def test_letters_that_llama_does_not_know(found: Findings) -> None:
    check_prompt(found.report, tiny_config().model, [0.0], "What is <unk> here?")
    assert "1 ids of the prompt are <unk>" in found.of(WARNING)


@pytest.mark.parametrize(
    ("rows", "level", "words"),
    [
        (699, ERROR, "they do not belong together"),
        (800, WARNING, "may belong to another"),
        (701, OK, "the same number"),
    ],
)
def test_embedding_rows(found: Findings, tmp_path: Path, rows: int, level: str, words: str) -> None:
    folder = llama_folder(tmp_path / "llama", vocab_size=rows)
    check_prompt(found.report, tiny_config([f"model.llama_model={folder}"]).model, [0.0], "What happens?")
    assert words in found.of(level)


# Answers --------------------------------------------------------------------------------------------------------------


def ask(found: Findings, model: TimeChat, video: Path) -> None:
    sampled = load_video(video, n_frms=12, image_size=56)
    check_answers(found.report, model, sampled, CPU, asks=questions("a dog barks"), max_new_tokens=4)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the model answers to everything."""
    answers: list[str] = []
    monkeypatch.setattr(TimeChat, "answer", lambda *args, **options: answers)
    return answers


@pytest.mark.parametrize(
    ("answer", "level", "words"),
    [
        ("", WARNING, "grounding: the answer is empty"),
        ("the the the " * 20, WARNING, "grounding: the answer repeats itself endlessly"),
        ("I do not know.", WARNING, "grounding: the answer cannot be parsed (no interval"),
        ("It happens in 1.0 - 90.0 seconds.", WARNING, "names 90.0 s, after the end of the video at 3.0 s"),
        ("1.0 - 2.0 seconds, a dog barks.", OK, "dense captioning: the answer can be parsed, 1 interval."),
        ("1.0 - 2.0 seconds, a dog barks.", OK, "what happens: an answer of 7 words."),
    ],
)
def test_answers_are_judged(
    found: Findings, tiny_model: TimeChat, video: Path, scripted: list[str], answer: str, level: str, words: str
) -> None:
    scripted.append(answer)
    ask(found, tiny_model, video)
    assert words in found.of(level)
    assert "'a dog barks'" in found.text


def test_a_projection_of_another_size(found: Findings, tiny_model: TimeChat, video: Path) -> None:
    model = with_change(tiny_model, lambda name, p: p.mul_(100) if name.startswith("llama_proj") else None)
    ask(found, model, video)
    assert "times as long as word embeddings: the projection (llama_proj) is probably untrained" in found.of(WARNING)


def test_embeddings_without_numbers(found: Findings, tiny_model: TimeChat, video: Path) -> None:
    model = with_change(tiny_model, lambda name, p: p.fill_(float("nan")) if name == "query_tokens" else None)
    ask(found, model, video)
    assert "The video's embeddings contain NaN or infinite numbers" in found.of(ERROR)


def test_a_model_that_cannot_answer(found: Findings, tiny_model: TimeChat, video: Path) -> None:
    model = copy.deepcopy(tiny_model)
    model.llama_proj = torch.nn.Linear(48, 63)
    ask(found, model, video)
    assert "The model cannot answer. " in found.of(ERROR)


@pytest.mark.parametrize(
    ("text", "endless"),
    [
        ("a" * 60, True),
        ("It cuts bread. " * 8, True),
        ("First it cuts the bread, and then, and then, and then, and then, and then, and then, and then", True),
        ("0.0 - 1.0 seconds, cut bread. 1.0 - 2.0 seconds, cut bread. 2.0 - 3.0 seconds, eat bread.", False),
        ("He opens the door and walks out. " * 2, False),
        ("no no no no no no no no", False),
        ("", False),
    ],
)
def test_endless_repetition(text: str, endless: bool) -> None:
    assert repeats_endlessly(text) is endless
