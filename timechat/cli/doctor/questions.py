"""Section 7: whether the model answers, and whether its video embeddings resemble LLaMA's word embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from timechat.cli.doctor.report import Report, ReportSection
from timechat.datasets.video import Video
from timechat.errors import ParseFailure, TimeChatError
from timechat.evaluation.echoes import without_echo
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding
from timechat.evaluation.prompting import PROMPTS, load_prompt
from timechat.models import TimeChat
from timechat.models.llama import causal_lm

LOW_RATIO, HIGH_RATIO = 0.05, 20.0
WHAT_HAPPENS = "What happens in the video?"

_REPEATS = 5  # how often an endless answer repeats itself at its end
_REPEATED = 40  # least number of characters in these repeats
_LONGEST_REPEAT = 200


@dataclass(frozen=True)
class Ask:
    """A question, and the parser of its answer (None: any text will do)."""

    name: str
    prompt: str
    parse: Callable[[str], list[Any]] | None


def questions(query: str) -> list[Ask]:
    """Dense captioning and grounding with the prompts of `prompts/`, and a plain question. Raises ConfigError."""
    return [
        Ask("dense captioning", load_prompt(PROMPTS / "dense_captioning.txt"), parse_dense_captions),
        Ask("grounding", load_prompt(PROMPTS / "grounding.txt").replace("{query}", query), parse_grounding),
        Ask("what happens", WHAT_HAPPENS, None),
    ]


def check_answers(
    report: Report,
    model: TimeChat | None,
    video: Video | None,
    device: torch.device,
    *,
    asks: list[Ask],
    max_new_tokens: int,
    wanted: bool = True,
) -> None:
    """Encode the video, compare its embeddings with LLaMA's, ask the questions and check the answers (greedy)."""
    with report.section("7. Answers") as section:
        reasons = (
            (not wanted, "--no-answers was given"),
            (model is None, "there is no model, see section 3"),
            (video is None, "there is no video, see section 5"),
        )
        skipped = [reason for holds, reason in reasons if holds]
        if skipped or model is None or video is None:
            section.say(f"Skipped: {' and '.join(skipped)}.")
            return
        try:
            _examine(section, model.to(device), video, asks, max_new_tokens)
        except torch.OutOfMemoryError as error:
            section.error(f"The GPU does not have enough memory for answers ({str(error).splitlines()[0]}).")
        except (TimeChatError, RuntimeError) as error:
            section.error(f"The model cannot answer. {type(error).__name__}: {error}")


@torch.no_grad()
def _examine(section: ReportSection, model: TimeChat, video: Video, asks: list[Ask], max_new_tokens: int) -> None:
    embeds = model.encode_video([video.frames], [video.seconds])[0]
    if not torch.isfinite(embeds).all():
        section.error(
            "The video's embeddings contain NaN or infinite numbers: weights are damaged (section 4), or "
            f"model.vit_precision={model.cfg.vit_precision} overflows; try bf16 or fp32. No question was asked."
        )
        return
    _norms(section, embeds, causal_lm(model.llama_model).model.embed_tokens.weight)
    for ask in asks:
        answer = model.answer([embeds], [video.seconds], [ask.prompt], max_new_tokens=max_new_tokens)[0]
        section.say(f"question ({ask.name}): {ask.prompt}")
        section.say("    answer: " + answer.replace("\n", "\n      "))
        _judge(section, ask, answer, video.duration)


def _norms(section: ReportSection, embeds: Tensor, words: Tensor) -> None:
    """Compare the mean norms of video embeddings [N, H] and word embeddings [V, H]."""
    norms = [torch.linalg.vector_norm(table.float(), dim=1) for table in (embeds, words)]
    video, word = norms[0].mean().item(), norms[1][norms[1] > 0].mean().item()
    section.say(f"mean norm: {video:.3f} of {len(embeds)} video embeddings, {word:.3f} of LLaMA's word embeddings")
    section.say(f"their ratio: {video / word:.2f}")
    if LOW_RATIO <= video / word <= HIGH_RATIO:
        section.ok("Video embeddings and word embeddings have similar norms.")
    else:
        section.warning(
            f"Video embeddings are {video / word:.3g} times as long as word embeddings: the projection (llama_proj) is "
            "probably untrained, or belongs to another LLaMA."
        )


def _judge(section: ReportSection, ask: Ask, answer: str, duration: float) -> None:
    if not answer.strip():
        section.warning(f"{ask.name}: the answer is empty.")
        return
    if repeats_endlessly(answer):
        section.warning(f"{ask.name}: the answer repeats itself endlessly, as models with wrong weights do.")
    if ask.parse is None:
        section.ok(f"{ask.name}: an answer of {len(answer.split())} words.")
        return
    try:
        found = ask.parse(without_echo(answer, ask.prompt))
    except ParseFailure as failure:
        section.warning(f"{ask.name}: the answer cannot be parsed ({failure.reason}); it would count as a miss.")
        return
    ends = [item["timestamp"][1] if isinstance(item, dict) else item[1] for item in found]
    if max(ends) > duration + 1:
        section.warning(f"{ask.name}: names {max(ends)} s, after the end of the video at {duration:.1f} s.")
    section.ok(f"{ask.name}: the answer can be parsed, {len(found)} interval{'s' * (len(found) != 1)}.")


def repeats_endlessly(text: str) -> bool:
    """Whether a text ends with the same characters again and again."""
    for width in range(1, min(_LONGEST_REPEAT, len(text)) + 1):
        run = 0
        while run + width < len(text) and text[-1 - run] == text[-1 - run - width]:
            run += 1
        if run + width >= max(_REPEATED, _REPEATS * width):
            return True
    return False
