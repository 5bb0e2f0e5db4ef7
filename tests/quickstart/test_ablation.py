"""Variants over seeds: the plan is checked, nothing is done twice, and the table says what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from quickstart import ablation, stages
from quickstart.ablation import draw_bars, main, read_plan, run_ablation, table
from timechat.errors import ConfigError, TrainingError
from timechat.models.checkpoints import WEIGHT_FILES

STAGES = ("frames", "events")


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """A plan of two stages, of which one is shared, two variants and two seeds. Folders have other names."""
    for stage in STAGES:
        first = "runs/q/1_frames/checkpoint_0.pth"
        start = "" if stage == STAGES[0] else f"vit_model: {first}, ckpt: {first}"
        number = STAGES.index(stage) + 1
        text = f"model: {{{start}}}\nrun: {{output_dir: runs/q/{number}_{stage}, max_epoch: 1}}\n"
        (tmp_path / f"{stage}.yaml").write_text(text)
    (tmp_path / "eval.yaml").write_text("run: {seed: 3}\n")
    return {
        "stages": [str(tmp_path / f"{stage}.yaml") for stage in STAGES],
        "shared": 1,
        "seeds": [0, 1],
        "variants": {"full": [], "w/o window": ["model.window_size=0", "run.min_lr=0.0"]},
        "evaluation": {"cfg_path": str(tmp_path / "eval.yaml"), "benchmark": "charades_sta"},
        "scores": ["mIoU"],
    }


def write(folder: Path, content: Any) -> Path:
    """A plan as a file."""
    path = folder / "plan.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


class Commands:
    """Stands for the processes: a training writes a checkpoint, an evaluation says mIoU = 10 x seed (+ 1 for full)."""

    status = 0

    def __init__(self) -> None:
        self.trained: list[Path] = []
        self.evaluated: list[list[str]] = []

    def train(self, config: str, options: Sequence[str], checkpoint: Path, nproc: int) -> None:
        """Takes the place of `_train`."""
        self.trained.append(checkpoint.parent)
        checkpoint.write_text(" ".join(options))

    def run(self, command: Sequence[str], **_: Any) -> int:
        """Takes the place of `run_child`."""
        if "quickstart.stages" in command:
            words = list(command[command.index("quickstart.stages") + 1 :])
            output, options = words.index("--output"), words.index("--options")
            stages.train_stages(words[:output], words[output + 1], options=words[options + 1 :])
            return 0
        self.evaluated.append(list(command))
        if self.status == 0:
            told = dict(word.split("=", 1) for word in command if "=" in word)
            variant = Path(told["model.ckpt_2"]).parents[1].name
            score = 10.0 * int(variant[-1]) + variant.startswith("full")
            record = {"benchmark": "x", "percent": {"mIoU": score}, "main_scores": ["mIoU"], "counts": {}}
            Path(told["--output-dir"]).mkdir(parents=True)
            Path(told["--output-dir"], "scores.json").write_text(json.dumps(record))
        return self.status

    def forget(self) -> None:
        """Count anew."""
        self.trained.clear()
        self.evaluated.clear()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    """No process is started."""
    commands = Commands()
    monkeypatch.setattr(stages, "_train", commands.train)
    monkeypatch.setattr(ablation, "run_child", commands.run)
    return commands


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_plan(tmp_path: Path, content: dict[str, Any]) -> None:
    plan = read_plan(write(tmp_path, content))
    assert (plan.shared, plan.seeds, plan.scores) == (1, [0, 1], ["mIoU"])
    assert plan.variants["w/o window"] == ["model.window_size=0", "run.min_lr=0.0"]
    del content["shared"]
    assert read_plan(write(tmp_path, content)).shared == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": [1]}, r"keys missing: \[\], unknown: \['seed'\]"),
        ({"stages": "x.yaml"}, "stages='x.yaml' must be a list, not empty"),
        ({"seeds": []}, r"seeds=\[\] must be a list, not empty"),
        ({"variants": {}}, "variants={} must be a section, not empty"),
        ({"variants": ["full"]}, r"variants=\['full'\] must be a section"),
        ({"variants": {"full": None}}, r"variants\.full=None must be a list of key=value"),
        ({"variants": {"x": ["model.lora"]}}, r"variants\.x=\['model\.lora'\] must be a list of key=value"),
        ({"evaluation": "x"}, "evaluation='x' must be a section"),
        ({"shared": "one"}, "shared='one' must be a whole number"),
        ({"shared": 2}, "shared=2 must be 0 or more, and below the 2 stages"),
        ({"shared": -1}, "shared=-1 must be 0 or more"),
        ({"evaluation": {"benchmark": "x"}}, "evaluation.cfg_path is missing"),
        ({"seeds": [0, 0]}, r"two trainings would use the folders \['full_0', 'w_o_window_0'\]"),
        ({"variants": {"a b": [], "a-b": []}}, r"two trainings would use the folders \['a_b_0', 'a_b_1'\]"),
    ],
)
def test_plans_that_cannot_be(tmp_path: Path, content: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.yaml: {message}"):
        read_plan(write(tmp_path, content | change))


@pytest.mark.parametrize(("text", "message"), [("- a", "keys missing: .*'evaluation'"), ("a: [", "cannot be read")])
def test_files_that_are_no_plan(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"plan\.yaml: {message}"):
        read_plan(write(tmp_path, text))


def test_a_missing_and_a_binary_plan(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read"):
        read_plan(tmp_path / "gone.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"x\.yaml: cannot be read"):
        read_plan(tmp_path / "x.yaml")


# Runs -----------------------------------------------------------------------------------------------------------------


def test_every_variant_is_trained_and_scored_with_every_seed(
    tmp_path: Path, content: dict[str, Any], commands: Commands
) -> None:
    """The shared stage once a seed; a variant's changes of `model` reach its evaluation, too."""
    output = tmp_path / "out"
    values = run_ablation(read_plan(write(tmp_path, content)), output, jobs=2)
    assert values == {"full": {"mIoU": [1.0, 11.0]}, "w/o window": {"mIoU": [0.0, 10.0]}}
    trained = sorted(str(folder.relative_to(output)) for folder in commands.trained)
    assert trained == [
        *("full_0/2_events", "full_1/2_events", "shared_0/1_frames", "shared_1/1_frames"),
        *("w_o_window_0/2_events", "w_o_window_1/2_events"),
    ]
    given = (output / "w_o_window_1/2_events/checkpoint_0.pth").read_text().split()
    assert {"run.seed=1", "model.window_size=0", "run.min_lr=0.0"} <= set(given)
    assert f"model.ckpt={output}/w_o_window_1/1_frames/checkpoint_0.pth" in given
    assert "run.seed=1" in (output / "w_o_window_1/1_frames/checkpoint_0.pth").read_text()
    (command,) = [c for c in commands.evaluated if f"--ckpt={output}/w_o_window_0/1_frames/checkpoint_0.pth" in c]
    assert command[2:4] == [f"--cfg-path={tmp_path}/eval.yaml", "--benchmark=charades_sta"]
    options = command[command.index("--options") + 1 :]
    assert options == [
        f"model.ckpt_2={output}/w_o_window_0/2_events/checkpoint_0.pth",
        f"model.vit_model={output}/w_o_window_0/1_frames/checkpoint_0.pth",
        "model.window_size=0",
    ]


def test_what_the_last_stage_trained_is_loaded_last() -> None:
    """Both checkpoints may have it; the evaluation names the last stage's as `ckpt_2`."""
    assert WEIGHT_FILES.index("ckpt") < WEIGHT_FILES.index("ckpt_2")


def test_a_wrong_key_of_the_last_variant_is_found_before_any_training(
    tmp_path: Path, content: dict[str, Any], commands: Commands
) -> None:
    content["variants"]["wrong"] = ["model.windowsize=0"]
    with pytest.raises(ConfigError, match="windowsize"):
        run_ablation(read_plan(write(tmp_path, content)), tmp_path / "out")
    assert commands.trained == []


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0)])
def test_a_plan_that_shares_more_or_less(
    tmp_path: Path, content: dict[str, Any], commands: Commands, before: int, after: int
) -> None:
    """A variant never takes a shared stage for its own, nor its own for a shared one."""
    run_ablation(read_plan(write(tmp_path, content | {"shared": before})), tmp_path / "out")
    run_ablation(read_plan(write(tmp_path, content | {"shared": after})), tmp_path / "out")
    first = tmp_path / "out/w_o_window_1/1_frames"
    assert first.is_symlink() == bool(after)
    assert ("window_size=0" in (first / "checkpoint_0.pth").read_text()) == (not after)


def test_nothing_is_done_twice(tmp_path: Path, content: dict[str, Any], commands: Commands) -> None:
    plan = read_plan(write(tmp_path, content))
    first = run_ablation(plan, tmp_path / "out")
    commands.forget()
    assert run_ablation(plan, tmp_path / "out") == first
    assert (commands.trained, commands.evaluated) == ([], [])


def test_a_stopped_run_goes_on(tmp_path: Path, content: dict[str, Any], commands: Commands) -> None:
    plan = read_plan(write(tmp_path, content))
    commands.status = 3
    with pytest.raises(TrainingError, match=r"eval: the evaluation stopped with status 3"):
        run_ablation(plan, tmp_path / "out")
    trained = len(commands.trained)
    commands.status = 0
    run_ablation(plan, tmp_path / "out")
    assert len(commands.trained) == len(set(commands.trained)) == 6
    assert 2 < trained <= 6


@pytest.mark.parametrize(
    ("change", "trained", "evaluated"),
    [
        ({"scores": ["mIoU"], "evaluation": {"benchmark": "youcook2"}}, 0, 4),
        ({"variants": {"full": [], "w/o window": ["run.min_lr=0.1"]}}, 2, 2),
        ({"seeds": [0, 1, 2]}, 3, 2),
    ],
)
def test_only_what_changed_is_done_again(
    tmp_path: Path, content: dict[str, Any], commands: Commands, change: dict[str, Any], trained: int, evaluated: int
) -> None:
    run_ablation(read_plan(write(tmp_path, content)), tmp_path / "out")
    commands.forget()
    change.get("evaluation", {})["cfg_path"] = content["evaluation"]["cfg_path"]
    run_ablation(read_plan(write(tmp_path, content | change)), tmp_path / "out")
    assert (len(commands.trained), len(commands.evaluated)) == (trained, evaluated)


def test_a_change_of_the_shared_stage_reaches_all(tmp_path: Path, content: dict[str, Any], commands: Commands) -> None:
    plan = read_plan(write(tmp_path, content))
    run_ablation(plan, tmp_path / "out")
    commands.forget()
    shared = Path(plan.stages[0])
    shared.write_text(shared.read_text().replace("max_epoch: 1", "max_epoch: 1, init_lr: 0.1"))
    run_ablation(plan, tmp_path / "out")
    assert (len(commands.trained), len(commands.evaluated)) == (6, 4)


def test_an_unknown_score_names_the_known_ones(tmp_path: Path, content: dict[str, Any], commands: Commands) -> None:
    plan = read_plan(write(tmp_path, content | {"scores": ["mIoU", "mAP"]}))
    with pytest.raises(ConfigError, match=r"scores: \['mAP'\] are not reported; there are mIoU"):
        run_ablation(plan, tmp_path / "out")


def test_no_job(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--jobs=0: give 1 or more"):
        run_ablation(read_plan(write(tmp_path, content)), tmp_path, jobs=0)


# Results --------------------------------------------------------------------------------------------------------------

VALUES = {"full": {"mIoU": [10.0, 20.0, 30.0], "R@1": [1.0, 1.0, 1.0]}, "less": {"mIoU": [5.0], "R@1": [2.26]}}


def test_the_table() -> None:
    """By hand: 20 on average, and a deviation of 10 with n - 1; none for a single seed."""
    assert table(VALUES) == (
        "| variant | mIoU | R@1 |\n|---|---|---|\n| full | 20.0 ± 10.0 | 1.0 ± 0.0 |\n| less | 5.0 | 2.3 |\n"
    )


def test_the_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Height and place of each: variants side by side, centred on their score."""
    figures = []
    close = ablation.plt.close
    monkeypatch.setattr(ablation.plt, "close", figures.append)
    assert draw_bars(VALUES, tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = figures[0].axes
    bars = [[(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in group] for group in axis.containers]
    assert bars[0] == [pytest.approx((-0.2, 20.0)), pytest.approx((0.8, 1.0))]
    assert bars[1] == [pytest.approx((0.2, 5.0)), pytest.approx((1.2, 2.26))]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["full", "less"]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["mIoU", "R@1"]
    assert list(axis.lines[0].get_ydata()) == [10.0, 20.0, 30.0]
    close(figures[0])


def test_the_command_line(
    tmp_path: Path, content: dict[str, Any], commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert main([str(write(tmp_path, content)), "--output", str(output), "--jobs", "2"]) == 0
    written = capsys.readouterr().out
    assert "| full | 6.0 ± 7.1 |" in written
    assert (output / "ablation.md").read_text() == written
    assert json.loads((output / "ablation.json").read_text())["full"] == {"mIoU": [1.0, 11.0]}
    assert (output / "ablation.png").is_file()
    assert main([str(tmp_path / "gone.yaml")]) == 1
    assert "ConfigError: " in capsys.readouterr().err


def test_a_training_that_stops_ends_the_ablation(
    tmp_path: Path, content: dict[str, Any], commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "run_child", lambda *_, **__: 3)
    with pytest.raises(TrainingError, match="shared_0: its training stopped with status 3, see above"):
        run_ablation(read_plan(write(tmp_path, content)), tmp_path / "out")
    assert commands.evaluated == []
