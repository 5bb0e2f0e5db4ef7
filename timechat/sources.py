"""Where published files come from: advice for messages about missing ones, and the list of all that a config lacks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timechat.errors import MissingFilesError


@dataclass(frozen=True)
class Source:
    """The source of one file or folder.

    Attributes:
        places: its paths in configs, those of the shipped ones first.
        command: downloads it; `{path}` is its path, `{folder}` the folder that it is in.
    """

    places: tuple[str, ...]
    command: str


_BLIP = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_VIDEO_LLAMA = "DAMO-NLP-SG/Video-LLaMA-2-7B-Finetuned"

EVA_VIT_G = "eva_vit_g.pth"
# By the name of the file or folder.
SOURCES = {
    EVA_VIT_G: Source(
        ("ckpt/blip2/eva_vit_g.pth", "ckpt/eva-vit-g/eva_vit_g.pth"),
        f"curl -L --create-dirs -o {{path}} {_BLIP}/BLIP2/eva_vit_g.pth",
    ),
    "instruct_blip_vicuna7b_trimmed.pth": Source(
        ("ckpt/instruct-blip/instruct_blip_vicuna7b_trimmed.pth",),
        f"curl -L --create-dirs -o {{path}} {_BLIP}/InstructBLIP/instruct_blip_vicuna7b_trimmed.pth",
    ),
    "VL_LLaMA_2_7B_Finetuned.pth": Source(
        ("ckpt/Video-LLaMA-2-7B-Finetuned/VL_LLaMA_2_7B_Finetuned.pth",),
        f"hf download {_VIDEO_LLAMA} VL_LLaMA_2_7B_Finetuned.pth --local-dir {{folder}}",
    ),
    "llama-2-7b-chat-hf": Source(
        ("ckpt/Video-LLaMA-2-7B-Finetuned/llama-2-7b-chat-hf",),
        f"hf download {_VIDEO_LLAMA} --include 'llama-2-7b-chat-hf/*' --local-dir {{folder}}",
    ),
    "timechat_7b.pth": Source(
        ("ckpt/timechat/timechat_7b.pth",),
        "hf download ShuhuaiRen/TimeChat-7b timechat_7b.pth --local-dir {folder}",
    ),
    "bert-base-uncased": Source(
        ("ckpt/bert-base-uncased",),
        "hf download bert-base-uncased vocab.txt --local-dir {path}",
    ),
}


TIMEIT = "TimeIT"  # the folder of its clone
_CLONE_TIMEIT = "git lfs install && git clone https://huggingface.co/datasets/ShuhuaiRen/TimeIT {path}"
# Where videos come from, by the first folder of their paths in TimeIT's and Valley's annotations.
_VIDEOS = {
    "ActivityNet_asr_denseCap": "http://activity-net.org/download.html",
    "Activitynet_Captions": "http://activity-net.org/download.html",
    "COIN": "https://coin-dataset.github.io",
    "Charades": "https://prior.allenai.org/projects/charades (480p)",
    "DiDeMo": "https://github.com/LisaAnne/LocalizingMoments",
    "HiREST": "https://github.com/j-min/HiREST",
    "QVhighlights": "https://github.com/jayleicn/moment_detr/blob/main/data/README.md",
    "QuerYD": "https://www.robots.ox.ac.uk/~vgg/data/queryd",
    "SumMe": "https://gyglim.github.io/me/vsum",
    "TVSum": "https://github.com/yalesong/tvsum",
    "YouCook2-BB": "http://youcook2.eecs.umich.edu/download",
    "YouCook2_asr_denseCap": "http://youcook2.eecs.umich.edu/download",
    "jukin": "https://www.jukinmedia.com, as Valley names them",
    "vatex": "https://eric-xw.github.io/vatex-website (YouTube)",
    "vitt": "https://github.com/google-research-datasets/Video-Timeline-Tags-ViTT (YouTube)",
    "yttemporal180m": "https://rowanzellers.com/merlot (YouTube)",
}


def videos_from(path: str) -> str | None:
    """Where a video comes from, by its path in the annotations; None for a collection that is not known."""
    return _VIDEOS.get(Path(path).parts[0])


def command_for(path: str | Path) -> str | None:
    """The command that downloads a published file, or the folder that it belongs to; None for other files."""
    parts = Path(path).parts
    if TIMEIT in parts:
        return _CLONE_TIMEIT.format(path=shlex.quote(str(Path(*parts[: parts.index(TIMEIT) + 1]))))
    for place in (Path(path), Path(path).parent):
        if source := SOURCES.get(place.name):
            return source.command.format(path=shlex.quote(str(place)), folder=shlex.quote(str(place.parent)))
    return None


def elsewhere(path: str | Path) -> Path | None:
    """Another place of a published file, next to the given one or below `ckpt/`, if it exists there."""
    path = Path(path)
    places = SOURCES[path.name].places if path.name in SOURCES else ()
    nearby = [path.parent.parent / Path(place).parent.name / path.name for place in places]
    return next((other for other in (*nearby, *map(Path, places)) if other != path and other.exists()), None)


def advice(path: str | Path, key: str) -> str:
    """What to do about a missing file or folder besides correcting the path: "" or words that end in "; ".

    Args:
        path: where it should be.
        key: the setting that names it.
    """
    if other := elsewhere(path):
        return f"it exists as {other}: set {key}={other}; "
    command = command_for(path)
    if command:
        return f"get it with: {command}; "
    if key == "model.llama_model" and _HUB_ID.fullmatch(str(path)) and not Path(path).parent.exists():
        place = f"ckpt/{Path(path).name}"
        return (
            "if it is a repository on the hub, download it (for a gated one, `hf auth login` first): hf download "
            f"{path} --exclude 'original/*' --local-dir {place}, and set {key}={place}; "
        )
    return ""


def find(name: str) -> str:
    """The first of a published file's places where it exists; the first place if it exists nowhere."""
    places = SOURCES[name].places
    return next((place for place in places if Path(place).exists()), places[0])


@dataclass(frozen=True)
class Missing:
    """A file or folder that a setting names and that is not there.

    Attributes:
        setting: the key or option, and its value.
        what: that is wrong.
        source: the command that fetches it, or the place that it comes from; "" if unknown.
    """

    setting: str
    what: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.setting}: {self.what}" + (f"\n    {self.source}" if self.source else "")


def missing_path(key: str, path: str | Path, what: str) -> Missing:
    """A path that does not exist, with what to do about it."""
    return Missing(f"{key}={path}", what, advice(path, key).removesuffix("; "))


def raise_missing(missing: Sequence[Missing], others: Iterable[str] = ()) -> None:
    """Raise MissingFilesError with everything that is missing, each with its source; return if nothing is.

    Args:
        missing: files and folders.
        others: lines about what else is wrong.
    """
    lines = [*map(str, missing), *others]
    if lines:
        listed = "".join(f"\n  {line}" for line in lines)
        advice = "Fetch them, or correct the paths; docs/CHECKPOINTS.md and docs/DATA.md tell more"
        raise MissingFilesError(f"files are missing:{listed}\n{advice}")
