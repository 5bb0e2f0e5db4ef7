"""Load a model, and ask it about a video.

    model = timechat.load("eval_configs/timechat.yaml")
    answer = model.ask("v.mp4", "When does she crack the egg?")
    video = model.encode("v.mp4")          # once, for many questions
    answers = [model.ask(video, question) for question in questions]

Shapes: T frames, N embeddings of a video, H width of the decoder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import torch
from omegaconf import DictConfig
from torch import Tensor

from timechat.app.answer import Answer, find_segments, prompt_for
from timechat.app.hub import HubModel
from timechat.app.stream import AnswerStream
from timechat.config import frame_sampling, frames_per_video, load_config
from timechat.datasets.readers import ReaderSettings
from timechat.datasets.video import FRAME_SUFFIXES, Video, load_image, load_video
from timechat.device import resolve_device
from timechat.errors import ConfigError
from timechat.evaluation.prompting import PROMPTS
from timechat.evaluation.transcripts import choose_sentences, read_transcript, speech_prompt
from timechat.evaluation.video_models import VideoModel
from timechat.models import BaseModel, build_model, must_answer
from timechat.models.watching import Watch
from timechat.text.conversation import Turn

YAML_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class EncodedVideo:
    """A video that a model has seen, to be asked about as often as you like.

    Attributes:
        embeddings: [N, H], what the decoder reads.
        seconds: T times of its frames; None for an image.
    """

    embeddings: Tensor
    seconds: list[float] | None


# A path to a video or an image, frames [T, 3, H, W] with T seconds, or what was made of them.
UnseenVideo = str | os.PathLike[str] | Video | tuple[Tensor, Sequence[float]]
VideoLike = UnseenVideo | EncodedVideo


class Asked(NamedTuple):
    """A question that is checked, about a video that is encoded.

    Attributes:
        generate: writes the answer, shown to what watches it.
        finish: the text -> the answer.
    """

    generate: Callable[[Watch | None], str]
    finish: Callable[[str], Answer]


class _Answering(VideoModel, Protocol):
    def generate(
        self,
        frames: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        **options: Any,
    ) -> list[str]:
        """One answer for each video, which need not be encoded."""


def load(
    source: str | os.PathLike[str],
    *,
    options: Sequence[str] = (),
    device: str | None = None,
    **download: Any,
) -> VideoLanguageModel:
    """Load a model that answers questions about videos.

    Args:
        source: a YAML file, a folder that `save_pretrained` wrote, or the id of such a repository on the hub.
        options: overrides of the config, such as `model.ckpt=runs/mine/checkpoint_2.pth`.
        device: see `VideoLanguageModel`.
        download: for a hub id `revision`, `token`, `cache_dir`, `local_files_only` or `force_download`.

    Raises:
        ConfigError: nothing is there, the config is wrong, or the model cannot answer.
        CheckpointError: weights that are missing, damaged or do not fit.
    """
    source = os.path.expanduser(source)
    path = Path(source)
    if not path.is_file() and path.suffix.lower() not in YAML_SUFFIXES:
        return VideoLanguageModel.from_pretrained(source, options=options, device=device, **download)
    cfg = load_config(path, options)
    must_answer(cfg.model)
    return VideoLanguageModel(cfg, build_model(cfg.model), device)


class VideoLanguageModel(HubModel):
    """A model that answers questions about videos, in evaluation mode and on its device.

    Args:
        cfg: the whole config.
        model: what its section `model` describes.
        device: auto (a GPU where there is one), cpu, cuda, or one GPU such as cuda:1; by default `run.device`.

    Attributes:
        cfg, model: as given.
        device: where the model is.
        prompts: folder of the tasks' prompts; by default the benchmarks'. A model that was trained with other words
            answers better when it is asked in them.

    Raises:
        ConfigError: there is no such device.
    """

    def __init__(self, cfg: DictConfig, model: BaseModel, device: str | None = None):
        super().__init__(cfg, model)
        self.device = _device(cfg.run.device if device is None else device)
        self.prompts = PROMPTS
        self.model.to(self.device).eval()

    # Asking -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, video: VideoLike) -> EncodedVideo:
        """What the decoder reads of a video; as many frames are sampled as the config says.

        Args:
            video: a path to a video or to an image (.jpg, .png, ...), what `load_video` gives, or frames and seconds:
                [T, 3, H, W], uint8 or normalised floats, of the model's image size, and T times.

        Raises:
            VideoError: a file that cannot be decoded.
            ConfigError: frames of another shape than the model takes, more of them, or more or fewer than seconds.
        """
        if isinstance(video, EncodedVideo):
            return video
        frames, seconds = self._frames(video)
        return EncodedVideo(self._answering.encode_video([frames], [seconds])[0], seconds)

    def ask(
        self,
        video: VideoLike,
        question: str = "",
        *,
        task: str | None = None,
        system: str | None = None,
        max_new_tokens: int = 512,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        asr: str | os.PathLike[str] | None = None,
        history: Sequence[Turn] = (),
    ) -> Answer:
        """Ask one question about a video.

        Args:
            video: as for `encode`, or what `encode` gave.
            question: goes to the model as it is; with a `task`, what is looked for ("she cracks the egg").
            task: "ground" (when does it happen?), "caption" (what happens when? needs no question) or "highlights"
                (which moments, how salient?): the words of the benchmarks' prompts go around the question.
            system: the system sentence; by default the config's, else this project's own.
            max_new_tokens: how long the answer may get.
            do_sample: draw tokens, with `temperature` and `top_p`, from torch's global generator; else greedy.
            asr: a transcript (.srt, .vtt, .tsv, or Whisper's .json) that goes before the question.
            history: earlier questions about this video, as they were put to the model, and their answers; see `Chat`.

        Returns:
            The answer, with the parts of the video that it names.

        Raises:
            VideoError, ConfigError: as for `encode`; also an unknown task, or no question where one is needed.
            AnnotationError: a transcript that cannot be read.
        """
        asked = self._asked(
            video,
            question,
            task=task,
            system=system,
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            temperature=temperature,
            top_p=top_p,
            asr=asr,
            history=history,
        )
        return asked.finish(asked.generate(None))

    def stream(self, video: VideoLike, question: str = "", **options: Any) -> AnswerStream:
        """Ask one question about a video, and read the answer while it is written.

            with model.stream("v.mp4", "What happens?") as words:
                for piece in words:
                    print(piece, end="", flush=True)
            print(words.answer.segments)

        Args, Raises: as for `ask`; what goes wrong while it is written is raised where it is read.
        """
        asked = self._asked(video, question, **options)
        return AnswerStream(asked.generate, asked.finish)

    def prompt(self, question: str, task: str | None = None, asr: str | os.PathLike[str] | None = None) -> str:
        """What is put to the model: question, task and transcript as for `ask`. Raises ConfigError, AnnotationError."""
        prompt = prompt_for(question, task, self.prompts)
        if asr is None:
            return prompt
        return speech_prompt(prompt, choose_sentences(read_transcript(Path(asr)), None, None))

    def _asked(
        self,
        video: VideoLike,
        question: str,
        *,
        task: str | None = None,
        asr: str | os.PathLike[str] | None = None,
        history: Sequence[Turn] = (),
        do_sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        **options: Any,
    ) -> Asked:
        """A question that is checked, about a video that is encoded."""
        prompt = self.prompt(question, task, asr)
        seen = self.encode(video)
        if do_sample:
            options |= {"do_sample": True, "temperature": temperature, "top_p": top_p}
        if history:
            options["histories"] = [history]

        def generate(watch: Watch | None) -> str:
            watched = {"watch": watch} if watch else {}
            return self._answering.answer([seen.embeddings], [seen.seconds], [prompt], **options, **watched)[0]

        def finish(text: str) -> Answer:
            return Answer(text, find_segments(text, question, task, prompt), list(seen.seconds or []))

        return Asked(generate, finish)

    def _frames(self, video: UnseenVideo) -> tuple[Tensor, list[float] | None]:
        """Frames [T, 3, H, W] and their seconds; None for an image."""
        size = self.cfg.model.image_size
        if isinstance(video, str | os.PathLike):
            if Path(video).suffix.lower() in FRAME_SUFFIXES:
                return load_image(video, image_size=size).frames, None
            model = self.cfg.model
            video = load_video(video, **frame_sampling(model), settings=ReaderSettings.of(model))
        frames, seconds = (video.frames, video.seconds) if isinstance(video, Video) else video
        shape = tuple(frames.shape)
        if len(shape) != 4 or shape[0] == 0 or shape[1:] != (3, size, size):
            raise ConfigError(
                f"frames of shape {list(shape)}: the model takes [T, 3, {size}, {size}]; decode them with "
                f"load_video(path, n_frms={frames_per_video(self.cfg.model)}, image_size={size})"
            )
        return frames, [float(second) for second in seconds]

    @property
    def _answering(self) -> _Answering:
        """The model, which `must_answer` has found to be one that answers."""
        return cast(_Answering, self.model)

    # The model itself -------------------------------------------------------------------------------------------------

    def encode_video(self, frames: Sequence[Tensor], seconds: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Videos -> embeddings, as of the model; see `TimeChat.encode_video`."""
        return self._answering.encode_video(frames, seconds)

    def answer(
        self,
        videos: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        **options: Any,
    ) -> list[str]:
        """Answers about encoded videos, as of the model; see `TimeChat.answer`."""
        return self._answering.answer(videos, seconds, prompts, **options)

    def generate(
        self,
        frames: Sequence[Tensor],
        seconds: Sequence[Sequence[float] | None],
        prompts: Sequence[str],
        **options: Any,
    ) -> list[str]:
        """Answers about videos, as of the model; see `TimeChat.generate`."""
        return self._answering.generate(frames, seconds, prompts, **options)


def _device(name: str) -> torch.device:
    """auto, cpu, cuda or cuda:N -> a device that is there. Raises ConfigError."""
    kind, _, index = name.partition(":")
    if kind != "cuda" or not index:
        return resolve_device(name)
    resolve_device(kind)
    if not index.isdecimal() or int(index) >= torch.cuda.device_count():
        raise ConfigError(f"device={name}: there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return torch.device("cuda", int(index))
