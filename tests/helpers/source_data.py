"""Miniature downloads of every source that `timechat data convert` reads, each in the source's own format."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.summarization_data import write_summe, write_tvsum


@dataclass(frozen=True)
class Download:
    """What a test converts, and what must come out.

    Attributes:
        path: IN of the command.
        answers: path of each item's video -> its answer, in the order of the file.
        rows: how many rows for evaluation there are; 0 where no benchmark reads any.
        options: more arguments of `Conversion`.
        left_out: how many parts each rule leaves out.
    """

    path: Path
    answers: list[tuple[str, str]]
    rows: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)


def write_lines(path: Path, rows: list[Any]) -> Path:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_json(path: Path, content: Any) -> Path:
    """A JSON file."""
    path.write_text(json.dumps(content))
    return path


def mine(folder: Path) -> Download:
    """A CSV of one's own, with a clock in it."""
    path = folder / "moments.csv"
    path.write_text(
        'video,start,end,sentence\na.mp4,0.0,1.5,"a person opens a door, slowly"\nb/b.mkv,0:01,1:02.5,A cat sleeps.\n'
    )
    first = ("a.mp4", "The given query happens in 0.0 - 1.5 seconds.")
    return Download(path, [first, ("b/b.mkv", "The given query happens in 1.0 - 62.5 seconds.")], rows=2)


def charades_sta(folder: Path) -> Download:
    """Two lines."""
    path = folder / "charades_sta_train.txt"
    path.write_text("AO8RW 0.0 6.9##a person is putting a book on a shelf.\nAO8RW 2.1 3.0##person runs.\n")
    video = "Charades/videos/AO8RW.mp4"
    times = ("0.0 - 6.9", "2.1 - 3.0")
    return Download(path, [(video, f"The given query happens in {time} seconds.") for time in times], rows=2)


def qvhighlights(folder: Path) -> Download:
    """One query with two highlights."""
    row = {
        "qid": 10016,
        "query": "Man in baseball cap eats",
        "duration": 150,
        "vid": "j7rJstUseKg_210.0_360.0",
        "relevant_clip_ids": [41, 42],
        "saliency_scores": [[1, 1, 2], [4, 4, 3]],
        "relevant_windows": [[82, 86]],
    }
    answer = "There are 2 highlight moments in the 82.0, 84.0 second. Their saliency scores are 1.3, 3.7."
    path = write_lines(folder / "highlight_train_release.jsonl", [row])
    return Download(path, [("QVhighlights/videos/train/v_j7rJstUseKg_210.0_360.0.mp4", answer)], rows=1)


def youcook2(folder: Path) -> Download:
    """A video of either split."""
    events = [
        {"id": 0, "segment": [90, 102], "sentence": "spread margarine on two slices of white bread"},
        {"id": 1, "segment": [114, 127], "sentence": "place cheese on the bread"},
    ]
    entry = {"duration": 241.62, "subset": "training", "recipe_type": "113", "annotations": events}
    database = {"GLd3aX16zBg": entry, "xHr8X2Wpmno": {**entry, "subset": "validation"}}
    answer = "90.0 - 102.0 seconds, spread margarine on two slices of white bread.  "
    answer += "114.0 - 127.0 seconds, place cheese on the bread."
    path = write_json(folder / "youcookii_annotations_trainval.json", {"database": database})
    video = "YouCook2_asr_denseCap/youcook2_6fps_224/GLd3aX16zBg.mp4"
    return Download(path, [(video, answer)], rows=1, left_out={"not in the split training": 1})


def activitynet_captions(folder: Path) -> Download:
    """A sentence with full stops in its middle, which must stay one."""
    entry = {
        "duration": 73.1,
        "timestamps": [[6.94, 69.08], [37.28, 43.49]],
        "sentences": ["Three men, e.g. Mr. Smith, stand in a room. ", " The man spins."],
    }
    answer = "6.9 - 69.1 seconds, Three men, e.g. Mr. Smith, stand in a room.  37.3 - 43.5 seconds, The man spins."
    video = "ActivityNet_asr_denseCap/anet_6fps_224/v_bXdq2zI1Ms0.mp4"
    return Download(write_json(folder / "train.json", {"v_bXdq2zI1Ms0": entry}), [(video, answer)], rows=1)


def didemo(folder: Path) -> Download:
    """Annotators who do not agree."""
    row = {
        "annotation_id": 13105,
        "video": "10015567@N08_3655084291_d8b58466fa.mov",
        "description": "a dog runs",
        "times": [[3, 3], [1, 2], [1, 2], [0, 5]],
    }
    answer = "The given query happens in 5 - 15 seconds."
    path = write_json(folder / "train_data.json", [row])
    return Download(path, [("DiDeMo/videos/10015567@N08_3655084291_d8b58466fa.mp4", answer)], rows=1)


def queryd(folder: Path) -> Download:
    """Pickles: a moment without length, a video that is too long, and one of another split."""
    words = {"video-wkP0rYhSrLQ": [["a", "man", "waves."], ["a", "dog"]], "video-long": [["x"]], "video-test": [["y"]]}
    times = {"video-wkP0rYhSrLQ": [[3.2, 3.2], [5.0, 9.06]], "video-long": [[1.0, 300.5]], "video-test": [[0.0, 1.0]]}
    for name, content in (("raw", words), ("times", times)):
        (folder / f"{name}_captions_combined_filtered-v2.pkl").write_bytes(pickle.dumps(content))
    (folder / "train_list.txt").write_text("video-wkP0rYhSrLQ\nvideo-long\n")
    video = "QuerYD/video-wkP0rYhSrLQ.mp4"
    answers = [(video, f"The given query happens in {time} seconds.") for time in ("3.2", "5.0 - 9.1")]
    left_out = {"described beyond 300 seconds": 1, "not in the split's list": 1}
    return Download(folder, answers, 2, {"videos": "QuerYD/{id}.mp4"}, left_out)


def hirest(folder: Path) -> Download:
    """The steps of a clip, whose times count from its start."""
    steps = [
        {"heading": "clean out the face", "absolute_bounds": [35, 48]},
        {"heading": "apply tissue using water on face", "absolute_bounds": [48, 60]},
    ]
    entry = {"relevant": True, "clip": True, "v_duration": 99.5, "bounds": [35, 79], "steps": steps}
    videos = {"_7urSjT6sQY.mp4": entry, "other.mp4": {**entry, "clip": False}}
    path = write_json(folder / "all_data_train.json", {"make a mask": videos})
    answer = "0.0 - 13.0 seconds, clean out the face.  13.0 - 25.0 seconds, apply tissue using water on face."
    left_out = {"not relevant, without bounds, or without steps": 1}
    options = {"task": "step_localization"}
    return Download(path, [("HiREST/clips/_7urSjT6sQY_35_79.mp4", answer)], 1, options, left_out)


def coin(folder: Path) -> Download:
    """The steps of a video in its folder."""
    steps = [{"id": "2", "segment": [21.0, 22.0], "label": "begin to run up"}]
    steps += [{"id": "3", "segment": [23.0, 24.0], "label": "begin to jump up"}]
    entry = {"duration": 30.1, "recipe_type": 116, "class": "LongJump", "subset": "training", "annotation": steps}
    path = write_json(folder / "COIN.json", {"database": {"NLy71UrHElw": entry}})
    answer = "21.0 - 22.0 seconds, begin to run up.  23.0 - 24.0 seconds, begin to jump up."
    return Download(path, [("COIN/videos_ali/116/NLy71UrHElw.mp4", answer)], rows=1)


def vitt(folder: Path) -> Download:
    """Two annotators of one video; times in milliseconds, ids of YouTube-8M."""
    tags = [{"timestamp": 2650, "tag": "Introduction"}, {"timestamp": 8460, "tag": "Ingredients needed"}]
    path = write_lines(folder / "ViTT-annotations.json", [{"id": "FmTp", "annotations": tags}] * 2)
    ids = folder / "ids.csv"
    ids.write_text("FmTp,--g9p1A_fF0\n")
    answer = "2.6 seconds, Introduction.  8.5 seconds, Ingredients needed."
    return Download(path, [("vitt/raw_videos/--g9p1A_fF0.mp4", answer)] * 2, rows=1, options={"ids": ids})


_SUMMARY = "The highlight timestamps are in the {} seconds. Their saliency scores are {}."


def tvsum(folder: Path) -> Download:
    """Videos that two users rated; each summary is the three shots that they liked best."""
    return Download(write_tvsum(folder / "tvsum").anno, _summaries("TVSum/videos"))


def summe(folder: Path) -> Download:
    """The same, of users who kept shots."""
    return Download(write_summe(folder / "summe").anno, _summaries("SumMe/videos"))


def _summaries(folder: str) -> list[tuple[str, str]]:
    # Both users want the shots 0 and 7; of 11 and 15, which one of them wants, there is room for one.
    answer = _SUMMARY.format("0.0, 14.0, 22.0", "5.0, 5.0, 3.0")
    names = ("Air_force", "Base_jump", "Cooking", "Diving")
    return [(f"{folder}/{name}.mp4", answer) for name in names]


def yttemporal(folder: Path) -> Download:
    """Words with their times, and a pause."""
    words = [("hello", 0.4), ("there", 0.9), ("now", 4.0), ("stir", 4.2)]
    row = {
        "denoised": [{"cleanasr": "Hello there. Now stir."}],
        "info": {"id": "--LGz4Kb3AA", "title": "How to stir", "duration": 12},
        "subtitles": [{"word": word, "time": time} for word, time in words],
    }
    answer = "Transcribed speech: 0.4 - 1.4 seconds, hello there. 4.0 - 4.7 seconds, now stir."
    path = write_lines(folder / "yttemporal.jsonl", [row])
    return Download(path, [("yttemporal180m/videos/--LGz4Kb3AA.mp4", answer)], rows=1)


def et_instruct(folder: Path) -> Download:
    """A grounding task, which E.T. Bench scores, and a captioning one."""

    def item(task: str, question: str, answer: str, **more: Any) -> dict[str, Any]:
        turns = [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]
        return {
            "task": task,
            "source": "qvhighlights",
            "video": "qvh/a.mp4",
            "duration": 60.0,
            "conversations": turns,
        } | more

    told = "The event happens in 3.0 - 9.5 seconds."
    steps = "0.0 - 4.0 seconds, cut. 4.0 - 9.0 seconds, fry."
    rows = [
        item("tvg", "When does a dog run?", told, tgt=[3.0, 9.5]),
        item("slc", "Find the steps.", steps, tgt=[0.0, 4.0, 4.0, 9.0]),
    ]
    path = write_json(folder / "et_instruct_164k_txt.json", rows)
    return Download(path, [("qvh/a.mp4", told), ("qvh/a.mp4", steps)], rows=1)


def timelens_100k(folder: Path) -> Download:
    """A query that happens twice, and one that happens once."""
    events = [
        {"query": "When does he introduce himself?", "span": [[0.0, 5.0], [9.0, 12.0]]},
        {"query": "a close-up of the bottle.", "span": [[8.0, 12.0]]},
    ]
    row = {"source": "cosmo_cap", "video_path": "cosmo_cap/BVs52yd-RUQ.mp4", "duration": 117.4, "events": events}
    times = ("0.0 - 5.0, 9.0 - 12.0", "8.0 - 12.0")
    answers = [("cosmo_cap/BVs52yd-RUQ.mp4", f"The given query happens in {time} seconds.") for time in times]
    return Download(write_lines(folder / "timelens-100k.jsonl", [row]), answers, rows=1)


def valley(folder: Path) -> Download:
    """An uncropped video of VATEX, whose crop is taken, and one of Jukin."""

    def item(source: str, v_id: str, video: str, turns: list[tuple[str, str]]) -> dict[str, Any]:
        said = [
            {"from": who, "value": text} for pair in turns for who, text in zip(("human", "gpt"), pair, strict=True)
        ]
        return {"source": source, "v_id": v_id, "video": video, "conversations": said}

    rows = [
        item("VATEX", "--07WQ2iBlw_000001_000011", "--07WQ2iBlw.mp4", [("What is it?\n<video>", "A cat.")]),
        item("jukinmedia", "v_1000045", "v_1000045.mp4", [("<video>\nWho?", "A man."), ("Why?", "To win.")]),
    ]
    path = write_json(folder / "Valley_instruct_73k.json", rows)
    answers = [("vatex/videos/--07WQ2iBlw_000001_000011.mp4", "A cat."), ("jukin/videos/v_1000045.mp4", "A man.")]
    return Download(path, answers)


def llava(folder: Path) -> Download:
    """A picture, a video, and text alone."""
    turns = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A bus."}]
    rows = [
        {"id": "000000033471", "image": "coco/000000033471.png", "conversations": turns},
        {"id": "x", "video": "a.mp4", "conversations": turns},
        {"id": "y", "conversations": [{"from": "human", "value": "Hi!"}, {"from": "gpt", "value": "Hello."}]},
    ]
    left_out = {
        "has a key 'video': convert these with --task video_conversation": 1,
        "text alone (--text-only keep keeps it)": 1,
    }
    path = write_json(folder / "llava_instruct_150k.json", rows)
    return Download(path, [("coco/000000033471.png", "A bus.")], left_out=left_out)


def webvid(folder: Path) -> Download:
    """Captions, one with a comma."""
    path = folder / "results_2M_train.csv"
    caption = "Lonely beautiful woman, sitting on the tent."
    row = f'1066674784,https://example.org/1.mp4,PT00H00M10S,006001_006050,"{caption}"'
    path.write_text(f"videoid,contentUrl,duration,page_dir,name\n{row}\n")
    return Download(path, [("WebVid/videos/006001_006050/1066674784.mp4", caption)])


DOWNLOADS: dict[str, Callable[[Path], Download]] = {
    write.__name__: write
    for write in (
        mine, charades_sta, qvhighlights, youcook2, activitynet_captions, didemo, queryd, hirest, coin, vitt, tvsum,
        summe, yttemporal, et_instruct, timelens_100k, valley, llava, webvid,
    )
}  # fmt: skip
