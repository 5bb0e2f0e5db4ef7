"""Files of instructions into one: counts, shares, order, sources, the published make-up; and the command."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from helpers.source_data import write_json, write_lines

from timechat.cli.data import merge as command
from timechat.data.merge import Part, file_part, merge, recipe_parts
from timechat.datasets.annotations import read_instructions
from timechat.errors import AnnotationError, ConfigError

# As the tables of the paper and the hub have it.
PUBLISHED = {
    "yttemporal": 31627, "coin": 9029, "hirest_step": 459, "queryd": 14602, "hirest": 459, "didemo": 33002,
    "anet": 10009, "vitt": 5141, "summe": 25, "tvsum": 50,
}  # fmt: skip


def items(name: str, count: int) -> list[dict[str, Any]]:
    """So many items."""
    return [{"video": f"{name}/{n}.mp4", "QA": [{"q": "When?", "a": f"{n}.0 seconds."}]} for n in range(count)]


def part(folder: Path, name: str, size: int, **how: Any) -> Part:
    """A file of so many items in a folder of that name."""
    (folder / name).mkdir(exist_ok=True)
    return Part(write_json(folder / name / "train.json", items(name, size)), name, **how)


def merged_videos(folder: Path, *parts: Part, seed: int = 0) -> list[str]:
    """Videos of the merged file, in its order."""
    merge(parts, folder / "out.json", seed)
    return [item["video"] for item in json.loads((folder / "out.json").read_text())]


def test_all_items_in_a_random_order_with_their_source(tmp_path: Path) -> None:
    videos = merged_videos(tmp_path, part(tmp_path, "coin", 30), part(tmp_path, "vitt", 20))
    assert sorted(videos) == sorted(item["video"] for item in items("coin", 30) + items("vitt", 20))
    assert [video.partition("/")[0] for video in videos] != ["coin"] * 30 + ["vitt"] * 20
    read = read_instructions(tmp_path / "out.json", "videos")
    assert all(item.source == item.path.partition("/")[0] for item in read)
    first = json.loads((tmp_path / "out.json").read_text())[0]
    assert list(first) == ["video", "QA", "source"]


def test_the_same_seed_writes_the_same_bytes_and_another_one_another_order(tmp_path: Path) -> None:
    parts = [part(tmp_path, "coin", 30, share=0.5), part(tmp_path, "vitt", 20)]
    first = merged_videos(tmp_path, *parts)
    data = (tmp_path / "out.json").read_bytes()
    assert merged_videos(tmp_path, *parts) == first
    assert (tmp_path / "out.json").read_bytes() == data
    other = merged_videos(tmp_path, *parts, seed=1)
    assert other != first
    assert set(other) != set(first)


def test_the_seed_orders_what_is_taken_whole(tmp_path: Path) -> None:
    parts = [part(tmp_path, "coin", 30), part(tmp_path, "vitt", 20)]
    first, other = (merged_videos(tmp_path, *parts, seed=seed) for seed in (0, 1))
    assert first != other
    assert sorted(first) == sorted(other)


def test_half_an_item_is_one(tmp_path: Path) -> None:
    assert len(merged_videos(tmp_path, part(tmp_path, "coin", 5, share=0.5))) == 3


def test_what_is_there_several_times_is_not_all_in_one_place(tmp_path: Path) -> None:
    """Whether a share takes it again, or the file has it again."""
    twice = merged_videos(tmp_path, part(tmp_path, "coin", 20, share=2.0))
    assert sum(one == other for one, other in pairwise(twice)) < 5
    rows = items("coin", 1) * 3 + items("vitt", 40)
    videos = merged_videos(tmp_path, Part(write_json(tmp_path / "train.json", rows), "mine"))
    places = [number for number, video in enumerate(videos) if video == "coin/0.mp4"]
    assert places[-1] - places[0] > 2


def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path) -> None:
    parts = [part(tmp_path, "coin", 30, share=1.5), part(tmp_path, "vitt", 20, count=7), part(tmp_path, "anet", 9)]
    written = []
    for workers in (1, 2, 3):
        merge(parts, tmp_path / "out.json", seed=3, workers=workers)
        written.append([(tmp_path / name).read_bytes() for name in ("out.json", "out.report.json")])
    assert written[0] == written[1] == written[2]
    with pytest.raises(AnnotationError, match="40 items are wanted, and it has 30"):
        merge([*parts, part(tmp_path, "coin", 30, count=40)], tmp_path / "out.json", workers=2)
    assert (tmp_path / "out.json").read_bytes() == written[0][0]


@pytest.mark.parametrize(
    ("how", "taken", "most"),
    [({"count": 7}, 7, 1), ({"share": 0.5}, 10, 1), ({"share": 2.0}, 40, 2), ({"share": 1.25}, 25, 2), ({}, 20, 1)],
)
def test_counts_and_shares(how: dict[str, Any], taken: int, most: int, tmp_path: Path) -> None:
    videos = merged_videos(tmp_path, part(tmp_path, "coin", 20, **how))
    assert len(videos) == taken
    assert max(Counter(videos).values()) == most
    assert len(set(videos)) == min(taken, 20)


def test_another_file_neither_changes_the_choice_nor_the_order_of_others(tmp_path: Path) -> None:
    coin = part(tmp_path, "coin", 30, count=10)
    alone = merged_videos(tmp_path, coin)
    together = merged_videos(tmp_path, part(tmp_path, "vitt", 20), coin)
    assert [video for video in together if video.startswith("coin/")] == alone


def test_equal_items_all_stay(tmp_path: Path) -> None:
    same = Part(write_json(tmp_path / "train.json", items("coin", 1) * 3), "coin")
    assert merged_videos(tmp_path, same) == ["coin/0.mp4"] * 3


def test_lines_are_read_and_written(tmp_path: Path) -> None:
    lines = Part(write_lines(tmp_path / "train.jsonl", items("coin", 3)), "coin")
    merge([lines], tmp_path / "out.jsonl")
    assert len([json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]) == 3


def test_broken_items_are_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "coin").mkdir()
    path = write_json(tmp_path / "coin" / "train.json", [*items("coin", 2), {"video": "x.mp4"}])
    assert command.main([str(path), "--output", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert f"broken, and left out: 1\n  {path}, item 2: QA is missing" in printed
    assert f"{tmp_path}/out.json: 2 items\n" in printed
    report = json.loads((tmp_path / "out.report.json").read_text())
    assert report["parts"][0]["broken"][0]["where"] == "item 2"


def test_what_is_refused(tmp_path: Path) -> None:
    coin = part(tmp_path, "coin", 3)
    with pytest.raises(AnnotationError, match=r"1 of 2 files not there; download or convert:\n  .*gone.json"):
        merge([coin, Part(tmp_path / "gone.json", "gone")], tmp_path / "out.json")
    with pytest.raises(AnnotationError, match="5 items are wanted, and it has 3"):
        merge([part(tmp_path, "coin", 3, count=5)], tmp_path / "out.json")
    with pytest.raises(ConfigError, match="would be overwritten"):
        merge([coin], coin.file)
    pictures = Part(write_json(tmp_path / "p.json", [{"image": "a.png", "QA": [{"q": "?", "a": "."}]}]), "p")
    with pytest.raises(AnnotationError, match="item 0: is about a picture"):
        merge([pictures], tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("coin/a.json", Part(Path("coin/a.json"), "coin")),
        ("coin/a.json=500", Part(Path("coin/a.json"), "coin", count=500)),
        ("coin/a.json=50%", Part(Path("coin/a.json"), "coin", share=0.5)),
        ("coin/a.json=150%", Part(Path("coin/a.json"), "coin", share=1.5)),
    ],
)
def test_files_on_the_command_line(text: str, wanted: Part) -> None:
    assert file_part(text) == wanted


@pytest.mark.parametrize("text", ["a.json=", "a.json=0", "a.json=-3", "a.json=0.5", "a.json=nan%", "a.json=x%"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="write FILE, FILE=500 for 500 items, or FILE=50% for half of them"):
        file_part(text)


# Recipes --------------------------------------------------------------------------------------------------------------


def test_the_published_recipe_has_104_thousand_items() -> None:
    parts = recipe_parts("timeit_104k", Path("data"))
    assert {part.source: part.items for part in parts} == PUBLISHED
    assert sum(part.items or 0 for part in parts) == 104_403
    assert all(part.count is None and part.share == 1 for part in parts)


def test_with_speech_where_there_is_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Miniatures of the ten files; two of them have a version with transcribed speech."""
    parts = sorted(recipe_parts("timeit_104k", tmp_path), key=lambda part: part.source not in ("coin", "yttemporal"))
    for number, part in enumerate(parts):
        part.file.parent.mkdir(parents=True)
        write_json(part.file, items(part.source, 2))
        if number < 2:
            write_json(part.file.with_name(f"{part.file.stem}_15asr.json"), items(f"{part.source}_spoken", 2))
    argv = ["--recipe", "timeit_104k", "--folder", str(tmp_path), "--output", str(tmp_path / "out.json")]

    assert command.main([*argv, "--speech"]) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path}/out.json: 20 items\n" in printed
    assert "without a version with speech (NAME_15asr.json): anet, vitt, didemo, queryd, hirest, " in printed
    assert "didemo       2      33,002     2      0\n" in printed
    found = Counter(item["video"].partition("/")[0] for item in json.loads((tmp_path / "out.json").read_text()))
    assert found["yttemporal_spoken"] == found["coin_spoken"] == found["vitt"] == 2
    assert "yttemporal" not in found

    assert command.main(argv) == 0
    assert "without a version" not in capsys.readouterr().out
    read = read_instructions(tmp_path / "out.json", "videos")
    assert {item.source for item in read} == PUBLISHED.keys()
    assert all(item.path.startswith(f"{item.source}/") for item in read)


def test_a_file_under_its_other_published_name(tmp_path: Path) -> None:
    def found() -> Path:
        return next(part.file for part in recipe_parts("timeit_104k", tmp_path) if part.source == "yttemporal")

    other = found().with_name(found().name.replace("instruct_tsp_", "instruct_tsg_"))
    assert other != found()
    other.parent.mkdir(parents=True)
    write_json(other, items("yttemporal", 1))
    assert found() == other


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("sources:\n- {file: coin/train.json, share: 0.5}\n- {file: x.json, source: mine, count: 3}\n")
    assert recipe_parts(str(recipe), tmp_path) == [
        Part(tmp_path / "coin" / "train.json", "coin", share=0.5),
        Part(tmp_path / "x.json", "mine", count=3),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sources: [{file: a.json, ratio: 2}]", r"sources\[0\]: no key 'ratio'; there are count, file, items"),
        ("sources: [{file: a.json, share: 2, count: 2}]", "has count and share; give one of them"),
        ("sources: [{file: a.json, share: -1}]", "share is -1: it must be a number above 0"),
        ("sources: [{count: 2}]", "expected {file: ...}"),
        ("files: []", "expected {sources:"),
        ("sources: [", "not valid YAML"),
    ],
)
def test_recipes_that_are_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=told):
        recipe_parts(str(tmp_path / "r.yaml"), tmp_path)
