"""The house's floors: imports run downwards, models and datasets stand apart, and no guest is known inside."""

from __future__ import annotations

import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from helpers.imports import ROOT, Import, imports_in, modules_of

# From the top down. What stands on one floor may import each other, but for models and datasets.
FLOORS = (
    {"__main__"},
    {"cli", "app", "data"},
    {"runners"},
    {"evaluation"},
    {"tasks"},
    {"models", "datasets"},
    {"text", "batch"},
    {"config", "composition", "options", "model_folder", "registry", "plugins", "schema"}
    | {"device", "distributed", "io", "locks", "errors", "lazy", "lfs", "sources", "wording"},
)
HEIGHT = {room: height for height, floor in enumerate(reversed(FLOORS)) for room in floor}
MODULES = modules_of("timechat")
IMPORTS = {name: imports_in(path.read_text(encoding="utf-8"), MODULES) for name, path in MODULES.items()}


def room(module: str) -> str:
    """`models` for `timechat.models.llama`; empty for the package itself and for what is not in it."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] if package == "timechat" else ""


def found(name: str, imported: Import) -> str:
    return f"{MODULES[name].relative_to(ROOT)}:{imported.line} imports {imported.module}"


def test_every_module_stands_on_a_floor() -> None:
    unplaced = [name for name in MODULES if name != "timechat" and room(name) not in HEIGHT]
    assert not unplaced, "give these a place in FLOORS"


def test_imports_run_downwards() -> None:
    """Inside functions as well. (The registry names, as strings, what it imports when it is first asked.)"""
    upward = [
        found(name, imported)
        for name, imports in IMPORTS.items()
        for imported in imports
        if name != "timechat" and room(imported.module) and not imported.for_types
        if HEIGHT.get(room(imported.module), 0) > HEIGHT.get(room(name), 0)
    ]
    assert not upward


def test_models_and_datasets_stand_apart() -> None:
    pair = {"models", "datasets"}
    across = [
        found(name, imported)
        for name, imports in IMPORTS.items()
        for imported in imports
        if {room(name), room(imported.module)} == pair
    ]
    assert not across


def test_the_package_itself_imports_nothing_at_once() -> None:
    """Whatever is imported from the package runs its __init__ first: `timechat --help` must not wait for torch."""
    at_once = [i for i in IMPORTS["timechat"] if i.top == "timechat" and not i.late and not i.for_types]
    assert {i.module for i in at_once} == {"timechat.lazy"}
    assert {i.top for i in IMPORTS["timechat.lazy"]} <= {*sys.stdlib_module_names}


def test_no_cycles() -> None:
    graph = {
        name: {i.module for i in imports if i.module in MODULES and not i.late and not i.for_types} - {"timechat"}
        for name, imports in IMPORTS.items()
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules
    assert set(order) >= set(MODULES) - {"timechat"}


def test_the_guest_is_unknown_inside() -> None:
    """Neither imported nor named, in code, comments, prompts and tables."""
    files = [path for path in (ROOT / "timechat").rglob("*") if path.suffix in (".py", ".txt", ".yaml")]
    assert len(files) > len(MODULES)
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(r"quick.?start", line, re.IGNORECASE)
    ]
    assert not named


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b, c", [Import("a.b", 1), Import("c", 1)]),
        ("from a import b, x", [Import("a", 1), Import("a.b", 1)]),
        ("def f():\n    import a", [Import("a", 2, late=True)]),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import c", [Import("a", 2, for_types=True), Import("c", 4)]),
        ("try:\n    import a\nexcept ImportError:\n    import c", [Import("a", 2, guarded=True), Import("c", 4)]),
        ("importlib.util.find_spec('a')", [Import("a", 1, late=True)]),
        ("import_module(name)", []),
    ],
)
def test_reading_imports(source: str, expected: list[Import]) -> None:
    assert imports_in(source, {"a.b"}) == expected


WITHOUT_MODEL = ("score", "report", "annotations", "plot", "config", "data.convert", "data.merge", "data.pack")


def test_commands_that_need_no_model_start_without_torch() -> None:
    """It takes seconds to import, and these are called again and again."""
    modules = [*(f"timechat.cli.{name}" for name in WITHOUT_MODEL), "quickstart.data.make", "quickstart.spread"]
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'timm'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    subprocess.run([sys.executable, "-c", code, *modules], check=True, cwd=ROOT)
