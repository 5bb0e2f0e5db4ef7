"""Modules from outside: found beside a file, above it or on Python's path; what goes wrong is named with its line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from timechat import plugins
from timechat.cli import evaluate
from timechat.errors import ConfigError, RegistryError
from timechat.plugins import GROUP, import_modules, load_installed
from timechat.registry import registry


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Forget what a test imported and where it looked."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("lab_"):
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    """A file with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def message_of(name: str, *folders: Path) -> str:
    """What an import that must fail says."""
    with pytest.raises(RegistryError) as caught:
        import_modules([name], "x.yaml: import", folders)
    return str(caught.value)


@pytest.mark.parametrize("place", ["lab_a.py", "lab_a/__init__.py"])
@pytest.mark.parametrize("below", ["", "configs", "configs/deep"])
def test_a_module_lies_in_the_folder_or_above(tmp_path: Path, place: str, below: str) -> None:
    write(tmp_path / place, "VALUE = 3\n")
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    import_modules(["lab_a"], "x.yaml: import", [tmp_path / below])
    assert sys.modules["lab_a"].VALUE == 3


def test_pythons_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here" / "lab_b.py", "PLACE = 'here'\n")
    monkeypatch.syspath_prepend(write(tmp_path / "path" / "lab_b.py", "PLACE = 'path'\n").parent)
    import_modules(["lab_b"], "x.yaml: import", [tmp_path / "here"])
    assert sys.modules["lab_b"].PLACE == "path"


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert message_of("lab_none", tmp_path) == (
        f"x.yaml: import: lab_none: there is no module 'lab_none' on Python's path, in {tmp_path} or a folder above "
        "it; correct the name, or put the folder that holds it on PYTHONPATH"
    )


def test_a_missing_part_of_a_package(tmp_path: Path) -> None:
    write(tmp_path / "lab_c" / "__init__.py", "")
    assert "lab_c.pooling: there is no module 'lab_c.pooling' on" in message_of("lab_c.pooling", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import math\n\nx = 1 / 0\n", "failed with ZeroDivisionError: division by zero ({file}, line 3)"),
        (
            "import nowhere_at_all\n",
            "failed with ModuleNotFoundError: No module named 'nowhere_at_all' ({file}, line 1)",
        ),
        ("def f():\n    return [\n", "failed with SyntaxError: '[' was never closed ({file}, line 2)"),
        ("import json\njson.loads('')\n", "line "),
    ],
)
def test_a_module_that_fails_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "lab_d.py", text)
    found = message_of("lab_d", tmp_path)
    assert found.startswith("x.yaml: import: lab_d: failed with ")
    assert message.format(file=file) in found


def test_a_name_that_is_taken_is_named_with_the_line(tmp_path: Path) -> None:
    """Of the core, which need not have been imported before, or of another module from outside."""
    text = "from timechat.registry import registry\n\n@registry.register_task('video_text_pretrain')\nclass T: ...\n"
    file = write(tmp_path / "lab_e.py", text)
    assert message_of("lab_e", tmp_path) == (
        "x.yaml: import: lab_e: task 'video_text_pretrain' is already registered, for "
        f"timechat.tasks.instruction.InstructionTask; choose another name ({file}, line 3)"
    )


def test_a_schema_lacks_keys_that_others_read(tmp_path: Path) -> None:
    text = (
        "from timechat.registry import registry\nfrom timechat.schema import Section\n\n"
        "@registry.register_model('lab_f', config=Section)\nclass M: ...\n"
    )
    write(tmp_path / "lab_f.py", text)
    message = (
        r"model 'lab_f': its config, <class 'timechat\.schema\.Section'>, must be a subclass of VideoEncoderConfig"
    )
    with pytest.raises(ConfigError, match=message):
        import_modules(["lab_f"], "x.yaml: import", [tmp_path])
    assert "lab_f" not in registry.names("model")


# Installed packages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages on Python's path."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_installed_loaded", False)
    return tmp_path


def install(site: Path, value: str) -> None:
    """What pip writes about a package `labware` with an entry point."""
    write(site / "labware-1.0.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: labware\nVersion: 1.0\n")
    write(site / "labware-1.0.dist-info" / "entry_points.txt", f"[{GROUP}]\nlab = {value}\n")


def test_installed_packages_are_imported_once(site: Path) -> None:
    write(site / "lab_g.py", "import pathlib\nf = pathlib.Path(__file__).with_name('n')\nf.open('a').write('x')\n")
    install(site, "lab_g")
    load_installed()
    del sys.modules["lab_g"]
    load_installed()
    assert (site / "n").read_text() == "x"


def test_an_installed_package_that_fails_is_named_each_time(site: Path) -> None:
    file = write(site / "lab_h.py", "raise OSError('no licence')\n")
    install(site, "lab_h")
    for _ in range(2):
        with pytest.raises(RegistryError) as caught:
            registry.names("model")
        assert str(caught.value) == (
            f"labware: entry point {GROUP}, lab = lab_h: failed with OSError: no licence ({file}, line 1)"
        )


def test_an_installed_package_that_fails_is_one_message(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a command whose help names what is registered, too."""
    write(site / "lab_i.py", "raise OSError('no licence')\n")
    install(site, "lab_i")
    assert evaluate.main(["--help"]) == 1
    assert "RegistryError: labware: entry point" in capsys.readouterr().err
