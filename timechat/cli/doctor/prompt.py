"""Section 6: the prompt around the video tokens, as text and as LLaMA's ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from timechat.cli.doctor.report import Report, ReportSection
from timechat.errors import TimeChatError
from timechat.models.llama import TRAINED_CONTEXT
from timechat.models.timechat import SYSTEM_PROMPT
from timechat.registry import registry
from timechat.text.conversation import encode_prompt, first_turn, visual_text
from timechat.text.tokenizers import IMAGE_TOKEN, LlamaTokenizer, load_tokenizer

ANSWER_ROOM = 128  # tokens that should be left for an answer
_BEFORE, _INSIDE, _BEHIND = 8, 3, 14  # ids shown around the ends of the video tokens


def check_prompt(report: Report, model: DictConfig, seconds: Sequence[float], question: str) -> None:
    """Show the prompt of one question about a video with frames at `seconds`, and check its ids."""
    with report.section("6. Prompt") as section:
        try:
            tokenizer = load_tokenizer(model.llama_model)
        except TimeChatError as error:
            section.error(str(error))
            section.say("Skipped: there is no tokenizer.")
            return
        system = model.system_prompt or SYSTEM_PROMPT
        tokens = registry.get_model_class(model.arch).count_video_tokens(model, len(seconds))
        section.say("the prompt as text:")
        for line in abbreviated_prompt(question, seconds, tokens, system, model.list_seconds).splitlines():
            section.say(f"    {line}")
        ids = encode_prompt(
            question,
            seconds,
            tokenizer,
            num_video_tokens=tokens,
            system=system,
            list_seconds=model.list_seconds,
        )
        _show_ids(section, tokenizer, ids)
        _lengths(section, model, tokenizer, ids)
        _embedding_rows(section, model, tokenizer)


def abbreviated_prompt(
    question: str, seconds: Sequence[float], num_tokens: int, system: str, list_seconds: bool = True
) -> str:
    """What `encode_prompt` encodes, with the video tokens abbreviated."""
    text = first_turn(f" {question}", visual_text(seconds, num_tokens, list_seconds), system)
    return text.replace(IMAGE_TOKEN * num_tokens, f"{IMAGE_TOKEN} x {num_tokens}")


def _show_ids(section: ReportSection, tokenizer: LlamaTokenizer, ids: list[int]) -> None:
    places = [i for i, token in enumerate(ids) if token == tokenizer.image_token_id]
    first, last = places[0], places[-1]
    around = (("start", first - _BEFORE, first + _INSIDE), ("end", last + 1 - _INSIDE, last + 1 + _BEHIND))
    for name, begin, end in around:
        section.say(f"ids around the {name} of the video tokens, from position {max(0, begin)}:")
        shown = ids[max(0, begin) : end]
        section.say("    " + " ".join(f"{token}:{_piece(tokenizer, token)}" for token in shown))


def _piece(tokenizer: LlamaTokenizer, token: int) -> str:
    return IMAGE_TOKEN if token == tokenizer.image_token_id else tokenizer.sp.id_to_piece(token)


def _lengths(section: ReportSection, model: DictConfig, tokenizer: LlamaTokenizer, ids: list[int]) -> None:
    video = ids.count(tokenizer.image_token_id)
    scaled = " (above 2048, positions are scaled by 2)" if model.max_txt_len > TRAINED_CONTEXT else ""
    section.say(
        f"{len(ids)} tokens: {video} of the video, {len(ids) - video} of text; "
        f"model.max_txt_len={model.max_txt_len}{scaled}"
    )
    if ids[: model.max_txt_len].count(tokenizer.image_token_id) < video:
        section.error(
            f"model.max_txt_len={model.max_txt_len} truncates the prompt inside the {video} video tokens: training "
            "would stop; raise model.max_txt_len, or lower the number of frames or model.num_video_query_token."
        )
    elif len(ids) + ANSWER_ROOM > model.max_txt_len:
        section.warning(
            f"The prompt leaves {max(0, model.max_txt_len - len(ids))} of model.max_txt_len={model.max_txt_len} tokens "
            "for answers: training truncates longer ones; raise model.max_txt_len."
        )
    else:
        section.ok(f"The prompt leaves {model.max_txt_len - len(ids)} tokens for an answer.")
    unknown = ids.count(tokenizer.unk_id)
    if unknown:
        section.warning(f"{unknown} ids of the prompt are <unk>: LLaMA's vocabulary lacks characters of the prompt.")


def _embedding_rows(section: ReportSection, model: DictConfig, tokenizer: LlamaTokenizer) -> None:
    try:
        rows = json.loads((Path(model.llama_model) / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    except (OSError, ValueError, LookupError, TypeError):
        section.say("LLaMA's config.json does not give the size of its vocabulary, see section 2.")
        return
    section.say(f"tokenizer: {tokenizer.vocab_size} ids and {IMAGE_TOKEN}; LLaMA embeds {rows}")
    if rows < tokenizer.vocab_size:
        section.error(
            f"LLaMA embeds {rows} ids, its tokenizer has {tokenizer.vocab_size}: they do not belong together."
        )
    elif rows > tokenizer.vocab_size + 1:
        section.warning(
            f"LLaMA embeds {rows} ids, its tokenizer has {tokenizer.vocab_size}: tokenizer.model may belong to another "
            "model, unless ids were added."
        )
    else:
        section.ok("LLaMA and its tokenizer have the same number of ids.")
