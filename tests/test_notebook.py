"""The notebook runs from top to bottom, with a model that is made here, and shows its pictures.

Its cells are run in one namespace, in order, which needs no Jupyter.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.talking import CAPTIONS
from helpers.tiny import build_tiny, tiny_config
from helpers.videos import write_video

from timechat.app.api import VideoLanguageModel
from timechat.models import TimeChat

NOTEBOOK = Path(__file__).parents[1] / "demo.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    VideoLanguageModel(tiny_config(["run.device=cpu"]), build_tiny()).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def cells(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runs all cells: the id of each -> the value of its last expression."""
    video = write_video(tmp_path / "v.mp4", frames=120)
    monkeypatch.setenv("TIMECHAT_MODEL", model)
    monkeypatch.setenv("TIMECHAT_VIDEO", str(video))
    monkeypatch.setattr(TimeChat, "answer", lambda *arguments, **options: [CAPTIONS])
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    return {cell["id"]: run(code_of(cell), namespace) for cell in CONTENT["cells"] if cell["cell_type"] == "code"}


def code_of(cell: dict[str, Any]) -> ast.Module:
    return ast.parse("".join(cell["source"]))


def run(code: ast.Module, namespace: dict[str, Any]) -> Any:
    """Run a cell as Jupyter does; returns what it would show."""
    *before, last = code.body
    if not isinstance(last, ast.Expr):
        exec(compile(code, NOTEBOOK.name, "exec"), namespace)
        return None
    exec(compile(ast.Module(before, []), NOTEBOOK.name, "exec"), namespace)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), namespace)


def test_it_runs_from_top_to_bottom(cells: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("frames", "timeline", "events"):
        assert cells[name]._repr_png_().startswith(PNG), name
    assert cells["ask"].text == CAPTIONS
    assert [segment.start for segment in cells["chat"].segments] == [3.0, 7.0]
    assert cells["chapters"].count("-->") == 2
    assert json.loads((tmp_path / "runs/demo/answer.json").read_text())["text"] == CAPTIONS
    assert [clip.name for clip in cells["files"]] == ["v_01_3.0-5.0.mp4", "v_02_7.0-9.5.mp4"]


def test_its_cells_only_call_functions() -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    code = [statement for cell in CONTENT["cells"] if cell["cell_type"] == "code" for statement in code_of(cell).body]
    assert {type(statement) for statement in code} <= set(allowed)


def test_it_is_small_and_without_outputs() -> None:
    assert (CONTENT["nbformat"], CONTENT["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in CONTENT["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in CONTENT["cells"] if "outputs" in cell
    )


def test_its_defaults_are_those_of_the_quick_start() -> None:
    assigned = {
        statement.targets[0].id: statement.value.args[1].value
        for statement in code_of(next(cell for cell in CONTENT["cells"] if cell["id"] == "imports")).body
        if isinstance(statement, ast.Assign)
        if isinstance(statement.value, ast.Call)
    }
    assert (NOTEBOOK.parent / assigned["MODEL"]).is_file()
    makefile = (NOTEBOOK.parent / "Makefile").read_text()
    assert f"--model {assigned['MODEL']} {Path(assigned['VIDEO']).parent}/" in makefile
