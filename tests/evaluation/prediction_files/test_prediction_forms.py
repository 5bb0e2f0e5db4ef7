"""Every form of prediction file, recognised by what it holds, and what is wrong with broken ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from timechat.errors import PredictionError
from timechat.evaluation.benchmarks.structured import Choice, Events, Saliency, Windows
from timechat.evaluation.prediction_files import FORMS, Prediction, read_predictions

WINDOW = Windows(((20.8, 30.0),))
EVENT = Events(((47.0, 60.0, "cut it."),))


def write(path: Path, content: Any, lines: bool = False) -> Path:
    rows = content if lines else [content]
    path.write_text(content if isinstance(content, str) else "\n".join(json.dumps(row) for row in rows))
    return path


# name of the file, content, whether as lines -> form, (id, video, query, said)
FILES: dict[str, tuple[str, Any, bool, str, tuple[Any, ...]]] = {
    "our own answers": (
        "predictions.jsonl",
        [{"id": "7", "video": "a.mp4", "query": "runs", "prompt": "p", "answer": "0 - 3 s"}],
        True, "records", ("7", "a.mp4", "runs", ("0 - 3 s",)),
    ),
    "id to text": ("x.json", {"7": "0 - 3 s"}, False, "mapping", ("7", None, None, ("0 - 3 s",))),
    "id to option": ("x.json", {"q-1": 3}, False, "mapping", ("q-1", None, None, (Choice(3),))),
    "id to interval": ("x.json", {"7": [20.8, 30]}, False, "mapping", ("7", None, None, (WINDOW,))),
    "a list": (
        "x.json", [{"question_id": 7, "question": "Who?", "answer": "the truth", "pred": "said"}],
        False, "records", ("7", None, "Who?", ("said",)),
    ),
    "lines that are called .json": (
        "x.json", [{"id": 1, "text": "a"}, {"id": 1, "text": "a"}], True, "records", ("1", None, None, ("a",)),
    ),
    "published answers": (
        "charades_test_f96_result.json",
        [{"vname": "DOYQE.mp4", "generated_cap": "20.8 - 30", "query": "a man", "id": 3187,
          "prompt": "[INST] 20.8 - 30"}],
        False, "records", ("3187", "DOYQE.mp4", "a man", ("20.8 - 30",)),
    ),
    "published intervals": (
        "fmt_charades_test_f96_result.json",
        {"3187": {"timestamp": [[20.8, 30.0]], "query": "a man", "vid": "DOYQE.mp4"}},
        False, "mapping", ("3187", "DOYQE.mp4", "a man", (WINDOW,)),
    ),
    "published intervals, none": (
        "fmt.json", {"6": {"timestamp": [], "query": "q", "vid": "v.mp4"}},
        False, "mapping", ("6", "v.mp4", "q", ("",)),
    ),
    "published events": (
        "fmt_youcook_val_f96_result.json", {"x.mp4": [{"timestamp": [60, 47], "caption": "cut it."}]},
        False, "mapping", ("x.mp4", None, None, (EVENT,)),
    ),
    "published clip scores": (
        "fmt_qvhighlights_val_f96_result.json",
        [{"qid": 2, "query": "q", "vid": "v_a_0.0_10.0.mp4", "pred_saliency_scores": [0, 0.5]}],
        False, "moment-detr", ("2", "v_a_0.0_10.0.mp4", "q", (Saliency((0.0, 0.5)),)),
    ),
    "a submission of Moment-DETR": (
        "hl_val_submission.jsonl",
        [{"qid": 2, "query": "q", "vid": "a", "pred_relevant_windows": [[20.8, 30, 0.9]],
          "pred_saliency_scores": [-1]}],
        True, "moment-detr", ("2", "a", "q", (Saliency((-1.0,)), WINDOW)),
    ),
    "results of dense captioning": (
        "results.json",
        {"version": "VERSION 1.0", "results": {"v_x": [{"sentence": "cut it.", "timestamp": [47, 60]}]}},
        False, "densevid", ("v_x", "v_x", None, (EVENT,)),
    ),
    "samples of lmms-eval": (
        "20260101_samples_temporal_grounding_charades.jsonl",
        [{"doc_id": 0, "doc": {"video": "D.mp4", "caption": "a man", "timestamp": [1, 2]}, "target": "1 - 2",
          "resps": [["20 - 30 "]], "filtered_resps": ["20 - 30"]}],
        True, "lmms-eval", (None, "D.mp4", "a man", ("20 - 30",)),
    ),
    "samples without a doc": (
        "x.jsonl", [{"doc_id": 4, "target": "A", "resps": [["B"]]}], True, "lmms-eval", ("4", None, None, ("B",)),
    ),
    "TempCompass's own form": (
        "yes_no.json", {"v1": {"speed": [{"question": "Is it?", "answer": "yes", "prediction": "Yes."}]}},
        False, "tempcompass", ("yes_no/v1/speed/0", None, "Is it?", ("Yes.",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_forms_are_recognised(tmp_path: Path, case: str) -> None:
    name, content, lines, form, (key, video, query, said) = FILES[case]
    file = read_predictions(write(tmp_path / name, content, lines))
    found = file.predictions[0]
    assert file.form == form
    assert (found.id, found.video, found.query, found.said) == (key, video, query, said)
    assert found.prompt is None
    assert len(file.predictions) == (len(content) if lines else 1)


def test_a_form_can_be_forced_and_a_wrong_name_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", {"results": {"v": [{"sentence": "a", "timestamp": [0, 1]}]}})
    assert read_predictions(path, "densevid").predictions[0].id == "v"
    with pytest.raises(PredictionError, match="key 'results': no answer among the fields 'v'"):
        read_predictions(path, "mapping")
    with pytest.raises(PredictionError, match=r"--format densvid: unknown form \(did you mean 'densevid'\?\)"):
        read_predictions(path, "densvid")
    for form in ("records", "lmms-eval", "moment-detr", "tempcompass"):
        with pytest.raises(PredictionError):
            read_predictions(path, form)
    assert set(FORMS) == {"records", "mapping", "moment-detr", "densevid", "lmms-eval", "tempcompass", "etbench"}


def test_content_without_a_file() -> None:
    assert read_predictions({"1": [(0.0, 2.5)]}).predictions == [
        Prediction((Windows(((0.0, 2.5),)),), "1", where="key '1'")
    ]


def test_a_folder_of_an_evaluation_and_a_folder_of_files(tmp_path: Path) -> None:
    for task in ("yes_no", "multi-choice"):
        write(tmp_path / f"{task}.json", {"v": {"d": [{"question": "?", "prediction": task}]}})
    assert [p.id for p in read_predictions(tmp_path).predictions] == ["multi-choice/v/d/0", "yes_no/v/d/0"]
    write(tmp_path / "z.json", {"1": "a"})
    with pytest.raises(PredictionError, match=r"differ in form .*z\.json: mapping"):
        read_predictions(tmp_path)
    write(tmp_path / "predictions.jsonl", [{"id": "1", "answer": "a"}], lines=True)
    assert read_predictions(tmp_path).predictions[0].said == ("a",)


def test_keys_that_are_there_twice_are_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", '{"1": "a", "2": "b", "1": "c"}')
    assert [(p.id, p.said[0]) for p in read_predictions(path).predictions] == [("1", "a"), ("2", "b"), ("1", "c")]
    write(path, '[{"id": "1", "answer": "a", "answer": "b"}]')
    with pytest.raises(PredictionError, match="item 0: the key 'answer' stands there twice"):
        read_predictions(path)


def test_the_prompt_is_known_where_its_hash_is(tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "When?", "answer": "a"}
    assert read_predictions([row]).predictions[0].prompt is None
    assert read_predictions([row | {"prompt_sha256": "x"}]).predictions[0].prompt == "When?"


def test_every_sample_is_a_prediction() -> None:
    file = read_predictions([{"doc_id": 0, "resps": [["a", "b"]]}])
    assert [p.said[0] for p in file.predictions] == ["a", "b"]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_gzip_byte_order_marks_and_line_ends(tmp_path: Path, name: str, end: str) -> None:
    content = f'\ufeff{{"id": 1, "text": "a"}}{end}{{"id": 2.0, "text": "日本"}}{end}'.encode()
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    plain, packed = (read_predictions(tmp_path / file).predictions for file in (name, f"{name}.gz"))
    assert plain == packed
    assert [(p.id, p.said, p.where) for p in plain] == [("1", ("a",), "line 1"), ("2", ("日本",), "line 2")]


@pytest.mark.parametrize("ends", [("start", "end"), ("start_time", "end_time")])
def test_a_field_each_for_start_and_end(ends: tuple[str, str]) -> None:
    (prediction,) = read_predictions([{"id": 7, ends[0]: 20.8, ends[1]: 30}]).predictions
    assert prediction.said == (WINDOW,)
    with pytest.raises(PredictionError, match=rf"{ends[0]} and {ends[1]}\[0\]: \['x', 30\] is not"):
        read_predictions([{"id": 7, ends[0]: "x", ends[1]: 30}])


BROKEN = {
    "an empty file": ("x.json", " \n", r"x\.json: is empty"),
    "an empty list": ("x.json", "[]", r"x\.json: holds no predictions"),
    "a number": ("x.json", "3", "expected a list or an object of predictions, found 3"),
    "broken JSON": ("x.json", '{"a": "b",', r"x\.json: not valid JSON at column 11 .* is the file cut off"),
    "a broken line": ("x.jsonl", '{"id": 1, "text": "a"}\n{"id":', r"x\.jsonl, line 2: not valid JSON at column 7"),
    "lines without JSON": ("x.jsonl", "a\nb\n", r"x\.jsonl, line 1: not valid JSON"),
    "NaN as a time": ("x.json", '{"7": [[NaN, 3]]}', r"key '7': the value\[0\]: \[nan, 3\] holds a time that is not"),
    "NaN as an answer": ("x.json", '[{"id": 1, "text": NaN}]', "item 0: text is nan: it must be text"),
    "NaN as a score": (
        "x.jsonl", '{"qid": 1, "pred_saliency_scores": [NaN]}\n', "line 1: pred_saliency_scores is .*finite numbers",
    ),
    "an endless time": ("x.json", '{"7": {"timestamp": [[0, 1e999]]}}', "holds a time that is not a finite number"),
    "a time before 0": ("x.json", '{"7": [[-1, 2]]}', "holds a time that is not a finite number >= 0"),
    "a time of 400 digits": ("x.json", f'{{"7": [0, {"9" * 400}]}}', r"key '7': the value\[0\]: \[0, 9+ is not"),
    "a time of 5000 digits": ("x.json", f'{{"7": [0, {"9" * 5000}]}}', "4300 digits.*correct the number"),
    "an endless time alone": ("x.json", '{"7": [0, Infinity]}', r"\[0, inf\] holds a time that is not a finite number"),
    "a gzip file that was cut": ("x.json.gz", gzip.compress(b'{"7": "a"}')[:-9], "is a broken gzip file"),
    "three numbers": ("x.json", '{"7": [[1, 2, 3, 4]]}', r"is not \[start, end\] in seconds"),
    "no answer": ("x.json", '[{"id": 1, "truth": "a"}]', "no answer among the fields 'id', 'truth'; name it"),
    "a row that is no object": ("x.json", '[{"id": 1, "text": "a"}, 5]', "item 1: expected an object, found 5"),
    "an answer that is true": ("x.json", '{"7": true}', "key '7': the value is True: it must be text"),
    "half a surrogate pair": ("x.json", '{"7": "a\\ud83d"}', r"the value is 'a\\ud83d': it holds half of a surrogate"),
    "half a surrogate pair in a caption": (
        "x.json", '{"v": [{"timestamp": [0, 1], "caption": "\\ud83d"}]}', r"the value\[0\].caption is .*half",
    ),
    "half a surrogate pair in an id": ("x.json", '{"\\ud83d": "a"}', "the key is .*half"),
    "an event without a caption": ("x.json", '{"v": [{"timestamp": [0, 1]}]}', r"the value\[0\] is .*it must be"),
    "a likelihood": ("x.jsonl", '{"doc_id": 0, "resps": [[-1.5, false]]}\n', r"holds \[-1.5, False\]: it must be text"),
    "results that are no list": ("x.json", '{"results": {"v": 3}}', r"results\['v'\]: found 3: it must be a list"),
    "not UTF-8": ("x.json", b'{"a": "\xff"}', "is not UTF-8 text"),
    "a pointer": ("x.json", "version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_name_place_field_and_fix(tmp_path: Path, case: str) -> None:
    name, content, message = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PredictionError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)
    str(caught.value).encode()


def test_every_problem_is_listed_up_to_ten(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", {str(number): None if number == 3 else 0.5 for number in range(13)})
    with pytest.raises(PredictionError) as caught:
        read_predictions(path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("12 problems, correct or remove:")
    assert len(lines) == 12
    assert lines[-1] == "  and 2 more"


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="no such file of predictions; correct --predictions"):
        read_predictions(tmp_path / "x.json")
    with pytest.raises(PredictionError, match=r"holds neither predictions\.jsonl nor \.json files"):
        read_predictions(tmp_path)
