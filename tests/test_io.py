"""Files that are written whole or not at all, hashes, and which code is running."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from helpers.training import ROOT

from timechat import io
from timechat.errors import FileError
from timechat.io import (
    file_state,
    git_commit,
    git_state,
    remove_left_overs,
    replacing,
    sha256_of,
    sha256_of_file,
    write_bytes,
    write_json,
    write_json_lines,
    write_text,
)


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
        assert temporary.parent == path.parent, "on the same disk, so that it can be renamed"
    assert path.read_text() == "half"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_the_old_file_stays_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("ha")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """A live process may still write, and files of other names are not ours."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = [f".file.{gone.pid}.tmp", f".other.{gone.pid}.tmp", f".file.{os.getpid()}.tmp", ".file.x.tmp", "file"]
    for name in names:
        (tmp_path / name).touch()
    remove_left_overs([tmp_path / "file", tmp_path / "none" / "file"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names[1:])


def test_what_the_system_refuses_names_the_file_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the temporary one; and what is wrong in the block with other files stays as it is."""
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    for path in (tmp_path / "file" / "x.json", tmp_path / "folder"):
        with pytest.raises(FileError) as caught:
            write_text(path, "x")
        assert ".tmp" not in str(caught.value)
        assert "; " in str(caught.value)
    with pytest.raises(FileNotFoundError) as other, replacing(tmp_path / "new"):
        (tmp_path / "gone").read_text()
    assert not isinstance(other.value, FileError)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path / f".x.json.{os.getpid()}.tmp"))

    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(FileError, match=r"/x\.json: cannot be written \(Permission denied\); see to the permissions"):
        write_text(tmp_path / "x.json", "x")


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"file: cannot be written .*free space"), replacing(tmp_path / "file"):
        raise OSError(28, "No space left on device")


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    """`os.link`, for one, does not replace."""
    source = tmp_path / "source"
    source.write_text("x")
    with replacing(tmp_path / "file") as temporary:
        os.link(source, temporary)
        left = temporary.with_name(f".other.{os.getpid()}.tmp")
    os.link(source, left)
    with replacing(tmp_path / "other") as temporary:
        assert temporary == left
        os.link(source, temporary)
    assert (tmp_path / "other").read_text() == "x"


def test_processes_write_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replacing(tmp_path / "file") as first:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        with replacing(tmp_path / "file") as second:
            assert first != second
            second.write_text("second")
        first.write_text("first")
    assert (tmp_path / "file").read_text() == "first"


def test_synced_files_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, path = [], tmp_path / "file"
    replace, sync = os.replace, io.sync
    monkeypatch.setattr(io, "sync", lambda path: (order.append(Path(path).name), sync(path)))
    monkeypatch.setattr(io.os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    with replacing(path, synced=True) as temporary:
        temporary.write_text("x")
        name = temporary.name
    assert order == [name, "rename", tmp_path.name]


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Only their owner can read temporary files of the standard library."""
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_what_is_written(tmp_path: Path) -> None:
    write_bytes(tmp_path / "bytes", b"\0\n")
    write_text(tmp_path / "text", "ä\n")
    write_json(tmp_path / "json", {"b": "ä", "a": [1]})
    write_json(tmp_path / "narrow", {"a": 1}, indent=1)
    write_json_lines(tmp_path / "lines", ({"id": i} for i in range(2)))
    content = {path.name: path.read_bytes().decode() for path in tmp_path.iterdir()}
    assert content == {
        "bytes": "\0\n",
        "text": "ä\n",
        "json": '{\n  "b": "ä",\n  "a": [\n    1\n  ]\n}\n',
        "narrow": '{\n "a": 1\n}\n',
        "lines": '{"id": 0}\n{"id": 1}\n',
    }


def test_bytes_that_are_not_text_come_back_from_json(tmp_path: Path) -> None:
    """As in a command line with a file name of another encoding."""
    name = os.fsdecode(b"caf\xe9.mp4")
    write_json(tmp_path / "json", {"name": name, "backslash": "\\udce9"})
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8")) == {"name": name, "backslash": "\\udce9"}


def test_hashes(tmp_path: Path) -> None:
    content = "ä" * (1 << 20)  # more than one chunk
    (tmp_path / "file").write_text(content, encoding="utf-8")
    assert sha256_of(content) == sha256_of_file(tmp_path / "file") == hashlib.sha256(content.encode()).hexdigest()


def test_the_state_of_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("abc")
        os.utime(tmp_path / name, ns=(1, 5))
    os.utime(tmp_path / "a", ns=(1, 7))
    assert file_state(tmp_path / "b") == "3 bytes, changed at 5 ns"
    assert file_state(tmp_path) == "6 bytes, changed at 7 ns"
    assert file_state(tmp_path / "c") == "not there"


def _git(folder: Path, *command: str) -> str:
    options = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *options, *command], check=True, capture_output=True, text=True
    ).stdout


def test_the_commit_and_whether_the_tree_is_dirty(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    init = package / "__init__.py"
    init.write_text("1")
    assert git_state(init) is None
    _git(tmp_path, "init", "-q")
    assert git_state(init) is None, "installed within a checkout that does not track it"
    _git(tmp_path, "add", ".")
    assert git_commit(init) is None, "nothing is committed"
    _git(tmp_path, "commit", "-qm", "x")
    commit = _git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_state(init) == {"commit": commit, "dirty": False}
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.jsonl").write_text("")
    assert git_state(init) == {"commit": commit, "dirty": False}
    assert git_commit(init) == commit
    init.write_text("2")
    assert git_state(init) == {"commit": commit, "dirty": True}
    assert git_commit(init) == f"{commit}-dirty"


def test_a_machine_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state() is None
    assert git_commit() is None


def test_of_this_checkout() -> None:
    """The tests run from one."""
    if (ROOT / ".git").exists():
        assert len(git_state()["commit"]) == 40
        assert git_commit().removesuffix("-dirty") == git_state()["commit"]
