"""Annotations in each benchmark's own format -> questions, and answers -> scores computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluations import ROOT
from helpers.meteor import FakeMeteor

from quickstart.data.annotations import INSTRUCTIONS
from timechat.errors import AnnotationError, ConfigError, PredictionError
from timechat.evaluation.benchmarks import dense_captioning as dense_benchmarks
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.metrics import dense_captioning
from timechat.evaluation.prompting import PROMPTS, load_prompt

CHARADES = """AAAAA 0.0 10.0##a person opens a door.
AAAAA 10.0 20.0##a person sits down.

BBBBB 0.0 10.0##a person drinks.
CCCCC 5.0 15.0##a person reads.
DDDDD 5.0 15.0##a person sleeps.
"""
IDS = ["0", "1", "3", "4", "5"]  # the number of the line


def said(start: float, end: float) -> str:
    return f"The given query happens in {start} - {end} seconds."


# IoU 1, 0.8, 6/14 (hull), a failure, and no answer for the last one.
CHARADES_ANSWERS = dict(zip(IDS, [said(0.0, 10.0), said(12.0, 20.0), said(4.0, 14.0), "I cannot tell."], strict=False))


def charades_coco() -> dict[str, Any]:
    rows = []
    for number, line in zip(IDS, filter(None, CHARADES.split("\n")), strict=True):
        head, sentence = line.split("##")
        name, start, end = head.split()
        rows.append({"image_id": f"{name}.mp4", "caption": sentence, "timestamp": [float(start), float(end)]})
        rows[-1]["id"] = int(number)
    return {"annotations": rows}


def highlight_row(qid: int, clips: list[int], scores: list[list[int]]) -> dict[str, Any]:
    return {
        "qid": qid,
        "query": f"query {qid}",
        "duration": 10,
        "vid": f"vid{qid}_0.0_10.0",
        "relevant_clip_ids": clips,
        "saliency_scores": scores,
        "relevant_windows": [[0, 2]],
    }


HIGHLIGHTS = [
    highlight_row(1, [1, 2], [[4, 4, 4], [2, 2, 2]]),
    highlight_row(2, [4], [[4, 4, 4]]),
    highlight_row(3, [0], [[4, 4, 4]]),
    highlight_row(4, [0], [[4, 4, 4]]),
]
HIGHLIGHT_ANSWERS = {
    "1": "There are 2 highlight moments in the 4, 6 second. Their saliency scores are 3.0, 1.0.",
    "2": "There are 1 highlight moments in the 2 second. Their saliency scores are 2.0.",
    "3": "Nothing stands out.",
}
DENSE = [
    {"image_id": "a.mp4", "duration": 20.0, "segments": [[0, 10], [10, 20]], "pure_cap": "cut the bread. add the ham"},
    {"image_id": "b.mp4", "duration": 20.0, "segments": [[0, 10]], "pure_cap": "boil the eggs."},
    {"image_id": "c.mp4", "duration": 20.0, "segments": [[0, 10]], "pure_cap": "peel the eggs."},
    {"image_id": "d.mp4", "duration": 20.0, "segments": [[0, 10]], "pure_cap": "eat the eggs."},
]
DENSE_ANSWERS = {
    "a.mp4": "0.0 - 10.0 seconds, cut the bread.  10.0 - 20.0 seconds, add the ham.",
    "b.mp4": "0.0 - 5.0 seconds, boil the eggs.",
    "c.mp4": "Someone cooks.",
}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def json_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("form", ["txt", "json"])
def test_charades_scores(tmp_path: Path, form: str) -> None:
    anno = write(tmp_path / f"anno.{form}", CHARADES if form == "txt" else charades_coco())
    benchmark = get_benchmark("charades_sta")
    questions = benchmark.questions(benchmark.load_annotations(anno), "When does '{query}' happen?")
    assert [(q.id, q.video, q.prompt) for q in questions][:2] == [
        ("0", "AAAAA.mp4", "When does 'a person opens a door.' happen?"),
        ("1", "AAAAA.mp4", "When does 'a person sits down.' happen?"),
    ]
    result = benchmark.score(CHARADES_ANSWERS, benchmark.load_annotations(anno))
    expected = {"R@1 IoU=0.3": 60.0, "R@1 IoU=0.5": 40.0, "R@1 IoU=0.7": 40.0, "mIoU": 20 * (1 + 0.8 + 6 / 14)}
    expected |= {"found": 4, "parsed": 3, "expected": 5}
    assert result.scores == pytest.approx(expected)
    assert [(f.id, f.video, f.answer) for f in result.failures] == [("4", "CCCCC.mp4", "I cannot tell.")]
    assert "interval" in result.failures[0].reason
    assert result.unanswered == ["5"]
    assert result.predictions["1"] == {"timestamp": [[12.0, 20.0]], "query": "a person sits down.", "vid": "AAAAA.mp4"}
    assert result.predictions["4"]["timestamp"] == []
    assert [example.quality for example in result.examples] == pytest.approx([1, 0.8, 6 / 14, 0, 0])


def test_qvhighlights_scores(tmp_path: Path) -> None:
    """Query 1: clip 1 leads, 100. Query 2: four clips tie behind the wrong one, 1/5. Query 3 says nothing: flat
    scores earn 1/5 and, by accident, a hit in the published numbers; nothing in the strict ones. Query 4: no answer."""
    anno = write(tmp_path / "anno.jsonl", json_lines(HIGHLIGHTS))
    benchmark = get_benchmark("qvhighlights")
    result = benchmark.score(HIGHLIGHT_ANSWERS, benchmark.load_annotations(anno))
    assert result.scores["mAP@VeryGood"] == pytest.approx(100 * (1 + 0.2 + 0.2) / 3, abs=0.005)
    assert result.scores["HIT@1@VeryGood"] == pytest.approx(100 * 2 / 3, abs=0.005)
    assert result.scores["mAP@VeryGood/expected"] == pytest.approx(100 * (1 + 0.2) / 4)
    assert result.scores["HIT@1@VeryGood/expected"] == 25.0
    assert (result.scores["found"], result.scores["expected"]) == (3, 4)
    assert result.predictions[0] == {
        "qid": 1,
        "query": "query 1",
        "vid": "vid1_0.0_10.0",
        "pred_saliency_scores": [0.0, 3.0, 1.0, 0.0, 0.0],
    }
    assert [f.id for f in result.failures] == ["3"]
    assert result.unanswered == ["4"]


def test_qvhighlights_other_rule_of_clips(tmp_path: Path) -> None:
    anno = write(tmp_path / "anno.jsonl", json_lines(HIGHLIGHTS))
    benchmark = get_benchmark("qvhighlights", {"clip_of_time": "start"})
    result = benchmark.score(HIGHLIGHT_ANSWERS, benchmark.load_annotations(anno))
    assert result.predictions[0]["pred_saliency_scores"] == [0.0, 0.0, 3.0, 1.0, 0.0]


def test_qvhighlights_takes_the_video_that_is_there(tmp_path: Path) -> None:
    anno = write(tmp_path / "anno.jsonl", json_lines(HIGHLIGHTS[:2]))
    (tmp_path / "v_vid1_0.0_10.0.mp4").touch()
    benchmark = get_benchmark("qvhighlights")
    questions = benchmark.questions(benchmark.load_annotations(anno), "{query}?", videos_dir=tmp_path)
    assert [q.video for q in questions] == ["v_vid1_0.0_10.0.mp4", "vid2_0.0_10.0.mp4"]


def test_youcook2_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Video a is exact; b overlaps by 0.5, which is more than 0.3 alone; c says nothing; d has no answer."""
    monkeypatch.setattr(dense_benchmarks, "Meteor", FakeMeteor)
    monkeypatch.setattr(dense_captioning, "tokenize", lambda captions: [c.rstrip(".") for c in captions])
    anno = write(tmp_path / "anno.json", {"annotations": DENSE})
    benchmark = get_benchmark("youcook2")
    result = benchmark.score(DENSE_ANSWERS, benchmark.load_annotations(anno))
    scores = result.scores
    assert scores["F1"] == pytest.approx((1 + 0.25) / 4)
    assert scores["Precision@0.3"] == pytest.approx(0.5)
    assert scores["Recall@0.7"] == pytest.approx(0.25)
    assert scores["predictions_per_video"] == pytest.approx(3 / 4)
    assert (scores["found"], scores["parsed"], scores["expected"]) == (3, 2, 4)
    assert scores["SODA_c"] == pytest.approx((1 + 0.5) / 4)
    assert scores["METEOR"] == pytest.approx((1 + 0.25) / 4)
    assert result.predictions["b.mp4"] == [{"timestamp": [0.0, 5.0], "caption": "boil the eggs."}]
    assert result.predictions["c.mp4"] == []
    assert [f.id for f in result.failures] == ["c.mp4"]
    assert result.unanswered == ["d.mp4"]
    boiled = next(example for example in result.examples if example.id == "b.mp4")
    assert boiled.predicted_captions == ["boil the eggs."]
    assert boiled.true_captions == ["boil the eggs."]
    shown = benchmark.in_percent(scores)
    assert (shown["F1"], shown["expected"]) == (pytest.approx(31.25), 4)


def test_youcook2_reads_the_raw_download(tmp_path: Path) -> None:
    events = [{"id": 0, "segment": [1, 2], "sentence": "cut the bread"}]
    database = {
        "abc": {"subset": "validation", "duration": 5.0, "annotations": events},
        "xyz": {"subset": "training", "duration": 5.0, "annotations": events},
    }
    rows = get_benchmark("youcook2").read(write(tmp_path / "raw.json", {"database": database}))
    assert rows == [{"image_id": "abc.mp4", "duration": 5.0, "segments": [[1, 2]], "captions": ["cut the bread"]}]


@pytest.mark.parametrize(("name", "count"), [("charades_sta", 1), ("youcook2", 2), ("qvhighlights", 3)])
def test_own_prompts_fit_and_answers_in_their_form_parse(name: str, count: int) -> None:
    """The answer format that a prompt shows is one that the parser reads; with other times, since an echo is none."""
    benchmark = get_benchmark(name)
    prompt = load_prompt(PROMPTS / benchmark.prompt_file)
    benchmark._check_prompt(prompt)
    answer = prompt.rpartition("in the form: ")[2].translate(str.maketrans("08", "19"))
    assert len(benchmark.parse(answer, {})) == count


@pytest.mark.parametrize(
    ("name", "task"), [("grounding", "grounding"), ("dense_captioning", "dense_captions"), ("highlights", "highlights")]
)
def test_quickstart_prompts_are_instructions_of_its_training(name: str, task: str) -> None:
    assert load_prompt(ROOT / "quickstart" / "prompts" / f"{name}.txt") in INSTRUCTIONS[task]


def test_prompts_need_a_place_for_the_query(tmp_path: Path) -> None:
    grounding, captioning = get_benchmark("charades_sta"), get_benchmark("youcook2")
    charades = grounding.load_annotations(write(tmp_path / "a.txt", CHARADES))
    dense = captioning.load_annotations(write(tmp_path / "b.json", {"annotations": DENSE}))
    with pytest.raises(ConfigError, match=r"no \{query\}"):
        grounding.questions(charades, "When?")
    with pytest.raises(ConfigError, match="has no query"):
        captioning.questions(dense, "What about {query}?")
    published = grounding.questions(charades, "Find '<query_placeholder>' {here}")
    assert published[0].prompt == "Find 'a person opens a door.' {here}"


def test_limit_leaves_the_others_out_of_the_denominator(tmp_path: Path) -> None:
    anno = write(tmp_path / "anno.txt", CHARADES)
    benchmark = get_benchmark("charades_sta")
    assert len(benchmark.questions(benchmark.load_annotations(anno, limit=2), "{query}")) == 2
    answers = {key: CHARADES_ANSWERS[key] for key in ("0", "1")}
    assert benchmark.score(answers, benchmark.load_annotations(anno, limit=2)).scores["R@1 IoU=0.7"] == 100.0
    with pytest.raises(PredictionError, match=r"1 answers belong to no question there \(3\)"):
        benchmark.score(answers | {"3": "x"}, benchmark.load_annotations(anno, limit=2))


def test_unknown_benchmark_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'charades_sta'"):
        get_benchmark("charades-sta")


def _changed(rows: list[dict[str, Any]], **change: Any) -> list[dict[str, Any]]:
    return [{**rows[0], **change}, *rows[1:]]


BROKEN = [
    ("charades_sta", "x.txt", "AAAAA 0.0 ten##a door opens.", r"line 1: expected an object, found 'AAAAA 0.0 ten"),
    ("charades_sta", "x.txt", "AAAAA 0.0 1.0 a door opens.", "line 1"),
    ("charades_sta", "x.txt", "ok 0.0 1.0##a.\n../A -1 1.0##  ", r"line 2: image_id '../A.mp4' points outside"),
    ("charades_sta", "x.txt", "ok 0.0 1.0##a.\nA -1 1.0##b", r"line 2: timestamp is \[-1.0, 1.0\]"),
    ("charades_sta", "x.txt", "ok 0.0 nan##a.", "line 1: timestamp"),
    ("charades_sta", "x.txt", "ok 0.0 1.0##", "line 1: caption is ''"),
    ("charades_sta", "x.txt", "\n", "holds no annotations"),
    ("charades_sta", "x.json", "{", "not valid JSON"),
    ("charades_sta", "x.json", {}, "expected the coco form"),
    ("charades_sta", "x.json", [], "holds no annotations"),
    ("charades_sta", "x.json", '{"annotations": [{"caption": "a \\ud83d b"}]}', r"'a .ud83d b' holds half a character"),
    ("qvhighlights", "x.jsonl", '{}\n{"\\udc00": 1}', r"line 2: '.udc00' holds half a character"),
    (
        "charades_sta",
        "x.json",
        {"annotations": charades_coco()["annotations"] * 2},
        r"id '0' is used in annotations\[0\]",
    ),
    ("youcook2", "x.json", {"annotations": _changed(DENSE, segments=[[0, 10]])}, r"\[0\]: 2 captions, but 1 segments"),
    ("youcook2", "x.json", {"annotations": _changed(DENSE, segments=None)}, "segments is None"),
    ("youcook2", "x.json", {"annotations": _changed(DENSE, segments=[[0], [1, 2]])}, r"segments\[0\] is \[0\]"),
    ("youcook2", "x.json", {"annotations": _changed(DENSE, captions="x")}, "captions is 'x'"),
    ("youcook2", "x.json", {"annotations": _changed(DENSE, image_id="/etc/passwd")}, "points outside"),
    ("youcook2", "x.json", {"database": {"a": {"subset": "validation"}}}, r"database\['a'\]: segments is None"),
    ("qvhighlights", "x.jsonl", "{}\nnot json", r"line 2: expected an object, found 'not json'"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, duration=None)), "line 1: duration is None"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, relevant_clip_ids=[1, 5])), "from 0 to 4"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, saliency_scores=[[1, 2, 3]])), "give one for each"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, saliency_scores=None)), "labelled split"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, relevant_clip_ids=[], saliency_scores=[])), "is empty"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, relevant_clip_ids=[1, 1])), "is listed twice"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, relevant_clip_ids=[True, 2])), "from 0 to 4"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, saliency_scores=[[1, 2], [3]])), "the same number"),
    ("qvhighlights", "x.jsonl", json_lines(_changed(HIGHLIGHTS, qid=2)), "line 2: id '2' is used in line 1 too"),
]


@pytest.mark.parametrize(("name", "file", "content", "message"), BROKEN)
def test_broken_annotations_name_file_item_and_field(
    tmp_path: Path, name: str, file: str, content: Any, message: str
) -> None:
    path = write(tmp_path / file, content)
    with pytest.raises(AnnotationError, match=message) as caught:
        get_benchmark(name).read(path)
    assert str(path) in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(
        AnnotationError, match="no such annotation file; correct its path, in an evaluation --anno-path"
    ):
        get_benchmark("charades_sta").read(tmp_path / "nowhere.txt")
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match="UTF-8"):
        get_benchmark("charades_sta").read(tmp_path / "x.txt")
    with pytest.raises(ConfigError, match="--prompt-file"):
        load_prompt(tmp_path / "nowhere.txt")
    with pytest.raises(ConfigError, match="is empty"):
        load_prompt(write(tmp_path / "empty.txt", " \n"))


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("AO8RW 0.0 6.9##a person puts a book.\n", encoding="utf-8-sig")
    (row,) = get_benchmark("charades_sta").read(tmp_path / "x.txt")
    assert row["image_id"] == "AO8RW.mp4"


def test_qvhighlights_without_labels_gives_a_submission(tmp_path: Path) -> None:
    """The split test: nothing is scored, every query is in the file, one without an answer with zeros."""
    hidden = [{k: v for k, v in row.items() if k in ("qid", "query", "duration", "vid")} for row in HIGHLIGHTS]
    hidden[0]["vid"] += ".mkv"
    benchmark = get_benchmark("qvhighlights")
    annotations = benchmark.load_annotations(write(tmp_path / "test.jsonl", json_lines(hidden)))
    assert benchmark.questions(annotations, "{query}")[0].video == "vid1_0.0_10.0.mkv"
    result = benchmark.score(HIGHLIGHT_ANSWERS, annotations)
    assert result.scores == {"found": 3, "parsed": 2, "expected": 4}
    assert result.controls == {}
    assert "no labels" in result.notes[0]
    lines = [json.loads(line) for line in result.files["qvhighlights_submission.jsonl"].splitlines()]
    assert [(line["qid"], line["pred_saliency_scores"]) for line in lines] == [
        (1, [0.0, 3.0, 1.0, 0.0, 0.0]),
        (2, [2.0, 0.0, 0.0, 0.0, 0.0]),
        (3, [0.0] * 5),
        (4, [0.0] * 5),
    ]
    with pytest.raises(AnnotationError, match="has no labels to fit to"):
        benchmark.read_train(tmp_path / "test.jsonl")
    with pytest.raises(AnnotationError, match="line 1: relevant_clip_ids or saliency_scores is missing"):
        benchmark.read(write(tmp_path / "mixed.jsonl", json_lines([hidden[0], *HIGHLIGHTS[1:]])))
