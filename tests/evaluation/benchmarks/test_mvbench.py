"""MVBench: its files, where each video is, which part of it is asked about, and accuracies computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import MVBENCH_FOLDERS, mvbench_row, write_json, write_mvbench

from timechat.datasets.video import load_frame_folder, load_video
from timechat.errors import AnnotationError
from timechat.evaluation.benchmarks import Question, get_benchmark
from timechat.evaluation.benchmarks.mvbench import TASKS
from timechat.evaluation.prompting import PROMPTS, load_prompt

BENCHMARK = get_benchmark("mvbench")
TVQA = "episodic_reasoning"


def questions_of(anno: Path, videos: Path | None = None) -> dict[str, Question]:
    return {q.id: q for q in BENCHMARK.questions(BENCHMARK.load_annotations(anno), "{query}", videos_dir=videos)}


def test_twenty_tasks_with_the_paths_and_parts_of_the_download(tmp_path: Path) -> None:
    data = write_mvbench(tmp_path, rows=2)
    questions = questions_of(data.anno, data.videos)
    assert list(questions) == [f"{task}/{number}" for task in TASKS for number in range(2)]
    assert {key.split("/")[0]: str(Path(q.video).parent) for key, q in questions.items()} == MVBENCH_FOLDERS
    assert all((data.videos / q.video).exists() for q in questions.values())
    parts = {key.split("/")[0]: (q.start, q.end, q.frame_rate) for key, q in questions.items() if q.start is not None}
    clip = (0.5, 1.5, None)
    assert parts == {
        "action_sequence": clip,
        "action_prediction": clip,
        "object_interaction": clip,
        "action_localization": clip,
        TVQA: (1.0, 3.0, 3.0),
    }
    assert questions["action_antonym/1"].prompt == (
        "Question: What happens in action_antonym_1?\nOptions:\n(A) a ball rolls\n(B) a door opens\n(C) a cup falls"
    )


def test_clips_and_folders_of_frames_can_be_read(tmp_path: Path) -> None:
    data = write_mvbench(tmp_path)
    questions = questions_of(data.anno, data.videos)
    star, tvqa = questions["action_sequence/0"], questions[f"{TVQA}/0"]
    video = load_video(data.videos / star.video, 96, 16, start=star.start, end=star.end)
    assert (len(video.seconds), video.duration) == (10, 1.0)
    folder = load_frame_folder(data.videos / tvqa.video, tvqa.frame_rate, 96, 16, tvqa.start, tvqa.end)
    assert (len(folder.seconds), folder.duration) == (6, 2.0)


CUT = {
    "action_sequence": ("star/Charades_segment", "action_sequence_0.mp4"),
    "action_localization": ("sta/sta_video_segment", "action_localization_0.mp4"),
    "action_antonym": ("ssv2_video_mp4", "action_antonym_0.mp4"),
    "fine_grained_pose": ("nturgbd_convert", "fine_grained_pose_0.mp4"),
    TVQA: ("tvqa/video_fps3_hq_segment", f"{TVQA}_0.mp4"),
}


@pytest.mark.parametrize("task", sorted(CUT))
def test_videos_that_are_cut_or_converted_already_are_taken_whole(tmp_path: Path, task: str) -> None:
    """Start and end say where the cut was, and must not be applied again."""
    anno = write_json(tmp_path / f"{task}.json", [mvbench_row(task, 0)])
    name = "/".join(CUT[task])
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    question = questions_of(anno, tmp_path)[f"{task}/0"]
    assert question.video == name
    assert (question.start, question.end, question.frame_rate) == (None, None, None)


def test_rows_without_start_and_end_are_about_cut_videos(tmp_path: Path) -> None:
    row = {key: value for key, value in mvbench_row("action_sequence", 0).items() if key not in ("start", "end")}
    question = questions_of(write_json(tmp_path / "action_sequence.json", [row]))["action_sequence/0"]
    assert question.video == "star/Charades_segment/action_sequence_0.mp4"


def test_videos_of_the_second_archive_are_found(tmp_path: Path) -> None:
    anno = write_json(tmp_path / "moving_count.json", [mvbench_row("moving_count", 0)])
    name = "data0613/clevrer/video_validation/moving_count_0.mp4"
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert questions_of(anno, tmp_path)["moving_count/0"].video == name


def test_scores(tmp_path: Path) -> None:
    """Two files of unequal length, so that the average of tasks is not the accuracy over questions."""
    data = write_mvbench(tmp_path)
    write_json(data.anno / "action_count.json", [mvbench_row("action_count", number) for number in range(4)])
    answers = {f"{task}/0": "(A)" for task in TASKS if task != "action_count"}  # right, all 19 of them
    answers |= {"state_change/0": "I cannot tell.", "scene_transition/0": "(B)"}  # unparsable, wrong
    answers |= {"action_count/0": "(A) a ball rolls", "action_count/1": "a door opens", "action_count/2": "A or C"}
    del answers["egocentric_navigation/0"]
    # action_count: 2 right of 4, one unparsable and one missing
    result = BENCHMARK.score(answers, BENCHMARK.load_annotations(data.anno))
    scores = result.scores
    assert scores["accuracy"] == pytest.approx(100 * (16 + 2) / 23)
    assert scores["average of tasks"] == pytest.approx((16 * 100 + 50) / 20)
    assert (scores["Action Count"], scores["Action Sequence"], scores["State Change"]) == (50.0, 100.0, 0.0)
    assert (scores["found"], scores["parsed"], scores["expected"]) == (21, 19, 23)
    assert set(BENCHMARK.main_scores) <= set(scores)
    assert {task.name for task in TASKS.values()} <= set(scores)
    assert {(failure.id, failure.reason) for failure in result.failures} == {
        ("state_change/0", "names no option"),
        ("action_count/2", "names several options"),
    }
    assert result.unanswered == ["action_count/3", "egocentric_navigation/0"]
    assert result.predictions["action_count/1"] == {
        "video": "perception/videos/action_count_1.mp4",
        "answer": "B",
        "right": "B",
    }
    assert result.predictions["action_count/2"]["answer"] is None
    quality = {example.id: example.quality for example in result.examples}
    assert (quality["action_count/1"], quality["action_count/2"], quality["action_count/3"]) == (1.0, 0.0, 0.0)


def test_one_file_is_one_task(tmp_path: Path) -> None:
    data = write_mvbench(tmp_path)
    result = BENCHMARK.score({"action_count/0": "(A)"}, BENCHMARK.load_annotations(data.anno / "action_count.json"))
    assert result.scores == {
        "accuracy": 100.0,
        "accuracy/official": 100.0,
        "Action Count": 100.0,
        "average of tasks": 100.0,
        "found": 1,
        "parsed": 1,
        "expected": 1,
    }


def test_the_prompt_takes_the_question_and_the_protocol_is_the_published_one(tmp_path: Path) -> None:
    data = write_mvbench(tmp_path)
    first = BENCHMARK.questions(BENCHMARK.load_annotations(data.anno), load_prompt(PROMPTS / BENCHMARK.prompt_file))[0]
    assert first.prompt.startswith("Question: What happens in action_sequence_0?\nOptions:\n(A) a ball rolls")
    assert "letter" in first.prompt
    assert BENCHMARK.model_defaults == {"lora_alpha": 20}
    assert BENCHMARK.max_new_tokens < 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "a bird flies"}, r"row 0: answer is 'a bird flies': it must be the text of one of the candidates"),
        ({"candidates": ["one"]}, r"row 0: candidates is \['one'\]: it must be a list of 2 or more strings"),
        ({"candidates": ["a", 2]}, r"row 0: candidates is"),
        ({"question": " "}, r"row 0: question is ' '"),
        ({"video": "../x.mp4"}, r"row 0: video '../x.mp4' points outside"),
        ({"start": None}, r"row 0: \[start, end\] is \[None, 1.5\]"),
        ({"end": -1}, r"row 0: \[start, end\] is"),
    ],
)
def test_broken_rows_name_file_row_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_json(tmp_path / "action_sequence.json", [{**mvbench_row("action_sequence", 0), **change}])
    with pytest.raises(AnnotationError, match=r"action_sequence\.json: 1 problem.*\n.*" + message):
        BENCHMARK.read(path)


def test_missing_files_are_listed(tmp_path: Path) -> None:
    data = write_mvbench(tmp_path)
    (data.anno / "moving_count.json").unlink()
    (data.anno / "state_change.json").unlink()
    with pytest.raises(
        AnnotationError, match=r"2 of MVBench's 20 files are missing \(moving_count.*state_change\.json"
    ):
        BENCHMARK.read(data.anno)
    with pytest.raises(AnnotationError, match="name the folder"):
        BENCHMARK.read(tmp_path / "mvbench.json")
    with pytest.raises(AnnotationError, match="no such annotation file"):
        BENCHMARK.read(data.anno / "moving_count.json")
    (tmp_path / "action_count.json").write_text(json.dumps({"rows": []}))
    with pytest.raises(AnnotationError, match="expected a list"):
        BENCHMARK.read(tmp_path / "action_count.json")
