"""An audit finds every planted fault and nothing else, keeps what it has looked at, and training obeys its manifest."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.planted_faults import GOOD, ITEMS, LONG, Planted, asked, plant
from helpers.tiny import LLAMA, QA, dataset_config, write_json
from helpers.training import read_lines
from helpers.videos import write_video
from PIL import Image

from timechat.data.audit import videos as videos_module
from timechat.data.audit.faults import DUPLICATE, FAULTS, SCHEMA, UNFIT, Finding
from timechat.data.audit.findings import Findings
from timechat.data.audit.report import coverage_page, summary, write_audit_manifest
from timechat.data.audit.run import Audit, Settings, audit
from timechat.data.audit.targets import targets_of
from timechat.datasets import build_datasets
from timechat.datasets.builders import DatasetBuilder
from timechat.errors import AnnotationError, ConfigError, MissingFilesError
from timechat.registry import registry


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Everything that can be found without a tokenizer."""
    return plant(tmp_path_factory.mktemp("planted"), ITEMS)


def run(data: Planted, folder: Path, **settings: Any) -> Audit:
    """Audit the annotations into a folder."""
    (target,) = targets_of(str(data.annotations), str(data.videos), [])
    return audit(target, Settings(**settings), folder / "faults.jsonl", folder / "looks.jsonl")


def found_in(folder: Path) -> dict[int, tuple[str, ...]]:
    """The faults of each item, as the file lists them."""
    found: dict[int, tuple[str, ...]] = {}
    for row in read_lines(folder / "faults.jsonl"):
        found[row["item"]] = (*found.get(row["item"], ()), row["fault"])
    return found


@pytest.mark.parametrize("settings", [{}, {"how": "decode"}, {"workers": 2}], ids=str)
def test_every_planted_fault_is_found_and_nothing_else(
    planted: Planted, tmp_path: Path, settings: dict[str, Any]
) -> None:
    result = run(planted, tmp_path, **settings)
    expected = {number: faults for number, faults in enumerate(planted.faults) if faults}
    assert found_in(tmp_path) == expected
    assert result.findings.counts == Counter(fault for faults in expected.values() for fault in faults)
    gone = [number for number, faults in expected.items() if set(faults) & set(UNFIT)]
    assert sorted(number for numbers in result.findings.left_out.values() for number in numbers) == gone
    assert result.left == len(ITEMS) - len(gone)
    assert set(FAULTS) == {fault for faults in (*planted.faults, *(f for _, f in LONG)) for fault in faults}


def test_the_details_say_what_was_found(planted: Planted, tmp_path: Path) -> None:
    run(planted, tmp_path)
    details = {}
    for row in read_lines(tmp_path / "faults.jsonl"):
        details.setdefault(row["fault"], []).append((row["video"], row["detail"]))
    assert details["missing"][0] == ("gone.mp4", "no such file")
    assert details["lfs-pointer"][0][1].startswith("is a git-lfs pointer, not the file of 123.5 MB itself")
    assert ("short.mp4", "0.50 s") in details["too-short"]
    assert (GOOD, "9 s, the video ends at 6.0 s") in details["beyond-end"]
    assert (GOOD, "5 - 1 seconds") in details["start-not-before-end"]
    assert (GOOD, "as item 0") in details["duplicate"]
    assert ("", "QA is missing: it must be a list of {q, a}") in details["schema"]
    assert any("its end is missing" in detail or "truncated" in detail for _, detail in details["unreadable"])


def test_faults_of_choice_are_left_out(planted: Planted, tmp_path: Path) -> None:
    result = run(planted, tmp_path, unfit=(SCHEMA, DUPLICATE))
    assert {fault: len(numbers) for fault, numbers in result.findings.left_out.items()} == {"schema": 4, "duplicate": 2}


def test_what_is_shorter_and_what_is_beyond_is_a_matter_of_choice(planted: Planted, tmp_path: Path) -> None:
    counts = run(planted, tmp_path, min_seconds=0.5, tolerance_s=0.5).findings.counts
    assert (counts["too-short"], counts["beyond-end"]) == (0, 7)


# Tokens ---------------------------------------------------------------------------------------------------------------


def audit_config(data: Planted, folder: Path, *options: str, **entry: Any) -> Audit:
    """Audit a config with one dataset."""
    info = {"anno_dir": str(data.annotations), "videos_dir": str(data.videos)}
    dataset_config({"tv": {"builder": "video_instruct", "build_info": info, **entry}}, folder=folder)
    (target,) = targets_of(str(folder / "config.yaml"), None, [f"model.llama_model={LLAMA}", *options])
    return audit(target, Settings(), folder / "faults.jsonl", folder / "looks.jsonl")


def test_texts_are_measured_as_training_does(tmp_path: Path) -> None:
    data = plant(tmp_path / "data", [ITEMS[0], *LONG])
    result = audit_config(data, tmp_path)
    assert found_in(tmp_path) == {1: ("too-long",), 2: ("nothing-to-learn",)}
    dataset = build_datasets(config_of(data, tmp_path))[0]
    sample = dataset.sample(0, torch.Generator())
    assert result.lengths[0] == len(sample.input_ids)
    assert len(dataset.sample(1, torch.Generator()).input_ids) == dataset.budget.max_txt_len < result.lengths[1]
    assert "tokens of an item: median" in "\n".join(summary(result))


def config_of(data: Planted, folder: Path, **info: str) -> Any:
    """The tiny config with the planted annotations."""
    info = {"anno_dir": str(data.annotations), "videos_dir": str(data.videos), **info}
    return dataset_config({"tv": {"builder": "video_instruct", "build_info": info}}, folder=folder)


def test_without_a_tokenizer_it_says_so(planted: Planted, tmp_path: Path) -> None:
    lines = "\n".join(summary(run(planted, tmp_path)))
    assert f"tokens were not counted: {planted.annotations} is no config" in lines
    lines = "\n".join(summary(audit_config(planted, tmp_path, "model.llama_model=nowhere")))
    assert "tokens were not counted: model.llama_model=nowhere: no SentencePiece model here" in lines


# What an audit writes -------------------------------------------------------------------------------------------------


def test_training_obeys_the_manifest(planted: Planted, tmp_path: Path) -> None:
    manifest = write_audit_manifest(run(planted, tmp_path), tmp_path / "m.json")
    with pytest.raises(AnnotationError, match="4 problems"):
        build_datasets(config_of(planted, tmp_path))
    dataset = build_datasets(config_of(planted, tmp_path, manifest=manifest.path))[0]
    fit = [number for number, faults in enumerate(planted.faults) if not set(faults) & set(UNFIT)]
    assert [dataset.key(index) for index in range(len(dataset))] == [f"tv[{number}] {GOOD}" for number in fit]
    content = json.loads(Path(manifest.path).read_text())
    assert content["sources"]["coin"]["items_as_published"] == 9029
    assert content["items_kept"] == len(fit)


def test_the_page_compares_with_the_published_counts_and_names_places(planted: Planted, tmp_path: Path) -> None:
    page = coverage_page([run(planted, tmp_path)])
    row = next(line for line in page.splitlines() if line.startswith("| COIN |"))
    assert row == "| COIN | step localization | 24 | 9,029 (-9,005) | 9 | 7 | 2 | 15 |"
    assert "- **COIN**, 7 videos:" in page
    assert "  - hub: PolyU-ChenLab/ET-Instruct-164K videos/coin.tar.gz (14.4 GB, 3 frames/s, 224 pixels)" in page
    assert "  - page: https://coin-dataset.github.io" in page
    assert f"> Trained on 15 of {len(ITEMS)} items" in page


def test_the_input_is_never_overwritten(planted: Planted, tmp_path: Path) -> None:
    before = planted.annotations.read_bytes()
    (target,) = targets_of(str(planted.annotations), str(planted.videos), [])
    with pytest.raises(ConfigError, match="would be overwritten"):
        audit(target, Settings(), planted.annotations, tmp_path / "looks.jsonl")
    assert planted.annotations.read_bytes() == before


# Going on where it stopped --------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos that are looked at."""
    seen: list[str] = []
    check = videos_module.check_video

    def count(name: str, how: str, timeout_s: float) -> Any:
        seen.append(Path(name).name)
        return check(name, how, timeout_s)

    monkeypatch.setattr(videos_module, "check_video", count)
    return seen


def test_what_was_looked_at_is_known(tmp_path: Path, counted: list[str]) -> None:
    data = plant(tmp_path / "data", ITEMS)
    first = run(data, tmp_path)
    assert sorted(counted) == ["clip.mp4", "cut.mp4", "short.mp4", "text.mp4"]
    assert first.looked == 9
    counted.clear()
    again = run(data, tmp_path)
    assert (counted, again.looked, again.findings.counts) == ([], 0, first.findings.counts)
    os.utime(data.videos / GOOD, ns=(0, 0))  # another file of the same size, perhaps
    write_video(data.videos / "short.mp4", frames=30)
    write_video(data.videos / "gone.mp4", frames=30)
    changed = run(data, tmp_path)
    assert sorted(counted) == ["clip.mp4", "gone.mp4", "short.mp4"]
    assert (changed.findings.counts["too-short"], changed.findings.counts["missing"]) == (0, 1)
    counted.clear()
    assert run(data, tmp_path, how="decode").findings.counts == changed.findings.counts
    assert "clip.mp4" in counted
    counted.clear()
    run(data, tmp_path)
    assert not counted  # decoding has said more than headers do


def test_a_killed_audit_goes_on(tmp_path: Path, counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.mp4" for number in range(40)]
    data = plant(tmp_path / "data", [(asked("Yes.", name), ()) for name in names])
    for name in names:
        (data.videos / name).write_bytes((data.videos / GOOD).read_bytes())
    check = videos_module.check_video

    def die(name: str, how: str, timeout_s: float) -> Any:
        if name.endswith("/20.mp4"):
            raise KeyboardInterrupt
        return check(name, how, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(videos_module, "check_video", die)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path)
    assert not (tmp_path / "faults.jsonl").exists()
    with (tmp_path / "looks.jsonl").open("a") as file:
        file.write('{"path": "1.mp4", "size": 7, "chan')  # what a killed process leaves
    counted.clear()
    assert not run(data, tmp_path).findings.counts
    assert counted == [f"{number}.mp4" for number in range(16, 40)]


# Other files ----------------------------------------------------------------------------------------------------------


def test_images_captions_and_lines(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "videos" / "a.png")
    (tmp_path / "videos" / "b.png").write_text("text")
    images = write_json(tmp_path / "images.json", [{"image": f"{letter}.png", "QA": QA} for letter in "abc"])
    entry = {"builder": "image_instruct", "data_type": "images"}
    entry["vis_processor"] = {"train": {"name": "blip2_image_train"}}
    result = audit_config(Planted(images, tmp_path / "videos", ()), tmp_path, **entry)
    assert found_in(tmp_path) == {1: ("unreadable",), 2: ("missing",)}
    assert result.lengths
    write_video(tmp_path / "videos" / "c.mp4", frames=20)
    rows = tmp_path / "rows.csv"
    rows.write_text("videoid,page_dir,name\nc,.,a title\nd,.,a title\nc,.,\n")
    run(Planted(rows, tmp_path / "videos", ()), tmp_path)
    assert found_in(tmp_path) == {1: ("missing",), 2: ("schema",)}
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps(asked("Yes.", f"{letter}.mp4")) + "\n" for letter in "cd"))
    run(Planted(lines, tmp_path / "videos", ()), tmp_path)
    assert found_in(tmp_path) == {1: ("missing",)}


def test_raw_valley_is_audited_as_it_is_read(tmp_path: Path) -> None:
    """`video` is the whole one, of which v_id names a clip; a video may be missing, or end before its clip."""
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "Ptf_2VRj-V0.mp4", frames=50)  # 5 s
    turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "It lasts until 3.0 seconds."}]
    entries = [
        {"source": "VATEX", "v_id": f"{video}_00000{start}_0000{end}", "video": f"{video}.mp4", "conversations": turns}
        for video, start, end in (("Ptf_2VRj-V0", 1, 11), ("Ptf_2VRj-V0", 5, 15), ("Qtf_2VRj-V0", 1, 11))
    ]
    entries += [{"source": "jukinmedia", "v_id": "v_17", "video": "v_17.mp4", "conversations": turns}]
    raw = write_json(tmp_path / "Valley_instruct_73k.json", entries)
    result = run(Planted(raw, tmp_path / "videos", ()), tmp_path)
    assert found_in(tmp_path) == {1: ("too-short",), 2: ("missing",), 3: ("missing",)}
    (short,) = (row for row in read_lines(tmp_path / "faults.jsonl") if row["item"] == 1)
    assert short["detail"] == "the clip from 5 to 15 s lasts 0.00 s; its video ends at 5.00 s"
    assert {name: (one.items, one.files, one.files_there) for name, one in result.sources.items()} == {
        "vatex": (3, 2, 1),
        "jukin": (1, 1, 0),
    }
    assert "hub: omni-research/Tarsier2-Recap-585K" in coverage_page([result])


def test_an_item_is_left_out_once_for_its_first_fault() -> None:
    findings = Findings(io.StringIO(), UNFIT)
    for number, fault in ((3, "missing"), (3, "nothing-to-learn"), (0, "too-short"), (1, "duplicate")):
        findings.add(Finding(number, fault, "x"), "a.mp4")
    assert findings.left_out == {"missing": [3], "too-short": [0]}


@pytest.mark.parametrize(
    ("path", "videos_dir", "options", "message"),
    [
        ("a.json", None, [], "say which folder its videos are in"),
        ("a.yaml", "v", [], "says it itself"),
        ("a.json", "v", ["model.num_frm=3"], "is no config"),
    ],
)
def test_what_is_named_must_fit(path: str, videos_dir: str | None, options: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        targets_of(path, videos_dir, options)


def test_shards_are_left_aside(planted: Planted, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    info = {"anno_dir": str(planted.annotations), "videos_dir": str(planted.videos)}
    shards = {"builder": "shards", "build_info": {"anno_dir": str(tmp_path / "shards")}}
    dataset_config({"tv": {"builder": "video_instruct", "build_info": info}, "packed": shards}, folder=tmp_path)
    assert [target.name for target in targets_of(str(tmp_path / "config.yaml"), None, [])] == ["tv"]
    assert "datasets.packed: left aside, because its videos lie in shards" in caplog.text
    dataset_config({"packed": shards}, folder=tmp_path)
    with pytest.raises(ConfigError, match="names no annotations of videos in a folder"):
        targets_of(str(tmp_path / "config.yaml"), None, [])


def test_all_annotations_that_a_config_lacks_are_named(planted: Planted, tmp_path: Path) -> None:
    """And what it has is known as a dataset of a config."""
    there = {"builder": "video_instruct", "build_info": {"anno_dir": str(planted.annotations), "videos_dir": "v"}}
    gone = {name: {"builder": "video_instruct", "build_info": {"anno_dir": f"{name}.json"}} for name in ("a", "b")}
    dataset_config({"tv": there}, folder=tmp_path)
    assert targets_of(str(tmp_path / "config.yaml"), None, [])[0].of_config
    dataset_config({"tv": there, **gone}, folder=tmp_path)
    with pytest.raises(MissingFilesError) as caught:
        targets_of(str(tmp_path / "config.yaml"), None, [])
    for name in gone:
        assert f"datasets.{name}.build_info.anno_dir={name}.json: no such annotation file" in str(caught.value)


def test_a_guests_format_is_audited_by_its_own_reader(
    planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clip:
        """An item without questions and answers."""

        def __init__(self, path: str) -> None:
            self.path = path

    class Guest(DatasetBuilder):
        """Reads a format of its own."""

        def read_items(self, anno: str, videos_dir: str) -> list[Any]:
            """Two clips."""
            return [Clip(GOOD), Clip("gone.mp4")]

    monkeypatch.setattr(registry, "get_builder_class", lambda name: Guest)
    result = audit_config(planted, tmp_path)
    assert found_in(tmp_path) == {1: ("missing",)}
    assert not result.lengths


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="has no items"):
        run(Planted(write_json(tmp_path / "a.json", []), tmp_path, ()), tmp_path)
