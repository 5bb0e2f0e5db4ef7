"""E.T. Bench: samples of twelve tasks -> questions, answers, scores computed by hand, with and without an encoder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.benchmark_data import write_json
from helpers.etbench_data import ANSWERS, BY_HAND, etbench_rows, write_etbench
from helpers.meteor import without_java
from numpy.typing import NDArray

from timechat.errors import AnnotationError, ConfigError, PredictionError
from timechat.evaluation.benchmarks import Result, get_benchmark
from timechat.evaluation.benchmarks.etbench.captions import overlap
from timechat.evaluation.benchmarks.etbench.rows import TASKS
from timechat.evaluation.benchmarks.structured import Choice, Events, Windows
from timechat.evaluation.metrics import similarity
from timechat.evaluation.prompting import load_prompt
from timechat.evaluation.scoring import score

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def count_letters(sentences: Sequence[str]) -> NDArray[Any]:
    """A stand-in for an encoder: how often each letter occurs, as vectors of length 1."""
    counts = np.array([[sentence.lower().count(letter) for letter in LETTERS] for sentence in sentences], dtype=float)
    return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)


@pytest.fixture(autouse=True)
def _without_java_and_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    without_java(monkeypatch)
    monkeypatch.setattr(similarity, "load_encoder", _no_encoder)


def _no_encoder(model: str) -> similarity.Encoder:
    raise ConfigError(f"similarity of sentences needs sentence-transformers: {similarity.INSTALL}")


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the stand-in installed."""
    monkeypatch.setattr(similarity, "load_encoder", lambda model: count_letters)


def scored(folder: Path, answers: dict[str, Any], keep: Callable[[dict[str, Any]], bool] = lambda row: True) -> Result:
    benchmark = get_benchmark("etbench")
    rows = [row for row in etbench_rows() if keep(row)]
    return benchmark.score(answers, benchmark.load_annotations(write_json(folder / "txt.json", rows)))


def alone(folder: Path, key: str, answer: Any) -> Result:
    """One sample with one answer."""
    task, source, idx = key.split("/")
    return scored(
        folder, {key: answer}, lambda row: (row["task"], row["source"], row["idx"]) == (task, source, int(idx))
    )


def test_questions_are_the_samples_own_prompts(tmp_path: Path) -> None:
    data, benchmark = write_etbench(tmp_path), get_benchmark("etbench")
    annotations = benchmark.load_annotations(data.anno)
    questions = benchmark.questions(annotations, load_prompt(benchmark.prompt_path), videos_dir=data.videos)
    assert [question.id for question in questions] == [*[*ANSWERS][:11], "evs/tvsum/1", *[*ANSWERS][11:]]
    assert all((data.videos / question.video).is_file() for question in questions)
    assert [question.prompt for question in questions] == [row["q"] for row in etbench_rows()]


def test_scores_of_all_tasks(tmp_path: Path) -> None:
    result = scored(tmp_path, ANSWERS)
    assert {name: result.scores[name] for name in BY_HAND} == pytest.approx(BY_HAND)
    assert (result.scores["found"], result.scores["parsed"], result.scores["expected"]) == (19, 18, 20)
    assert [failure.id for failure in result.failures] == ["tvg/qvhighlights/1"]
    assert result.failures[0].reason.startswith("no interval such as")
    assert result.unanswered == ["evs/tvsum/1"]
    by_source = result.predictions["scores"]
    assert by_source["tvg"]["qvhighlights"]["F1@0.5"] == 0.5
    assert (by_source["tvg"]["qvhighlights"]["Total"], by_source["tvg"]["qvhighlights"]["Failed"]) == (2, 1)
    assert by_source["tal"]["thumos14"]["F1@0.1"] == 1.0
    assert result.predictions["answers"]["rvq/star/0"] == {"index": 3, "nearest": False}


def test_what_takes_an_encoder_is_left_out_and_named(tmp_path: Path) -> None:
    result = scored(tmp_path, {**ANSWERS, "rvq/star/0": "He reads."})
    assert not any("Sim" in name for name in result.scores)
    assert result.failures[0].reason == "names no option; the nearest one takes pip install 'timechat[similarity]'"
    assert "Left out: DVC Sim and SLC Sim; " in result.notes[0]
    assert "pip install 'timechat[similarity]'" in result.notes[0]
    assert result.notes[1].startswith("EVS F1 leaves out 1 of 2 samples")


@pytest.mark.usefixtures("encoder")
def test_with_an_encoder(tmp_path: Path) -> None:
    """Equal captions are alike; unmatched ones are compared with random words, which the stand-in finds a bit alike."""
    result = scored(tmp_path, {**ANSWERS, "rvq/star/0": "He read the books aloud."})
    assert result.scores["RVQ Acc"] == 50.0
    assert result.predictions["answers"]["rvq/star/0"] == {"index": 3, "nearest": True}
    assert result.scores["SLC Sim"] == pytest.approx(100)
    assert 75 < result.scores["DVC Sim"] < 95
    assert result.scores["DVC Sim/expected"] == result.scores["DVC Sim"]
    assert result.scores["Captioning Sim"] == pytest.approx((100 + result.scores["DVC Sim"]) / 2)
    assert result.notes[0] == ("1 answers name no option; the one that is most like the answer counts, as published.")
    assert scored(tmp_path, ANSWERS).scores["DVC Sim"] == result.scores["DVC Sim"]
    half = scored(tmp_path, {"dvc/youcook2/0": ANSWERS["dvc/youcook2/0"]})
    assert half.scores["DVC Sim"] == pytest.approx(100)
    assert half.scores["DVC Sim/expected"] == pytest.approx(50)
    assert half.scores["DVC F1"] == pytest.approx(50)
    assert half.scores["DVC METEOR"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("answer", "index"),
    [
        ("(c)", 2),
        ("The man in (D) reads", 3),
        ("b. opens the door", 1),
        ("Best option: (A", 0),
        ("A man opens the door", 0),  # as published: the first letter stands alone
        ("He opens the door.", 1),  # word for word
    ],
)
def test_options_by_the_published_rule(tmp_path: Path, answer: str, index: int) -> None:
    result = alone(tmp_path, "rar/perception_test/0", answer)
    assert result.predictions["answers"]["rar/perception_test/0"]["index"] == index
    assert result.scores["RAR Acc"] == (100.0 if index == 1 else 0.0)


@pytest.mark.parametrize("answer", ["", " ( ", "He flies.", "(E)"])
def test_answers_that_name_no_option(tmp_path: Path, answer: str) -> None:
    result = alone(tmp_path, "rar/perception_test/0", answer)
    assert result.scores["RAR Acc"] == 0.0
    assert len(result.failures) == 1


def test_gvq_needs_option_and_times(tmp_path: Path) -> None:
    key = "gvq/qa_ego4d/0"
    assert alone(tmp_path, key, "b) 5.0 - 15.0 seconds").scores["GVQ Rec"] == 100.0
    assert alone(tmp_path, key, "It is not (A) but (B): 5.0 - 15.0 seconds.").scores["GVQ Rec"] == 100.0
    bare = alone(tmp_path, key, "(B) opens the door")
    assert (bare.scores["GVQ Rec"], bare.scores["GVQ Acc"], bare.failures) == (0.0, 100.0, [])
    nothing = alone(tmp_path, key, "Nobody knows.")
    assert nothing.failures[0].reason.endswith("and names no interval")


@pytest.mark.parametrize(
    ("key", "answer", "name", "value"),
    [
        ("epm/ego4d_nlq/0", "10 - 17.01 seconds", "EPM F1", 100),
        ("tal/thumos14/0", "0 - 7 seconds", "TAL F1", 100 * 2 / 3),  # an IoU of exactly 0.7 counts; recall is a half
        ("tal/thumos14/0", "30 - 31 seconds", "TAL F1", 0),
        ("tvg/charades_sta/0", "10.0 - 2.0 seconds, or 15 - 16 seconds", "TVG F1", 100),  # the first, swapped
        ("tvg/charades_sta/0", "12 - 14 seconds", "TVG F1", 0),
        ("evs/tvsum/0", "0.5 - 3.5 seconds, 10 - 14 seconds", "EVS F1", 100),  # rounded to the even second: 0 - 4
        ("evs/tvsum/0", "1200 - 1300 seconds", "EVS F1", 0),
        ("vhd/qvhighlights/0", "At 4.0 seconds.", "VHD F1", 100),  # the end counts
        ("vhd/qvhighlights/0", "3 highlight moments in the 5, 9 second.", "VHD F1", 0),
        ("tem/perception_test/0", "0 - 2.5 seconds", "TEM Rec", 75),
        ("slc/hirest_step/0", "0 - 10 seconds, peel. 0 - 10 seconds, eat.", "SLC F1", 100),
        ("slc/hirest_step/0", "0 - 10 seconds, peel. 15 - 20 seconds, eat.", "SLC F1", 200 / 3),
    ],
)
def test_single_answers(tmp_path: Path, key: str, answer: str, name: str, value: float) -> None:
    assert alone(tmp_path, key, answer).scores[name] == pytest.approx(value)


def test_the_denominator_of_event_overlap_decides_ties() -> None:
    """0.8 - 0.1 is a little more than 0.7 in floating point, which must not be a match."""
    assert 0.8 - 0.1 > 0.7 > overlap([(0.1, 0.8)], [(0.0, 1.0)])[0, 0]
    assert overlap([(0.0, 1.0)], [(5.0, 6.0)])[0, 0] == overlap([(3.0, 3.0)], [(3.0, 3.0)])[0, 0] == 0.0


def test_predictions_that_are_no_text(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "rar/perception_test/0": Choice(1),
        "gvq/qa_ego4d/0": Choice(1),
        "tvg/charades_sta/0": Windows(((2.0, 10.0),)),
        "vhd/qvhighlights/0": Windows(((9.0, 30.0),)),
        "slc/hirest_step/0": Events(((0.0, 10.0, "peel all of the eggs"),)),
        "rvq/star/0": Windows(((2.0, 10.0),)),
        "rvq/star/1": Choice(7),
    }
    result = scored(tmp_path, given)
    by_source = result.predictions["scores"]
    assert by_source["rar"]["perception_test"]["Acc"] == 0.5
    assert by_source["gvq"]["qa_ego4d"]["Acc"] == 0.5
    assert by_source["tvg"]["charades_sta"]["F1"] == by_source["vhd"]["qvhighlights"]["F1"] == 1.0
    assert by_source["slc"]["hirest_step"]["METEOR"] == 1.0
    assert {failure.id for failure in result.failures} == {"rvq/star/0", "rvq/star/1"}
    assert "RVQ asks for something else" in result.failures[0].reason


def test_controls(tmp_path: Path) -> None:
    controls = scored(tmp_path, ANSWERS).controls
    table = controls["table"]
    assert table["RAR Acc"]["constant answer"] == 50.0
    assert table["RAR Acc"]["shuffled questions"] == 0.0  # C for the first, B for the second
    assert table["TVG F1"]["whole video"] == pytest.approx(100 * (0.5 + 0.75) / 2)  # IoU 0.4; 0.5 twice
    assert table["VHD F1"]["whole video"] == 50.0  # 10 seconds lie in [8, 10]
    assert table["DVC F1"]["whole video"] == pytest.approx(50.0)  # IoU 0.5, and 0.5: less with 1e-8
    assert table["GVQ Rec"]["whole video"] == pytest.approx(100 * 0.75 / 2)  # option A is right once, IoU 0.5
    assert "whole video" not in table["RVQ Acc"]
    assert set(controls["left_out"]) == {"query-blind"}
    assert set(controls["notes"]) == {"constant answer", "whole video", "shuffled questions"}
    assert (
        "needs two samples" in alone(tmp_path, "tal/thumos14/0", "5 - 6 s").controls["left_out"]["shuffled questions"]
    )


def test_shares_have_the_scores_as_their_mean(tmp_path: Path) -> None:
    result = scored(tmp_path, ANSWERS)
    means = {name: sum(values.values()) / len(values) for name, values in result.shares.items()}
    assert means == pytest.approx({name: result.scores[name] for name in means})
    assert set(means) == {task.headline for key, task in TASKS.items() if key not in ("dvc", "slc")}
    assert "evs/tvsum/1" not in result.shares["EVS F1"]


def test_answers_for_the_official_script(tmp_path: Path) -> None:
    """The annotations as they are, each with its answer."""
    told = json.loads(scored(tmp_path, ANSWERS).files["etbench_answers.json"])
    assert [{key: value for key, value in row.items() if key != "a"} for row in told] == etbench_rows()
    assert [row["a"] for row in told if row["task"] == "evs"] == [ANSWERS["evs/tvsum/0"], ""]


def test_answered_samples_are_read_back(tmp_path: Path) -> None:
    """The form in which E.T. Bench's script takes answers, also of other models: matched by task, source and number."""
    told = json.loads(scored(tmp_path, ANSWERS).files["etbench_answers.json"])
    asked = [row for row in told if row["a"]]
    record = score("etbench", asked, tmp_path / "txt.json")
    assert record["predictions_file"]["form"] == "etbench"
    assert record["predictions_file"]["by_id"] == len(ANSWERS)
    assert {name: record["percent"][name] for name in BY_HAND} == pytest.approx(BY_HAND)
    with pytest.raises(PredictionError, match=r"no source, a in .*every sample has them"):
        score("etbench", [asked[0], {"task": "tvg", "idx": 0}], tmp_path / "txt.json")
    with pytest.raises(PredictionError, match="a is 3: it must be text"):
        score("etbench", [asked[0] | {"a": 3}], tmp_path / "txt.json")


def test_examples_for_plots(tmp_path: Path) -> None:
    examples = {example.id: example for example in scored(tmp_path, ANSWERS).examples}
    assert examples["tvg/qvhighlights/0"].quality == 0.5
    assert (examples["vhd/qvhighlights/0"].true, examples["vhd/qvhighlights/0"].predicted) == (
        [(2.0, 4.0), (8.0, 10.0)],
        [(9.0, 9.0)],
    )
    assert examples["dvc/youcook2/1"].predicted_captions == ["boil the eggs in water."]
    assert examples["gvq/qa_ego4d/1"].predicted == [(5.0, 15.0)]
    assert not examples["rar/perception_test/0"].true


def test_a_task_alone_a_folder_and_the_subset(tmp_path: Path) -> None:
    rows = etbench_rows()
    for task in ("tvg", "rar"):
        write_json(tmp_path / "txt" / f"{task}.json", [row for row in rows if row["task"] == task])
    benchmark = get_benchmark("etbench")
    assert len(benchmark.read(tmp_path / "txt")) == 5
    assert {row["task"] for row in benchmark.read(tmp_path / "txt" / "tvg.json")} == {"tvg"}
    result = benchmark.score({}, benchmark.load_annotations(tmp_path / "txt" / "tvg.json"))
    assert set(result.scores) == {"TVG F1", "found", "parsed", "expected"}
    subset = write_json(tmp_path / "subset.json", {"tvg": {"qvhighlights": [1]}, "rar": {"perception_test": [0, 5]}})
    small = get_benchmark("etbench", {"subset": str(subset)})
    assert [row["id"] for row in small.read(tmp_path / "txt")] == ["rar/perception_test/0", "tvg/qvhighlights/1"]
    write_json(subset, {"tvg": {"other": [1]}})
    with pytest.raises(AnnotationError, match=r"subset\.json: names none of the 5 samples"):
        small.read(tmp_path / "txt")
    write_json(subset, [1, 2])
    with pytest.raises(AnnotationError, match=r"expected \{task: \{source"):
        small.read(tmp_path / "txt")


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("tvg", {"task": "tvq"}, "task is 'tvq': it must be one of rar, eca"),
        ("tvg", {"tgt": None}, "tgt is None: it must be"),
        ("tvg", {"tgt": [5.0]}, r"tgt is \[5.0\]: it must be"),
        ("tal", {"tgt": []}, r"tgt is \[\]: it must hold one"),
        ("tal", {"tgt": [[1.0, -2.0]]}, r"tgt is \[1.0, -2.0\]"),
        ("dvc", {"g": ["one"]}, "g has 1 captions, tgt 2 intervals"),
        ("dvc", {"g": None}, "g is None: it must be a list of captions"),
        ("rar", {"p": 4}, "p is 4: it must be an index from 0 to 3"),
        ("gvq", {"o": ["one"]}, r"o is \['one'\]: it must be a list of 2"),
        ("eca", {"o": [[1, 2], [3]]}, "o is"),
        ("tvg", {"q": "When? <vid>"}, "q has times as <vid>: take .*etbench_txt_v1.0.json"),
        ("tvg", {"video": "../a.mp4"}, "points outside"),
        ("tvg", {"duration": 0}, "duration is 0"),
        ("tvg", {"source": None}, "source is None"),
        ("tvg", {"idx": None}, "idx is None"),
    ],
)
def test_broken_samples_name_file_sample_and_field(
    tmp_path: Path, task: str, change: dict[str, Any], message: str
) -> None:
    row = next(row for row in etbench_rows() if row["task"] == task)
    path = write_json(tmp_path / "txt.json", [{**row, **change}])
    with pytest.raises(AnnotationError, match=rf"(?s)txt\.json: 1 problem.*txt\.json, sample 0: .*{message}"):
        get_benchmark("etbench").read(path)


def test_samples_that_are_there_twice_and_train_splits(tmp_path: Path) -> None:
    row = etbench_rows()[0]
    with pytest.raises(AnnotationError, match=r"id 'rar/perception_test/0' is used in txt\.json, sample 0 too"):
        get_benchmark("etbench").read(write_json(tmp_path / "txt.json", [row, row]))
    with pytest.raises(AnnotationError, match=r"E\.T\. Bench has no train split"):
        get_benchmark("etbench").read_train(tmp_path)
    with pytest.raises(ConfigError, match=r"sentence_model=\./nowhere: no such folder"):
        get_benchmark("etbench", {"sentence_model": "./nowhere"})
