"""Scenes to annotation files: TimeIT JSON for training, the formats of the benchmarks for testing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from quickstart.data.scenes import Scene, ShapeEvent, generator
from timechat.data.answer_templates import dense_captions_answer, grounding_answer
from timechat.io import write_json, write_text

CLIP_SECONDS = 2  # QVHighlights scores clips of two seconds
ANNOTATORS = 3
MAX_SALIENCY = 4
RELEVANT_CLIPS = 3  # of an event, at most; a tiny model cannot count longer lists

INSTRUCTIONS: dict[str, tuple[str, ...]] = {
    "grounding": (
        "When does '{query}' happen in the video? Give its start time and end time in seconds.",
        "Find the part of the video that shows '{query}' and tell its start time and end time.",
        "Watch the video and name the start time and end time, in seconds, of '{query}'",
        "At which seconds does the event '{query}' start and end?",
        "Give the start time and end time of the moment that matches '{query}'",
    ),
    "dense_captions": (
        "Describe each event of the video with its start time and end time in seconds.",
        "List everything that happens in the video, with the start and end of each event.",
        "Which events does the video show, and when? Give start time, end time and a short description of each.",
        "Go through the video in order and describe every event together with its start time and end time.",
    ),
    "highlights": (
        "Find the highlight moments of '{query}' and rate the saliency of each of them.",
        "Which seconds of the video are highlights for '{query}'? List them with their saliency scores.",
        "Give the highlight timestamps in seconds that belong to '{query}' and a saliency score for each.",
        "List the moments in which '{query}' can be seen best, with their saliency scores.",
    ),
}


def highlights_answer(clips: dict[int, list[int]]) -> str:
    """TimeIT's answer to highlight detection.

    Args:
        clips: the annotators' scores of each relevant clip, as `saliency` gives them.
    """
    seconds = ", ".join(str(clip * CLIP_SECONDS) for clip in clips)
    scores = ", ".join(f"{np.mean(scores):.1f}" for scores in clips.values())
    return f"There are {len(clips)} highlight moments in the {seconds} second. Their saliency scores are {scores}."


def saliency(event: ShapeEvent, rng: np.random.Generator) -> dict[int, list[int]]:
    """Relevant clip -> the annotators' scores of it, highest when the shape appears.

    Clip i covers the seconds 2i to 2i + 2. The first clips that overlap the event, while the shape is large, are
    relevant. All annotators give the first clip full marks, and a point less for each clip after it, where they
    sometimes differ by a point.
    """
    first, end = event.start // CLIP_SECONDS, -(-event.end // CLIP_SECONDS)
    scores = {first: [MAX_SALIENCY] * ANNOTATORS}
    for clip in range(first + 1, min(end, first + RELEVANT_CLIPS)):
        opinions = MAX_SALIENCY - (clip - first) + rng.choice([-1, 0, 0, 0, 0, 0, 0, 1], size=ANNOTATORS)
        scores[clip] = [int(opinion) for opinion in np.clip(opinions, 1, MAX_SALIENCY)]
    return scores


def training_annotations(scenes: list[Scene], seed: int) -> dict[str, list[dict[str, Any]]]:
    """File stem -> TimeIT items; "video" is relative to the folder of the training videos.

    One item per event (grounding, highlights) or per video (dense captions).
    """
    items: dict[str, list[dict[str, Any]]] = {"grounding": [], "dense_captions": [], "highlights": []}
    for index, scene in enumerate(scenes):
        rng = generator(seed, "train", index)
        scores = [saliency(event, rng) for event in scene.events]
        grounding = [_turn(rng, "grounding", grounding_answer(e.start, e.end), e.caption) for e in scene.events]
        highlights = [
            _turn(rng, "highlights", highlights_answer(clips), event.caption)
            for event, clips in zip(scene.events, scores, strict=True)
        ]
        dense = _turn(rng, "dense_captions", dense_captions_answer((e.start, e.end, e.caption) for e in scene.events))
        items["grounding"] += [_item(scene, [turn], "grounding") for turn in grounding]
        items["highlights"] += [_item(scene, [turn], "highlights") for turn in highlights]
        items["dense_captions"].append(_item(scene, [dense], "dense_captions"))
    return {f"instruct_{name}": rows for name, rows in items.items()}


def grounding_rows(scenes: list[Scene]) -> list[dict[str, Any]]:
    """Grounding ground truth, one row per event; `image_id` is relative to the folder of the split's videos."""
    events = [(scene, event) for scene in scenes for event in scene.events]
    return [
        {
            "image_id": f"{s.name}.mp4",
            "caption": e.caption,
            "timestamp": [float(e.start), float(e.end)],
            "duration": float(s.duration),
            "id": i,
        }
        for i, (s, e) in enumerate(events)
    ]


def charades_lines(scenes: list[Scene]) -> list[str]:
    """The same ground truth as Charades-STA lines: `name start end##sentence`, times in seconds."""
    return [f"{s.name} {e.start:.1f} {e.end:.1f}##{e.caption}" for s in scenes for e in s.events]


def dense_caption_rows(scenes: list[Scene]) -> list[dict[str, Any]]:
    """Dense captioning ground truth in the COCO format of YouCook2, one row per video."""
    rows = []
    for index, scene in enumerate(scenes):
        joined = ". ".join(event.caption for event in scene.events)
        rows.append(
            {
                "image_id": f"{scene.name}.mp4",
                "duration": float(scene.duration),
                "segments": [[event.start, event.end] for event in scene.events],
                "captions": [event.caption for event in scene.events],
                "pure_cap": joined,
                "caption": joined,
                "id": index,
            }
        )
    return rows


def highlight_rows(scenes: list[Scene], split: str, seed: int) -> list[dict[str, Any]]:
    """Highlight ground truth as QVHighlights rows, one per event; the file of a row is `{vid}.mp4`."""
    rows: list[dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        rng = generator(seed, split, index)
        for event in scene.events:
            clips = saliency(event, rng)
            rows.append(
                {
                    "qid": len(rows),
                    "query": event.caption,
                    "duration": scene.duration,
                    "vid": scene.name,
                    "relevant_clip_ids": list(clips),
                    "saliency_scores": list(clips.values()),
                    "relevant_windows": [[min(clips) * CLIP_SECONDS, (max(clips) + 1) * CLIP_SECONDS]],
                }
            )
    return rows


def write_annotations(output: Path, scenes: dict[str, list[Scene]], seed: int) -> list[str]:
    """Write every annotation file and both splits' `scenes.json`; returns their names relative to `output`."""
    documents: dict[str, Any] = {
        f"train/{stem}.json": items for stem, items in training_annotations(scenes["train"], seed).items()
    }
    lines: dict[str, list[str]] = {}
    for split in scenes:
        documents[f"{split}/grounding.json"] = {"annotations": grounding_rows(scenes[split])}
        documents[f"{split}/dense_captions.json"] = {"annotations": dense_caption_rows(scenes[split])}
        documents[f"{split}/scenes.json"] = [_summary(scene) for scene in scenes[split]]
        lines[f"{split}/charades_sta.txt"] = charades_lines(scenes[split])
        lines[f"{split}/highlights.jsonl"] = [json.dumps(row) for row in highlight_rows(scenes[split], split, seed)]
    for name, document in documents.items():
        write_json(output / name, document, indent=1)
    for name, rows in lines.items():
        write_text(output / name, "".join(f"{row}\n" for row in rows))
    return [*documents, *lines]


def _turn(rng: np.random.Generator, task: str, answer: str, query: str = "") -> dict[str, str]:
    wordings = INSTRUCTIONS[task]
    return {"q": wordings[rng.integers(len(wordings))].format(query=query), "a": answer}


def _item(scene: Scene, turns: list[dict[str, str]], source: str) -> dict[str, Any]:
    return {"video": f"{scene.name}.mp4", "QA": turns, "source": f"quickstart_{source}"}


def _summary(scene: Scene) -> dict[str, Any]:
    return {
        "video": f"{scene.name}.mp4",
        "duration": scene.duration,
        "fps": float(scene.fps),
        "width": scene.width,
        "height": scene.height,
        "events": [
            {"start": e.start, "end": e.end, "colour": e.colour, "shape": e.shape, "caption": e.caption}
            for e in scene.events
        ],
    }
