"""TempCompass: does the model see action, direction, speed, order and change? Four tasks, three scored here by rule.

Reads the folder `questions/` of the download (`multi-choice.json`, `yes_no.json`, `caption_matching.json`,
`captioning.json`), or one of these files for that task only: `{video: {dimension: [{"question", "answer"}]}}`; or rows
(`{"video_id", "dim", "question", "answer"}`), as JSON, JSON lines or parquet under the same names or in folders of that
name (`yes_no/test-00000-of-00001.parquet`). The video is VIDEO.mp4, the id `yes_no/VIDEO/speed/0`: task, video,
dimension, and number of the question there.

Each task has its own prompt, `prompts/tempcompass_TASK.txt`; the prompt of `--prompt-file` is wrapped around it.

A task's score is its accuracy over all questions, so dimensions with more of them weigh more, as in published tables.
The rule is that of the official scripts: whatever follows "B." at the beginning of an answer, a "Yes" or "No" there, or
a caption or its label alone. Where it finds nothing, these ask a language model, and here counts what the parser reads.
Scores with "/strict" are the parser's alone, in those with "/rule" what the rule does not find is wrong, as the
scripts do with `--disable_llm`.

Captions need a language model as judge, which is not part of this project. For one, every task's answers are written to
`judge/TASK.json` in the form that the official scripts read, which is that of the questions with a `prediction` each,
and what the rule does not find to `judge/unmatched.jsonl`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from timechat.errors import AnnotationError, ParseFailure
from timechat.evaluation.benchmarks.annotations import Row, check_rows, text_problems, video_file, video_problems
from timechat.evaluation.benchmarks.public_rules import PubliclyScored, Reading
from timechat.evaluation.benchmarks.question_answering import row_id
from timechat.evaluation.benchmarks.rows import Rows, file_of, part_of, read_annotations
from timechat.evaluation.metrics.multiple_choice import parse_choice, parse_yes_no
from timechat.evaluation.prompting import PROMPTS, fill_prompt, load_prompt
from timechat.registry import registry

CAPTIONING, CAPTION_MATCHING, YES_NO = "captioning", "caption_matching", "yes_no"
UNMATCHED = "judge/unmatched.jsonl"
_PLACE = ("video_id", "dim")  # of a question, in files of rows
TASKS = ("multi-choice", YES_NO, CAPTION_MATCHING, CAPTIONING)

# An option in the text of a question: "A. walking", "Caption B: a man walks", "Option 2: a man runs".
_OPTION = re.compile(r"(?:(?:option|caption|sentence) ?)?([A-Z0-9])[.:)]\s*(\S.*)", re.IGNORECASE)


@registry.register_benchmark("tempcompass")
class TempCompass(PubliclyScored):
    """Four tasks about five dimensions of time; see the head of this file for its formats."""

    prompt_file = "tempcompass.txt"
    main_scores = TASKS[:3]
    max_new_tokens = 128  # for captions; the other answers end after a few
    structured = ()  # a caption has no number
    rule_counts = True
    compared = TASKS[:3]
    other_readings: ClassVar[Mapping[str, Callable[[Reading], int | None]]] = {
        "strict": lambda reading: reading.parser,
        "rule": lambda reading: reading.rule,
    }

    def read(self, anno_path: str | Path) -> list[Row]:
        """The rows of all tasks, or of the one whose file is named."""
        path = Path(anno_path)
        if not path.is_dir():
            if part_of(path) not in TASKS:
                raise AnnotationError(f"{path}: name the folder of TempCompass's questions, or one of {_files()} in it")
            return _read_task(path)
        files = {task: file_of(path, task) for task in TASKS}
        missing = [task for task, file in files.items() if file is None]
        if missing:
            raise AnnotationError(
                f"{path}: {', '.join(f'{task}.json' for task in missing)} missing; download the folder questions/ "
                f"again, or name one of {_files()} to evaluate only its task"
            )
        return [row for file in files.values() if file is not None for row in _read_task(file)]

    def query_of(self, row: Row) -> str:
        """The question with its options as it is, in the prompt of its task (prompts/tempcompass_TASK.txt)."""
        return fill_prompt(load_prompt(PROMPTS / f"tempcompass_{row['task']}.txt"), row["question"])

    def parse(self, answer: str, row: Row) -> Any:
        """The option that is named; of captions the text."""
        if row["task"] != CAPTIONING:
            return super().parse(answer, row)
        if not answer.strip():
            raise ParseFailure(answer, "the answer is empty")
        return answer.strip()

    def parse_strictly(self, answer: str, row: Row) -> int:
        """Index of the option that is named."""
        if row["task"] == YES_NO:
            return 0 if parse_yes_no(answer) else 1
        return parse_choice(answer, row["options"], row["symbols"])

    def read_by_rule(self, answer: str, row: Row) -> int | None:
        """As the official scripts match an answer, before they ask a judge."""
        said = answer.replace("</s>", "").strip()
        if row["task"] == YES_NO:
            return next((index for index, word in enumerate(row["options"]) if said.lower().startswith(word)), None)
        if row["task"] == CAPTION_MATCHING:
            return next((index for index, line in enumerate(row["lines"]) if _is_option(said, line)), None)
        return (
            row["symbols"].find(said[0]) if re.match(r"[A-D](?:[.)]|$)", said) and said[0] in row["symbols"] else None
        )

    def evaluate(self, rows: list[Row], parsed: Mapping[str, Any], answered: set[str]) -> tuple[dict[str, float], Any]:
        """Accuracy of each task that has a rule, overall and by dimension."""
        if any(row["answer"] is not None for row in rows):
            return super().evaluate(rows, parsed, answered)
        counts: dict[str, float] = {"found": len(answered), "parsed": len(parsed), "expected": len(rows)}
        return counts, {key: {"answer": parsed.get(key)} for key in answered}

    def prediction(self, row: Row, parsed: Any) -> dict[str, Any]:
        """The option's text, or the caption."""
        said = self._option(row, parsed)
        right = None if row["answer"] is None else row["options"][row["answer"]]
        return {"video": row["videos"][0], "answer": said, "right": right}

    def extra_files(self, rows: list[Row], parsed: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, str]:
        """Each task's answers for the official scripts; a missing answer is an empty prediction."""
        tasks: dict[str, dict[str, dict[str, list[Row]]]] = {}
        for row in rows:
            dimensions = tasks.setdefault(row["task"], {}).setdefault(row["vid"], {})
            judged = {**row["raw"], "prediction": answers.get(row["id"], "")}
            dimensions.setdefault(row["dimension"], []).append(judged)
        files = {
            f"judge/{task}.json": json.dumps(videos, indent=2, ensure_ascii=False) + "\n"
            for task, videos in tasks.items()
        }
        asked = {row["id"]: row for row in rows if row["task"] != CAPTIONING}
        unmatched = [
            {"id": key, **asked[key]["raw"], "prediction": said, "read_as": self._option(asked[key], parsed.get(key))}
            for key, said in answers.items()
            if key in asked and self.read_by_rule(said, asked[key]) is None
        ]
        lines = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in unmatched)
        return {**files, UNMATCHED: lines} if unmatched else files

    def _option(self, row: Row, parsed: Any) -> str | None:
        """The text of the option that was read, or the caption."""
        index = parsed.counted if isinstance(parsed, Reading) else parsed
        return row["options"][index] if isinstance(index, int) else index

    def notes(self, rows: list[Row], parsed: Mapping[str, Any]) -> list[str]:
        """What would take a judge."""
        captions = sum(row["task"] == CAPTIONING for row in rows)
        told = []
        read = sum(isinstance(reading, Reading) and reading.rule is None for reading in parsed.values())
        if read:
            told.append(
                f"{read} answers are not matched by the official rule, whose scripts ask a language model there: they "
                f"count as the parser reads them, and {UNMATCHED} lists them with the ones that it cannot read. In "
                "scores with /rule they are wrong."
            )
        if captions:
            told.append(
                f"Captions ({captions}) are not scored: that takes a language model as judge. Their answers are in "
                f"judge/{CAPTIONING}.json, in the form that TempCompass's own script reads."
            )
        return told


def _is_option(said: str, line: str) -> bool:
    """Whether an answer is an option of caption matching: "Caption A: He runs." or a part of it, or "A) He runs."."""
    label, _, sentence = line.partition(": ")
    after_bracket = said.split(") ")[1] if ") " in said else None
    return said in (line, sentence) or after_bracket == sentence or said.replace(".", "") in (label, label.split()[-1])


def _files() -> str:
    return ", ".join(f"{task}.json" for task in TASKS)


def _read_task(path: Path) -> list[Row]:
    content = read_annotations(path)
    if isinstance(content, Rows):
        content = _grouped(path, content)
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}: expected {{video: {{dimension: [questions]}}}}, found {str(content)[:60]!r}")
    places = [
        (f"{vid}, {dimension}, question {number}", _with_place(part_of(path), vid, dimension, number, raw))
        for vid, dimensions in content.items()
        for dimension, questions in _items(dimensions)
        for number, raw in enumerate(questions if isinstance(questions, list) else [questions])
    ]
    return [_row(row) for row in check_rows(path, places, _problems, row_id)]


def _grouped(path: Path, rows: Rows) -> dict[str, dict[str, list[Any]]]:
    """Rows as the download's own files have them. Raises AnnotationError."""
    content: dict[str, dict[str, list[Any]]] = {}
    for where, row in rows.placed:
        if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in _PLACE):
            raise AnnotationError(f"{path}: {where}: needs {' and '.join(_PLACE)}, found {str(row)[:60]!r}")
        video, dimension = (row[key] for key in _PLACE)
        raw = {key: value for key, value in row.items() if key not in _PLACE}
        content.setdefault(video, {}).setdefault(dimension, []).append(raw)
    return content


def _items(dimensions: Any) -> Iterable[tuple[str, Any]]:
    return dimensions.items() if isinstance(dimensions, dict) else [("no dimension", dimensions)]


def _with_place(task: str, vid: str, dimension: str, number: int, raw: Any) -> Any:
    """A question with its place in the file; what is not a question stays as it is, to be refused by the check."""
    if not isinstance(raw, dict):
        return raw
    return {"id": f"{task}/{vid}/{dimension}/{number}", "task": task, "vid": vid, "dimension": dimension, "raw": raw}


def _row(place: Row) -> Row:
    task, raw = place["task"], place["raw"]
    options = _options(task, raw["question"])
    symbol = None if task == CAPTIONING else _symbol(task, raw["answer"])
    return {
        **place,
        "videos": (video_file(place["vid"]),),
        "question": raw["question"].strip(),
        "options": list(options.values()),
        "symbols": "".join(options),
        "lines": [line.strip() for line in raw["question"].split("\n") if _OPTION.fullmatch(line.strip())],
        "answer": None if symbol is None else list(options).index(symbol),
        "categories": (task, f"{task}, {place['dimension']}"),
    }


def _options(task: str, question: str) -> dict[str, str]:
    """Symbol -> text of the options of a question."""
    if task == YES_NO:
        return {"y": "yes", "n": "no"}
    matches = (_OPTION.fullmatch(line.strip()) for line in question.split("\n"))
    return {match[1].upper(): match[2].strip() for match in matches if match}


def _symbol(task: str, answer: str) -> str | None:
    """The symbol in a right answer ("A. walking", "Option 2: a man runs", "yes")."""
    if task == YES_NO:
        return {"yes": "y", "no": "n"}.get(answer.strip().lower())
    match = _OPTION.fullmatch(answer.strip())
    return match[1].upper() if match else None


def _problems(place: Row) -> Iterable[str]:
    task, raw = place["task"], place["raw"]
    yield from video_problems(place, "vid")
    found = [problem for key in ("question", "answer") for problem in text_problems(raw, key)]
    yield from found
    if found or task == CAPTIONING:
        return
    options = _options(task, raw["question"])
    if len(options) < 2:
        yield f"question {raw['question']!r}: it must list 2 or more options, one per line ('A. walking')"
    elif _symbol(task, raw["answer"]) not in options:
        yield f"answer is {raw['answer']!r}: it must be one of the question's options"
