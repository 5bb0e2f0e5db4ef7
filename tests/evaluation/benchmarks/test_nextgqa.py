"""NExT-GQA: a CSV file with the moments beside it, two questions for each of its questions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.moment_data import write_nextgqa

from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.structured import Choice, Windows
from timechat.evaluation.prompting import load_prompt

BENCHMARK = get_benchmark("nextgqa")


def test_two_questions_each(tmp_path: Path) -> None:
    data = write_nextgqa(tmp_path)
    annotations = BENCHMARK.load_annotations(data.anno)
    prompt = load_prompt(BENCHMARK.prompt_path)
    option, moment = BENCHMARK.questions(annotations, prompt, videos_dir=data.videos)[:2]
    assert (option.id, moment.id) == ("2000_0/option", "2000_0/moment")
    assert option.video == moment.video == "1164/2000.mp4"
    assert option.prompt.startswith(
        "Question: what did the boy throw\nOptions:\n(A) red\n(B) green\n(C) blue\n(D) white\n(E) black\n"
    )
    assert "answers the question 'what did the boy throw'?" in moment.prompt


def test_scores_by_hand(tmp_path: Path) -> None:
    """Right and shown; right, but shown elsewhere; wrong, but shown; shown by a moment without length, in a true one.

    IoU .8, 0, 1, 0; IoP 1, 0, 1, 1.
    """
    answers = {
        "2000_0/option": "(A)", "2000_0/moment": "0.0 - 8.0 seconds",
        "2001_1/option": Choice(1), "2001_1/moment": Windows(((5.0, 9.0),)),
        "2002_2/option": "B. green", "2002_2/moment": "5 - 15 seconds",
        "2003_3/option": "I do not know.", "2003_3/moment": "at 7 seconds",
    }  # fmt: skip
    result = BENCHMARK.score(answers, BENCHMARK.load_annotations(write_nextgqa(tmp_path).anno))
    assert result.scores == pytest.approx(
        {"Acc@QA": 50, "Acc@GQA": 25, "mIoP": 75, "IoP@0.3": 75, "IoP@0.5": 75, "mIoU": 45, "IoU@0.3": 50}
        | {"IoU@0.5": 50, "found": 8, "parsed": 7, "expected": 8}
    )
    assert result.predictions["2001_1/moment"]["right"] == [(0.0, 4.0), (10.0, 20.0)]
    assert result.shares["Acc@GQA"] == {
        "2000_0/option": 100.0, "2001_1/option": 0.0, "2002_2/option": 0.0, "2003_3/option": 0.0,
    }  # fmt: skip
    assert [example.quality for example in result.examples[:4]] == [1.0, 0.8, 1.0, 0.0]
    assert result.controls["table"].keys() == {"mIoP", "IoP@0.3", "IoP@0.5", "mIoU", "IoU@0.3", "IoU@0.5"}
    assert result.controls["table"]["mIoU"]["whole video"] == pytest.approx(50.0)
    assert result.controls["table"]["mIoU"]["query-blind"] == pytest.approx(100.0)


def test_one_half_alone(tmp_path: Path) -> None:
    """Options without moments have an accuracy and nothing else."""
    annotations = BENCHMARK.load_annotations(write_nextgqa(tmp_path).anno, ids=["2000_0/option"])
    assert BENCHMARK.score({"2000_0/option": "A"}, annotations).scores == {
        "Acc@QA": 100.0, "found": 1, "parsed": 1, "expected": 1,
    }  # fmt: skip


def test_predictions_of_the_wrong_kind(tmp_path: Path) -> None:
    """Option numbers do not say when, intervals not which; an option that is not there is none."""
    annotations = BENCHMARK.load_annotations(write_nextgqa(tmp_path).anno)
    answers = {"2000_0/option": Windows(((0, 1),)), "2000_0/moment": Choice(0), "2001_1/option": Choice(5)}
    reasons = [failure.reason for failure in BENCHMARK.score(answers, annotations).failures]
    assert reasons == [
        "holds intervals, but the option was asked for",
        "holds option numbers, but the moment was asked for",
        "no option has the number 5",
    ]


def test_options_of_the_same_words_are_the_same(tmp_path: Path) -> None:
    data = write_nextgqa(tmp_path)
    data.anno.write_text(data.anno.read_text().replace("green", "red"))
    annotations = BENCHMARK.load_annotations(data.anno, ids=["2000_0/option"])
    assert BENCHMARK.score({"2000_0/option": "(B)"}, annotations).scores["Acc@QA"] == 100.0


def test_an_option_may_have_the_words_of_the_prompt(tmp_path: Path) -> None:
    """Times among the options, repeated by the answer, are no echo of the prompt's example."""
    data = write_nextgqa(tmp_path)
    data.anno.write_text(data.anno.read_text().replace("red", "for 12.0 - 19.5 seconds"))
    annotations = BENCHMARK.load_annotations(data.anno, ids=["2000_0/option"])
    scores = BENCHMARK.score({"2000_0/option": "(A) for 12.0 - 19.5 seconds"}, annotations, prompt="{query}").scores
    assert scores["Acc@QA"] == 100.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("boy throw,red", "boy throw,pink", "line 2: answer is 'pink'"),
        ("2001,20", "2009,20", "line 3: qid '1' of video '2009' has no moments"),
        ("why did the girl run", "", "line 3: question is ''"),
        (",black\r\n2001", "\r\n2001", "line 2: a0 to a4 is .* it must be a list of 5 strings"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_nextgqa(tmp_path).anno
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    with pytest.raises(AnnotationError, match=message):
        BENCHMARK.read(path)


def test_other_files_are_named(tmp_path: Path) -> None:
    path = write_nextgqa(tmp_path).anno
    with pytest.raises(AnnotationError, match=r"name test.csv or val.csv"):
        BENCHMARK.read(path.parent)
    gsub = path.with_name("gsub_test.json")
    moments = json.loads(gsub.read_text())
    moments["2000"]["location"]["0"] = [[1, "x"]]
    gsub.write_text(json.dumps(moments))
    with pytest.raises(AnnotationError, match=r"line 2: location\[0\] in the gsub file is \[1, 'x'\]"):
        BENCHMARK.read(path)
    gsub.write_text("[]")
    with pytest.raises(AnnotationError, match=r"gsub_test.json: expected an object"):
        BENCHMARK.read(path)
    gsub.unlink()
    with pytest.raises(AnnotationError, match=r"gsub_test.json: no such annotation file"):
        BENCHMARK.read(path)
