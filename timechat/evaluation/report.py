"""Records of evaluations as tables: plain text for a terminal, Markdown for a file.

    python -m timechat.evaluation.report DIR [DIR ...]

prints one joint table of finished evaluations, one row each.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timechat.errors import PredictionError, TimeChatError
from timechat.evaluation.files import read_json

SCORES = "scores.json"
REPORT = "report.md"
_COUNTS = ("found", "parsed", "expected")


def score_table(record: Mapping[str, Any]) -> str:
    """All scores of one evaluation, in percent, for a terminal."""
    rows = [(name, _number(value)) for name, value in _ordered_scores(record).items()]
    rows += [(name, _number(value)) for name, value in record["controls"].items()]
    rows += [("found / expected", _found(record)), ("unparsable", str(record["counts"]["unparsable"]))]
    return text_table((record["benchmark"], "value"), rows)


def joint_table(records: Sequence[Mapping[str, Any]]) -> str:
    """One row for each evaluation: its main scores in percent, and what was counted."""
    rows = [
        (
            record["benchmark"],
            "  ".join(f"{name} {_number(record['percent'][name])}" for name in record["main_scores"]),
            _found(record),
            str(record["counts"]["unparsable"]),
        )
        for record in records
    ]
    return text_table(("benchmark", "scores (percent)", "found / expected", "unparsable"), rows)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, a line under the head."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def markdown_report(record: Mapping[str, Any], plots: Sequence[Path] = ()) -> str:
    """One evaluation as a Markdown page: scores, counts, failures, plots, and how to repeat it."""
    counts = record["counts"]
    parts = [f"# {record['benchmark']}: {record['task']}\n", "Scores in percent.\n"]
    parts.append(_markdown_table(("score", "value"), _ordered_scores(record)))
    if record["controls"]:
        parts.append("Controls: does the model listen to the question?\n")
        parts.append(_markdown_table(("control", "value"), record["controls"]))
    parts.append(
        f"Answers found / expected: {_found(record)}. Unparsable: {counts['unparsable']}. "
        f"Unreadable videos: {counts['unreadable_videos']}. All of these count as misses"
        + (f". Only the first {record['limit']} questions were asked.\n" if record["limit"] else ".\n")
    )
    if record["failure_reasons"]:
        parts.append(_markdown_table(("why an answer could not be parsed", "answers"), record["failure_reasons"]))
    parts += [f"![{path.stem}]({path.name})\n" for path in plots]
    parts.append("## Settings\n")
    parts.append(_markdown_table(("setting", "value"), _settings_rows(record)))
    parts.append(f"Prompt:\n\n```text\n{record['prompt']['text']}\n```\n")
    return "\n".join(parts)


def read_record(folder: str | Path) -> dict[str, Any]:
    """The record of a finished evaluation. Raises PredictionError."""
    path = Path(folder) / SCORES
    record = read_json(path)
    needed = {"benchmark", "percent", "main_scores", "counts"}
    if not isinstance(record, dict) or not needed <= record.keys():
        raise PredictionError(f"{path}: needs {', '.join(sorted(needed))}; run the evaluation again")
    return record


def _ordered_scores(record: Mapping[str, Any]) -> dict[str, float]:
    """Main scores first; counts stand elsewhere."""
    names = list(dict.fromkeys([*record["main_scores"], *record["percent"]]))
    return {name: record["percent"][name] for name in names if name not in _COUNTS}


def _settings_rows(record: Mapping[str, Any]) -> dict[str, Any]:
    speed = record["seconds_per_video"]
    return {
        "git commit": record["git_commit"] or "unknown",
        "prompt file": record["prompt"]["file"],
        "prompt sha256": record["prompt"]["sha256"],
        "system prompt": record["system_prompt"],
        "system prompt sha256": hashlib.sha256(record["system_prompt"].encode()).hexdigest(),
        "clip of time": record["clip_of_time"] or "as published",
        "processes": record["processes"],
        "seconds per video": "all answers were there already" if speed is None else f"{speed:.2f}",
        **{name: str(value) for name, value in record["settings"].items()},
    }


def _markdown_table(head: tuple[str, str], rows: Mapping[str, Any]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {_cell(name)} | {_cell(_number(value))} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _number(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _found(record: Mapping[str, Any]) -> str:
    return f"{record['counts']['found']} / {record['counts']['expected']}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status: 0, or 1 after an error, told in one line."""
    parser = argparse.ArgumentParser(description="Print one joint table of finished evaluations.")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="output folder of an evaluation")
    try:
        table = joint_table([read_record(folder) for folder in parser.parse_args(argv).folders])
    except TimeChatError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
