"""Clear answers with explanations, what is rejected, and what answers come in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timechat.errors import ParseFailure
from timechat.evaluation.metrics import parse_choice, parse_yes_no

COLOURS = ["red", "green", "blue", "white"]
CAMERA = ["zooming in", "panning left", "zooming out"]
SPORT = ["dunking a ball", "dribbling a ball", "passing a ball"]


def choice(options: list[str], answer: str, symbols: str = "ABCDEFGH") -> int | None:
    """None for a failure."""
    try:
        return parse_choice(answer, options, symbols)
    except ParseFailure:
        return None


@pytest.mark.parametrize(
    ("options", "answer", "index"),
    [
        (CAMERA, "A. zooming in\n\nThe brain grows. This rules out options B and C.", 0),
        (CAMERA, 'C. zooming out\n\nThe best option is C, "zooming out." Option A, "zooming in," is not seen.', 2),
        (CAMERA, 'The best option to describe the camera is "A. zooming in." It is not panning left.', 0),
        (CAMERA, "The direction of the camera movement is A. zooming in. There is no sign of zooming out.", 0),
        (CAMERA, "The best option is **B. panning left**. It moves.", 1),
        (CAMERA, "The camera goes near. So the correct option is:\n\nA. zooming in", 0),
        (CAMERA, "The camera is zooming in. Later it might be zooming out.", 0),
        (CAMERA, "It comes near and goes away. So the best answer is zooming in.", 0),
        (
            CAMERA,
            "In the video, the correct caption is:\n\nCaption B: panning left\n\nCaption A is incorrect.",
            1,
        ),
        (CAMERA, "B\n\nExplanation: unlike option A and C, it moves sideways.", 1),
        (SPORT, "The man is dunking a ball. The options of passing or dribbling a ball can be ruled out.", 0),
        (CAMERA, "A. zooming in\n\nOption B would be a movement to the side.", 0),
        (COLOURS, "A. red? Let me look again.\nFinal answer: C", 2),
        (COLOURS, "The ball is blue. The sky behind it is white.", 2),
        (COLOURS, "C) blue. The others are not seen: A) red, B) green", 2),
        # Several of them, and none is clear.
        (COLOURS, "B) green, C) blue", None),
        (COLOURS, "A, B, C, D", None),
        (COLOURS, "red and blue", None),
        (COLOURS, "The sky is blue, the sea is green", None),
        (CAMERA, "The camera is zooming in. So the best answer is zooming out.", None),
        (CAMERA, "The answer is A. The answer is B.", None),
    ],
)
def test_a_clear_answer_with_an_explanation(options: list[str], answer: str, index: int | None) -> None:
    assert choice(options, answer) == index


@pytest.mark.parametrize(
    ("options", "answer", "index"),
    [
        (COLOURS, "The answer is not A but C", 2),
        (COLOURS, "neither A nor B, but C", 2),
        (COLOURS, "It can't be A or B, so C", 2),
        (COLOURS, "C, not B", 2),
        (COLOURS, "B (not A)", 1),
        (COLOURS, "A is incorrect; B is correct.", 1),
        (COLOURS, "Option A is wrong. Option B is right.", 1),
        (COLOURS, "(B) green is wrong, (A) red is right.", 0),
        (COLOURS, "Options B, C and D can be eliminated. The answer is A.", 0),
        (COLOURS, "There is no red here, only blue.", 2),
        (COLOURS, "It isn't blue but green", 1),
        (COLOURS, "It is blue rather than red", 2),
        (COLOURS, "Not A.", None),
        (COLOURS, "The answer cannot be C", None),
        (COLOURS, "This rules out B, C and D", None),
        (COLOURS, "B, C and D are ruled out", None),
        (COLOURS, "Caption B does not fit.", None),
        (COLOURS, "There's no red ball.", None),
        (COLOURS, "no red, no green", None),
        (
            ["drawing sword from sheath", "shooting an arrow"],
            "He draws it. There is no bow to suggest shooting an arrow.",
            None,
        ),
        (COLOURS, "It's not red, it's green.", 1),
        (COLOURS, "The answer is B instead of A.", 1),
        (COLOURS, "Rather than A, choose B.", 1),
        (COLOURS, "B and D are wrong, A too, leaving C", 2),
        (COLOURS, "It is neither A, nor B, nor C; D remains", 3),
        (COLOURS, "A ✗\nB. ✓", 1),
        (COLOURS, "A ❌", None),
        (COLOURS, "Between A and B, B is better.", 1),
        (COLOURS, "A is out. C and D are out. Therefore, B.", 1),
        # A "not" of the option's own.
        (["The camera is not moving", "It moves"], "A. The camera is not moving", 0),
        (["The camera is not moving", "It moves"], "(A) The camera is not moving.", 0),
        (["not sure", "sure"], "I am not sure", 0),
    ],
)
def test_what_is_rejected_is_not_taken(options: list[str], answer: str, index: int | None) -> None:
    assert choice(options, answer) == index


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "C",
            "'C'",
            '"C"',
            "“C”",
            "(C)",
            "[C]",
            "Letter C",
            "ASSISTANT: C",
            "Choice (C)",
            "Option: C",
            "I'd go with C.",
            "It must be C",
            "It has to be C.",
            "Probably C",
            "Of the options, C fits best.",
            "Only C is possible.",
            "<C>",
            "{C}",
            "«C»",
            '["C"]',
            "__C__",
            "Ｃ",
            "（Ｃ）",
            "答案：C",
            "答案是C",
            "<b>C</b>",
        ),
        *(
            "\\boxed{C}",
            "$\\boxed{\\text{C}}$",
            "**Answer:** C",
            "### Answer\nC",
            "Final answer: C",
            "<answer>C</answer>",
        ),
        *('{"answer": "C"}', '```json\n{"option": "(C)"}\n```', "{'choice': 'C'}"),
        *(
            "<think>Could be A. Or B.</think>C",
            "<think>A?</think><answer>C</answer>",
            "I think A at first. Final answer: C",
        ),
    ],
)
def test_what_a_letter_comes_in(answer: str) -> None:
    assert choice(COLOURS, answer) == 2


STYLES = [
    *("{letter}", "({letter})", "{letter}. {text}", "{letter}) {text}", "({letter}) {text}", "Option {letter}: {text}"),
    *("The answer is {letter}.", "The correct answer is ({letter}) {text}.", "The best option is {letter}. {text}"),
    *("{text}", "{letter} is correct.", "I would choose {letter}.", "<think>Hm, {other}.</think>{letter}"),
    *(
        "Not {other} but {letter}",
        "It is not ({other}), it is ({letter})",
        "\\boxed{{{letter}}}",
        "Final answer: {text}",
    ),
]
EXPLANATIONS = [
    "",
    "\n\nThis rules out option {other}.",
    " Option {other} is incorrect.",
    "\nUnlike {other_text}, it fits.",
    " There is no sign of {other_text}.",
    " It is not {other_text}.",
    "\n\nCaption {other} does not fit.",
]


@pytest.mark.parametrize("style", STYLES)
@given(
    options=st.permutations(["red", "dark green", "moving to the left", "not at all", "A man walks."]),
    pair=st.permutations(range(5)),
    explanation=st.sampled_from(EXPLANATIONS),
)
@settings(max_examples=30)
def test_options_come_back_in_every_style(style: str, options: list[str], pair: list[int], explanation: str) -> None:
    """Whatever follows about another option."""
    index, other = pair[:2]
    said = {"letter": "ABCDE"[index], "text": options[index], "other": "ABCDE"[other], "other_text": options[other]}
    answer = style.format(**said).removesuffix(".") + "."
    answer += "" if "boxed" in style else explanation.format(**said)
    assert choice(options, answer) == index


REJECTIONS = [
    *(
        "Not {letter}.",
        "The answer is not {letter}.",
        "It cannot be ({letter})",
        "This rules out {letter} and {letter}.",
    ),
    *("Option {letter} is incorrect.", "There is no {text} here.", "It isn't {text}.", "It never shows {text}"),
    "Nothing suggests {text}.",
]


@pytest.mark.parametrize("style", REJECTIONS)
@given(options=st.permutations(["red", "dark green", "moving to the left", "a man walks"]), index=st.integers(0, 3))
@settings(max_examples=20)
def test_a_rejected_option_alone_is_no_answer(style: str, options: list[str], index: int) -> None:
    assert choice(options, style.format(letter="ABCD"[index], text=options[index])) is None


def test_a_no_in_front_of_a_noun_is_no_answer() -> None:
    assert choice(["dog", "cat"], "no dog here") is None
    assert choice(["yes", "no"], "no dog here") is None
    assert choice(["yes", "no"], "No, there is no dog.") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes, he is. No one else is there.", True),
        ("No. The sky is dark.\n\nIs it daytime?\nYes", False),
        ("Yes. There are no others. No. 5", True),
        ("No, it does not. Yes would need a ball.", False),
        ("No it does not", False),
        ("<think>no. no.</think>Yes", True),
        ('{"answer": "no"}', False),
        ("Final answer: **No**", False),
        ("The answer is no, because yes would need a dog", False),
        ("I would say yes.", True),
        ("In my opinion, no.", False),
        ("- Yes", True),
        ("Ｙｅｓ", True),
    ],
)
def test_the_first_yes_or_no_is_the_answer(answer: str, said: bool) -> None:
    assert parse_yes_no(answer) is said


@pytest.mark.parametrize("answer", ["no dog here", "No one is there.", "Not yes", "Yes. No.", "Yes or no?"])
def test_what_states_neither(answer: str) -> None:
    with pytest.raises(ParseFailure):
        parse_yes_no(answer)
