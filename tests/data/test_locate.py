"""Videos under other names are found and linked, never moved; what only looks alike is left alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from timechat.data.locate import UNKNOWN, Located, link, locate
from timechat.data.places import load_rules
from timechat.errors import ConfigError
from timechat.lfs import MARK

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files that have content."""

    def write(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        return tmp_path

    return write


def find(folder: Path, path: str, *searched: str, rules: str | None = None) -> tuple[str, Located]:
    """What becomes of one path, wanted below `data`, with all of the folder searched; files relative to the folder."""
    (folder / "data").mkdir(exist_ok=True)
    roots = [str(folder / root) for root in searched or (".",)]
    ((name, located),) = locate([path], str(folder / "data"), roots, load_rules(rules)).items()
    located.links = {path: os.path.relpath(file, folder) for path, file in located.links.items()}
    return name, located


@pytest.mark.parametrize(
    ("path", "on_disk"),
    [
        # The published tree and TimeIT's annotations call the same folder by two names.
        ("ActivityNet_asr_denseCap/anet_6fps_224/v_a.mp4", "data/Activitynet_Captions/anet_6fps_224/v_a.mp4"),
        ("YouCook2_asr_denseCap/youcook2_6fps_224/a.mp4", "data/YouCook2-BB/youcook2_6fps_224/a.mp4"),
        # With and without v_, other extensions, none.
        ("ActivityNet_asr_denseCap/anet_6fps_224/v_a.mp4", "activitynet/a.mkv"),
        ("YouCook2_asr_denseCap/youcook2_6fps_224/a.mp4", "youcook2/v_a.webm"),
        ("QVhighlights/videos/train/v_a_210.0_360.0.mp4", "qvhighlights/a_210.0_360.0.mp4"),
        ("QuerYD/QuerYD_downloader/videos/video-a", "QuerYD/videos/video-a.mp4"),
        ("QuerYD/QuerYD_downloader/videos/video--b.mp4", "queryd/-b.mp4"),
        # Archives of E.T. Instruct, E.T. Bench, VideoMind and VideoChat-Flash.
        ("COIN/videos_ali/12/a.mp4", "ET-Instruct-164K/videos/coin/a.mp4"),
        ("DiDeMo/videos/1@N0_3_d.mp4", "ET-Instruct-164K/videos/didemo/1@N0_3_d.mp4"),
        ("vitt/raw_videos/a.mp4", "ET-Instruct-164K/videos/vitt/a.mp4"),
        ("Charades/videos/AO8RW.mp4", "ETBench/videos/charades_sta/AO8RW.mp4"),
        ("TVSum/videos/a.mp4", "ETBench/videos/tvsum/a.mp4"),
        ("SumMe/videos/Air_Force_One.mp4", "ETBench/videos/summe/Air_Force_One.webm"),
        ("HiREST/videos/a.mp4", "VideoMind-Dataset/hirest/videos_3fps_480_noaudio/a.mp4"),
        ("COIN/videos_ali/0/a.mp4", "timeaware_subset/timeit_COIN/a.mp4"),
        # And back: their annotations, TimeIT's folders.
        ("coin/a.mp4", "COIN/videos_ali/12/a.mp4"),
        ("activitynet/v_a.mp4", "Activitynet_Captions/anet_6fps_224/v_a.mp4"),
        # As it is, in another folder.
        ("COIN/videos_ali/1/a.mp4", "disk2/COIN/videos_ali/1/a.mp4"),
    ],
)  # fmt: skip
def test_it_is_found(make: Make, path: str, on_disk: str) -> None:
    folder = make(on_disk)
    _, located = find(folder, path)
    assert located.links == {path: on_disk}
    assert (located.wanted, located.there, located.several, located.lost) == (1, 0, 0, [])


@pytest.mark.parametrize(
    ("path", "on_disk"),
    [
        ("COIN/videos_ali/12/a.mp4", "youcook2/a.mp4"),  # another collection
        ("COIN/videos_ali/12/a.mp4", "a.mp4"),
        ("HiREST/clips/a.mp4", "hirest/a.mp4"),  # a part of a longer video
        ("HiREST/videos/a.mp4", "HiREST/clips/a.mp4"),  # the video that the part is of
        ("COIN/videos_ali/12/a.mp4", "coin/a.txt"),
        ("COIN/videos_ali/12/a.mp4", "coin/A.mp4"),  # ids differ in case
        ("Charades/videos/v_a.mp4", "charades_sta/a.mp4"),  # no v_ there
        ("mine/a.mp4", "yours/a.mp4"),
    ],
)
def test_what_only_looks_alike_is_not_taken(make: Make, path: str, on_disk: str) -> None:
    _, located = find(make(on_disk), path)
    assert (located.links, located.lost) == ({}, [path])


def test_the_best_of_several_is_taken(make: Make) -> None:
    folder = make("coin/v_a.mp4", "coin/a.webm", "coin/a.mkv", "timeit_COIN/a.mp4")
    _, located = find(folder, "COIN/videos_ali/12/a.mp4")
    assert located.links == {"COIN/videos_ali/12/a.mp4": "coin/a.mkv"}  # the folder, then the name, then the extension
    assert located.several == 1


def test_empty_files_and_pointers_are_no_videos(make: Make) -> None:
    folder = make("coin/a.mp4", "coin/b.mp4")
    (folder / "coin/a.mp4").write_bytes(MARK + b"\noid sha256:0\nsize 1\n")
    (folder / "coin/b.mp4").write_bytes(b"")
    for name in "ab":
        assert find(folder, f"COIN/videos_ali/12/{name}.mp4")[1].lost


def test_own_places_of_unknown_collections(make: Make) -> None:
    folder = make("disk/mine/a.mp4")
    assert find(folder, "mine/a.mp4", "disk") == (UNKNOWN, Located(1, 0, {"mine/a.mp4": "disk/mine/a.mp4"}))
    (folder / "data/mine").mkdir()
    (folder / "data/mine/a.mp4").write_text("x")
    assert find(folder, "mine/a.mp4", "disk") == (UNKNOWN, Located(1, 1))


def test_folders_that_are_links_in_circles(make: Make) -> None:
    folder = make("disk/coin/a.mp4")
    (folder / "disk/again").symlink_to(folder / "disk")
    (folder / "linked").symlink_to(folder / "disk/coin")
    assert find(folder, "COIN/videos_ali/12/a.mp4", "linked", "disk")[1].several == 0


# Links ----------------------------------------------------------------------------------------------------------------


def test_links_are_made_once_and_nothing_is_moved(make: Make) -> None:
    folder = make("coin/a.mp4", "coin/b.mp4", "data/COIN/videos_ali/1/c.mp4")
    paths = [f"COIN/videos_ali/1/{name}.mp4" for name in "abcd"]
    (folder / "data/COIN/videos_ali/1/b.mp4").symlink_to("nowhere")  # broken: made anew
    found = locate(paths, str(folder / "data"), [str(folder)], load_rules())["COIN"]
    assert (found.there, len(found.links), found.lost) == (1, 2, [paths[3]])
    before = sorted(path.name for path in (folder / "coin").iterdir())
    assert link(found.links, str(folder / "data")) == 2
    assert [(folder / "data" / path).read_text() for path in paths[:3]] == [
        "coin/a.mp4",
        "coin/b.mp4",
        f"data/{paths[2]}",
    ]
    assert not (folder / "data" / paths[2]).is_symlink()
    assert sorted(path.name for path in (folder / "coin").iterdir()) == before
    assert link(found.links, str(folder / "data")) == 0
    again = locate(paths, str(folder / "data"), [str(folder)], load_rules())["COIN"]
    assert (again.there, again.links) == (3, {})
    assert {path.name for path in (folder / "data/COIN/videos_ali/1").iterdir()} == {"a.mp4", "b.mp4", "c.mp4"}


# Rules ----------------------------------------------------------------------------------------------------------------


def test_rules_of_ones_own_go_first(make: Make, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "extensions: [.ogv]\n"
        "collections:\n"
        "- {name: Mine, folders: [mine, archive/part], prefixes: [clip_]}\n"
        "- {name: COIN, folders: [COIN, my_coin]}\n"
    )
    folder = make("archive/part/7/clip_a.ogv", "my_coin/a.mp4", "timeit_COIN/b.mp4", "didemo/a.mp4")
    assert find(folder, "mine/a.mp4", rules=str(rules))[1].links == {"mine/a.mp4": "archive/part/7/clip_a.ogv"}
    assert find(folder, "COIN/1/a.mp4", rules=str(rules))[1].links == {"COIN/1/a.mp4": "my_coin/a.mp4"}
    assert find(folder, "COIN/1/b.mp4", rules=str(rules))[1].lost
    assert find(folder, "DiDeMo/a.mp4", rules=str(rules))[1].links


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "expected the keys collections and extensions"),
        ("colections: []", "unknown key colections"),
        ("collections: {a: 1}", "collections must be a list"),
        ("collections: [a]", r"collections\[0\] must have the keys name and folders"),
        ("collections: [{folders: [a]}]", r"collections\[0\].name is missing"),
        ("collections: [{name: a, folders: a}]", r"collections\[0\].folders must be a list"),
        ("collections: [{name: a, folders: ['']}]", r"collections\[0\].folders must be a list"),
        ("collections: [{name: a, folders: [a], prefix: v_}]", r"collections\[0\]: unknown key prefix"),
        ("collections: [{name: a, folders: [a], prefixes: v_}]", r"prefixes must be a list of texts"),
        ("extensions: [mp4]", "extensions must be a list such as"),
        ("a: [", "not valid YAML"),
    ],
)
def test_rules_that_are_wrong_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_rules(path)


def test_missing_rules(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(tmp_path / "nowhere.yaml")
