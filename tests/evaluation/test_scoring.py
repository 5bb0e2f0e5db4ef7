"""Scores of other people's files: each form against what a hand computes, and the same report as of our own model."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import write_egoschema, write_tempcompass
from helpers.meteor import FakeMeteor
from helpers.moment_data import write_rextime
from helpers.temporal_data import CHARADES, write_activitynet, write_charades, write_qvhighlights, write_youcook2

import timechat
from timechat.cli.report import main as report
from timechat.cli.score import main
from timechat.errors import ConfigError, PredictionError
from timechat.evaluation.benchmarks import dense_captioning
from timechat.evaluation.metrics import dense_captioning as dense_metrics

GOLDEN = Path(__file__).parents[1] / "golden" / "metrics"
# Five queries; IoU 1, 0.8, 6/14, none, none.
CHARADES_SCORES = {"R@1 IoU=0.3": 60.0, "R@1 IoU=0.5": 40.0, "R@1 IoU=0.7": 40.0, "mIoU": 20 * (1 + 0.8 + 6 / 14)}
QUERIES = [line.partition("##")[2] for line in CHARADES.splitlines()]
VIDEOS = [line.split()[0] for line in CHARADES.splitlines()]
SAID = ["0.0 - 10.0 seconds", "From 12 to 20 seconds.", "4s - 14s", "I cannot tell."]
WINDOWS = [[[0, 10]], [[12, 20]], [[4, 14]], []]
CHARADES_FILES: dict[str, Any] = {
    "id to text": {str(i): text for i, text in enumerate(SAID)},
    "a list": [{"id": i, "response": text} for i, text in enumerate(SAID)],
    "videos and queries": [{"video": VIDEOS[i], "query": QUERIES[i], "answer": text} for i, text in enumerate(SAID)],
    "published answers": [
        {"vname": f"{VIDEOS[i]}.mp4", "generated_cap": text, "query": QUERIES[i], "id": i, "prompt": "?"}
        for i, text in enumerate(SAID)
    ],
    "published intervals": {
        str(i): {"timestamp": found, "query": QUERIES[i], "vid": f"{VIDEOS[i]}.mp4"} for i, found in enumerate(WINDOWS)
    },
    "Moment-DETR": [
        {"qid": i + 100, "query": QUERIES[i], "vid": VIDEOS[i], "pred_relevant_windows": [[*w, 0.9] for w in found]}
        for i, found in enumerate(WINDOWS)
    ],
    "lmms-eval": [
        {"doc_id": i + 7, "doc": {"video": f"{VIDEOS[i]}.mp4", "caption": QUERIES[i]}, "target": "", "resps": [[text]]}
        for i, text in enumerate(SAID)
    ],
}
BOILED = [{"sentence": "boil the eggs in water.", "timestamp": [0.0, 5.0]}]
BOTH = [("cut the bread in half.", [0, 10]), ("add the ham and cheese.", [10, 20])]
DENSE_FILES: dict[str, Any] = {
    "densevid": {
        "version": "VERSION 1.0",
        "results": {
            "v_video_of_20": [{"sentence": caption, "timestamp": times} for caption, times in BOTH],
            "v_video_of_10": BOILED,
            "v_video_of_30": [],
        },
    },
    "published events": {
        "v_video_of_20.mp4": [{"caption": caption, "timestamp": times} for caption, times in BOTH],
        "v_video_of_10.mp4": [{"caption": "boil the eggs in water.", "timestamp": [5.0, 0.0]}],
        "v_video_of_30.mp4": [],
    },
    "id to text": {
        "video_of_20": "0 - 10 seconds, cut the bread in half. 10 - 20 seconds, add the ham and cheese.",
        "video_of_10": "0.0 - 5.0 seconds, boil the eggs in water.",
        "video_of_30": "Someone cooks.",
    },
}


@pytest.fixture
def _without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_captioning, "Meteor", FakeMeteor)
    monkeypatch.setattr(dense_metrics, "tokenize", lambda captions: [c.rstrip(".") for c in captions])


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("form", CHARADES_FILES)
def test_grounding_of_every_form(tmp_path: Path, form: str) -> None:
    predictions = write(tmp_path / "x.json", CHARADES_FILES[form])
    record = timechat.score("charades_sta", predictions, write_charades(tmp_path / "data").anno)
    assert {name: record["percent"][name] for name in CHARADES_SCORES} == pytest.approx(CHARADES_SCORES)
    assert record["counts"] == {"expected": 5, "found": 4, "unparsable": 1, "unreadable_videos": 0}
    assert not any(path.name == "scores.json" for path in tmp_path.iterdir())


@pytest.mark.usefixtures("_without_java")
@pytest.mark.parametrize("form", DENSE_FILES)
def test_dense_captions_of_every_form(tmp_path: Path, form: str) -> None:
    """One video exact; one with IoU 0.5, which is more than 0.3 alone; one without events; one missing."""
    record = timechat.score("activitynet_captions", DENSE_FILES[form], write_activitynet(tmp_path / "data").anno)
    assert record["scores"]["F1"] == pytest.approx((1 + 0.25) / 4)
    assert record["scores"]["SODA_c"] == pytest.approx((1 + 0.5) / 4)
    assert record["scores"]["METEOR"] == pytest.approx((1 + 0.25) / 4)
    assert (record["counts"]["found"], record["counts"]["unparsable"]) == (3, 1)


def test_highlights_of_a_submission(tmp_path: Path) -> None:
    """The right clip first; the right one last of five; the right one second of five. One query has none."""
    scores = ([0.1, 0.9, 0.2, 0.3, 0.4], [5, 4, 3, 2, 1], [-1.0, -0.5, -2.0, -3.0, -4.0])
    rows = [
        {"qid": n, "query": f"query {n}", "vid": f"vid{n}_0.0_10.0", "pred_saliency_scores": s,
         "pred_relevant_windows": [[0, 2, 1]]}
        for n, s in enumerate(scores, 1)
    ]  # fmt: skip
    path = tmp_path / "hl_val_submission.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = timechat.score("qvhighlights", path, write_qvhighlights(tmp_path / "data").anno)
    assert record["percent"]["mAP@VeryGood"] == pytest.approx(100 * (1 + 1 / 5 + 1 / 2) / 3, abs=0.01)
    assert record["percent"]["HIT@1@VeryGood"] == pytest.approx(100 / 3, abs=0.01)
    assert record["percent"]["mAP@VeryGood/expected"] == pytest.approx(100 * (1 + 1 / 5 + 1 / 2) / 4, abs=0.01)


def test_published_files_have_the_published_scores(tmp_path: Path) -> None:
    """Real predictions, as the published evaluation wrote them, against what its own scorers made of them."""
    for name in ("tvg_gt.json", "tvg_pred.json", "vhd_gt.jsonl", "vhd_pred.json"):
        (tmp_path / name).write_bytes(gzip.decompress((GOLDEN / f"{name}.gz").read_bytes()))
    grounding = timechat.score("charades_sta", tmp_path / "tvg_pred.json", tmp_path / "tvg_gt.json")
    found = [grounding["percent"][f"R@1 IoU={threshold}"] for threshold in (0.3, 0.5, 0.7)]
    assert found == pytest.approx([8.982035928143713, 3.592814371257485, 0.5988023952095808])
    highlights = timechat.score("qvhighlights", tmp_path / "vhd_pred.json", tmp_path / "vhd_gt.jsonl", bootstrap=20)
    published = json.loads((GOLDEN / "vhd_metrics.json").read_text())["brief"]
    for level in ("Fair", "Good", "VeryGood"):
        assert highlights["percent"][f"mAP@{level}"] == published[f"HL-min-{level}-mAP"]
        assert highlights["percent"][f"HIT@1@{level}"] == published[f"HL-min-{level}-Hit1"]
    assert highlights["bootstrap"]["left_out"] == []


def test_options_by_number_and_tempcompass_in_its_own_form(tmp_path: Path) -> None:
    ego = write_egoschema(tmp_path / "ego").anno
    ids = [json.loads((ego / "questions.json").read_text())[n]["q_uid"] for n in range(4)]
    right = json.loads((ego / "subset_answers.json").read_text())
    given = {ids[0]: right[ids[0]], ids[1]: -1}
    record = timechat.score("egoschema", write(tmp_path / "submission.json", given), ego)
    assert record["percent"]["accuracy"] == pytest.approx(100 / len(right))
    assert record["counts"]["unparsable"] == 1
    data = write_tempcompass(tmp_path / "temp")
    questions = json.loads((data.anno / "yes_no.json").read_text())
    for dimensions in questions.values():
        for rows in dimensions.values():
            for row in rows:
                row["prediction"] = row["answer"]
    (tmp_path / "said").mkdir()
    answers = write(tmp_path / "said" / "yes_no.json", questions)
    assert timechat.score("tempcompass", answers, data.anno / "yes_no.json")["percent"]["yes_no"] == 100.0
    assert timechat.score("tempcompass", answers.parent, data.anno)["percent"]["yes_no"] == 100.0


def test_the_prompts_example_is_no_answer_where_the_prompt_is_known(tmp_path: Path) -> None:
    anno = write_charades(tmp_path / "data").anno
    example = "The event happens in 0.0 - 10.0 seconds."
    row = {"id": "0", "prompt": f"When? Say: {example}", "answer": example}
    assert timechat.score("charades_sta", [row], anno)["counts"]["unparsable"] == 0
    assert timechat.score("charades_sta", [row | {"prompt_sha256": "x"}], anno)["counts"]["unparsable"] == 1
    spoken = "Transcribed speech: 0.0 - 10.0 seconds, hi. Based on the video content and possible transcribed speech, "
    said = row | {"prompt": f"{spoken}When?", "prompt_sha256": "x", "answer": "0.0 - 10.0 seconds, hi."}
    assert timechat.score("charades_sta", [said], anno)["counts"]["unparsable"] == 0
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(f"When does '{{query}}' happen? Say: {example}")
    assert timechat.score("charades_sta", [row], anno, prompt_file=prompt)["counts"]["unparsable"] == 1


def test_the_folder_has_what_an_evaluation_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_charades(tmp_path / "data"), tmp_path / "out"
    rows = [*CHARADES_FILES["a list"], {"id": 0, "response": "again"}, {"id": 77, "response": "nobody asked"}]
    argv = ["--benchmark", "charades_sta", "--anno-path", str(data.anno), "--output-dir", str(out)]
    argv += ["--predictions", str(write(tmp_path / "x.json", rows)), "--videos-dir", str(data.videos)]
    argv += ["--train-anno", str(data.anno), "--bootstrap", "200"]
    assert main(argv) == 0
    told = "Of 6 predictions (form records), 4 were found for 5 questions: 4 by id, 0 by video and question; 1 are"
    printed = capsys.readouterr()
    assert told in printed.out
    assert "1 of 6 predictions belong to no question, for example" in printed.err
    record, page = json.loads((out / "scores.json").read_text()), (out / "report.md").read_text()
    assert record["predictions_file"]["examples_left_over"] == ["item 5: no question has the id '77'"]
    assert record["predictions_file"]["examples_doubled"] == ["item 4: 0"]
    assert set(record["controls"]["table"]["mIoU"]) == {
        "constant answer", "whole video", "query-blind", "shuffled questions",
    }  # fmt: skip
    low, high = record["bootstrap"]["intervals"]["mIoU"]
    assert low < record["percent"]["mIoU"] < high
    assert record["bootstrap"]["left_out"] == []
    for words in (
        told,
        "## Confidence intervals",
        "## Does the model listen",
        "## Beside published",
        "gallery.png",
        "±",
    ):
        assert words in page
    assert "Prompt:" not in page
    names = {path.name for path in out.iterdir()}
    assert {"gallery.png", "failures.jsonl", "charades_sta_predictions.json", "question_scores.jsonl"} <= names
    assert len((out / "question_scores.jsonl").read_text().splitlines()) == 5
    assert main(argv) == 0  # again


def test_two_files_are_compared_by_a_paired_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    anno = write_charades(tmp_path / "data").anno
    timechat.score("charades_sta", {"0": "0 - 10", "1": "10 - 20", "2": "5 - 6"}, anno, output_dir=tmp_path / "a")
    timechat.score("charades_sta", CHARADES_FILES["a list"], anno, output_dir=tmp_path / "b", limit=4)
    assert report([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.startswith("mIoU ") and "to" in line)
    first, second = 25 * (1 + 1 + 0.1), 25 * (1 + 0.8 + 6 / 14)  # the four queries that both are about
    assert row[1:4] == [f"{first:.2f}", f"{second:.2f}", f"{second - first:.2f}"]
    assert row[-2:] == ["4", "3"]
    assert f"1 of 5 questions are only in {tmp_path / 'a'}, for example 4: left out." in lines
    (tmp_path / "b" / "question_scores.jsonl").unlink()
    assert report([str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert f"no paired test, because {tmp_path / 'b'} has no scores of each question." in capsys.readouterr().out
    (tmp_path / "b" / "question_scores.jsonl").write_text('{"id": "1"}\n')
    assert report([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert "needs id, video and scores in each line" in capsys.readouterr().err


def test_questions_with_two_answers_have_intervals_too(tmp_path: Path) -> None:
    """IoU 0.8 and 2/18 of the moments, one of four options right."""
    anno = write_rextime(tmp_path / "data").anno
    said: dict[str, Any] = {"anet_val0/option": 0, "anet_val0/moment": [[0.0, 8.0]], "anet_val1/moment": [2, 12]}
    record = timechat.score("rextime", said, anno, bootstrap=50, output_dir=tmp_path / "out")
    assert record["percent"]["accuracy"] == 25.0
    assert record["percent"]["mIoU"] == pytest.approx(25 * (0.8 + 2 / 18))
    assert record["bootstrap"]["left_out"] == []
    rows = [json.loads(line) for line in (tmp_path / "out" / "question_scores.jsonl").read_text().splitlines()]
    assert sum("mIoU" in row["scores"] for row in rows) == 4


def test_what_cannot_be_is_refused_first(tmp_path: Path) -> None:
    anno, given = write_charades(tmp_path / "data").anno, {"0": "0 - 10"}
    for wrong, message in (
        ({"bootstrap": -1}, "--bootstrap -1: give the number of resamples"),
        ({"limit": 0}, "--limit 0: give 1 or more"),
        ({"output_dir": anno}, "--output-dir .*: is a file; give a folder"),
        ({"videos_dir": tmp_path / "none"}, "no such folder"),
        ({"videos_dir": tmp_path}, "pictures need a place; give --output-dir"),
        ({"train_anno": tmp_path / "none"}, "--train-anno .*: no such file"),
        ({"benchmark_options": {"x": 1}}, "charades_sta has no options"),
    ):
        with pytest.raises(ConfigError, match=message):
            timechat.score("charades_sta", given, anno, **wrong)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.json").write_text("{}")
    with pytest.raises(PredictionError, match="holds an evaluation, whose scores would be overwritten"):
        timechat.score("charades_sta", given, anno, output_dir=tmp_path / "out")


def test_an_unknown_benchmark_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--benchmark", "charades", "--predictions", "x", "--anno-path", "y"]) == 1
    assert "unknown benchmark 'charades' (did you mean 'charades_sta'?)" in capsys.readouterr().err


def test_no_decoder_and_no_model_is_imported() -> None:
    """Pictures need them, scores do not."""
    code = "import sys, timechat; timechat.score; print([m for m in ('av', 'decord', 'cv2', 'matplotlib', "
    code += "'transformers', 'timechat.models', 'timechat.datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_youcook2_is_scored_by_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_captioning, "Meteor", FakeMeteor)
    monkeypatch.setattr(dense_metrics, "tokenize", lambda captions: [c.rstrip(".") for c in captions])
    events = {"video_of_10.mp4": [{"timestamp": [0, 10], "caption": "boil the eggs in water"}]}
    record = timechat.score("youcook2", events, write_youcook2(tmp_path / "data").anno, bootstrap=50)
    assert set(record["bootstrap"]["intervals"]) == {"SODA_c", "CIDEr", "METEOR", "F1"}
    assert record["percent"]["F1"] == 25.0
