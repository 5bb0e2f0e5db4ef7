"""Speech before instructions, in TimeIT's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import write_json

from timechat.data.add_asr import add_speech, describe
from timechat.datasets.annotations import read_instructions
from timechat.errors import AnnotationError, ConfigError


def item(video: str, question: str = "What happens?", **fields: Any) -> dict[str, Any]:
    return {"video": video, "QA": [{"q": question, "a": "1.0 - 2.0 seconds, a thing."}], **fields}


@pytest.fixture
def transcripts(tmp_path: Path) -> Path:
    folder = tmp_path / "said"
    (folder / "yt").mkdir(parents=True)
    (folder / "yt" / "a.tsv").write_text("0.00\t3.24\thello out there\n3.24\t5.00\tso, what now?\n")
    (folder / "silent.tsv").write_text("")
    (folder / "long.tsv").write_text("".join(f"{n}.0\t{n}.5\tsentence number {n}\n" for n in range(45)))
    return folder


SPOKEN = (
    "Transcribed speech: 0.0 - 3.2 seconds, hello out there. 3.2 - 5.0 seconds, so, what now? Based on the video "
    "content and possible transcribed speech, What happens?"
)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_speech_comes_before_the_first_question(tmp_path: Path, transcripts: Path, suffix: str) -> None:
    items = [item("yt/a.mp4", source="x"), item("silent.mp4"), item("none.mp4"), item("yt/a.mp4", SPOKEN)]
    items[0]["QA"].append({"q": "And then?", "a": "Nothing."})
    before = write_json(tmp_path / "in.json", items).read_bytes()
    out = tmp_path / f"out{suffix}"
    added = add_speech(tmp_path / "in.json", transcripts, out)
    text = out.read_text()
    got = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    assert got[0] == items[0] | {"QA": [{**items[0]["QA"][0], "q": SPOKEN}, items[0]["QA"][1]]}
    assert got[1:] == items[1:]
    assert len(read_instructions(out, tmp_path)) == 4
    assert (added.spoken, added.silent, added.had, added.items_without, list(added.without)) == (
        1,
        1,
        1,
        1,
        ["none.mp4"],
    )
    assert (tmp_path / "in.json").read_bytes() == before
    assert list(describe(added, out)) == [
        f"{out}: 1 item with speech, 1 in whose video nothing is said",
        "1 item had speech already, which stays",
        "1 video has no transcript, such as none.mp4: 1 item has no speech",
    ]


def test_at_most_fifteen_sentences_spread_evenly(tmp_path: Path, transcripts: Path) -> None:
    add_speech(write_json(tmp_path / "in.json", [item("long.mp4")]), transcripts, tmp_path / "out.json")
    question = read_instructions(tmp_path / "out.json", tmp_path)[0].qa[0]["q"]
    assert [n for n in range(45) if f"sentence number {n}." in question] == list(range(1, 45, 3))


def test_conversations_keep_their_mark(tmp_path: Path, transcripts: Path) -> None:
    turns = [{"from": "human", "value": "What happens?\n<video>"}, {"from": "gpt", "value": "A thing."}]
    anno = write_json(tmp_path / "in.json", [{"video": "yt/a.mp4", "conversations": turns}])
    add_speech(anno, transcripts, tmp_path / "out.json")
    (got,) = json.loads((tmp_path / "out.json").read_text())
    assert got["conversations"] == [{"from": "human", "value": f"<video>\n{SPOKEN}"}, turns[1]]


def test_the_input_is_not_overwritten(tmp_path: Path, transcripts: Path) -> None:
    anno = write_json(tmp_path / "in.json", [item("yt/a.mp4")])
    (tmp_path / "link.json").symlink_to(anno)
    for output in (anno, tmp_path / "link.json"):
        with pytest.raises(ConfigError, match="is named twice, and would be overwritten"):
            add_speech(anno, transcripts, output)


def test_broken_items_and_transcripts(tmp_path: Path, transcripts: Path) -> None:
    """Nothing is written."""
    anno = write_json(tmp_path / "in.json", [item("yt/a.mp4"), item("yt/a.mp4", "")])
    with pytest.raises(AnnotationError, match=r"item 1: QA\[0\]\.q is empty"):
        add_speech(anno, transcripts, tmp_path / "out.json")
    (transcripts / "yt" / "a.tsv").write_text("0.0\tx\ty\n")
    with pytest.raises(AnnotationError, match=r"a\.tsv, line 1: expected start, end and text"):
        add_speech(anno, transcripts, tmp_path / "out.json")
    with pytest.raises(ConfigError, match="no such folder"):
        add_speech(anno, tmp_path / "nowhere", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()
