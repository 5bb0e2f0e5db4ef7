"""Records of evaluations as tables: plain text for a terminal, Markdown for a file.

A record is what `scores.json` holds. `timechat report DIR [DIR ...]` prints finished evaluations side by side, see
`comparison.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from timechat.errors import PredictionError
from timechat.evaluation.controls import CONTROL_NAMES
from timechat.evaluation.literature import published_scores
from timechat.evaluation.outputs import read_json
from timechat.evaluation.resampling import CONFIDENCE
from timechat.evaluation.scores import mean_record, ordered_scores, scored_questions, spread_of
from timechat.evaluation.tables import markdown_table, number, text_table
from timechat.io import sha256_of

__all__ = ["REPORT", "SCORES", "markdown_report", "mean_record", "read_record", "score_table"]

SCORES = "scores.json"
REPORT = "report.md"


class TableSection(NamedTuple):
    """A table, with a title over it and sentences under it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def score_table(record: Mapping[str, Any]) -> str:
    """Scores of one evaluation in percent, its controls and what was counted, for a terminal."""
    scores = _scores_section(record)
    counted = [("found / expected", _found(record)), ("unparsable", _unparsable(record))]
    sections = [scores._replace(rows=[*scores.rows, *counted]), *_interval_sections(record), *_control_sections(record)]
    blocks = ["\n".join((text_table(s.head, s.rows).rstrip("\n"), *s.notes)) for s in sections]
    return "\n\n".join([*blocks, *_notes(record)]) + "\n"


def markdown_report(record: Mapping[str, Any], plots: Sequence[Path] = ()) -> str:
    """One evaluation as a page: scores beside controls and published numbers, counts, plots, settings."""
    parts = [f"# {record['benchmark']}: {record['task']}\n", "All scores in percent.\n"]
    parts += _markdown(_scores_section(record))
    parts += [_counts_sentence(record), *(f"{note}\n" for note in _notes(record))]
    for sections in (_interval_sections, _control_sections, _literature_sections, _failure_sections):
        parts += [text for section in sections(record) for text in _markdown(section)]
    parts += [f"![{path.stem}]({path.name})\n" for path in plots]
    parts += _markdown(TableSection("Settings", ("setting", "value"), _settings_rows(record)))
    if "prompt" in record:
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


def _markdown(section: TableSection) -> list[str]:
    title = [f"## {section.title}\n"] if section.title else []
    notes = [f"- {note}" for note in section.notes]
    return [*title, markdown_table(section.head, section.rows), *(["\n".join(notes) + "\n"] if notes else [])]


# Scores and counts ----------------------------------------------------------------------------------------------------


def _scores_section(record: Mapping[str, Any]) -> TableSection:
    scores = ordered_scores(record)
    rows = [(name, number(value, spread_of(record, name))) for name, value in scores.items()]
    if record.get("seeds"):
        seeds = ", ".join(map(str, record["seeds"]["seeds"]))
        notes = [f"Mean ± standard deviation over the seeds {seeds}."]
    elif any(spread_of(record, name) is not None for name in scores):
        notes = [f"± is the standard error over {scored_questions(record)} questions."]
    else:
        notes = []
    return TableSection("", (record["benchmark"], "value"), rows, notes)


def _found(record: Mapping[str, Any]) -> str:
    return f"{record['counts']['found']} / {record['counts']['expected']}"


def _notes(record: Mapping[str, Any]) -> list[str]:
    return [*_matching_notes(record.get("predictions_file")), *(record.get("notes") or [])]


def _matching_notes(file: Mapping[str, Any] | None) -> list[str]:
    """What became of the predictions of a file that was scored."""
    if file is None:
        return []
    told = [
        f"Of {file['predictions']} predictions (form {file['form']}), {file['found']} were found for "
        f"{file['expected']} questions: {file['by_id']} by id, {file['by_video_and_question']} by video and question; "
        f"{file['left_over']} are left over, {file['doubled']} doubled (the first of a question counts)."
    ]
    for key, words in (("examples_left_over", "Left over"), ("examples_doubled", "Doubled")):
        if file[key]:
            told.append(f"{words}, for example: {ascii(file[key][0])[1:-1]}.")
    return told


def _unparsable(record: Mapping[str, Any]) -> str:
    unparsable, found = record["counts"]["unparsable"], record["counts"]["found"]
    return f"{unparsable} ({100 * unparsable / found:.1f}% of the answers)" if found else str(unparsable)


def _counts_sentence(record: Mapping[str, Any]) -> str:
    asked = []
    if record.get("ids"):
        asked.append(f" Only {record['ids']} questions, chosen by --ids, were asked.")
    if record.get("limit"):
        asked.append(f" Only the first {record['limit']} questions were asked.")
    videos = f"Unreadable videos: {record['counts']['unreadable_videos']}. "
    return (
        f"Answers found / expected: {_found(record)}. Unparsable: {_unparsable(record)}. "
        f"{videos if 'predictions_file' not in record else ''}All of these count as misses.{''.join(asked)}\n"
    )


def _interval_sections(record: Mapping[str, Any]) -> list[TableSection]:
    """Confidence intervals, with `--bootstrap`."""
    found = record.get("bootstrap")
    if not found:
        return []
    rows = [
        (name, number(record["percent"][name]), f"{low:.2f} - {high:.2f}")
        for name, (low, high) in found["intervals"].items()
    ]
    notes = [
        f"{CONFIDENCE:g} percent of {found['resamples']} scores over {found['videos']} videos, drawn with all their "
        f"questions (seed {found['seed']})."
    ]
    notes += [f"{name} has none: it is no mean over questions." for name in found["left_out"]]
    return [TableSection("Confidence intervals", ("score", "value", "interval"), rows, notes)]


def _failure_sections(record: Mapping[str, Any]) -> list[TableSection]:
    rows = [(reason, str(count)) for reason, count in record["failure_reasons"].items()]
    return [TableSection("Answers that could not be parsed", ("reason", "answers"), rows)] if rows else []


# Beside others --------------------------------------------------------------------------------------------------------


def _control_sections(record: Mapping[str, Any]) -> list[TableSection]:
    """Score, model, controls; then the score by number of queries."""
    controls = record["controls"]
    if "table" not in controls:
        return []
    names = [*CONTROL_NAMES, *(n for n in _keys_of_rows(controls["table"]) if n not in CONTROL_NAMES)]
    rows = [
        (score, number(record["percent"].get(score)), *(number(values.get(name)) for name in names))
        for score, values in controls["table"].items()
    ]
    notes = [f"{name}: {note}" for name, note in controls.get("notes", {}).items()]
    notes += [f"{name} is left out: it {why}" for name, why in controls.get("left_out", {}).items()]
    sections = [TableSection("Does the model listen to the question?", ("score", "model", *names), rows, notes)]
    by_queries = controls.get("by_queries") or {}
    if by_queries:
        sizes = sorted(_keys_of_rows(by_queries), key=int)
        rows = [(score, *(number(values.get(size)) for size in sizes)) for score, values in by_queries.items()]
        sections.append(TableSection("By the number of queries of a video", ("queries of the video", *sizes), rows))
    return sections


def _keys_of_rows(table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in table.values() for key in row))


def _literature_sections(record: Mapping[str, Any]) -> list[TableSection]:
    rows = published_scores(record["benchmark"]) if record.get("literature", True) else []
    if not rows:
        return []
    reported = {name for row in rows for name in row["scores"]}
    names = [name for name in ordered_scores(record) if name in reported]
    if not names:  # only TempCompass's captions were asked for, which are not scored here
        return []
    own = [number(record["percent"].get(name), spread_of(record, name)) for name in names]
    table = [
        ("**this run**", "", *own, "measured here"),
        *((r["model"], r["setting"], *(number(r["scores"].get(name)) for name in names), r["source"]) for r in rows),
    ]
    note = (
        "Reported by others, with their own prompts, decoding and videos (some are no longer available): "
        "a difference of a few points need not come from the models."
    )
    return [TableSection("Beside published numbers", ("model", "setting", *names, "source"), table, [note])]


# How to repeat it -----------------------------------------------------------------------------------------------------


def _settings_rows(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: dict[str, Any] = {"git commit": record["git_commit"] or "unknown"}
    if "prompt" in record:  # not of a file of predictions
        speed = record["seconds_per_video"]
        rows |= {
            "prompt file": record["prompt"]["file"],
            "prompt sha256": record["prompt"]["sha256"],
            "system prompt": record["system_prompt"],
            "system prompt sha256": sha256_of(record["system_prompt"]),
            "processes": record["processes"],
            "seconds per video": "all answers were there already" if speed is None else f"{speed:.2f}",
        }
    rows |= {f"benchmark option {name}": value for name, value in record.get("benchmark_options", {}).items()}
    rows |= {name: record[name] for name in ("anno_path", "annotations_sha256", "videos_dir") if name in record}
    rows |= {f"model.{name}": path for name, path in record.get("checkpoint", {}).items()}
    rows |= {"train annotations": record.get("train_anno") or "not given", **record["settings"]}
    return [(name, str(value)) for name, value in rows.items()]
