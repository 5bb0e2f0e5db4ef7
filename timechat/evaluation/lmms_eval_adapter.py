"""TimeChat as a model of lmms-eval, the harness with which many video models are compared.

    pip install 'timechat[lmms-eval]'
    lmms-eval --model timechat --model_args cfg_path=eval_configs/timechat.yaml,ckpt=FILE --tasks videomme ...

lmms-eval finds the model through the entry point `lmms_eval.models` of this package. Its tasks hand over a video as a
path, which is sampled as in `timechat evaluate`, or an image, which has no times. Shapes: T frames, N embeddings of one
video, H width of LLaMA, B rows, S tokens.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from timechat import distributed
from timechat.batch import pad_conversations
from timechat.config import frame_sampling, load_config, merged_configs
from timechat.datasets.readers import AUTO, ReaderSettings
from timechat.datasets.video import load_video
from timechat.errors import ConfigError, VideoError
from timechat.evaluation.video_models import ModelBuilder
from timechat.models import TimeChat, must_answer
from timechat.models import llama as lm
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.text.conversation import IGNORE_INDEX, first_turn, visual_text

try:
    from lmms_eval.api.instance import Instance
    from lmms_eval.api.model import lmms
    from lmms_eval.api.registry import register_model
except ModuleNotFoundError as error:
    raise ConfigError(f"{__name__} needs lmms-eval ({error}): pip install 'timechat[lmms-eval]'") from error

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

MODEL_NAME = "timechat"
MAX_NEW_TOKENS = 512  # where a task does not set it, as in `timechat evaluate`
_UNDERSTOOD = frozenset({"max_new_tokens", "do_sample", "temperature", "top_p", "num_beams", "until"})


def manifest() -> Any:
    """What the entry point gives lmms-eval: the name of the model and where its class is."""
    # lmms_eval.models loads entry points while it is imported, this module among them; so not at the top.
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path=f"{__name__}.{TimeChatLmms.__name__}")


class Encoded(NamedTuple):
    """A video [N, H] and its T times in seconds, None for an image."""

    video: Tensor
    seconds: list[float] | None


@register_model(MODEL_NAME)
class TimeChatLmms(lmms):
    """The model that lmms-eval calls; `--model_args` become the arguments.

    Args:
        cfg_path: YAML file as for `timechat evaluate`; its sections `model` and `run` are used.
        ckpt: replaces `model.ckpt`.
        batch_size: prompts answered together; None and lmms-eval's "auto" take `run.batch_size_eval`.
        device: of torch; None takes `run.device`. In several processes, `cuda` is each one's own GPU.
        skip_unreadable: answer a question about a video that cannot be read with an empty string, which tasks count as
            wrong, and log it; by default such a video ends the evaluation.
        overrides: keys with a dot override the config, such as `model.num_frm=32`.

    Raises:
        ConfigError: an unknown argument, a config that cannot be, no such device.
        CheckpointError: weights that are missing or do not fit.
    """

    def __init__(
        self,
        cfg_path: str = "eval_configs/timechat.yaml",
        ckpt: str | None = None,
        batch_size: int | str | None = None,
        device: str | None = None,
        skip_unreadable: bool = False,
        **overrides: Any,
    ):
        super().__init__()
        _check_evaluate()
        cfg = _load(cfg_path, ckpt, overrides)
        must_answer(cfg.model, llama=True)
        self.batch_size = _batch_size(batch_size, cfg.run.batch_size_eval)
        self.skip_unreadable = skip_unreadable
        self.sampling = frame_sampling(cfg.model)
        self.reading = ReaderSettings.of(cfg.model)
        self.system = cfg.model.system_prompt or SYSTEM_PROMPT
        self._device = _resolve_device(device or cfg.run.device)
        self.model = cast(TimeChat, ModelBuilder()(cfg.model, self._device, cfg.run.compile))
        self._encoded: dict[Any, Encoded] = {}

    @property
    def device(self) -> torch.device:
        """Where the model is; lmms-eval gathers there."""
        return self._device

    # What lmms-eval calls ---------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """Answer prompts; requests hold (prompt, generation kwargs, doc_to_visual, doc_id, task, split).

        Returns:
            One answer for each request, cut before the first of the task's `until`.

        Raises:
            VideoError: a video cannot be read, and `skip_unreadable` is not set.
            ConfigError: a document does not have exactly one video or image.
        """
        _warn_of_ignored(requests)
        answers: list[str] = []
        with self._progress(len(requests)) as bar:
            for kwargs, group in groupby(requests, key=lambda request: request.args[1]):
                for batch in _batches(group, self.batch_size):
                    answers += self._answer(batch, kwargs)
                    bar.update(len(batch))
        return answers

    @torch.inference_mode()
    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Score given answers; requests hold (prompt, answer or doc_to_target, doc_to_visual, doc_id, task, split).

        Returns:
            For each request the mean negative log-likelihood of the answer's tokens, and whether greedy decoding
            gives these tokens. The sign is that of lmms-eval's other models, whose tasks choose the *smallest* value.
            The evaluator of lmms-eval 0.7 to 0.7.3 turns it into a string, so such tasks need lmms-eval 0.6.1.

        Raises:
            VideoError: a video cannot be read.
            ConfigError: a document does not have exactly one video or image, or an answer is empty.
        """
        scores: list[tuple[float, bool]] = []
        with self._progress(len(requests)) as bar:
            for batch in _batches(requests, self.batch_size):
                pairs = [(_prompt(request), self._continuation(request)) for request in batch]
                encoded = cast(list[Encoded], self._encode(batch))  # all of them: what cannot be read is an error
                scores += score_continuations(self.model, encoded, pairs, self.system)
                bar.update(len(batch))
        return scores

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not supported."""
        tasks = ", ".join(sorted({str(request.task_name) for request in requests}))
        raise NotImplementedError(
            f"{tasks}: asks in several rounds, but TimeChat was trained to answer single questions; "
            "leave it out of --tasks"
        )

    # Steps ------------------------------------------------------------------------------------------------------------

    def _answer(self, batch: Sequence[Instance], kwargs: Mapping[str, Any]) -> list[str]:
        """Answers of one batch; empty where a video could not be read."""
        encoded = self._encode(batch, skip_unreadable=self.skip_unreadable)
        asks = [(*found, _prompt(request)) for request, found in zip(batch, encoded, strict=True) if found]
        if not asks:
            return [""] * len(batch)
        texts = self.model.answer(*zip(*asks, strict=True), system=self.system, **generation_options(kwargs))
        cut = iter([cut_at(text, kwargs.get("until")) for text in texts])
        return [next(cut) if found else "" for found in encoded]

    def _encode(self, batch: Sequence[Instance], skip_unreadable: bool = False) -> list[Encoded | None]:
        """The video of each request; each is encoded once, also when the batch before had it."""
        earlier, self._encoded = self._encoded, {}
        encoded = []
        for request in batch:
            key, visual = self._visual(request)
            found = self._encoded.get(key) or earlier.get(key) or self._read(request, visual, skip_unreadable)
            if found:
                self._encoded[key] = found
            encoded.append(found)
        return encoded

    def _read(self, request: Instance, visual: Any, skip_unreadable: bool) -> Encoded | None:
        try:
            frames, seconds = load_visual(visual, settings=self.reading, **self.sampling)
        except VideoError as error:
            if not skip_unreadable:
                raise
            logger.warning("%s: unreadable, so the answer is empty: %s", _name(request), error)
            return None
        return Encoded(self.model.encode_video([frames], [seconds])[0], seconds)

    def _visual(self, request: Instance) -> tuple[Any, Any]:
        """The one path or image of a request, and a key that is equal for equal ones."""
        document = self._document(request)
        found = None if document is None else request.args[2](document)
        visuals = found if isinstance(found, list | tuple) else [found]
        if len(visuals) != 1 or not isinstance(visuals[0], str | os.PathLike | Image.Image):
            kinds = ", ".join(type(visual).__name__ for visual in visuals[:4]) or "nothing"
            raise ConfigError(
                f"{_name(request)}: TimeChat is asked about one path of a video or one image, but the task gives "
                f"{len(visuals)} ({kinds}); leave the task out of --tasks"
            )
        visual = visuals[0]
        return (request.args[3:] if isinstance(visual, Image.Image) else os.fspath(visual)), visual

    def _document(self, request: Instance) -> Any:
        """What the task's functions take; None where it asks about text only (`acc_mutual_info`)."""
        if len(request.args) < 6:
            return None
        doc_id, task, split = request.args[3:]
        return self.task_dict[task][split][doc_id]

    def _continuation(self, request: Instance) -> str:
        target = request.args[1]
        text = (target(self._document(request)) if callable(target) else target).strip()
        if not text:
            raise ConfigError(f"{_name(request)}: an empty answer has no likelihood; leave the task out of --tasks")
        return text

    def _progress(self, total: int) -> tqdm:
        hidden = None if distributed.is_main_process() else True  # None: shown on a terminal only
        return tqdm(total=total, unit="request", disable=hidden)


# Arguments ------------------------------------------------------------------------------------------------------------


def _check_evaluate() -> None:
    """lmms-eval imports Hugging Face's package `evaluate`, which evaluate.py in the working directory shadows."""
    found = sys.modules.get("evaluate")
    if not hasattr(found, "load"):
        raise ConfigError(
            f"{getattr(found, '__file__', found)} shadows the package evaluate, whose metrics lmms-eval needs; "
            "start the command lmms-eval, not python -m lmms_eval"
        )


def _load(cfg_path: str, ckpt: str | None, overrides: Mapping[str, Any]) -> DictConfig:
    unknown = [key for key in overrides if "." not in key]
    if unknown:
        raise ConfigError(
            f"--model_args {unknown[0]}={overrides[unknown[0]]}: no such argument; known: cfg_path, ckpt, batch_size, "
            "device, skip_unreadable, and keys of the config with a dot, such as model.num_frm=32"
        )
    cfg = load_config(cfg_path, [f"{key}={value}" for key, value in overrides.items()])
    return cfg if ckpt is None else merged_configs(cfg, {"model": {"ckpt": ckpt}})


def _batch_size(asked: int | str | None, configured: int) -> int:
    if asked is None or str(asked).startswith("auto"):
        return configured
    if not str(asked).isdecimal() or int(asked) < 1:
        raise ConfigError(f"--batch_size {asked}: give a number from 1, or auto for run.batch_size_eval")
    return int(asked)


def _resolve_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: {error}; give cuda, cuda:1 or cpu") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {name}: no CUDA GPU is visible to torch; give cpu")
    return torch.device("cuda", distributed.local_rank()) if device == torch.device("cuda") else device


def generation_options(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A task's generation kwargs -> those of `TimeChat.answer`.

    Greedy unless the task says `do_sample`, or a temperature above 0 without it; temperature 0 is greedy always.
    """
    given = {key: value for key, value in kwargs.items() if value is not None}
    temperature = given.get("temperature", 1.0)
    do_sample = bool(given.get("do_sample", given.get("temperature", 0) > 0)) and temperature > 0
    options = {"max_new_tokens": given.get("max_new_tokens", MAX_NEW_TOKENS), "do_sample": do_sample}
    options["num_beams"] = given.get("num_beams", 1)
    return options | ({"temperature": temperature, "top_p": given.get("top_p", 1.0)} if do_sample else {})


def cut_at(text: str, until: str | Iterable[str] | None) -> str:
    """The text before the first of the stop sequences, all of it where there is none."""
    for stop in [until] if isinstance(until, str) else until or []:
        text = text.split(stop, 1)[0] if stop else text
    return text


def _warn_of_ignored(requests: Sequence[Instance]) -> None:
    names = sorted({name for request in requests for name in request.args[1]} - _UNDERSTOOD)
    if names:
        logger.warning("generation kwargs that TimeChat ignores: %s", ", ".join(names))


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def _prompt(request: Instance) -> str:
    return request.args[0].strip()


def _name(request: Instance) -> str:
    return f"{request.task_name}, document {request.doc_id}"


# Frames and scores ----------------------------------------------------------------------------------------------------


def load_visual(
    visual: Any, n_frms: int, image_size: int, fps: float | None = None, settings: ReaderSettings = AUTO
) -> tuple[Tensor, list[float] | None]:
    """Read what a task hands over.

    Args:
        visual: the path of a video, or a PIL image.
        n_frms, fps: how many frames are sampled from a video, as for `load_video`.
        image_size: side of the square that frames are squashed to, pixels.
        settings: which reader reads videos, and how long it may take for one.

    Returns:
        Frames uint8 [T, 3, image_size, image_size] and their times in seconds; an image has T = 1 and None.

    Raises:
        VideoError: the video cannot be read.
    """
    if isinstance(visual, Image.Image):
        picture = visual.convert("RGB").resize((image_size, image_size), Image.Resampling.BICUBIC)
        return rearrange(torch.from_numpy(np.array(picture)), "h w c -> 1 c h w").contiguous(), None
    video = load_video(visual, n_frms, image_size, fps=fps, settings=settings)
    return video.frames, video.seconds


@torch.inference_mode()
def score_continuations(
    model: TimeChat, videos: Sequence[Encoded], pairs: Sequence[tuple[str, str]], system: str
) -> list[tuple[float, bool]]:
    """How likely given answers are.

    Args:
        model: in evaluation mode.
        videos: B encoded videos.
        pairs: B prompts with the answer to score, which is not empty.
        system: the system sentence.

    Returns:
        For each pair the mean negative log-likelihood of the answer's tokens (without the end-of-text token), and
        whether each of them is the most likely one.
    """
    rows = []
    for (video, seconds), (prompt, answer) in zip(videos, pairs, strict=True):
        text = first_turn(f" {prompt}", visual_text(seconds, len(video)), system)
        # No token spans the space after `[/INST]`, so these are also the first ids of the whole sequence.
        context = len(model.tokenizer.encode(text))
        ids = model.tokenizer.encode(f"{text} {answer}")
        rows.append((ids, [IGNORE_INDEX] * context + ids[context:]))
    device = videos[0].video.device
    input_ids, labels, _ = (tensor.to(device) for tensor in pad_conversations(rows, model.tokenizer.pad_id))
    is_video = input_ids == model.tokenizer.image_token_id
    embeds = lm.embed_with_video(model.llama_model, input_ids, is_video, [video for video, _ in videos])
    lengths = [len(ids) for ids, _ in rows]
    hidden = lm.hidden_states(model.llama_model, [row[:n] for row, n in zip(embeds, lengths, strict=True)])
    targets = [row[1:n] for row, n in zip(labels, lengths, strict=True)]
    return [
        _score(lm.logits(model.llama_model, h[:-1][t != IGNORE_INDEX]), t[t != IGNORE_INDEX])
        for h, t in zip(hidden, targets, strict=True)
    ]


def _score(logits: Tensor, targets: Tensor) -> tuple[float, bool]:
    """Logits [S, V] and target tokens [S] -> mean loss, and whether each target has the highest logit."""
    return F.cross_entropy(logits.float(), targets).item(), bool((logits.argmax(dim=-1) == targets).all())
