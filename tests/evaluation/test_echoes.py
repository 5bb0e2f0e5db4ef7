"""Answers that repeat the prompt, and the prompts themselves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.question_answering import QuestionAnswering
from timechat.evaluation.echoes import without_echo
from timechat.evaluation.parsing import parse_dense_captions, parse_grounding, parse_highlights
from timechat.evaluation.prompting import PROMPTS, load_prompt
from timechat.registry import registry

TASKS = {
    "grounding.txt": (parse_grounding, "It happens in 3.0 - 5.0 seconds."),
    "dense_captioning.txt": (parse_dense_captions, "3.0 - 5.0 seconds, stir."),
    "highlights.txt": (parse_highlights, "There is 1 highlight moment in the 4 second. Its saliency score is 2.7."),
}


def example_of(name: str) -> str:
    """The answer that a prompt of ours shows."""
    return load_prompt(PROMPTS / name).partition(" in the form: ")[2]


@pytest.mark.parametrize("name", TASKS)
def test_the_example_of_a_prompt_is_no_answer(name: str) -> None:
    parse, answer = TASKS[name]
    prompt, example = load_prompt(PROMPTS / name), example_of(name)
    for echo in (example, example.upper().rstrip("."), f"'{example}'", example.replace(" - ", " – ")):
        assert without_echo(echo, prompt) == ""
        for text in (f"{echo} {answer}", f"{answer}\n{echo}"):
            assert parse(without_echo(text, prompt)) == parse(answer)


@pytest.mark.parametrize("name", TASKS)
def test_where_no_prompt_has_the_example_it_is_an_answer(name: str) -> None:
    parse, example = TASKS[name][0], example_of(name)
    assert parse(example)
    assert parse(without_echo(example, "Say when it happens, for instance from 1 to 2 seconds.")) == parse(example)


@pytest.mark.parametrize("name", TASKS)
def test_a_whole_prompt_said_back_is_no_answer(name: str) -> None:
    parse, answer = TASKS[name]
    prompt = load_prompt(PROMPTS / name).replace("{query}", "wait 5 seconds")
    assert without_echo(prompt, prompt) == ""
    for text in (f"{answer}\n{prompt}", f"{prompt} {answer}"):
        assert parse(without_echo(text, prompt)) == parse(answer)


@pytest.mark.parametrize(
    ("name", "said", "instead"),
    [("grounding.txt", "12.0", "12.1"), ("dense_captioning.txt", "127", "126"), ("highlights.txt", "86", "88")],
)
def test_answers_in_the_form_of_the_example_stay(name: str, said: str, instead: str) -> None:
    answer = example_of(name).replace(said, instead)
    if name == "dense_captioning.txt":  # whose sentences are examples by themselves, too
        answer = answer.replace("butter", "jam")
    assert without_echo(answer, load_prompt(PROMPTS / name)) == answer
    assert TASKS[name][0](answer)


PUBLISHED_FORM = "Find '{query}'. The format is 'start - end seconds'. A specific example is : 20.8 - 30.0 seconds"


def test_the_example_of_any_prompt_is_taken_out() -> None:
    assert without_echo("20.8 - 30.0 seconds.", PUBLISHED_FORM) == ""
    assert without_echo("20.8  –  30.0 SECONDS. No, 5 - 6 seconds", PUBLISHED_FORM) == "No, 5 - 6 seconds"
    assert without_echo("120.8 - 30.0 seconds", PUBLISHED_FORM) == "120.8 - 30.0 seconds"
    assert without_echo("20.8 - 30.0 seconds.5", PUBLISHED_FORM) == "20.8 - 30.0 seconds.5"
    assert without_echo("20.8  - 31.0 seconds", PUBLISHED_FORM) == "20.8  - 31.0 seconds"  # left as it was
    assert without_echo("Find it. Its scores are 1, 2.", "Say where. Its scores are 1, 2.") == (
        "Find it. Its scores are 1, 2."  # bare numbers alone are no example
    )


def test_a_query_with_numbers_is_no_example() -> None:
    prompt = "When does 'cook 5 to 9 seconds' happen in the video?"
    assert without_echo("cook 5 to 9 seconds", prompt) == "cook 5 to 9 seconds"


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("For example: 'It happens in 5 - 9 seconds'. From 2 to 3 seconds", "From 2 to 3 seconds"),
        ('A specific example is: "5.0 - 9.0 seconds, pour" 2 - 3 seconds, stir', "A specific 2 - 3 seconds, stir"),
        ("5 - 9 seconds, fruit, for example: 'apples'", "5 - 9 seconds, fruit, for example: 'apples'"),
        ("The video contains 3 frames sampled at 0.0, 2.1, 4.2 seconds. 5 - 9 s", "The 5 - 9 s"),
        ("This frame is sampled at 2.0 second.", "This"),
    ],
)
def test_examples_and_frame_times_without_a_prompt(text: str, rest: str) -> None:
    assert " ".join(without_echo(text).split()) == rest


def test_scoring_knows_the_prompt_that_was_asked(tmp_path: Path) -> None:
    annotations = tmp_path / "charades.txt"
    annotations.write_text("A 20.8 30.0##he waits.\nB 0.0 4.0##she waits.\n")
    benchmark = get_benchmark("charades_sta")
    prompt = f"{PUBLISHED_FORM}. What is wrong: '{{query}} at 1 - 2 seconds'"
    answers = {"0": "20.8 - 30.0 seconds", "1": "She waits. At 1 - 2 seconds. 0.0 - 4.0 seconds"}
    known = benchmark.score(answers, benchmark.load_annotations(annotations), prompt=prompt)
    assert known.scores["R@1 IoU=0.5"] == 50.0  # of the second answer, the query's sentence is left out
    assert [(failure.id, failure.answer) for failure in known.failures] == [("0", "20.8 - 30.0 seconds")]
    assert known.failures[0].reason.endswith("only the example of the prompt")
    assert benchmark.score(answers, benchmark.load_annotations(annotations)).failures == []


def test_the_default_example_is_an_answer_to_a_prompt_without_it(tmp_path: Path) -> None:
    """With --prompt-file, and in annotations of the train split in TimeIT's form."""
    annotations = tmp_path / "charades.txt"
    annotations.write_text("A 12.0 19.5##he waits.\n")
    benchmark = get_benchmark("charades_sta")
    asked = benchmark.load_annotations(annotations)
    answers = {"0": example_of("grounding.txt")}
    default = load_prompt(PROMPTS / "grounding.txt")
    scored = {p: benchmark.score(answers, asked, prompt=p).scores for p in (default, PUBLISHED_FORM, None)}
    assert [scores["R@1 IoU=0.7"] for scores in scored.values()] == [0.0, 100.0, 100.0]
    train = tmp_path / "train.json"
    train.write_text(json.dumps([{"video": "A.mp4", "QA": [{"q": "when?", "a": answers["0"]}]}]))
    assert [row["timestamp"] for row in benchmark.read_train(train)] == [[12.0, 19.5]]


def test_options_of_multiple_choice_are_no_echo() -> None:
    times = {name for name in registry.names("benchmark") if registry.get_benchmark_class(name).answers_are_times}
    choices = {
        name
        for name in registry.names("benchmark")
        if issubclass(registry.get_benchmark_class(name), QuestionAnswering)
    }
    assert {"charades_sta", "youcook2", "qvhighlights", "nextgqa"} <= times
    assert not times & choices


def test_prompts_are_those_that_reports_name() -> None:
    """A changed word changes scores; `sha256sum $(find . -name "*.txt" | sort)` in prompts/ writes the list anew."""
    lines = (Path(__file__).parents[1] / "golden" / "prompts.sha256").read_text().splitlines()
    known = {name.removeprefix("./"): sha for sha, name in (line.split() for line in lines)}
    found = {path.relative_to(PROMPTS).as_posix(): path.read_bytes() for path in PROMPTS.rglob("*.txt")}
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == known
