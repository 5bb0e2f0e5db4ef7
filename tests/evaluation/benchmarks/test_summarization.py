"""TVSum and SumMe: their own files -> summaries and ranks computed by hand."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.benchmark_data import BenchmarkData, write_json
from helpers.summarization_data import ANSWERS, SUMME, TVSUM, VIDEOS, kept, write_summe, write_tvsum
from scipy.io import savemat

from timechat.errors import AnnotationError, ConfigError
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.benchmarks.structured import Saliency
from timechat.evaluation.benchmarks.summarization import frame_scores, shot_scores, shots_of
from timechat.evaluation.prompting import load_prompt

WRITERS = {"tvsum": write_tvsum, "summe": write_summe}


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def written(name: str, folder: Path) -> BenchmarkData:
    return WRITERS[name](folder / name)


def test_one_question_for_each_video(name: str, tmp_path: Path) -> None:
    data, benchmark = written(name, tmp_path), get_benchmark(name)
    annotations = benchmark.load_annotations(data.anno)
    prompt = load_prompt(benchmark.prompt_path)
    questions = benchmark.questions(annotations, prompt, videos_dir=data.videos)
    assert [(question.id, question.video) for question in questions] == [(video, f"{video}.mp4") for video in VIDEOS]
    assert {question.prompt for question in questions} == {prompt}
    # What the prompt itself shows is no answer.
    echo = benchmark.score({"Air_force": prompt}, annotations, prompt=prompt)
    assert [failure.id for failure in echo.failures] == ["Air_force"]


@pytest.mark.parametrize(("name", "by_hand"), [("tvsum", TVSUM), ("summe", SUMME)])
def test_scores(name: str, by_hand: dict[str, float], tmp_path: Path) -> None:
    benchmark = get_benchmark(name)
    result = benchmark.score(ANSWERS, benchmark.load_annotations(written(name, tmp_path).anno))
    assert {key: result.scores[key] for key in by_hand} == pytest.approx(by_hand)
    assert (result.scores["found"], result.scores["parsed"], result.scores["expected"]) == (3, 2, 4)
    assert np.flatnonzero(result.predictions["Air_force"]).tolist() == [0, 7, 15]
    assert (result.unanswered, [failure.id for failure in result.failures]) == (["Diving"], ["Cooking"])
    means = {key: sum(values.values()) / len(values) for key, values in result.shares.items()}
    assert means == pytest.approx(by_hand)
    quality = {example.id: example.quality for example in result.examples}
    # Users want four shots; three are first with precision 1, the last one is among all 20.
    assert (quality["Air_force"], quality["Cooking"]) == (pytest.approx((1 + 4 / 20) / 2), 0.0)
    table = result.controls["table"]
    assert table["Kendall tau"]["whole video"] == 0.0
    # Three shots that fit: the first ones, of which each user wants one.
    assert table["F1"]["whole video"] == pytest.approx(100 / 3)
    assert set(result.controls["left_out"]) == {"constant answer", "query-blind"}


def test_predictions_that_are_no_text(name: str, tmp_path: Path) -> None:
    """A number for each shot, of any range; what is missing at the end counts as nothing."""
    benchmark = get_benchmark(name)
    annotations = benchmark.load_annotations(written(name, tmp_path).anno)
    given = np.full(16, -3.0)
    given[[0, 7, 15]] = -1.0
    text = benchmark.score({"Air_force": ANSWERS["Air_force"]}, annotations).scores
    assert benchmark.score({"Air_force": Saliency(tuple(given))}, annotations).scores == pytest.approx(text)


def test_times_shots_and_frames() -> None:
    row: dict[str, Any] = {"importance": np.zeros((1, 25)), "duration": 5.0}  # 5 frames a second, a shot of one second
    assert shots_of(row) == [(0, 10), (10, 20), (20, 25)]
    shots = shot_scores(row, [(0.0, 3.0), (1.9, 1.0), (4.0, 2.0), (99.0, 4.0)])
    assert shots.tolist() == [3.0, 0.0, 4.0]
    assert frame_scores(row, shots).tolist() == [3.0] * 10 + [0.0] * 10 + [4.0] * 5


def test_segments_of_a_file(name: str, tmp_path: Path) -> None:
    """As KTS gives them, first and last frame: of one long segment nothing fits into a summary."""
    data = written(name, tmp_path)
    segments = {video: [[0, 79]] for video in VIDEOS} | {"Air_force": [[0, 3], [4, 27], [28, 31], [32, 59], [60, 63]]}
    path = write_json(tmp_path / "segments.json", segments)
    benchmark = get_benchmark(name, {"segments": str(path)})
    result = benchmark.score(ANSWERS, benchmark.load_annotations(data.anno))
    assert result.scores["F1"] == pytest.approx(1 / 4)  # with the same three segments, TVSum's users agree
    for broken, message in (
        ({"Air_force": [[0, 79]]}, "none for the video 'Base_jump'"),
        (segments | {"Diving": [[0, 80]]}, "from 0 to frame 79"),
        (segments | {"Diving": [[5, 9], [9, 20]]}, "in order"),
        (segments | {"Diving": [[5, 9.5]]}, "in whole numbers"),
        ([], "in whole numbers"),
    ):
        write_json(path, broken)
        with pytest.raises(AnnotationError, match=message):
            get_benchmark(name, {"segments": str(path)}).read(data.anno)


def test_broken_files_of_tvsum(tmp_path: Path) -> None:
    anno, benchmark = written("tvsum", tmp_path).anno, get_benchmark("tvsum")
    assert [row["id"] for row in benchmark.read(anno.parent)] == list(VIDEOS)
    good = anno.read_text()
    for line, message in (
        ("Air_force\tVT\n", "line 9: 2 columns; expected video, category and ratings"),
        ("Air_force\tVT\t1,2\n", "(?s)1 problem.*video Air_force: its users rated different numbers of frames"),
        ("Eating\tVT\t1,2\n", "(?s)1 problem.*video Eating: no length as m:ss"),
        ("../x\tVT\t1,2\n", "points outside"),
        ("Diving\tVT\t1,x\n", "its ratings must be numbers from 1 to 5"),
        ("Diving\tVT\t0,2\n", "its ratings must be numbers from 1 to 5"),
    ):
        anno.write_text(good + line)
        with pytest.raises(AnnotationError, match=message):
            benchmark.read(anno)
    anno.write_text(good)
    info = anno.with_name("ydata-tvsum50-info.tsv")
    info.write_text("video\tlength\nAir_force\t0:40\n")
    with pytest.raises(AnnotationError, match=r"info\.tsv: expected the columns video_id and length"):
        benchmark.read(anno)
    info.unlink()
    with pytest.raises(AnnotationError, match=r"info\.tsv: no such annotation file"):
        benchmark.read(anno)
    with pytest.raises(AnnotationError, match="tvsum has no train split"):
        benchmark.read_train(anno)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"FPS": 2.0}, "user_score must be a table of numbers"),
        ({"FPS": 2.0, "user_score": np.zeros((8, 2))}, "user_score keeps no frame"),
        ({"FPS": 2.0, "user_score": np.array(["a"])}, "user_score must be a table of numbers"),
        ({"user_score": np.ones((8, 2))}, "FPS is None"),
        ({"FPS": 0.0, "user_score": np.ones((8, 2))}, "FPS is 0.0"),
    ],
)
def test_broken_files_of_summe(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    savemat(tmp_path / "Eating.mat", content)
    with pytest.raises(AnnotationError, match=rf"(?s)Eating\.mat: 1 problem.*{message}"):
        get_benchmark("summe").read(tmp_path / "Eating.mat")
    (tmp_path / "Eating.mat").write_bytes(b"no file of MATLAB")
    with pytest.raises(AnnotationError, match=r"Eating\.mat: cannot be read as a file of MATLAB"):
        get_benchmark("summe").read(tmp_path)
    with pytest.raises(AnnotationError, match=r"none\.mat: no such annotation file"):
        get_benchmark("summe").read(tmp_path / "none.mat")


def test_one_file_is_one_video_and_scipy_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written("summe", tmp_path).anno / "Cooking.mat"
    (row,) = get_benchmark("summe").read(file)
    assert (row["id"], row["duration"]) == ("Cooking", 40.0)
    assert row["importance"].tolist()[1] == kept((0, 7, 11)).tolist()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"need SciPy: pip install 'timechat\[summe\]'"):
        get_benchmark("summe").read(file)
    assert json.dumps(row["videos"]) == '["Cooking.mp4", "Cooking.webm"]'
