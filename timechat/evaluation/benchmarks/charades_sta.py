"""Charades-STA: when does the described moment happen? R@1 at IoU 0.3, 0.5, 0.7.

Reads the raw text file, one query per line (`AO8RW 0.0 6.9##a person is putting a book on a shelf.`, seconds; the video
is AO8RW.mp4 and the id is the line's number from 0), the coco form of the same
(`{"annotations": [{"image_id", "caption", "timestamp": [start, end], "id"}]}`), and rows, see `grounding_forms.py`.
"""

from __future__ import annotations

from pathlib import Path

from timechat.evaluation.benchmarks.annotations import Row, check_rows, read_annotation_text, video_file
from timechat.evaluation.benchmarks.grounding import TemporalGrounding, coco_problems
from timechat.evaluation.benchmarks.grounding_forms import grounding_rows
from timechat.evaluation.benchmarks.rows import SUFFIXES, read_annotations
from timechat.registry import registry


@registry.register_benchmark("charades_sta")
class CharadesSTA(TemporalGrounding):
    """Temporal grounding; see the head of this file for its formats."""

    uses_durations = True

    def read(self, anno_path: str | Path) -> list[Row]:
        """Rows in coco form, whatever the file's form."""
        if Path(anno_path).suffix in SUFFIXES:
            rows = grounding_rows(anno_path, read_annotations(anno_path))
        else:
            lines = read_annotation_text(anno_path).split("\n")
            rows = [
                (f"line {number}", _line_row(line, number - 1)) for number, line in enumerate(lines, 1) if line.strip()
            ]
        return check_rows(anno_path, rows, coco_problems, self.row_id)


def _line_row(line: str, number: int) -> Row | str:
    """A line of the raw file as a row in coco form, or the line itself if it is not one."""
    head, mark, sentence = line.partition("##")
    parts = head.split()
    try:
        name, start, end = parts[0], float(parts[1]), float(parts[2])
    except (IndexError, ValueError):
        return line
    if not mark or len(parts) != 3:
        return line
    return {"image_id": video_file(name), "caption": sentence, "timestamp": [start, end], "id": number}
