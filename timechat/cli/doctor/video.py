"""Section 5: one video as the model sees it, and its timestamp sentences."""

from __future__ import annotations

import itertools

import torch
from einops import rearrange
from omegaconf import DictConfig
from torch import Tensor

from timechat.batch import num_windows
from timechat.cli.doctor.report import Report, ReportSection
from timechat.config import frame_sampling, frames_per_video
from timechat.datasets.readers import ReaderSettings, open_video
from timechat.datasets.video import Video, load_video
from timechat.errors import ConfigError, TimeChatError
from timechat.models.eva_vit import normalise_pixels
from timechat.registry import registry
from timechat.text.timestamps import frame_sentence
from timechat.text.tokenizers import load_qformer_tokenizer

MADE_UP_STEP = 2.0  # seconds between frames if there is no video

_BLACK = 16  # brightest level, of 255, that still counts as black: video black with some noise
_FLAT = 1.0  # standard deviation, in levels, below which a frame shows nothing
_OFF_GRID = 1e-3  # frames: times that differ more than this from index / fps are the decoder's
# The published weights were trained with bert-base-uncased, where these words have these ids.
_PUBLISHED_ROWS = 30523
_PUBLISHED_IDS = {"this": 2023, "is": 2003, "at": 2012}


def check_video(report: Report, model: DictConfig, path: str | None) -> tuple[Video | None, list[float]]:
    """Check a video and the timestamp sentences.

    Returns:
        The sampled video, None without a readable one; and the seconds of its frames, made up without a video.
    """
    with report.section("5. Video") as section:
        video = _read(section, model, path)
        count = frames_per_video(model)
        seconds = [MADE_UP_STEP * i for i in range(count)] if video is None else video.seconds
        if video is None:
            section.say(f"The checks below use made-up times: {count} frames, one every {MADE_UP_STEP} s.")
        else:
            _facts(section, model, video)
            _pixels(section, video)
        windows = num_windows(len(seconds), model.stride, model.window_size)
        tokens = registry.get_model_class(model.arch).count_video_tokens(model, len(seconds))
        section.say(
            f"windows: {windows} (window {model.window_size or 'over all frames'}, stride {model.stride}), with "
            f"{model.num_video_query_token} query tokens each: {tokens} video tokens"
        )
        if model.qformer_text_input:
            _sentence(section, model, seconds)
    return video, seconds


def _read(section: ReportSection, model: DictConfig, path: str | None) -> Video | None:
    if path is None:
        section.say("Pixels are skipped: no video was given (doctor CONFIG VIDEO).")
        return None
    settings, size = ReaderSettings.of(model), model.image_size
    try:
        video = load_video(path, **frame_sampling(model), settings=settings)
        section.say(f"read with {open_video(path, size, settings).how}")
        return video
    except TimeChatError as error:
        section.error(str(error))
        return None


def _facts(section: ReportSection, model: DictConfig, video: Video) -> None:
    count, wanted = len(video.frames), frames_per_video(model)
    section.say(f"duration {video.duration:.2f} s at {video.fps:.3f} frames per second on average")
    section.say(f"{count} frames sampled, the first at {video.seconds[0]:.2f} s, the last at {video.seconds[-1]:.2f} s")
    if count < wanted and model.fps:
        section.say(f"by model.fps={model.fps}, of at most {wanted}")
    elif count < wanted:
        section.say(f"fewer than the {wanted} wanted, because the video has no more")
    if count > 1:
        section.say(f"one frame every {video.duration / count:.2f} s: shorter events may fall in between")
    begin = video.seconds[0]
    if begin > 0:
        section.say(
            f"the picture begins {begin:.3f} s after the sound, and times count from there; the published code counts "
            "from the picture"
        )
    off = [abs((s - begin) * video.fps - round((s - begin) * video.fps)) for s in video.seconds]
    if max(off) > _OFF_GRID:
        section.warning(
            "The video has a variable frame rate; its times are the decoder's. The published code prints index / "
            "average rate, which is wrong for such files."
        )


def _pixels(section: ReportSection, video: Video) -> None:
    channels = rearrange(normalise_pixels(video.frames, torch.float32), "t c h w -> c (t h w)")
    stats = (channels.mean(1), channels.std(1), channels.amin(1), channels.amax(1))
    section.say(f"pixels after preprocessing and normalisation, {list(video.frames.shape)}:")
    rows = [[name, *(f"{column[i]:.3f}" for column in stats)] for i, name in enumerate(("red", "green", "blue"))]
    section.table([["channel", "mean", "std", "min", "max"], *rows])
    _judge_frames(section, video.frames)


def _judge_frames(section: ReportSection, frames: Tensor) -> None:
    """`frames`: uint8 [T, 3, H, W]."""
    count, problems = len(frames), []
    black = [bool(frame.max() <= _BLACK) for frame in frames]
    flat = sum(bool(frame.float().std() < _FLAT) and not dark for frame, dark in zip(frames, black, strict=True))
    same = sum(torch.equal(a, b) for a, b in itertools.pairwise(frames))
    if 2 * sum(black) >= count:
        problems.append(f"{sum(black)} of {count} frames are black: the video shows nothing, or its codec is misread.")
    elif any(black):
        section.say(f"{sum(black)} of {count} frames are black")
    if flat:
        problems.append(f"{flat} of {count} frames are constant, one colour all over: is the file damaged?")
    if count > 1 and 2 * same >= count - 1:
        problems.append(
            f"{same} of {count - 1} frames are identical to the one before: a still picture, or a stuck decoder."
        )
    for problem in problems:
        section.warning(problem)
    if not problems:
        section.ok("The video can be read and shows something that changes.")


def _sentence(section: ReportSection, model: DictConfig, seconds: list[float]) -> None:
    """The first frame's timestamp sentence as the frame Q-Former reads it."""
    sentence = frame_sentence(seconds[0])
    try:
        encode = load_qformer_tokenizer(model.qformer_tokenizer).encode
    except ConfigError as error:
        section.error(str(error))
        return
    section.say(f"timestamp sentence of the first frame: {sentence!r}")
    section.say(f"its ids: {encode(sentence)}")
    unknown_id = encode("x" * 200)[1]  # WordPiece maps words of more than 100 letters to [UNK], in every vocabulary
    words = [word for s in seconds for word in frame_sentence(s).split()]
    unknown = [word for word in dict.fromkeys(words) if unknown_id in encode(word)]
    if unknown:
        section.error(
            f"model.qformer_tokenizer={model.qformer_tokenizer} does not know {unknown[:5]} ([UNK], id "
            f"{unknown_id}): it is the wrong vocabulary, the frame encoder cannot read the times. Published weights "
            "need bert-base-uncased."
        )
    elif model.qformer.vocab_size == _PUBLISHED_ROWS and any(
        encode(word)[1] != number for word, number in _PUBLISHED_IDS.items()
    ):
        section.error(
            f"model.qformer_tokenizer={model.qformer_tokenizer} has other ids than bert-base-uncased, with which the "
            "published weights were trained: it is the wrong vocabulary."
        )
    else:
        section.ok("The vocabulary of the Q-Former knows every word of the timestamp sentences.")
