"""eval.sh on miniature data of every benchmark, with the tiny model and with one whose scores can be computed by hand.

In each benchmark one video is missing, and one of the scripted answers cannot be parsed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.benchmark_data import (
    copy_video,
    mvbench_row,
    write_egoschema,
    write_json,
    write_mvbench,
    write_tempcompass,
    write_video_mme,
)
from helpers.etbench_data import BY_HAND as ETBENCH
from helpers.etbench_data import write_etbench
from helpers.long_video_data import write_longvideobench, write_mlvu
from helpers.meteor import without_java
from helpers.moment_data import (
    write_consistency,
    write_ego4d_nlq,
    write_nextgqa,
    write_rextime,
    write_tacos,
    write_timelens,
)
from helpers.scripted_answers import ByTemplate
from helpers.summarization_data import SUMME, TVSUM, write_summe, write_tvsum
from helpers.temporal_data import write_activitynet, write_charades, write_qvhighlights, write_youcook2
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video
from omegaconf import DictConfig

from timechat.cli import evaluate
from timechat.evaluation.literature import published_scores
from timechat.evaluation.scoring import score
from timechat.models import BaseModel, build_model
from timechat.registry import registry

ROOT = Path(__file__).parents[2]
OPTIONS = (
    f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", "run.device=cpu",
    "run.num_workers=0", "run.batch_size_eval=4",
)  # fmt: skip
MISSING_VIDEOS = (
    "Charades/videos/DDDDD.mp4",
    "Activitynet_Captions/anet_6fps_224/v_video_of_40.mp4",
    "YouCook2-BB/YouCook2_asr_denseCap/youcook2_6fps_224/video_of_40.mp4",
    "QVhighlights/videos/val/vid4_0.0_10.0.mp4",
    "mvbench/video/vlnqa/egocentric_navigation_0.mp4",
    "tempcompass/videos/v2.mp4",
    "egoschema/videos/00000002-aaaa.mp4",
    "video_mme/videos/longClip.mp4",
    "mlvu/video/5_order/0.mp4",
    "longvideobench/videos/vid3.mp4",
    "etbench/videos/tvsum/evs_1.mp4",
    "tvsum/video/Diving.mp4",
    "summe/videos/Diving.mp4",
    "TimeLens-Bench/videos/charades/DDDDD.mp4",
    "TimeLens-Bench/videos/activitynet/DDDDD.mp4",
    "TimeLens-Bench/videos/qvhighlights/DDDDD.mp4",
    "tacos/videos/DDDDD-cam-002.mp4",
    "consistency/videos/charades/DDDDD.mp4",
    "consistency/videos/activitynet/DDDDD.mp4",
    "ego4d_nlq/videos/DDDDD.mp4",
    "nextgqa/videos/1164/2003.mp4",
    "rextime/videos/activitynet/v_abcdefghij3.mp4",
)
SAME = ("scores", "percent", "main_scores", "failure_reasons", "notes")
# Those whose published results were made with lora_alpha 20; what asks for a moment too keeps the config's 32.
QUESTION_ANSWERING = ("mvbench", "tempcompass", "egoschema", "video_mme", "mlvu", "longvideobench")
# Found / expected answers.
COUNTS = {
    "charades_sta": (4, 5),
    "activitynet_grounding": (4, 5),
    "youcook2": (3, 4),
    "activitynet_captions": (3, 4),
    "qvhighlights": (3, 4),
    "mvbench": (21, 22),
    "tempcompass": (6, 9),
    "egoschema": (3, 4),
    "video_mme": (4, 6),
    "mlvu": (6, 7),
    "longvideobench": (3, 4),
    "etbench": (19, 20),
    "tvsum": (3, 4),
    "summe": (3, 4),
    "charades_timelens": (4, 5),
    "activitynet_timelens": (4, 5),
    "qvhighlights_timelens": (4, 5),
    "tacos": (4, 5),
    "ego4d_nlq": (4, 5),
    "nextgqa": (6, 8),
    "rextime": (6, 8),
    "charades_con": (22, 23),
    "activitynet_con": (22, 23),
}
# One video exact; in one an IoU of 0.5, which is more than 0.3 alone. A single pair has no CIDEr: every word is in all
# of its references.
DENSE = {"F1": (1 + 0.25) / 4, "SODA_c": (1 + 0.5) / 4, "METEOR": (1 + 0.25) / 4, "CIDEr": 10 / 4, "Recall@0.7": 1 / 4}
# IoU 1, 8/10, 6/14, unparsable, missing
MOMENTS = {"R@1 IoU=0.3": 3 / 5, "R@1 IoU=0.5": 2 / 5, "R@1 IoU=0.7": 2 / 5, "mIoU": (1 + 0.8 + 6 / 14) / 5}
# The first two of five are found. Rephrased: 0-8 and 9-20 of 0-10, 12-20 and 10-20 of 12-20. Moved to 10-20 and 11-20:
# 0-10, 12-20. Verification says that everything is there, and yes to every question about parts.
CONSISTENCY = {
    "Ground": 2 / 5, "R@1 IoU=0.3": 3 / 5, "R@1 IoU=0.7": 2 / 5, "mIoU": (1 + 0.8 + 0.43) / 5,
    "R-Ground": 3 / 4 * 2 / 5, "S-Ground": 1 / 2 * 2 / 5, "H-Verify": 3 / 4 * 2 / 5, "C-Verify": 1 / 2 * 2 / 5,
}  # fmt: skip
# The tiny model finds no moment, and only what it finds is asked about further.
TINY_COUNTS = {"charades_con": (4, 5), "activitynet_con": (4, 5)}
# Scores of the scripted answers, as fractions.
BY_HAND: dict[str, dict[str, float]] = {
    "charades_sta": MOMENTS,
    # IoU 1, 6/10, 4/10, unparsable, missing
    "activitynet_grounding": {"R@1 IoU=0.3": 3 / 5, "R@1 IoU=0.5": 2 / 5, "R@1 IoU=0.7": 1 / 5, "mIoU": 2 / 5},
    "youcook2": DENSE,
    "activitynet_captions": DENSE,
    # The right clip; a wrong one, so that the right one is last of five by chance; unparsable; missing
    "qvhighlights": {
        "mAP@VeryGood": (1 + 0.2 + 0.2) / 3,
        "HIT@1@VeryGood": 2 / 3,
        "mAP@VeryGood/expected": (1 + 0.2) / 4,
        "HIT@1@VeryGood/expected": 1 / 4,
    },
    # Wrong, unparsable or missing: one of three in one task, all in four tasks
    "mvbench": {
        "accuracy": 17 / 22,
        "average of tasks": (15 + 2 / 3) / 20,
        "Action Sequence": 2 / 3,
        "Action Count": 0,
    },
    "tempcompass": {"multi-choice": 1 / 3, "yes_no": 1 / 3, "caption_matching": 1 / 2, "accuracy": 3 / 8},
    "egoschema": {"accuracy": 1 / 3},
    "video_mme": {"accuracy": 3 / 6, "short": 1, "medium": 1 / 2, "long": 0, "task: Reasoning": 1 / 3},
    # Wrong, unparsable or missing: three of seven tasks
    "mlvu": {"accuracy": 4 / 7, "average of tasks": 4 / 7, "Ego Reasoning": 1, "Needle QA": 0},
    "longvideobench": {"accuracy": 1 / 4, "up to 15 s": 1 / 3, "up to 3600 s": 0},
    "etbench": {name: value / 100 for name, value in ETBENCH.items()},
    "tvsum": TVSUM,
    "summe": SUMME,
    "charades_timelens": MOMENTS,
    "activitynet_timelens": MOMENTS,
    "qvhighlights_timelens": MOMENTS,
    "tacos": MOMENTS,
    "ego4d_nlq": {
        "R@1 IoU=0.3": 3 / 5,
        "R@1 IoU=0.5": 2 / 5,
        "R@5 IoU=0.3": 3 / 5,
        "R@5 IoU=0.5": 2 / 5,
        "mIoU": MOMENTS["mIoU"],
    },
    # Options: right, right, unparsable, missing. Moments: 0-8 of 0-10, 2-12 of 0-4 and 10-20, 5-20 of 5-15, missing
    "nextgqa": {
        "Acc@QA": 2 / 4,
        "Acc@GQA": 1 / 4,
        "mIoP": (1 + 0.2 + 2 / 3) / 4,
        "IoP@0.3": 2 / 4,
        "IoP@0.5": 2 / 4,
        "mIoU": (0.8 + 1 / 6 + 2 / 3) / 4,
        "IoU@0.3": 2 / 4,
        "IoU@0.5": 2 / 4,
    },
    "rextime": {
        "accuracy": 2 / 4,
        "mIoU": (0.8 + 2 / 18 + 2 / 3) / 4,
        "R@1 IoU=0.3": 2 / 4,
        "R@1 IoU=0.5": 2 / 4,
        "Acc@IoU=0.5": 1 / 4,
    },
    "charades_con": CONSISTENCY,
    "activitynet_con": CONSISTENCY,
}


def write_data(folder: Path) -> Path:
    """The data of all benchmarks where eval.sh looks for them."""
    youcook2 = "YouCook2-BB/YouCook2_asr_denseCap"
    for write, anno, videos in (
        (write_charades, "Charades/charades_annotation", "Charades/videos"),
        (write_youcook2, youcook2, f"{youcook2}/youcook2_6fps_224"),
        (write_activitynet, "Activitynet_Captions", "Activitynet_Captions/anet_6fps_224"),
        (write_qvhighlights, "QVhighlights/annotations_raw", "QVhighlights/videos/val"),
    ):
        made = write(folder / write.__name__)
        for path, place in ((made.anno, folder / anno / made.anno.name), (made.videos, folder / videos)):
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
    mvbench = write_mvbench(folder / "mvbench")
    write_json(mvbench.anno / "action_sequence.json", [mvbench_row("action_sequence", number) for number in range(3)])
    for number in (1, 2):
        copy_video(folder / "mvbench", mvbench.videos / f"star/Charades_v1_480/action_sequence_{number}.mp4")
    write_tempcompass(folder / "tempcompass")
    egoschema = write_egoschema(folder / "egoschema")
    for file in egoschema.anno.iterdir():
        file.rename(folder / "egoschema" / file.name)
    questions = json.loads((folder / "egoschema" / "questions.json").read_text())
    for number, row in enumerate(questions):
        row["question"] += f" (day {number})"
    write_json(folder / "egoschema" / "questions.json", questions)
    write_video_mme(folder / "video_mme")
    write_mlvu(folder / "mlvu")
    write_longvideobench(folder / "longvideobench")
    write_etbench(folder / "etbench")
    write_tvsum(folder / "tvsum")
    write_summe(folder / "summe")
    for name in ("charades", "activitynet", "qvhighlights"):
        write_timelens(folder / "TimeLens-Bench", name)
    for name in ("charades", "activitynet"):
        write_consistency(folder / "consistency", name)
    write_tacos(folder / "tacos")
    write_ego4d_nlq(folder / "ego4d_nlq")
    write_nextgqa(folder / "nextgqa")
    write_rextime(folder / "rextime")
    write_video(folder / "video_mme" / "videos" / "mediumClip.mp4", frames=40)
    for video in MISSING_VIDEOS:
        (folder / video).unlink()
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `write_data`; tests must leave it as it is."""
    return write_data(tmp_path_factory.mktemp("data"))


def eval_sh(data: Path, out: Path, what: str, python: Path | str = sys.executable, **environment: str) -> str:
    """What `bash eval.sh` prints with the tiny model's config."""
    ours = {"PYTHON": str(python), "DATA_DIR": str(data), "OUTPUT": str(out), "CFG": str(TINY / "config.yaml")}
    unset = ("NPROC", "ANNO", "VIDEOS", "EVAL_ARGS")
    clean = {key: value for key, value in os.environ.items() if key not in unset}
    command = ["bash", str(ROOT / "eval.sh"), what, str(WEIGHTS), *OPTIONS]
    everything = clean | {"OMP_NUM_THREADS": "1"} | ours | environment
    done = subprocess.run(command, cwd=ROOT, env=everything, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def record_of(folder: Path) -> dict[str, Any]:
    """What scores.json holds."""
    return json.loads((folder / "scores.json").read_text())


def executable(path: Path, *lines: str) -> Path:
    """A bash script."""
    path.write_text("\n".join(("#!/usr/bin/env bash", *lines)) + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def calls(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Arguments that `eval.sh all` gives evaluate.py, by benchmark; its Python only writes them down."""
    folder = tmp_path_factory.mktemp("calls")
    recorder = executable(folder / "python", f'printf "%s\\n" "$@" "" >> "{folder}/calls"')
    eval_sh(data, folder / "out", "all", recorder)
    said = [call.split("\n") for call in (folder / "calls").read_text().split("\n\n")]
    evaluations = [arguments[1:] for arguments in said if arguments[0].endswith("evaluate.py")]
    return {arguments[arguments.index("--benchmark") + 1]: arguments for arguments in evaluations}


def check_by_hand(name: str, folder: Path) -> None:
    """The scores in an output folder are those of BY_HAND."""
    record = record_of(folder)
    found = {score: record["percent"][score] for score in BY_HAND[name]}
    # The published scorer of highlights rounds to two digits.
    assert found == pytest.approx({score: 100 * value for score, value in BY_HAND[name].items()}, abs=0.005)
    counts = record["counts"]
    assert (counts["found"], counts["expected"]) == COUNTS[name]
    assert (counts["unparsable"], counts["unreadable_videos"]) == (1, 1)
    assert len((folder / "failures.jsonl").read_text().splitlines()) == 1
    missing = json.loads((folder / "unreadable.jsonl").read_text())["video"]
    assert any(video.endswith(missing) for video in MISSING_VIDEOS)


def check_scored_again(name: str, folder: Path, anno: str) -> None:
    """As a file of predictions, the answers have the same scores, to the last bit."""
    record = score(name, folder, anno, output_dir=folder / "again")
    first = record_of(folder)
    assert {key: record[key] for key in SAME} == {key: first[key] for key in SAME}
    assert record["counts"] == first["counts"] | {"unreadable_videos": 0}
    assert record["predictions_file"]["by_id"] == record["predictions_file"]["predictions"] == COUNTS[name][0]
    for file in ("failures.jsonl", "question_scores.jsonl", f"{name}_predictions.json"):
        assert (folder / "again" / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("name", BY_HAND)
def test_scripted_answers_score_what_a_hand_computes(
    name: str, calls: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command lines of `eval.sh all`, in this process. METEOR is 1 for equal captions; the real one has its turn
    below."""
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", lambda cfg: ByTemplate())
    without_java(monkeypatch)
    argv = calls[name][: -len(OPTIONS) - 1]
    assert evaluate.main([*argv, "--output-dir", str(tmp_path), "--options", *OPTIONS]) == 0
    check_by_hand(name, tmp_path)
    check_scored_again(name, tmp_path, argv[argv.index("--anno-path") + 1])


@pytest.mark.parametrize("name", [name for name in BY_HAND if name != "summe"])  # its files are no text
def test_annotation_files_are_read_once(
    name: str, calls: dict[str, list[str]], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For questions and the scores of two seeds together; so are those of the train split."""
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", lambda cfg: ByTemplate())
    without_java(monkeypatch)
    argv = calls[name][: -len(OPTIONS) - 1]
    anno = Path(argv[argv.index("--anno-path") + 1])
    train = tmp_path / f"train{anno.suffix}"
    if anno.is_file() and name not in (
        "video_mme",
        "longvideobench",
        "etbench",
        "tvsum",
        "nextgqa",
    ):  # those with controls
        content = json.loads(anno.read_text()) if name == "youcook2" else {}
        for video in content.get("database", {}).values():
            video["subset"] = "training"
        train.write_text(json.dumps(content) if content else anno.read_text())
        argv += ["--train-anno", str(train)]
    read, original = Counter[Path](), Path.read_text

    def counted(self: Path, *args: Any, **kwargs: Any) -> str:
        read[self] += 1
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", counted)
    sampled = ["--temperature", "1", "--seeds", "2", "--output-dir", str(tmp_path / "out")]
    assert evaluate.main([*argv, *sampled, "--options", *OPTIONS]) == 0
    files = {path: times for path, times in read.items() if path == train or data in path.parents}
    assert files.keys() >= {path for path in (train, anno) if path.is_file()}
    assert set(files.values()) == {1}


def test_questions_that_depend_on_answers_continue_a_killed_run(
    calls: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From answers to some of the second questions; then a run that has all of them needs no model."""
    argv = [*calls["charades_con"][: -len(OPTIONS) - 1], "--output-dir", str(tmp_path), "--options", *OPTIONS]
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", lambda cfg: ByTemplate())
    assert evaluate.main(argv) == 0
    first, answers = record_of(tmp_path), tmp_path / "predictions.jsonl"
    lines = answers.read_text().splitlines(keepends=True)
    assert [json.loads(line)["id"].endswith("/ground") for line in lines[:6]] == [True] * 4 + [False] * 2
    answers.write_text("".join(lines[:6]))
    assert evaluate.main(argv) == 0
    assert answers.read_text().count("\n") == len(lines)
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", lambda cfg: pytest.fail("built a model"))
    assert evaluate.main(argv) == 0
    assert record_of(tmp_path)["scores"] == first["scores"]
    assert evaluate.main([*argv[: -len(OPTIONS) - 1], "--limit", "1", "--options", *OPTIONS]) == 1


def test_the_benchmarks_own_files(calls: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submission of EgoSchema, without guesses; TempCompass's captions for a judge."""
    monkeypatch.setattr("timechat.evaluation.video_models.build_model", lambda cfg: ByTemplate())
    for name in ("egoschema", "tempcompass"):
        argv = [*calls[name][: -len(OPTIONS) - 1], "--output-dir", str(tmp_path / name), "--options", *OPTIONS]
        assert evaluate.main(argv) == 0
    rows = (tmp_path / "egoschema" / "egoschema_submission.csv").read_text().splitlines()
    assert rows == ["q_uid,answer", *(f"{number:08x}-aaaa,{index}" for number, index in enumerate((0, -1, -1, 4)))]
    judged = json.loads((tmp_path / "tempcompass" / "judge" / "captioning.json").read_text())
    assert judged["v1"]["action"][0]["prediction"] == "He dunks."


def test_dense_captions_with_the_real_meteor(data: Path, tmp_path: Path) -> None:
    """One benchmark through eval.sh with the scripted model in a process of its own."""
    real, script = sys.executable, ROOT / "tests" / "helpers" / "scripted_answers.py"
    lines = (f'[[ $1 == *evaluate.py ]] && exec "{real}" "{script}" "${{@:2}}"', f'exec "{real}" "$@"')
    printed = eval_sh(data, tmp_path / "out", "youcook2", executable(tmp_path / "python", *lines))
    check_by_hand("youcook2", tmp_path / "out" / "youcook2")
    assert "31.25" in printed
    assert "3 / 4" in printed


def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations with the same lora_alpha share one model."""
    built: dict[int, BaseModel] = {}

    def build(cfg: DictConfig) -> BaseModel:
        if cfg.lora_alpha not in built:
            built[cfg.lora_alpha] = build_model(cfg)
        return built[cfg.lora_alpha]

    monkeypatch.setattr("timechat.evaluation.video_models.build_model", build)


def check_report_of_tiny_model(name: str, folder: Path, printed: str) -> None:
    """All questions about videos that are there have answers, here and in the joint table."""
    found, expected = TINY_COUNTS.get(name, COUNTS[name])
    record, report = record_of(folder), (folder / "report.md").read_text()
    assert (record["counts"]["found"], record["counts"]["expected"]) == (found, expected)
    assert record["settings"]["model.lora_alpha"] == (20 if name in QUESTION_ANSWERING else 32)
    assert f"Answers found / expected: {found} / {expected}" in report
    assert ("Beside published numbers" in report) == bool(published_scores(name))
    joint = [line for line in printed.splitlines() if line.startswith(f"{name} ")][-1]
    assert f"{found} / {expected}" in joint


def test_tiny_model_runs_every_benchmark(
    data: Path, calls: dict[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From `bash eval.sh all` to a report of each and one joint table.

    A process for each would import torch 23 times, so all but one are evaluated in this one, by the arguments that
    eval.sh gives; its own run then finds their reports.
    """
    out, short = tmp_path / "out", ["--max-new-tokens", "4"]
    without_java(monkeypatch)
    built_once(monkeypatch)
    for name in calls.keys() - {"charades_sta"}:
        argv = calls[name][: -len(OPTIONS) - 1]
        assert evaluate.main([*argv, "--output-dir", str(out / name), *short, "--options", *OPTIONS]) == 0
    done = '[[ $1 == *evaluate.py && " $* " != *" --benchmark charades_sta "* ]] && exit 0'
    python = executable(tmp_path / "python", done, f'exec "{sys.executable}" "$@"')
    printed = eval_sh(data, out, "all", python, EVAL_ARGS=" ".join(short))
    assert {path.name for path in out.iterdir()} == set(registry.names("benchmark")) == set(BY_HAND)
    for name in COUNTS:
        check_report_of_tiny_model(name, out / name, printed)
