"""`timechat config` prints YAML that can be used as it is, every key with a comment."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from timechat.cli.config import COMMENT_COLUMN, main, to_yaml
from timechat.config import load_config
from timechat.registry import KINDS, registry
from timechat.schema import Group, group_of


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What the command writes."""
    capsys.readouterr()
    assert main(list(argv)) == 0
    return capsys.readouterr().out


def without_comment(text: str) -> list[str]:
    """Keys that have no comment behind them and none above."""
    lines = text.splitlines()
    keys = [i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    return [lines[i] for i in keys if " # " not in lines[i] and not lines[i - 1].lstrip().startswith("# ")]


def test_everything_is_a_config_with_the_defaults(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = printed(capsys)
    (tmp_path / "all.yaml").write_text(text)
    (tmp_path / "short.yaml").write_text("datasets: {video_instruct: {}}\n")
    assert load_config(tmp_path / "all.yaml") == load_config(tmp_path / "short.yaml")
    titles = ("model:", "datasets:", "  video_instruct:", "run:")
    assert without_comment("\n".join(line for line in text.splitlines() if line not in titles)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_every_kind(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    for name in registry.names(kind):
        text = printed(capsys, name)
        assert f"# {kind} {name}: `" in text
        assert without_comment(text) == []


def test_a_name_is_printed_as_what_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Not as its parent, whose schema it may share."""
    assert yaml.safe_load(printed(capsys, "timechat"))["arch"] == "timechat"
    assert yaml.safe_load(printed(capsys, "llava_instruct"))["builder"] == "llava_instruct"


def test_a_file_is_filled_in(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Long values keep their distance from the comment; what is printed means the same."""
    folder = "a/path/that/reaches/into/the/column/of/comments"
    assert len(folder) > COMMENT_COLUMN
    file = tmp_path / "x.yaml"
    file.write_text(f"model: {{llama_model: {folder}, lora_r: 4, system_prompt: 'a: # b'}}\nrun: {{init_lr: 3e-5}}\n")
    (tmp_path / "again.yaml").write_text(printed(capsys, str(file)))
    again = load_config(tmp_path / "again.yaml")
    assert again == load_config(file)
    assert (again.model.llama_model, again.model.lora_r, again.model.system_prompt) == (folder, 4, "a: # b")
    assert printed(capsys, str(tmp_path / "again.yaml")) == (tmp_path / "again.yaml").read_text()


def test_unknown_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timchat"]) == 1
    assert "nothing is registered as 'timchat' (did you mean 'timechat'?); there are " in capsys.readouterr().err


def test_a_module_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timechat", "--import", "lab_nowhere"]) == 1
    assert "RegistryError: --import: lab_nowhere: there is no module 'lab_nowhere'" in capsys.readouterr().err


def test_the_schemas_of_this_package_tell_every_key() -> None:
    for kind in KINDS:
        for name in registry.names(kind):
            group = group_of(registry.config_of(kind, name))
            assert list(_untold(group)) == [], f"{kind} {name}"
            assert yaml.safe_load(to_yaml(group, group.defaults())) == (group.defaults() or None)


def _untold(group: Group) -> list[str]:
    here = [name for name, entry in group.keys.items() if not entry.rules.comment]
    return [*here, *(name for entry in group.keys.values() if isinstance(entry, Group) for name in _untold(entry))]
