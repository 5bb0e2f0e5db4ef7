"""What an answer comes in, taken off: reasoning, tags, boxes, fences, and JSON that is whole or was cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timechat.evaluation.wrappings import after_final_answer, json_objects, unwrap, without_json


@pytest.mark.parametrize(
    ("answer", "inside"),
    [
        ("5 - 9", "5 - 9"),
        ("<think>1 - 2</think>5 - 9", "5 - 9"),
        ("<thinking>1 - 2</thinking>\n<answer>5 - 9</answer>", "5 - 9"),
        ("1 - 2</think>5 - 9", "5 - 9"),  # the prompt ended with <think>
        ("<think>1 - 2", ""),  # cut while it was thinking
        ("<answer>1 - 2</answer> no: <answer>5 - 9</answer>", "5 - 9"),
        ("<answer>5 - 9", "5 - 9"),
        ("<answer></answer>5 - 9", "<answer> 5 - 9"),
        ("So it is \\boxed{5 - 9}.", "5 - 9"),
        ("\\boxed{\\text{C}}", "C"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("```json\n{}\n```", "{}"),
        ("<start>5</start>", "<start>5"),
    ],
)
def test_unwrapping(answer: str, inside: str) -> None:
    assert unwrap(answer).strip() == inside


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("He sits from 1 to 2. Final answer: 5 - 9", "5 - 9"),
        ("The final answer is **C**", "C**"),
        ("Hm.\n### Answer\nC", "C"),
        ("**Answer:** C", "C"),
        ("answer: 1\nAnswer: 2", "2"),
        ("The answer is 5", "The answer is 5"),
        ("Final answer:", "Final answer:"),  # nothing follows
    ],
)
def test_what_follows_the_final_answer(text: str, rest: str) -> None:
    assert after_final_answer(text) == rest


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ('Here: {"a": [1, {"b": 2}]} and {"c": 3}.', [{"a": [1, {"b": 2}]}, {"c": 3}]),
        ('[{"a": 1}, {"a": 2}, {"a": 3, "b', [{"a": 1}, {"a": 2}]),
        ("{'a': 1, 'b': [2, 3],}", [{"a": 1, "b": [2, 3]}]),
        ("{a}", []),
        ("no braces, [1, 2]", []),
        ("{{{{", []),
        ("{__import__('os')}", []),
    ],
)
def test_objects(text: str, objects: list[Any]) -> None:
    assert json_objects(text) == objects


def test_the_text_around_objects() -> None:
    assert without_json('From 1: {"a": {"b": 5}} to\n{"c": 3}.') == "From 1: \n to\n\n."
    assert without_json("{no} [1, 2]") == "{no} [1, 2]"


@given(st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5)), max_size=5), st.text())
@settings(max_examples=100)
def test_objects_come_back_whatever_stands_in_front_of_them(objects: list[dict[str, Any]], before: str) -> None:
    text = before.replace("{", "") + "\n".join(map(json.dumps, objects))
    assert json_objects(text) == objects
