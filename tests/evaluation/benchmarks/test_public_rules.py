"""Rules of public scripts beside the parser: what each reads in the same answer, and the scores of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import mvbench_row, video_mme_rows, write_json

from timechat.errors import ParseFailure
from timechat.evaluation.benchmarks import Result, get_benchmark
from timechat.evaluation.benchmarks.public_rules import Reading

CHOICE = {
    "question": "Which way?\nA. zooming in\nB. panning left\nC. zooming out",
    "answer": "A. zooming in",
}
CAPTIONS = {
    "question": "Which fits?\nCaption A: They dance.\nCaption B: They sleep.",
    "answer": "Caption A: They dance.",
}
NUMBERED = {
    "question": "Which fits?\nOption 1: They dance.\nOption 2: They sleep.",
    "answer": "Option 1: They dance.",
}
YES_NO = {"question": "Is he dunking?", "answer": "yes"}


def readings(tmp_path: Path, task: str, question: dict[str, str], answer: str) -> tuple[Any, Any, Any]:
    """What counts, what the parser reads, and what the rule reads."""
    benchmark = get_benchmark("tempcompass")
    (row,) = benchmark.read(write_json(tmp_path / f"{task}.json", {"v": {"action": [question]}}))
    try:
        return tuple(benchmark.parse(answer, row))
    except ParseFailure as failure:
        return failure.reading or (None, None, None)


@pytest.mark.parametrize(
    ("answer", "counted", "parser", "rule"),
    [
        ("A", 0, 0, 0),
        ("A. zooming in.", 0, 0, 0),
        ("A) zooming in", 0, 0, 0),
        ("A</s>", 0, 0, 0),
        ("A. zooming in\n\nThe brain grows. This rules out options B, C, and D, as it does not pan.", 0, 0, 0),
        ("B.", 1, 1, 1),
        ('C. zooming out\n\nThe best option is C, "zooming out." Option A, "zooming in," is not seen.', 2, 2, 2),
        # The rule says one thing, the parser nothing: the answer lists options.
        ("A. zooming in\nB. panning left", 0, None, 0),
        # What a judge is asked for.
        ("The camera is zooming in. There is no sign of panning left.", 0, 0, None),
        ("The best option is C. zooming out. It does not pan.", 2, 2, None),
        ("The camera goes back. So the correct option is:\n\nC. zooming out", 2, 2, None),
        ("It comes nearer.", None, None, None),
        ("D. none of them", None, None, None),
        ("", None, None, None),
    ],
)
def test_multi_choice(tmp_path: Path, answer: str, counted: Any, parser: Any, rule: Any) -> None:
    assert readings(tmp_path, "multi-choice", CHOICE, answer) == (counted, parser, rule)


@pytest.mark.parametrize(
    ("answer", "counted", "parser", "rule"),
    [
        ("Yes, he is.", 0, 0, 0),
        (" No. There is no one. Is there anything else?", 1, 1, 1),
        ("no dog here", 1, None, 1),
        ("Nothing moves.", 1, None, 1),
        ("No doubt, the answer is yes.", 1, 0, 1),
        ("The answer is yes.", 0, 0, None),
        ("He jumps.", None, None, None),
    ],
)
def test_yes_no(tmp_path: Path, answer: str, counted: Any, parser: Any, rule: Any) -> None:
    assert readings(tmp_path, "yes_no", YES_NO, answer) == (counted, parser, rule)


@pytest.mark.parametrize(
    ("question", "answer", "counted", "parser", "rule"),
    [
        (CAPTIONS, "Caption A: They dance.", 0, 0, 0),
        (CAPTIONS, "They dance.", 0, 0, 0),
        (CAPTIONS, "Caption B.", 1, 1, 1),
        (CAPTIONS, "B", 1, 1, 1),
        (CAPTIONS, "B) They sleep.", 1, 1, 1),
        (NUMBERED, "Option 2", 1, 1, 1),
        (NUMBERED, "2", 1, 1, 1),
        (CAPTIONS, "Caption A: They dance.\n\nCaption B is incorrect, nobody sleeps.", 0, 0, None),
        (CAPTIONS, "Based on the video, the best option is:\n\nCaption B: They sleep.\n\nIt is night.", 1, 1, None),
        (NUMBERED, "The best match is Option 1: They dance. Option 2 does not fit.", 0, 0, None),
        (CAPTIONS, 'The best caption is "They sleep." This corresponds to option B.', 1, 1, None),
        (CAPTIONS, "Both fit.", None, None, None),
    ],
)
def test_caption_matching(
    tmp_path: Path, question: dict[str, str], answer: str, counted: Any, parser: Any, rule: Any
) -> None:
    assert readings(tmp_path, "caption_matching", question, answer) == (counted, parser, rule)


def test_scores_by_the_rule_by_the_parser_and_without_a_judge(tmp_path: Path) -> None:
    path = write_json(tmp_path / "multi-choice.json", {"v": {"action": [CHOICE] * 4}})
    said = ["A. zooming in\nB. panning left", "The camera is zooming in.", "It comes nearer.", "B"]
    result = score("tempcompass", path, {f"multi-choice/v/action/{n}": text for n, text in enumerate(said)})
    scores = {name: result.scores[f"multi-choice{name}"] for name in ("", "/strict", "/rule")}
    assert scores == {"": 50.0, "/strict": 25.0, "/rule": 25.0}
    assert (result.scores["parsed"], len(result.failures)) == (3, 1)
    lines = [json.loads(line) for line in result.files["judge/unmatched.jsonl"].splitlines()]
    assert [(line["id"][-1], line["prediction"], line["read_as"]) for line in lines] == [
        ("1", said[1], "zooming in"),
        ("2", said[2], None),
    ]
    assert lines[0]["question"] == CHOICE["question"]
    assert [note for note in result.notes if note.startswith("1 answers are not matched by the official rule")]


def score(name: str, path: Path, answers: dict[str, str]) -> Result:
    benchmark = get_benchmark(name)
    return benchmark.score(answers, benchmark.load_annotations(path))


@pytest.mark.parametrize(
    ("answer", "parser", "rule"),
    [
        ("(A) a ball rolls", 0, 0),
        ("(A", 0, 0),
        ("A.", 0, 0),
        ("a", 0, 0),
        ("(A)\n(C)", None, 0),
        ("(B),", 1, 1),
        ("The answer is (B).", 1, None),
        ("a ball rolls", 0, 0),  # its first word is the letter
        ("(", None, None),
        ("", None, None),
    ],
)
def test_mvbench(tmp_path: Path, answer: str, parser: Any, rule: Any) -> None:
    path = write_json(tmp_path / "action_count.json", [mvbench_row("action_count", 0), mvbench_row("action_count", 1)])
    result = score("mvbench", path, {"action_count/0": answer})
    assert (result.scores["accuracy"], result.scores["accuracy/official"]) == (50.0 * (parser == 0), 50.0 * (rule == 0))
    assert result.scores["parsed"] == len(result.failures) - 1 == 0 if parser is None else not result.failures


@pytest.mark.parametrize(
    ("answer", "parser", "rule"),
    [
        ("A", 0, 0),
        ("Answer: D", 3, 3),
        ("Best option: (D)", 3, 1),  # the script takes the first capital letter from A to D
        ("It is a cat.", 1, None),
        ("the fish", None, None),
    ],
)
def test_video_mme(tmp_path: Path, answer: str, parser: Any, rule: Any) -> None:
    benchmark = get_benchmark("video_mme")
    row = benchmark.read(write_json(tmp_path / "video_mme.json", video_mme_rows("short")))[0]
    try:
        reading = benchmark.parse(answer, row)
    except ParseFailure as failure:
        reading = failure.reading or Reading(None, None, None)
    assert reading == (parser, parser, rule)
