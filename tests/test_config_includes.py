"""`include:` puts other files underneath, and problems name the file that wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from timechat.config import load_config
from timechat.errors import ConfigError


def write(folder: Path, **files: str) -> Path:
    """Write YAML files; the folder."""
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_the_file_wins_over_what_it_includes_and_later_includes_over_earlier(tmp_path: Path) -> None:
    write(
        tmp_path,
        main="include: [first.yaml, second.yaml]\nmodel: {lora_r: 3}\n",
        first="model: {lora_r: 1, lora_alpha: 1, stride: 1}\ndatasets: {webvid: {sample_ratio: 5}}\n",
        second="model: {lora_r: 2, lora_alpha: 2}\n",
    )
    cfg = load_config(tmp_path / "main.yaml", ["model.stride=7"])
    assert (cfg.model.lora_r, cfg.model.lora_alpha, cfg.model.stride) == (3, 2, 7)
    assert cfg.datasets.webvid.sample_ratio == 5
    assert "include" not in cfg


def test_includes_are_found_from_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over two levels, and whatever the working directory; one file may be included twice."""
    write(tmp_path / "parts", base="model: {lora_r: 5}", left="include: base.yaml", right="include: base.yaml")
    write(tmp_path / "configs", main="include: [../parts/left.yaml, ../parts/right.yaml]")
    monkeypatch.chdir(tmp_path / "parts")
    assert load_config("../configs/main.yaml").model.lora_r == 5


def test_interpolation_reaches_over_includes(tmp_path: Path) -> None:
    write(tmp_path, main="include: part.yaml\nmodel: {num_frm: 8}", part="model: {window_size: '${model.num_frm}'}")
    assert load_config(tmp_path / "main.yaml").model.window_size == 8


@pytest.mark.parametrize("value", ["3", "[part.yaml, 3]", "{file: part.yaml}", "true"])
def test_an_include_that_is_no_name(tmp_path: Path, value: str) -> None:
    write(tmp_path, main=f"include: {value}", part="")
    with pytest.raises(
        ConfigError, match=r"main\.yaml: include=.* must be the name of a YAML file, or a list of names"
    ):
        load_config(tmp_path / "main.yaml")


def test_an_include_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, main="include: gone.yaml")
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such config file"):
        load_config(tmp_path / "main.yaml")
    write(tmp_path, main="include: '${model.ckpt}'")
    with pytest.raises(ConfigError, match=r"\$\{model\.ckpt\}: no such config file"):
        load_config(tmp_path / "main.yaml")


def test_files_that_include_each_other(tmp_path: Path) -> None:
    write(tmp_path, main="include: a.yaml", a="include: b.yaml", b="include: a.yaml")
    with pytest.raises(ConfigError, match=r"a\.yaml: includes itself, through .*a\.yaml and .*b\.yaml; remove one"):
        load_config(tmp_path / "main.yaml")


def test_nothing_included(tmp_path: Path) -> None:
    write(tmp_path, main="include:\nmodel: {lora_r: 3}", other="include: []\nmodel: {lora_r: 3}")
    assert load_config(tmp_path / "main.yaml") == load_config(tmp_path / "other.yaml")


def test_problems_name_the_file_that_wrote_them(tmp_path: Path) -> None:
    """The last one that did; an unknown key wherever it is."""
    part = tmp_path / "part.yaml"
    main = write(tmp_path, main="include: part.yaml", part="model: {lora_rank: 1}\n") / "main.yaml"
    assert config_problems(main) == [f"{part}: unknown key model.lora_rank (did you mean 'lora_r'?)"]
    write(tmp_path, main="include: part.yaml\nmodel: {lora_r: 0}", part="model: {lora_r: 8, stride: -1}\n")
    expected = {f"{main}: model.lora_r=0: must be 1 or more", f"{part}: model.stride=-1: must be 0 or more"}
    assert set(config_problems(main)) == expected
    write(tmp_path, main="include: part.yaml\nmodel: {lora_r: 4}", part="model: {lora_r: none}\n")
    assert load_config(main).model.lora_r == 4
    assert config_problems(main, "include=x.yaml") == ["--options: unknown key include"]


def test_a_broken_include_is_named(tmp_path: Path) -> None:
    write(tmp_path, main="include: part.yaml", part="model: [")
    with pytest.raises(ConfigError, match=r"part\.yaml: not valid YAML"):
        load_config(tmp_path / "main.yaml")


def config_problems(path: Path, *options: str) -> list[str]:
    """The lines of the error."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, list(options))
    return str(caught.value).splitlines()


def test_the_config_and_what_it_includes_may_be_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, main="include: ~/part.yaml", part="run: {seed: 7}")
    assert load_config("~/main.yaml").run.seed == 7
