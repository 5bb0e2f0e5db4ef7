"""What is known about TimeIT: the published sums, and which source an item is of."""

from __future__ import annotations

import pytest
from helpers.imports import ROOT

from timechat.data.published import published, source_of


def test_the_sums_are_the_published_ones() -> None:
    sources = published()
    assert sum(entry.items for entry in sources.values() if entry.merged) == 104_403
    assert sum(entry.merged for entry in sources.values()) == 10
    assert sources["vatex"].items + sources["jukin"].items == 72_303
    timeit = [entry for name, entry in sources.items() if name not in ("vatex", "jukin")]
    assert sum(entry.items for entry in timeit) == 124_861
    assert len({entry.task for entry in timeit}) == 6


def test_the_page_has_the_same_counts() -> None:
    text = (ROOT / "docs" / "DATA.md").read_text(encoding="utf-8")
    (page,) = (part for part in text.split("\n## ") if part.startswith("Where the datasets come from"))
    for name, entry in published().items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {entry.task} | {entry.items:,} |" in row
        assert ("*" in row.split("|")[1]) == entry.merged


def test_every_source_has_a_page_and_says_if_no_copy_is_known() -> None:
    for name, entry in published().items():
        assert any(place.startswith("page: ") for place in entry.places()), name
        assert entry.hosted or entry.places()[0] == "no copy is known"


@pytest.mark.parametrize(
    ("said", "path", "annotations", "source"),
    [
        ("hirest_step", "HiREST/clips/a.mp4", "instruct_time-sensitive_104k_asr.json", "hirest_step"),
        ("", "HiREST/clips/a.mp4", "d/instruct_action_0.5k_hirest.json", "hirest_step"),
        ("", "HiREST/clips/a.mp4", "d/instruct_tvg_0.5k_hirest.json", "hirest"),
        ("", "YouCook2_asr_denseCap/youcook2_6fps_224/a.mp4", "d/instruct_dvc_1.2k_youcook2_15asr.json", "youcook2"),
        ("", "vatex/videos/a_000001_000011.mp4", "d/instruct_valley_72k.json", "vatex"),
        ("", "jukin/videos/v_1.mp4", "d/instruct_valley_72k.json", "jukin"),
        ("hacs", "hacs/a.mp4", "et_instruct_164k_txt.json", "hacs"),
        ("", "mine/a.mp4", "train.json", "mine"),
        ("", "a.mp4", "train.json", ""),
    ],
)
def test_the_source_of_an_item(said: str, path: str, annotations: str, source: str) -> None:
    assert source_of(said, path, annotations) == source
