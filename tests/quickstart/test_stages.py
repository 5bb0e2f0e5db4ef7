"""Stages: each starts from earlier ones, and a finished, unchanged one is not repeated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from helpers.tiny import TINY
from helpers.training import make_videos, read_lines, training_config
from omegaconf import OmegaConf

from quickstart import stages
from quickstart.stage_configs import stage_name
from quickstart.stages import train_stages
from timechat.errors import ConfigError, TrainingError


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that were trained, by the name of their folder; a training writes its checkpoint and no more."""
    names: list[str] = []

    def train(config: str, options: Sequence[str], checkpoint: Path, nproc: int) -> None:
        names.append(checkpoint.parent.name)
        checkpoint.write_text("weights")

    monkeypatch.setattr(stages, "_train", train)
    return names


def chain(folder: Path) -> list[str]:
    """Three stages: the second starts from the first, the third from both."""
    models = (
        "",
        "vit_model: runs/q/a/checkpoint_0.pth",
        "ckpt: runs/q/a/checkpoint_0.pth, ckpt_2: runs/q/b/checkpoint_0.pth",
    )
    paths = []
    for name, model in zip("abc", models, strict=True):
        path = folder / f"{name}.yaml"
        path.write_text(f"model: {{{model}}}\nrun: {{output_dir: runs/q/{name}, max_epoch: 1}}\n")
        paths.append(str(path))
    return paths


@pytest.mark.forks
def test_two_stages_are_really_trained(tmp_path: Path) -> None:
    """The second from the checkpoint of the first, which lies elsewhere than its config says."""
    data = make_videos(tmp_path / "videos")
    configs = []
    for name, model in (("one", []), ("two", [f"model.ckpt_2={tmp_path}/written/one/checkpoint_0.pth"])):
        cfg = training_config(tmp_path / name, {"tv": data}, "run.iters_per_epoch=1", "run.max_epoch=1")
        cfg = OmegaConf.merge(cfg, OmegaConf.from_dotlist([f"run.output_dir={tmp_path}/written/{name}", *model]))
        OmegaConf.save(cfg, tmp_path / f"{name}.yaml")
        configs.append(str(tmp_path / f"{name}.yaml"))
    assert train_stages(configs, tmp_path / "out") == tmp_path / "out/two/checkpoint_0.pth"
    assert not (tmp_path / "written").exists()
    for name in ("one", "two"):
        assert (tmp_path / "out" / name / "checkpoint_0.pth").is_file()
        assert len([r for r in read_lines(tmp_path / "out" / name / "log.jsonl") if r["event"] == "train"]) == 1


@pytest.mark.forks
def test_a_training_that_stops_is_an_error_that_names_the_stage(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with pytest.raises(TrainingError, match=r"config\.yaml: its training stopped with status 1"):
        train_stages([str(TINY / "config.yaml")], tmp_path)
    assert "files are missing" in capfd.readouterr().err


def test_finished_stages_are_skipped(tmp_path: Path, trained: list[str]) -> None:
    configs = chain(tmp_path)
    for _ in range(2):
        assert train_stages(configs, tmp_path / "out") == tmp_path / "out/c/checkpoint_0.pth"
    assert trained == ["a", "b", "c"]


def test_what_changed_is_trained_again_with_all_that_starts_from_it(tmp_path: Path, trained: list[str]) -> None:
    configs = chain(tmp_path)
    train_stages(configs, tmp_path / "out")
    trained.clear()
    Path(configs[1]).write_text(Path(configs[1]).read_text().replace("max_epoch: 1", "max_epoch: 1, seed: 7"))
    train_stages(configs, tmp_path / "out")
    assert trained == ["b", "c"]
    trained.clear()
    train_stages(configs, tmp_path / "out", options=["run.seed=8"])
    assert trained == ["a", "b", "c"]


def test_stages_that_are_trained_apart_notice_a_change_of_what_they_start_from(
    tmp_path: Path, trained: list[str]
) -> None:
    first, second, third = chain(tmp_path)
    train_stages([first], tmp_path / "out")
    train_stages([second, third], tmp_path / "out")
    train_stages([first], tmp_path / "out", options=["run.seed=8"])
    trained.clear()
    train_stages([second, third], tmp_path / "out")
    assert trained == ["b", "c"]


def test_a_stage_without_its_checkpoint_is_not_finished(tmp_path: Path, trained: list[str]) -> None:
    configs = chain(tmp_path)
    train_stages(configs, tmp_path / "out")
    (tmp_path / "out/b/checkpoint_0.pth").unlink()
    trained.clear()
    train_stages(configs, tmp_path / "out")
    assert trained == ["b"]


def _is_ended(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, finished: bool) -> list[tuple[int, list[str]]]:
    """A training ends with status 0, with its last checkpoint or before; returns processes and arguments of each."""
    trainings: list[tuple[int, list[str]]] = []

    def run(processes: int, train: partial[int]) -> int:
        trainings.append((processes, train.args[0]))
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if finished:
            checkpoint.write_text("weights")
        event = {"event": "end" if finished else "stop"}
        (checkpoint.parent / "log.jsonl").write_text(json.dumps(event) + "\n")
        return 0

    monkeypatch.setattr(stages, "run_forks", run)
    return trainings


def test_what_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings = _is_ended(monkeypatch, tmp_path / "out/a/checkpoint_0.pth", finished=True)
    configs = chain(tmp_path)[:1]
    train_stages(configs, tmp_path / "out", nproc=2)
    assert trainings == [(2, ["--cfg-path", *configs, "--options", f"run.output_dir={tmp_path}/out/a"])]


def test_the_best_checkpoint_of_a_stage_that_ends_at_a_score(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = tmp_path / "out/a/checkpoint_best.pth"
    _is_ended(monkeypatch, best, finished=True)
    info = "build_info: {anno_dir: x.json, videos_dir: videos, valid_anno_dir: y.json}"
    config = tmp_path / "a.yaml"
    config.write_text(
        f"datasets: {{x: {{builder: video_instruct, {info}}}}}\n"
        "run: {output_dir: runs/q/a, max_epoch: 9, valid_splits: [val], stop_at_score: 0.5}\n"
    )
    assert train_stages([str(config)], tmp_path / "out") == best


def test_files_that_are_not_of_a_stage_stay(tmp_path: Path, trained: list[str]) -> None:
    """A run of train.py itself, for example."""
    left = tmp_path / "out/a/checkpoint_7.pth"
    left.parent.mkdir(parents=True)
    left.write_text("of another run")
    with pytest.raises(ConfigError, match=r"out/a: contains files, but no started\.txt"):
        train_stages(chain(tmp_path)[:1], tmp_path / "out")
    assert left.exists()
    assert trained == []


def test_a_link_to_a_stage_gives_way_to_a_training(tmp_path: Path, trained: list[str]) -> None:
    first = chain(tmp_path)[:1]
    train_stages(first, tmp_path / "other", options=["run.seed=8"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").symlink_to(tmp_path / "other/a")
    train_stages(first, tmp_path / "out")
    assert not (tmp_path / "out/a").is_symlink()
    assert (tmp_path / "other/a/finished.txt").is_file()
    assert trained == ["a", "a"]


def test_the_same_folder_by_another_name_is_finished(
    tmp_path: Path, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train_stages(chain(tmp_path), "out")
    train_stages(chain(tmp_path), tmp_path / "out")
    assert trained == ["a", "b", "c"]


def test_other_annotations_and_tokenizers_are_noticed(tmp_path: Path, trained: list[str]) -> None:
    (tmp_path / "words").mkdir()
    config, annotations, words = tmp_path / "x.yaml", tmp_path / "x.json", tmp_path / "words/vocab.txt"
    info = f"build_info: {{anno_dir: {annotations}, videos_dir: videos}}"
    config.write_text(
        f"model: {{qformer_tokenizer: {words.parent}}}\n"
        f"datasets: {{x: {{builder: video_instruct, {info}}}}}\n"
        "run: {output_dir: runs/q/a, max_epoch: 1}\n"
    )
    for path in (annotations, words, None):
        if path:
            path.write_text("some")
        for _ in range(2):
            train_stages([str(config)], tmp_path / "out")
    assert trained == ["a", "a"]


def test_a_mistake_in_the_last_stage_is_found_first(tmp_path: Path, trained: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such config file"):
        train_stages([*chain(tmp_path), str(tmp_path / "gone.yaml")], tmp_path / "out")
    assert trained == []


def test_an_interrupted_training_goes_on_unless_its_settings_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that was asked to stop ends with status 0 as well."""
    configs, newest = chain(tmp_path)[:1], tmp_path / "out/a/checkpoints/step_00000003"
    last = tmp_path / "out/a/checkpoint_0.pth"
    _is_ended(monkeypatch, last, finished=False)
    with pytest.raises(TrainingError, match=r"a\.yaml: its training is not finished; start the command again"):
        train_stages(configs, tmp_path / "out")
    newest.mkdir(parents=True)
    _is_ended(monkeypatch, last, finished=True)
    train_stages(configs, tmp_path / "out")
    assert newest.is_dir()
    last.unlink()
    train_stages(configs, tmp_path / "out", options=["run.seed=8"])
    assert not newest.exists()


def test_checkpoints_of_other_folders_stay_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also no checkpoint, where the folder of the runs is the working directory, below which every path lies."""
    given: list[list[str]] = []
    monkeypatch.setattr(stages, "_train", lambda config, options, *_: given.append(list(options)))
    path = tmp_path / "x.yaml"
    path.write_text("model: {ckpt: ckpt/x.pth}\nrun: {output_dir: runs/q/a}\n")
    train_stages([str(path)], tmp_path / "out", options=["run.seed=3"])
    path.write_text("run: {output_dir: a}\n")
    train_stages([str(path)], tmp_path / "out2")
    assert given == [["run.seed=3", f"run.output_dir={tmp_path}/out/a"], [f"run.output_dir={tmp_path}/out2/a"]]


def test_the_name_of_a_stage_is_its_folder(tmp_path: Path) -> None:
    assert [stage_name(config) for config in chain(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("configs", "nproc", "message"), [([], 1, "no stage is given"), (["x.yaml"], 0, "--nproc=0: give 1 or more")]
)
def test_nothing_to_do(tmp_path: Path, configs: list[str], nproc: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train_stages(configs, tmp_path, nproc=nproc)


def test_the_command_line(tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    configs = chain(tmp_path)
    assert stages.main([*configs, "--output", str(tmp_path / "out"), "--options", "run.seed=3"]) == 0
    assert trained == ["a", "b", "c"]
    assert stages.main([str(tmp_path / "gone.yaml"), "--output", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert "gone.yaml: no such config file" in err
    assert "Traceback" not in err
