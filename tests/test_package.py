"""The wheel: what is in it and what it asks for, and that it runs by itself, far from the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from helpers.evaluations import arguments, scores, write_data
from helpers.imports import ROOT, Import, imports_in, modules_of
from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from timechat.io import sha256_of

# Import name -> distribution, where they differ by more than - and _.
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}
# What is not imported by name: it serves a module of another package that is.
SERVES = {
    "ninja": {"deepspeed"},  # compiles its extensions
    "tensorboard": {"torch.utils.tensorboard", "accelerate.tracking"},
    "wandb": {"wandb", "accelerate.tracking"},
}
DESCRIPTION = ("pyproject.toml", "README.md", "LICENSE")


class Wheel(NamedTuple):
    """A built wheel: its file, the names in it, its METADATA."""

    path: Path
    names: list[str]
    metadata: Message

    def dependencies(self, extra: str = "") -> dict[str, Requirement]:
        """What the package asks for, or what an extra adds; by name."""
        found = map(Requirement, self.metadata.get_all("Requires-Dist", []))
        return {canonicalize_name(r.name): r for r in found if _extra(r) == extra}


def _extra(requirement: Requirement) -> str:
    match = re.search(r'extra == "([^"]+)"', str(requirement.marker or ""))
    return match.group(1) if match else ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    """Built from a copy, so that neither old build folders nor an editable installation take part."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in DESCRIPTION:
        shutil.copy(ROOT / name, source)
    for package in ("timechat", "quickstart"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(out), str(source)], check=True)
    (path,) = out.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        return Wheel(path, names, Parser().parsestr(archive.read(metadata).decode()))


class Installed(NamedTuple):
    """An environment in which the wheel is installed, and an empty folder to run in."""

    environment: Path
    folder: Path

    def run(self, program: str, *argv: str) -> str:
        """Standard output of a program of the environment, which must succeed."""
        command = [str(self.environment / "bin" / program), *argv]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program} {argv[0]}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(wheel: Wheel, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a fresh environment that borrows all other packages from this one.

    A folder that a .pth file names is looked through after the environment's own, and its own .pth files, by which an
    editable installation is found, are not read.
    """
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    (own,) = environment.glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    # An installation here is in sight; it must stay.
    subprocess.run([*pip, "--no-index", "--no-deps", "--ignore-installed", str(wheel.path)], check=True)
    return Installed(environment, tmp_path_factory.mktemp("elsewhere"))


# What is in it --------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Wheel) -> None:
    """Every file of it, prompts and tables as well; the guest stays in the checkout."""
    files = [path for path in (ROOT / "timechat").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    expected = {path.relative_to(ROOT).as_posix() for path in files}
    assert {name for name in wheel.names if ".dist-info/" not in name} == expected
    assert "timechat/evaluation/prompts/grounding.txt" in expected


# What it asks for -----------------------------------------------------------------------------------------------------


def imported(package: str) -> list[Import]:
    """What a package imports from others, the standard library left out."""
    own = {"timechat", "quickstart", *sys.stdlib_module_names}
    texts = [path.read_text(encoding="utf-8") for path in modules_of(package).values()]
    return [i for text in texts for i in imports_in(text) if not i.for_types and i.top not in own]


def distribution(found: Import) -> str:
    return canonicalize_name(DISTRIBUTIONS.get(found.top, found.top))


@pytest.mark.parametrize("package", ["timechat", "quickstart"])
def test_what_is_imported_is_declared(wheel: Wheel, package: str) -> None:
    """What a module cannot be imported without is a dependency; an extra will do for the rest."""
    extras = [wheel.dependencies(extra) for extra in wheel.metadata.get_all("Provides-Extra", []) if extra != "dev"]
    for found in imported(package):
        assert distribution(found) in wheel.dependencies() or found.late or found.guarded, found
        assert any(distribution(found) in names for names in (wheel.dependencies(), *extras)), found


def test_what_is_declared_is_imported(wheel: Wheel) -> None:
    """Extras, too: each has code behind it."""
    used = {distribution(found) for found in imported("timechat")}
    modules = {found.module for found in imported("timechat")}
    for extra in ("", *wheel.metadata.get_all("Provides-Extra", [])):
        if extra != "dev":
            names = wheel.dependencies(extra)
            assert names
            assert [name for name in names if name not in used and not SERVES.get(name, set()) & modules] == [], extra


def test_constraints_are_within_the_ranges(wheel: Wheel) -> None:
    """Of everything that is installed for the tests, one exact version (for each range of Python) is written down."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    exact = [Requirement(line) for line in lines]
    for name, wanted in {
        **wheel.dependencies(),
        **wheel.dependencies("dev"),
        **wheel.dependencies("demo"),
        **wheel.dependencies("deepspeed"),
    }.items():
        tested = [str(r.specifier).removeprefix("==") for r in exact if canonicalize_name(r.name) == name]
        assert tested, f"{name} is not in constraints.txt"
        assert all(wanted.specifier.contains(version) for version in tested), f"{wanted}: {tested}"


def test_conda_installs_what_make_does() -> None:
    """With the same exact versions; DeepSpeed, which `make install` leaves to `make test-engines`, as well."""
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    makefile = (ROOT / "Makefile").read_text()
    assert "pip install --quiet --constraint constraints.txt --editable '.[dev,demo]'\n" in makefile
    assert pip == ["-c constraints.txt", "-e .[dev,demo,deepspeed]"]


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is the machine's business."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hosts = rb"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|conda[.]anaconda[.]org|index[-_]url|find[-_]links"
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 100
    assert [path for path in files if re.search(hosts, path.read_bytes(), re.IGNORECASE)] == []


# That it runs ---------------------------------------------------------------------------------------------------------


def test_every_module_can_be_imported(wheel: Wheel, installed: Installed) -> None:
    """From the wheel, not from the checkout. Without what an extra brings, its modules say what to install."""
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in wheel.names]
    modules = [name for name, file in zip(names, wheel.names, strict=True) if file.endswith(".py")]
    script = """
import importlib, sys
from timechat.errors import ConfigError
for name in sys.argv[1:]:
    try:
        print(importlib.import_module(name).__file__)
    except ConfigError as error:
        print(f"{name}: {error}")
"""
    lines = installed.run("python", "-c", script, *modules).splitlines()
    outside = [line for line in lines if not line.startswith(str(installed.environment))]
    assert len(lines) == len(modules) > 100
    extras = {
        "timechat.evaluation.lmms_eval_adapter": "lmms-eval",
        "timechat.app.web": "demo",
        "timechat.app.server.ray_serve": "serve,ray",
        "timechat.app.server": "serve",
    }
    for line in outside:
        extra = next(extra for module, extra in extras.items() if line.startswith(module))
        assert f"pip install 'timechat[{extra}]'" in line


def test_the_command(installed: Installed) -> None:
    assert "evaluate" in installed.run("timechat", "--help")
    everything, one = installed.run("timechat", "config"), installed.run("timechat", "config", "timechat")
    assert set(yaml.safe_load(everything)) >= {"model", "datasets", "run"}
    assert yaml.safe_load(one)["num_query_token"] == 32


def test_doctor(installed: Installed) -> None:
    paths = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
    page = installed.run(
        "timechat", "doctor", str(TINY / "config.yaml"), "--max-new-tokens", "4", "--options", *paths, "run.device=cpu"
    )
    assert "All packages are installed" in page


def test_evaluate_with_the_default_prompts(installed: Installed, tmp_path: Path) -> None:
    out = installed.folder / "out"
    installed.run("timechat", "evaluate", *arguments(write_data(tmp_path), out))
    prompt = (ROOT / "timechat/evaluation/prompts/grounding.txt").read_text(encoding="utf-8").strip()
    assert json.loads((out / "settings.json").read_text())["prompt_sha256"] == sha256_of(prompt)
    assert [scores(out)["scores"][name] for name in ("found", "expected")] == [3, 4]  # a video is missing on purpose
