"""Which option an answer names, and what is no answer; accuracies computed by hand."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timechat.errors import AnnotationError, ParseFailure, PredictionError
from timechat.evaluation.metrics.multiple_choice import parse_choice, parse_yes_no, score_choices

COLOURS = ["red", "blue", "dark red", "a green cube"]


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("(A)", 0),
        ("(b)", 1),
        ("[C]", 2),
        ("（D）", 3),
        ("A", 0),
        ("b", 1),
        ("B.", 1),
        ("B)", 1),
        ("b) blue", 1),
        ("B: blue", 1),
        ("**(B)** blue", 1),
        ("<answer>C</answer>", 2),
        ("(A", 0),
        ("Best option: (A", 0),
        ("Best option: (D) a green cube.", 3),
        ("The answer is B", 1),
        ("The correct answer is: B.", 1),
        ("Answer: B", 1),
        ("Answer:B", 1),
        ("The answer is option C, because it is dark.", 2),
        ("The answer would be (C).", 2),
        ("I would choose B.", 1),
        ("It is D.", 3),
        ("Option B shows the cube.", 1),
        ("B is correct.", 1),
        ("B is the most likely answer", 1),
        ("B, because it looks like the sea.", 1),
        ("A because it looks like blood.", 0),
        ("B - blue", 1),
        ("Let me think.\nB. blue", 1),
        ("It is not (A), it is (B).", 1),
        ("(B)\n(B)", 1),
    ],
)
def test_a_letter_names_an_option(answer: str, index: int) -> None:
    assert parse_choice(answer, COLOURS) == index


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("blue", 1),
        (" Blue. ", 1),
        ("The cube is blue", 1),
        ("It is dark red, I think", 2),
        ("I see a green cube.", 3),
        ("A green cube", 3),  # the article is no letter
        ("It is not red but blue.", 1),
    ],
)
def test_the_text_of_one_option_names_it(answer: str, index: int) -> None:
    assert parse_choice(answer, COLOURS) == index


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty"),
        ("  ** \n", "empty"),
        ("A man walks.", "no option"),
        ("a", None),  # the letter, for contrast
        ("A bluebird sings.", "no option"),
        ("I cannot tell.", "no option"),
        ("It is not blue.", "no option"),
        ("The answer is not (B).", "no option"),
        ("The answer is not B", "no option"),
        ("not (A) dark red", "no option"),
        ("A or B", "several"),
        ("The answer is A or B.", "several"),
        ("The answer is A, B", "several"),
        ("(A) and (C)", "several"),
        ("(A) red (B) blue (C) dark red", "several"),
        ("A. red\nB. blue", "several"),
        ("red, or maybe blue", "several"),
        ("red or dark red", "several"),
        ("(E)", "not there"),
        ("The answer is F.", "not there"),
        ("(A) blue", "by its text"),
        ("A. a green cube", "by its text"),
        ("The person (s) went to plan.", "not there"),
    ],
)
def test_what_names_no_single_option_is_a_failure(answer: str, reason: str | None) -> None:
    if reason is None:
        assert parse_choice(answer, COLOURS) == 0
        return
    with pytest.raises(ParseFailure, match=reason) as caught:
        parse_choice(answer, COLOURS)
    assert caught.value.answer == answer


def test_options_that_are_letters_or_contain_them() -> None:
    letters = ["j", "h", "a"]
    assert parse_choice("(A)", letters) == 0
    assert parse_choice("(A) j", letters) == 0
    assert parse_choice("h", letters) == 1
    for answer in ("A", "a.", "(A) h"):  # the letter of "j", or the text of the last option?
        with pytest.raises(ParseFailure, match="by its text"):
            parse_choice(answer, letters)
    with pytest.raises(ParseFailure, match="no option"):
        parse_choice("a person types", letters)
    sets = ["A and B", "vitamin C", "only A"]
    assert parse_choice("A and B", sets) == 0
    assert parse_choice("Vitamin C.", sets) == 1
    assert parse_choice("(C) only A", sets) == 2


def test_numbers_and_yes_or_no_as_options() -> None:
    counts = ["2", "5", "12"]
    assert parse_choice("The person does it 5 times.", counts) == 1
    assert parse_choice("There are 12.", counts) == 2
    for answer in ("2.5 seconds", "at 2:30", "22 of them", "five"):
        with pytest.raises(ParseFailure, match="no option"):
            parse_choice(answer, counts)
    yes_no = ["yes", "no", "not sure"]
    assert parse_choice("Yes, it does.", yes_no) == 0
    assert parse_choice("I am not sure.", yes_no) == 2
    with pytest.raises(ParseFailure, match="no option"):
        parse_choice("there is no cube", yes_no)


def test_the_same_text_twice_cannot_be_told_apart_by_text() -> None:
    assert parse_choice("(B)", ["red", "red"]) == 1
    with pytest.raises(ParseFailure, match="several"):
        parse_choice("red", ["red", "red"])


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("Option 2", 1),
        ("2", 1),
        ("2.", 1),
        ("(2)", 1),
        ("Option 2: The man sits.", 1),
        ("The answer is 1.", 0),
        ("The man sits.", 1),
        ("The best option is option 1", 0),
    ],
)
def test_digits_as_symbols(answer: str, index: int) -> None:
    assert parse_choice(answer, ["The man walks.", "The man sits."], "12") == index


@pytest.mark.parametrize("answer", ["2 men sit", "1 or 2", "Option 3", "1.5"])
def test_digits_that_name_no_option(answer: str) -> None:
    with pytest.raises(ParseFailure):
        parse_choice(answer, ["The man walks.", "The man sits."], "12")


def test_symbols_need_not_begin_at_the_first_letter() -> None:
    assert parse_choice("(D)", ["x y", "z y"], "CD") == 1
    with pytest.raises(ParseFailure, match="not there"):
        parse_choice("(A)", ["x y", "z y"], "CD")


@pytest.mark.parametrize(
    "answer", ["yes", "Yes.", "Yes, no doubt about it", "**Yes**", "The answer is yes.", "Hm. Yes"]
)
def test_yes(answer: str) -> None:
    assert parse_yes_no(answer) is True
    assert parse_yes_no(re.sub("yes", "no", re.sub(" no ", " ", answer), flags=re.IGNORECASE)) is False


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "neither"),
        ("nothing moves", "neither"),
        ("there is no cube", "neither"),
        ("yesterday", "neither"),
        ("yes or no", "both"),
        ("Yes/No", "both"),
        ("Yes. No, it does not.", "both"),
    ],
)
def test_neither_yes_nor_no(answer: str, reason: str) -> None:
    with pytest.raises(ParseFailure, match=reason):
        parse_yes_no(answer)


PIECES = st.sampled_from(
    [
        "A",
        "B",
        "(",
        ")",
        ".",
        "a ",
        " or ",
        "not ",
        "answer is ",
        "option ",
        "red",
        "dark ",
        "\n",
        " ",
        "E",
        "0",
        "'",
        ":",
    ]
)
GARBAGE = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join))


def choice(answer: str, options: list[str], symbols: str = "ABCDEF") -> int | None:
    """None for a failure; any other error is one of the parser."""
    try:
        return parse_choice(answer, options, symbols)
    except ParseFailure:
        return None


@settings(max_examples=300)
@given(GARBAGE, st.lists(st.one_of(st.text(max_size=8), st.sampled_from(COLOURS)), min_size=1, max_size=6))
def test_garbage_names_an_option_or_fails(answer: str, options: list[str]) -> None:
    for symbols in ("ABCDEF", "123456"):
        assert choice(answer, options, symbols) in (None, *range(len(options)))
    with contextlib.suppress(ParseFailure):
        assert parse_yes_no(answer) in (True, False)


@settings(max_examples=100)
@given(st.integers(0, 3), st.sampled_from(["({})", "{}.", "{}", "Best option: ({}", "The answer is {}.", "Option {}"]))
def test_every_form_gives_its_letter_back(index: int, form: str) -> None:
    assert parse_choice(form.format("ABCD"[index]), COLOURS) == index


@pytest.mark.parametrize(
    "piece", ["(", "A ", "A or ", "not ", "answer is ", "red ", " ", "\n", "A.", "''", "n't a a ", "option A, "]
)
def test_long_garbage_ends(piece: str) -> None:
    """The patterns repeat within bounds, and an answer is read up to a bound: no input takes long."""
    assert choice(piece * 100_000, COLOURS) in (None, 0)


def test_accuracy_counts_what_is_missing_and_unparsable_as_wrong() -> None:
    truth = {"1": 0, "2": 1, "3": 2, "4": 0}
    predictions = {"1": 0, "2": 0, "3": None}
    categories = {"1": ["short", "sport"], "2": ["short"], "3": ["long", "sport"]}
    assert score_choices(predictions, truth, categories) == pytest.approx(
        {"accuracy": 25.0, "short": 50.0, "sport": 50.0, "long": 0.0, "found": 3, "parsed": 2, "expected": 4}
    )
    assert score_choices({}, truth) == {"accuracy": 0.0, "found": 0, "parsed": 0, "expected": 4}


def test_scores_need_a_ground_truth_that_knows_the_ids() -> None:
    with pytest.raises(PredictionError, match="'9'"):
        score_choices({"9": 1}, {"1": 1})
    with pytest.raises(AnnotationError, match="no questions"):
        score_choices({}, {})
