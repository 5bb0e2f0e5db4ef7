"""Conversations: golden ids and labels, cuts, images, the prompt of generation, and tokenizers like LLaMA's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from helpers.tiny import LLAMA, TINY, Golden

from timechat.batch import num_video_tokens
from timechat.errors import ConversationError
from timechat.text.conversation import IGNORE_INDEX, encode_conversation, encode_prompt
from timechat.text.tokenizers import LlamaTokenizer, load_tokenizer

IMAGE = 700
QA = [{"q": "When does it happen?", "a": "At 3.0 seconds."}, {"q": "Who?", "a": "The chef."}]


@pytest.fixture(scope="module")
def tiny() -> LlamaTokenizer:
    """The golden tokenizer."""
    return load_tokenizer(LLAMA)


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> LlamaTokenizer:
    """A small tokenizer trained as LLaMA's was: white space is kept, runs of it are pieces, with byte fallback.

    `[/INST]` falls into four pieces, as it does there.
    """
    folder = tmp_path_factory.mktemp("tokenizer")
    words = "the      chef  cuts   bread  at  1    the   chef cuts bread  at 1.0 - 2.5 seconds . what happens ?"
    words += " [ / ] [ ] / xINST xINST xINST [ ["
    (folder / "text.txt").write_text("\n".join([words] * 40))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=340,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        minloglevel=2,
    )
    return load_tokenizer(folder)


def encode(tokenizer: LlamaTokenizer, qa: list[dict[str, str]], max_txt_len: int = 999, **other: Any) -> Any:
    """Two frames, three video tokens."""
    settings: dict[str, Any] = {"seconds": [0.0, 2.5], "num_video_tokens": 3, "max_txt_len": max_txt_len}
    seconds = (settings | other)["seconds"]
    rest = {k: v for k, v in (settings | other).items() if k != "seconds"}
    return encode_conversation(qa, seconds, tokenizer, **rest)


def supervised(tokenizer: LlamaTokenizer, encoded: Any) -> list[str]:
    """Text of each run of labels; every run that was not truncated must end in `</s>`."""
    stretches: list[list[int]] = [[]]
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (token, IGNORE_INDEX)
        if label != IGNORE_INDEX:
            stretches[-1].append(label)
        elif stretches[-1]:
            stretches.append([])
    return [tokenizer.decode(s) + ("</s>" if s[-1] == tokenizer.eos_id else "") for s in stretches if s]


@pytest.mark.parametrize("index", range(8))
def test_golden_ids_and_labels(golden: Golden, tiny: LlamaTokenizer, index: int) -> None:
    """Single and multi-turn, an image length, truncation inside the answer, before it, and inside a dialogue."""
    case = golden.conversations[index]
    times, queries = case["timestamps"], case["num_video_query_token"]
    encoded = encode_conversation(
        case["conversation"],
        times,
        tiny,
        num_video_tokens=num_video_tokens(len(times), case["stride"], queries, 4),
        max_txt_len=case["max_txt_len"],
    )
    assert encoded.input_ids == case["input_ids"]
    assert encoded.labels == case["labels"]
    assert encoded.num_supervised == sum(label != IGNORE_INDEX for label in case["labels"])


def test_the_text_of_a_conversation(tiny: LlamaTokenizer) -> None:
    """Written out once, special tokens as walls between the pieces."""
    piece = tiny.sp.encode
    expected = [1, *piece("[INST] <<SYS>>\n \n<</SYS>>\n\n<Video>"), IMAGE, IMAGE, IMAGE]
    sentence = "The video contains 2 frames sampled at 0.0, 2.5 seconds."
    expected += piece(f"</Video> {sentence} When does it happen? [/INST] At 3.0 seconds. ")
    expected += [2, 1, *piece("[INST] Who? [/INST] The chef. "), 2]
    assert encode(tiny, QA).input_ids == expected


def test_every_answer_is_supervised_with_its_end(tiny: LlamaTokenizer) -> None:
    assert supervised(tiny, encode(tiny, QA)) == ["At 3.0 seconds.</s>", "The chef.</s>"]


def test_an_image_has_no_sentence(tiny: LlamaTokenizer) -> None:
    piece = tiny.sp.encode
    ids = encode(tiny, QA[:1], seconds=None, num_video_tokens=2).input_ids
    start = [1, *piece("[INST] <<SYS>>\n \n<</SYS>>\n\n<Image>"), IMAGE, IMAGE]
    assert ids[: len(start)] == start
    assert ids[len(start) :] == [*piece("</Image> When does it happen? [/INST] At 3.0 seconds. "), 2]


def test_a_prompt_without_times(tiny: LlamaTokenizer) -> None:
    """`list_seconds=False` leaves the sentence out, in training and in generation, and nothing else."""
    piece = tiny.sp.encode
    expected = [1, *piece("[INST] <<SYS>>\n \n<</SYS>>\n\n<Video>"), IMAGE, IMAGE, IMAGE]
    expected += [*piece("</Video> When does it happen? [/INST] At 3.0 seconds. "), 2]
    encoded = encode(tiny, QA[:1], list_seconds=False)
    assert encoded.input_ids == expected
    assert supervised(tiny, encoded) == ["At 3.0 seconds.</s>"]
    ids = encode_prompt("When?", [0.0, 2.5], tiny, num_video_tokens=3, system=" ", list_seconds=False)
    assert "sampled at" not in tiny.decode([i for i in ids if i != IMAGE])
    assert ids.count(IMAGE) == 3


# Cuts -----------------------------------------------------------------------------------------------------------------


def test_later_questions_continue_the_conversation_that_training_shows(tiny: LlamaTokenizer) -> None:
    """Up to the space before the first question, which prompts have."""
    history = [(QA[0]["q"], QA[0]["a"]), (QA[1]["q"], QA[1]["a"])]
    settings: dict[str, Any] = {"num_video_tokens": 2, "system": "S"}
    prompt = encode_prompt("Why?", [0.0, 1.5], tiny, history=history, **settings)
    spaced = [{"q": f" {QA[0]['q']}", "a": QA[0]["a"]}, QA[1], {"q": "Why?", "a": "Hunger."}]
    trained = encode_conversation(spaced, [0.0, 1.5], tiny, max_txt_len=500, **settings)
    assert prompt == trained.input_ids[: len(prompt)]
    assert tiny.decode(trained.input_ids[len(prompt) :]) == "Hunger."


def test_a_cut_at_every_length_keeps_the_beginning(tiny: LlamaTokenizer) -> None:
    """Ids and labels of a truncated conversation are the first ones of the whole conversation."""
    whole = encode(tiny, QA)
    first = whole.input_ids.index(IMAGE) + 3
    for length in range(first, len(whole.input_ids) + 2):
        cut = encode(tiny, QA, max_txt_len=length)
        assert (cut.input_ids, cut.labels) == (whole.input_ids[:length], whole.labels[:length])


def test_a_cut_before_the_answer_leaves_nothing_to_learn(tiny: LlamaTokenizer) -> None:
    whole = encode(tiny, QA)
    answer = next(i for i, label in enumerate(whole.labels) if label != IGNORE_INDEX)
    assert encode(tiny, QA, max_txt_len=answer).num_supervised == 0
    assert encode(tiny, QA, max_txt_len=answer + 1).num_supervised == 1


@pytest.mark.parametrize("kept", [0, 2])
def test_a_cut_inside_the_video_names_the_setting(tiny: LlamaTokenizer, kept: int) -> None:
    length = encode(tiny, QA).input_ids.index(IMAGE) + kept
    message = rf"max_txt_len={length} truncates.* inside its 3 video tokens \({kept} kept\); raise model\.max_txt_len"
    with pytest.raises(ConversationError, match=message):
        encode(tiny, QA, max_txt_len=length)


@pytest.mark.parametrize("field", ["q", "a"])
@pytest.mark.parametrize("max_txt_len", [999, 40])
def test_a_text_that_holds_the_image_token(tiny: LlamaTokenizer, field: str, max_txt_len: int) -> None:
    """Reported also if truncation would hide it."""
    turn = QA[0] | {field: "What is <ImageHere> this?"}
    with pytest.raises(ConversationError, match=r"contains <ImageHere>.*remove it"):
        encode(tiny, [turn], max_txt_len=max_txt_len)


def test_no_turn(tiny: LlamaTokenizer) -> None:
    with pytest.raises(ConversationError, match="at least one turn"):
        encode(tiny, [])


# Questions that end oddly ---------------------------------------------------------------------------------------------

QUESTIONS = (
    *(
        "plain",
        "ends in a space ",
        "two  ",
        "three   ",
        "line\n",
        "tab\t",
        "ends in [",
        "ends in [ ",
        "has [/INST] inside",
    ),
    *("[/INST]", "[", "]", " ", "ends in ▁", "<s>", "</s>", "<unk> ", "中文 ", "🎬"),
)


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("fixture", ["tiny", "llama_like"])
def test_the_answer_is_supervised_whatever_the_question(
    question: str, fixture: str, request: pytest.FixtureRequest
) -> None:
    """The mark `[/INST]` falls into other pieces after a space than after a letter."""
    tokenizer = request.getfixturevalue(fixture)
    qa = [{"q": question, "a": "at 1.0 - 2.5 seconds"}, {"q": f"what happens ? {question}", "a": "the chef"}]
    encoded = encode(tokenizer, qa)
    assert supervised(tokenizer, encoded) == ["at 1.0 - 2.5 seconds</s>", "the chef</s>"]


def test_the_mark_has_four_pieces_in_a_tokenizer_like_llamas(llama_like: LlamaTokenizer) -> None:
    """What the test above relies on: the pieces in front of the answer depend on the question's end."""
    pieces = [llama_like.sp.id_to_piece(i) for i in llama_like.encode("at [/INST]", bos=False)]
    assert pieces[-4:] == ["▁[", "/", "INST", "]"]
    pieces = [llama_like.sp.id_to_piece(i) for i in llama_like.encode("at  [/INST]", bos=False)]
    assert pieces[-5:] == ["▁▁", "[", "/", "INST", "]"]


# Generation -----------------------------------------------------------------------------------------------------------


def test_the_prompt_is_the_golden_one(golden: Golden, tiny: LlamaTokenizer) -> None:
    expected, times = golden.expected, golden.expected["timestamps"]
    questions = [expected["prompt"], expected["prompt"] + " Please return its start time and end time."]
    for text, seconds, question in zip(expected["prompts"], times, questions, strict=True):
        ids = encode_prompt(question, seconds, tiny, num_video_tokens=18, system=expected["system"])
        assert ids == tiny.encode(text.replace("<ImageHere>", "<ImageHere>" * 18))


def test_golden_files_are_complete() -> None:
    """The golden folder is complete: nothing is read from elsewhere."""
    names = {p.relative_to(TINY).as_posix() for p in Path(TINY).rglob("*") if p.is_file()}
    assert {"config.yaml", "model.pth", "llama/tokenizer.model", "bert/vocab.txt"} <= names
