"""Several quick starts: what is run, what is found, and what `make quickstart` says about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import write_json
from omegaconf import OmegaConf

from quickstart import spread
from quickstart.spread import (
    FOUND,
    PLAN,
    ROOT,
    Plan,
    Runs,
    compare,
    main,
    read_plan,
    read_scores,
    run_all,
    summary,
    table,
)
from timechat.errors import ConfigError, TrainingError

SCORES = {"charades_sta": ["R@1 IoU=0.5"], "youcook2": ["F1"]}
ROWS = {"a": {"F1": 70.0}, "b": {"F1": 80.0}, "c": {"F1": 74.0}}


def write_records(folder: Path, recall: float) -> None:
    controls = {"charades_sta": {"R@1 IoU=0.5": {"1": 90.0, "3": 60.0}}, "youcook2": {}}
    percents = {"charades_sta": {"R@1 IoU=0.5": recall, "mIoU": 1.0}, "youcook2": {"F1": 71.0}}
    for name, percent in percents.items():
        (folder / name).mkdir(parents=True)
        record = {"benchmark": name, "percent": percent, "controls": {"by_queries": controls[name]}}
        record |= {"main_scores": [], "counts": {}}
        write_json(folder / name / "scores.json", record)


def test_what_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each training with its seed and its variables, then the scoring of that folder."""
    commands: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], **_: Any) -> int:
        commands.append((command, env))
        if command[0] == "bash":
            write_records(Path(env["QUICKSTART_RUN"]) / "6_times/eval", 80.0 + len(commands))
        return 0

    monkeypatch.setattr(spread, "run_child", run)
    plan = Plan(["quickstart/configs/6_times.yaml"], {"this one": Runs([4]), "AVX2": Runs([4], {"ISA": "x"})}, SCORES)
    rows = run_all(plan, tmp_path)
    assert list(rows) == ["this one, seed 4", "AVX2, seed 4"]
    assert rows["AVX2, seed 4"] == {
        "R@1 IoU=0.5": 84.0, "R@1 IoU=0.5, 1 events": 90.0, "R@1 IoU=0.5, 3 events": 60.0, "F1": 71.0
    }  # fmt: skip
    (train, plain), (_, scoring), (again, other), _ = commands
    assert train[-4:] == ["--output", str(tmp_path / "this_one_4"), "--options", "run.seed=4"]
    assert str(tmp_path / "AVX2_4") in again
    assert (plain.get("ISA"), other["ISA"]) == (None, "x")
    assert scoring["QUICKSTART_RUN"] == str(tmp_path / "this_one_4")


def test_a_training_that_stops_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "run_child", lambda *_, **__: 3)
    with pytest.raises(TrainingError, match=r"AVX2_1: .* stopped with status 3"):
        run_all(Plan([], {"AVX2": Runs([1])}, SCORES), tmp_path)
    with pytest.raises(ConfigError, match="--jobs=0"):
        run_all(Plan([], {}, {}), tmp_path, jobs=0)


def test_worst_median_and_best() -> None:
    assert summary(ROWS) == {"F1": {"worst": 70.0, "median": 74.0, "best": 80.0}}
    assert table(ROWS).splitlines()[-3:] == ["| **worst** | 70.0 |", "| **median** | 74.0 |", "| **best** | 80.0 |"]


def test_a_score_that_is_not_reported(tmp_path: Path) -> None:
    write_records(tmp_path, 80.0)
    with pytest.raises(ConfigError, match=r"scores\.youcook2: \['F2'\] are not reported; there are \['F1'\]"):
        read_scores(tmp_path, {"youcook2": ["F2"]})


LOWER = "LOWER by more than 5 than in any of 3 runs: F1"


@pytest.mark.parametrize(("value", "start"), [(65.0, "As expected: F1 65.0 (70.0 to 80.0)"), (64.9, LOWER)])
def test_the_line_at_the_end(value: float, start: str) -> None:
    line = compare({"F1": value, "other": 1.0}, summary(ROWS), 3)
    assert line.startswith(start)
    assert ("SEED=3 QUICKSTART_RUN" in line) == (start == LOWER)


def published_rows() -> dict[str, dict[str, float]]:
    """The table of docs/QUICKSTART.md without its last three rows: run -> score -> percent."""
    lines = (ROOT / "docs/QUICKSTART.md").read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| run |"))
    last = next(number for number, line in enumerate(lines) if line.startswith("| **worst** |"))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[first:last])
    return {row[0]: dict(zip(head[1:], map(float, row[1:]), strict=True)) for row in rows}


def test_what_make_quickstart_compares_with_is_the_published_table() -> None:
    rows, found = published_rows(), OmegaConf.load(FOUND)
    assert found.runs == len(rows)
    wanted = {score: pytest.approx(ends, abs=0.051) for score, ends in summary(rows).items()}
    assert OmegaConf.to_container(found.scores) == wanted


def test_the_table_has_all_runs_of_the_shipped_plan() -> None:
    plan, rows = read_plan(PLAN), published_rows()
    assert [Path(stage).is_file() for stage in plan.stages] == [True] * len(plan.stages)
    assert {name for names in plan.scores.values() for name in names} <= set(next(iter(rows.values())))
    kinds = {"this processor": "AVX-512", "AVX2": "AVX2", "SSE4": "SSE4"}
    for name, runs in plan.runs.items():
        for seed in runs.seeds:
            assert any(row.startswith(kinds[name]) and row.endswith(f"seed {seed}") for row in rows), (name, seed)


@pytest.mark.parametrize("text", ["run: {}", "stages: {", "runs: {a: {seed: [1]}}", "runs: {a: {seeds: x}}"])
def test_a_file_of_another_form(tmp_path: Path, text: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.yaml: "):
        read_plan(file)


def test_a_folder_without_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
