"""Where the published weight files come from: what to say when one of them is not in its place."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """Of one file or folder.

    Attributes:
        places: where configs name it, the shipped ones' first.
        command: fetches it; `{path}` stands for its place, `{folder}` for the folder that it lies in.
    """

    places: tuple[str, ...]
    command: str


_BLIP = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models"
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


def command_for(path: str | Path) -> str | None:
    """The command that puts a published file, or the folder that it belongs to, in its place; None for other files."""
    for place in (Path(path), Path(path).parent):
        if source := SOURCES.get(place.name):
            return source.command.format(path=shlex.quote(str(place)), folder=shlex.quote(str(place.parent)))
    return None


def elsewhere(path: str | Path) -> Path | None:
    """Another place of a published file, beside the given one or below `ckpt/`, if it is there."""
    path = Path(path)
    places = SOURCES[path.name].places if path.name in SOURCES else ()
    beside = [path.parent.parent / Path(place).parent.name / path.name for place in places]
    return next((other for other in (*beside, *map(Path, places)) if other != path and other.exists()), None)


def advice(path: str | Path, key: str) -> str:
    """What to do about a file or folder that is missing, beside correcting the path: "" or words that end in "; ".

    Args:
        path: where it was looked for.
        key: the setting that names it.
    """
    if other := elsewhere(path):
        return f"it is there as {other}: set {key}={other}; "
    command = command_for(path)
    return f"get it with: {command}; " if command else ""


def find(name: str) -> str:
    """The place where a published file is, of those that configs name; the first one if it is in none of them."""
    places = SOURCES[name].places
    return next((place for place in places if Path(place).exists()), places[0])
