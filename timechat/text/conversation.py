"""One prompt template for training and inference: question-answer turns -> text -> ids and labels.

The template is LLaMA-2's chat format around a video:

    [INST] <<SYS>>\\n{system}\\n<</SYS>>\\n\\n<Video><ImageHere>...</Video> The video contains ... {q} [/INST] {a} </s>

with later turns as `<s>[INST] {q} [/INST] {a} </s>`. An image is enclosed in `<Image>` and `</Image>` and has no
sentence about seconds. The answers are supervised, including `</s>`; everything else has the label -100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timechat.errors import ConversationError
from timechat.text.timestamps import video_sentence
from timechat.text.tokenizers import IMAGE_TOKEN, LlamaTokenizer

IGNORE_INDEX = -100
TRAINING_SYSTEM = " "  # the published recipe trains with one space as its system text

Turn = tuple[str, str]  # a question, as it was put to the model, and its answer

_INST_END = "[/INST]"


@dataclass(frozen=True)
class EncodedConversation:
    """Token ids of a conversation and the label of each of them (-100: not supervised)."""

    input_ids: list[int]
    labels: list[int]

    @property
    def num_supervised(self) -> int:
        """How many tokens are supervised."""
        return sum(label != IGNORE_INDEX for label in self.labels)


def visual_text(seconds: Sequence[float] | None, num_video_tokens: int, list_seconds: bool = True) -> str:
    """The placeholder of a video, with the sentence that lists its seconds, or of an image (`seconds` is None).

    Without video tokens there is none: the conversation is text alone.
    """
    if num_video_tokens == 0:
        return ""
    tokens = IMAGE_TOKEN * num_video_tokens
    if seconds is None:
        return f"<Image>{tokens}</Image> "
    return f"<Video>{tokens}</Video> {video_sentence(seconds) if list_seconds else ''}"


def first_turn(question: str, visual: str, system: str) -> str:
    """System text, video and first question, up to and including `[/INST]`."""
    return f"[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{visual}{question} {_INST_END}"


def next_turn(question: str) -> str:
    """Any later question, up to and including `[/INST]`."""
    return f"<s>[INST] {question} {_INST_END}"


def answered(answer: str) -> str:
    """What follows a question that has been answered."""
    return f" {answer} </s>"


def encode_prompt(
    question: str,
    seconds: Sequence[float] | None,
    tokenizer: LlamaTokenizer,
    *,
    num_video_tokens: int,
    system: str,
    list_seconds: bool = True,
    history: Sequence[Turn] = (),
) -> list[int]:
    """Ids of a prompt for generation, `<s>` first, one `<ImageHere>` per video token.

    The published chat puts one more space between the sentence about seconds, which ends in one, and the first
    question. Released weights were evaluated that way, and their greedy answers depend on it.

    Args:
        history: earlier turns about the same video, oldest first; the video stands in the first question of all.
    """
    questions = [*(asked for asked, _ in history), question]
    text = first_turn(f" {questions[0]}", visual_text(seconds, num_video_tokens, list_seconds), system)
    for (_, answer), following in zip(history, questions[1:], strict=True):
        text += answered(answer) + next_turn(following)
    return tokenizer.encode(text)


def encode_conversation(
    qa: Sequence[Mapping[str, str]],
    seconds: Sequence[float] | None,
    tokenizer: LlamaTokenizer,
    *,
    num_video_tokens: int,
    max_txt_len: int,
    system: str = TRAINING_SYSTEM,
    list_seconds: bool = True,
) -> EncodedConversation:
    """Ids and labels of a whole conversation, truncated to `max_txt_len` ids; labels are set after that.

    An answer is supervised from the token after the `]` that ends its `[/INST]` up to and including `</s>`.

    Args:
        qa: turns with "q" and "a".
        seconds: the time of each frame in seconds, None for an image.
        num_video_tokens: how many video tokens the video becomes; 0 for text alone.
        list_seconds: whether the prompt lists the frames' times (`model.list_seconds`).

    Raises:
        ConversationError: there is no turn, or the truncation would drop video tokens.
    """
    if not qa:
        raise ConversationError("QA: a conversation needs at least one turn with q and a")
    visual = visual_text(seconds, num_video_tokens, list_seconds)
    text, full, answers = "", [], []
    for i, turn in enumerate(qa):
        text += first_turn(turn["q"], visual, system) if i == 0 else next_turn(turn["q"])
        # No token spans the space after `]`, so the ids up to here are the first ids of the whole.
        start = len(tokenizer.encode(text))
        text += answered(turn["a"])
        full = tokenizer.encode(text)
        answers.append(slice(start, len(full)))
    input_ids = full[:max_txt_len]
    found, kept = (ids.count(tokenizer.image_token_id) for ids in (full, input_ids))
    if not found == kept == num_video_tokens:
        _raise_bad_video_tokens(found, kept, num_video_tokens, max_txt_len)
    labels = [IGNORE_INDEX] * len(input_ids)
    for answer in answers:
        labels[answer] = input_ids[answer]
    return EncodedConversation(input_ids, labels)


def _raise_bad_video_tokens(found: int, kept: int, expected: int, max_txt_len: int) -> None:
    if found != expected:
        raise ConversationError(
            f"QA: a question or answer contains {IMAGE_TOKEN}, the placeholder of video tokens; remove it"
        )
    raise ConversationError(
        f"max_txt_len={max_txt_len} truncates the conversation inside its {expected} video tokens ({kept} kept); "
        "raise model.max_txt_len, or lower the number of frames or model.num_video_query_token"
    )
