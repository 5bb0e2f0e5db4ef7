"""eval.sh with a stand-in for Python that writes down how it was called."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from timechat.registry import registry

ROOT = Path(__file__).parents[2]
RECORDER = """#!/usr/bin/env bash
[[ $1 == -c ]] && exit 0  # whether timechat can be imported
printf '%s\\n' "$*" >> calls.txt
"""
FILES = (
    "data/Charades/charades_annotation/charades_sta_test.txt",
    "data/Activitynet_Captions/val_2.json",
    "data/YouCook2-BB/YouCook2_asr_denseCap/youcookii_annotations_trainval.json",
    "data/QVhighlights/annotations_raw/highlight_val_release.jsonl",
    "data/video_mme/video_mme.json",
    "data/longvideobench/lvb_val.json",
    "data/etbench/annotations/etbench_txt_v1.0.json",
    "data/tvsum/data/ydata-tvsum50-anno.tsv",
    *(f"data/TimeLens-Bench/{name}-timelens.json" for name in ("charades", "activitynet", "qvhighlights")),
    "data/tacos/test.json",
    *(f"data/consistency/{name}_consistency_test.json" for name in ("charades", "activitynet")),
    "data/ego4d_nlq/annotations/nlq_val.json",
    "data/nextgqa/annotations/test.csv",
    "data/rextime/rextime_val.json",
    *(
        f"data/quickstart/{split}/{name}"
        for split in ("train", "test")
        for name in ("charades_sta.txt", "grounding.json", "dense_captions.json", "highlights.jsonl")
    ),
    "runs/quickstart/2_reading/checkpoint_0.pth",
    "runs/quickstart/6_times/checkpoint_0.pth",
    "runs/mine/6_times/checkpoint_9.pth",
)
FOLDERS = (
    "data/Charades/videos", "data/Activitynet_Captions/anet_6fps_224",
    "data/YouCook2-BB/YouCook2_asr_denseCap/youcook2_6fps_224", "data/QVhighlights/videos/val",
    *(f"data/{name}/videos" for name in ("tempcompass", "egoschema", "video_mme", "quickstart")),
    *(f"data/{name}/videos" for name in ("longvideobench", "etbench", "summe")),
    "data/tvsum/video", "data/summe/GT",
    "data/mlvu/json", "data/mlvu/video",
    *(f"data/TimeLens-Bench/videos/{name}" for name in ("charades", "activitynet", "qvhighlights")),
    *(f"data/consistency/videos/{name}" for name in ("charades", "activitynet")),
    *(f"data/{name}/videos" for name in ("tacos", "ego4d_nlq", "nextgqa", "rextime")),
    "data/mvbench/json", "data/mvbench/video", "data/tempcompass/questions", "data/quickstart/videos/test",
)  # fmt: skip
CHECKPOINT = "runs/mine/6_times/checkpoint_9.pth"
# As eval.sh says it -> as evaluate.py does, annotations and videos below data/.
ACTIVITYNET = ("Activitynet_Captions/val_2.json", "Activitynet_Captions/anet_6fps_224")
YOUCOOK2 = "YouCook2-BB/YouCook2_asr_denseCap"
BENCHMARK_PATHS = {
    "charades": ("charades_sta", "Charades/charades_annotation/charades_sta_test.txt", "Charades/videos"),
    "activitynet_grounding": (
        "activitynet_grounding",
        "Activitynet_Captions/val_2.json",
        "Activitynet_Captions/anet_6fps_224",
    ),
    "youcook2": (
        "youcook2",
        "YouCook2-BB/YouCook2_asr_denseCap/youcookii_annotations_trainval.json",
        "YouCook2-BB/YouCook2_asr_denseCap/youcook2_6fps_224",
    ),
    "activitynet_captions": (
        "activitynet_captions",
        "Activitynet_Captions/val_2.json",
        "Activitynet_Captions/anet_6fps_224",
    ),
    "qvhighlights": (
        "qvhighlights",
        "QVhighlights/annotations_raw/highlight_val_release.jsonl",
        "QVhighlights/videos/val",
    ),
    "mvbench": ("mvbench", "mvbench/json", "mvbench/video"),
    "tempcompass": ("tempcompass", "tempcompass/questions", "tempcompass/videos"),
    "egoschema": ("egoschema", "egoschema", "egoschema/videos"),
    "video_mme": ("video_mme", "video_mme/video_mme.json", "video_mme/videos"),
    "mlvu": ("mlvu", "mlvu/json", "mlvu/video"),
    "longvideobench": ("longvideobench", "longvideobench/lvb_val.json", "longvideobench/videos"),
    "etbench": ("etbench", "etbench/annotations/etbench_txt_v1.0.json", "etbench/videos"),
    "tvsum": ("tvsum", "tvsum/data/ydata-tvsum50-anno.tsv", "tvsum/video"),
    "summe": ("summe", "summe/GT", "summe/videos"),
    **{
        f"{name}_timelens": (
            f"{name}_timelens",
            f"TimeLens-Bench/{name}-timelens.json",
            f"TimeLens-Bench/videos/{name}",
        )
        for name in ("charades", "activitynet", "qvhighlights")
    },
    "tacos": ("tacos", "tacos/test.json", "tacos/videos"),
    "ego4d_nlq": ("ego4d_nlq", "ego4d_nlq/annotations/nlq_val.json", "ego4d_nlq/videos"),
    "nextgqa": ("nextgqa", "nextgqa/annotations/test.csv", "nextgqa/videos"),
    "rextime": ("rextime", "rextime/rextime_val.json", "rextime/videos"),
    **{
        f"{name}_con": (f"{name}_con", f"consistency/{name}_consistency_test.json", f"consistency/videos/{name}")
        for name in ("charades", "activitynet")
    },
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with every file that eval.sh looks for."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for file in FILES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    recorder = tmp_path / "recorder"
    recorder.write_text(RECORDER)
    recorder.chmod(0o755)
    return tmp_path


def run(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k not in ("NPROC", "OUTPUT", "CFG", "ANNO", "VIDEOS", "DATA_DIR")}
    environment = {**clean, "PYTHON": str(place / "recorder"), **environment}
    command = ["bash", str(ROOT / "eval.sh"), *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


def calls(place: Path) -> list[str]:
    file = place / "calls.txt"
    return file.read_text().splitlines() if file.is_file() else []


@pytest.mark.parametrize("what", BENCHMARK_PATHS)
def test_one_benchmark(place: Path, what: str) -> None:
    done = run(place, what, CHECKPOINT, "run.num_workers=2", "model.lora_alpha=20")
    assert done.returncode == 0, done.stderr
    name, anno, videos = BENCHMARK_PATHS[what]
    assert calls(place) == [
        f"{ROOT}/evaluate.py --cfg-path {ROOT}/eval_configs/timechat.yaml --ckpt {CHECKPOINT} "
        f"--benchmark {name} --anno-path data/{anno} --videos-dir data/{videos} "
        f"--output-dir runs/eval/6_times/checkpoint_9/{name} --options run.num_workers=2 model.lora_alpha=20"
    ]


def test_environment_moves_everything(place: Path) -> None:
    (place / "anno.txt").touch()
    (place / "clips").mkdir()
    done = run(
        place, "youcook2", CHECKPOINT,
        ANNO="anno.txt", VIDEOS="clips", OUTPUT="out", NPROC="4", EVAL_ARGS="--limit 3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (call,) = calls(place)
    assert call.startswith(f"-m torch.distributed.run --standalone --nproc_per_node=4 {ROOT}/evaluate.py ")
    assert call.endswith("--anno-path anno.txt --videos-dir clips --output-dir out/youcook2 --limit 3")


def test_all_ends_in_a_joint_table(place: Path) -> None:
    done = run(place, "all", CHECKPOINT, OUTPUT="out")
    assert done.returncode == 0, done.stderr
    names = [name for name, _, _ in BENCHMARK_PATHS.values()]
    assert set(names) == set(registry.names("benchmark"))
    checked = [f"{name} data/{anno} data/{videos}" for name, anno, videos in BENCHMARK_PATHS.values()]
    assert calls(place)[0] == " ".join(["-m timechat.cli.annotations", *checked])
    assert [call.partition("--benchmark ")[2].split()[0] for call in calls(place)[1:-1]] == names
    assert calls(place)[-1] == " ".join(["-m timechat.cli.report", *(f"out/{name}" for name in names)])


def test_quickstart_takes_the_last_stage(place: Path) -> None:
    """After what it did not train, so that nothing it did is overwritten."""
    done = run(place, "quickstart", EVAL_ARGS="--limit 3")
    assert done.returncode == 0, done.stderr
    evaluation, report = calls(place)
    common, *own = evaluation.split(" --and ")
    assert common == (
        f"{ROOT}/evaluate.py --cfg-path {ROOT}/quickstart/configs/evaluate.yaml "
        "--ckpt runs/quickstart/2_reading/checkpoint_0.pth "
        "--options model.vit_model=runs/quickstart/1_frames/checkpoint_0.pth "
        "model.ckpt_2=runs/quickstart/6_times/checkpoint_0.pth model.llama_model=data/quickstart/llama "
        "model.qformer_tokenizer=data/quickstart/bert"
    )
    assert own[0] == (
        "--benchmark charades_sta "
        "--anno-path data/quickstart/test/charades_sta.txt --videos-dir data/quickstart/videos/test "
        "--output-dir runs/quickstart/6_times/eval/charades_sta --train-anno data/quickstart/train/grounding.json "
        f"--no-literature --prompt-file {ROOT}/quickstart/prompts/grounding.txt --max-new-tokens 48 --limit 3"
    )
    for words, name in zip(own[1:], ("dense_captions.json", "highlights.jsonl"), strict=True):
        assert f"--train-anno data/quickstart/train/{name} --no-literature " in words
    assert "--benchmark-options clip_of_time=start" in own[2]
    assert report.startswith("-m timechat.cli.report runs/quickstart/6_times/eval/charades_sta ")


def test_quickstart_with_a_checkpoint_and_options(place: Path) -> None:
    """The user's options come last, so they win."""
    done = run(place, "quickstart", CHECKPOINT, "model.list_seconds=false")
    assert done.returncode == 0, done.stderr
    common, *own = calls(place)[0].split(" --and ")
    assert f" model.ckpt_2={CHECKPOINT} " in common
    assert common.endswith(" model.list_seconds=false")
    assert all(f"--output-dir runs/mine/6_times/eval/{words.split()[1]} " in words for words in own)


def test_a_failure_of_the_quickstart_is_told_and_nothing_is_compared(place: Path) -> None:
    (place / "recorder").write_text(RECORDER + "[[ $* != *evaluate.py* ]] || exit 3\n")
    done = run(place, "quickstart", NPROC="2")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["eval.sh: failed:", "  quickstart: exit status 3"]
    (call,) = calls(place)
    assert call.startswith("-m torch.distributed.run --standalone --nproc_per_node=2 ")


def test_quickstart_that_has_not_come_to_its_last_stage(place: Path) -> None:
    (place / "runs/quickstart/6_times/checkpoint_0.pth").unlink()
    done = run(place, "quickstart")
    assert done.returncode == 1
    assert "checkpoint of the last stage: runs/quickstart/6_times/checkpoint_0.pth" in done.stderr
    assert calls(place) == []


def test_missing_files_are_listed_before_anything_runs(place: Path) -> None:
    (place / "data/YouCook2-BB/YouCook2_asr_denseCap/youcookii_annotations_trainval.json").unlink()
    (place / "data/QVhighlights/videos/val").rmdir()
    (place / "data/mvbench/json").rmdir()
    done = run(place, "all", "nowhere.pth")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "eval.sh: missing files:",
        "  checkpoint: nowhere.pth",
        "  annotations of youcook2: data/YouCook2-BB/YouCook2_asr_denseCap/youcookii_annotations_trainval.json",
        "  videos of qvhighlights: data/QVhighlights/videos/val/",
        "  annotations of mvbench: data/mvbench/json",
    ]
    assert calls(place) == []


def test_quickstart_without_a_run_says_so(place: Path) -> None:
    (place / "data/quickstart/train/highlights.jsonl").unlink()
    done = run(place, "quickstart", QUICKSTART_RUN="runs/none")
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "  checkpoint: runs/none/2_reading/checkpoint_0.pth",
        "  checkpoint of the last stage: runs/none/6_times/checkpoint_0.pth",
        "  train annotations of qvhighlights: data/quickstart/train/highlights.jsonl",
    ]


def test_a_failing_evaluation_does_not_stop_the_others(place: Path) -> None:
    """A joint table of the rest, and an exit status that tells."""
    (place / "recorder").write_text(RECORDER + "[[ $* != *'--benchmark '@(youcook2|mvbench)* ]] || exit 3\n")
    done = run(place, "all", CHECKPOINT, OUTPUT="out")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["eval.sh: failed:", "  youcook2: exit status 3", "  mvbench: exit status 3"]
    assert len(calls(place)) == 2 + len(BENCHMARK_PATHS)
    good = [f"out/{name}" for name, _, _ in BENCHMARK_PATHS.values() if name not in ("youcook2", "mvbench")]
    assert calls(place)[-1] == " ".join(["-m timechat.cli.report", *good])
    (place / "calls.txt").unlink()
    assert run(place, "youcook2", CHECKPOINT).returncode == 1
    assert len(calls(place)) == 1


def test_a_signal_ends_all_of_them(place: Path) -> None:
    (place / "recorder").write_text(RECORDER + "[[ $* != *evaluate.py* ]] || exit 130\n")
    assert run(place, "all", CHECKPOINT).returncode == 130
    assert len(calls(place)) == 2


def test_broken_annotations_are_found_before_anything_runs(place: Path) -> None:
    (place / "recorder").write_text(RECORDER + "[[ $* != *cli.annotations* ]] || exit 1\n")
    done = run(place, "all", CHECKPOINT)
    assert done.returncode == 1
    assert "nothing was evaluated; correct the annotations" in done.stderr
    assert len(calls(place)) == 1


def test_files_of_predictions_are_scored(place: Path) -> None:
    done = run(place, "score", "charades", "mine/answers.v2.jsonl", "--bootstrap", "1000")
    assert done.returncode == 0, done.stderr
    assert calls(place) == [
        "-m timechat score --benchmark charades_sta --predictions mine/answers.v2.jsonl --anno-path "
        "data/Charades/charades_annotation/charades_sta_test.txt --output-dir runs/score/answers.v2/charades "
        "--videos-dir data/Charades/videos --bootstrap 1000"
    ]
    assert run(place, "score", "egoschema", "x.json", ANNO="a.json", VIDEOS="none", OUTPUT="out").returncode == 0
    assert calls(place)[1] == (
        "-m timechat score --benchmark egoschema --predictions x.json --anno-path a.json --output-dir out"
    )


def test_an_unknown_name_is_named_with_the_nearest(place: Path) -> None:
    for words in (("charade", CHECKPOINT), ("score", "charade", "x.json")):
        done = run(place, *words, PYTHON=sys.executable)
        assert done.returncode == 2
        assert done.stderr.startswith("eval.sh: no benchmark 'charade', did you mean 'charades'?\n")


def test_an_interpreter_without_timechat_is_named(place: Path) -> None:
    (place / "recorder").write_text("#!/bin/sh\nexit 1\n")
    done = run(place, "charades", CHECKPOINT)
    assert done.returncode == 1
    assert "cannot import timechat; activate its environment" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("charades",), ("youcook", "x.pth"), ("--help",)])
def test_wrong_words_print_the_usage(place: Path, arguments: tuple[str, ...]) -> None:
    done = run(place, *arguments)
    assert done.returncode == 2
    assert "bash eval.sh charades|activitynet_grounding|" in done.stderr
    assert "EVAL_ARGS" in done.stderr
    assert calls(place) == []
    assert run(place, "all", CHECKPOINT, ANNO="x").returncode == 2


def test_folders_of_data_have_one_spelling() -> None:
    """In recipes, scripts, helps and documents: two spellings would be two downloads."""
    folders = ("docs", "eval_configs", "train_configs", "timechat", "tests", "benchmarks")
    files = [*ROOT.glob("*.*"), *(file for folder in folders for file in (ROOT / folder).rglob("*.*"))]
    spellings: dict[str, set[str]] = {}
    for file in (file for file in files if file.suffix in (".md", ".sh", ".py", ".yaml", ".sbatch")):
        for name in re.findall(r"(?<![\w/.])data/([\w-]+)/", file.read_text()):
            spellings.setdefault(re.sub(r"[\W_]", "", name).lower(), set()).add(name)
    assert {"timeit", "charades", "youcook2bb", "qvhighlights", "activitynetcaptions", "mvbench"} <= set(spellings)
    assert {key: names for key, names in spellings.items() if len(names) > 1} == {}
    assert not {"youcook2", "youcook", "activitynet", "anet", "valley"} & set(spellings)
