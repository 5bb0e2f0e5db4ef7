"""Score a file of predictions, whoever made them: no model, no weights, and videos only for pictures.

`timechat score` and `timechat.score` call it. Decoders and matplotlib are imported when pictures are drawn.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from timechat.errors import ConfigError, PredictionError
from timechat.evaluation.answers import MERGED
from timechat.evaluation.asked import asked_ids
from timechat.evaluation.benchmarks import Annotations, Benchmark, Result, get_benchmark
from timechat.evaluation.benchmarks.annotations import Row
from timechat.evaluation.benchmarks.options import complete_options
from timechat.evaluation.literature import published_scores
from timechat.evaluation.matching import Matched, counts_of, match
from timechat.evaluation.outputs import read_json
from timechat.evaluation.prediction_files import PredictionFile, read_predictions
from timechat.evaluation.prompting import fill_prompt, load_prompt
from timechat.evaluation.record import scores_of, write_record
from timechat.evaluation.report import REPORT, SCORES, markdown_report
from timechat.evaluation.transcripts import without_speech
from timechat.io import sha256_of_file, write_text

logger = logging.getLogger(__name__)


def score(
    benchmark: str,
    predictions: str | Path | Any,
    anno_path: str | Path,
    *,
    output_dir: str | Path | None = None,
    videos_dir: str | Path | None = None,
    form: str | None = None,
    prompt_file: str | Path | None = None,
    train_anno: str | Path | None = None,
    benchmark_options: Mapping[str, Any] | None = None,
    bootstrap: int = 0,
    limit: int | None = None,
    ids: str | None = None,
    literature: bool = True,
) -> dict[str, Any]:
    """Score predictions as an evaluation of our own model would be scored.

    Args:
        benchmark: its name, as `--benchmark` of an evaluation.
        predictions: a file in one of the forms of `prediction_files`, a folder of them, or the content of one.
        anno_path: the benchmark's annotations, as in an evaluation.
        output_dir: gets `scores.json`, `report.md` and what else an evaluation writes; None writes nothing.
        videos_dir: for pictures, and for durations where controls need them.
        form: of the file; None recognises it.
        prompt_file: the prompt that the model was asked with: its example, repeated, does not count as an answer. What
            this project writes tells the prompt of each answer.
        train_anno: annotations of the train split, for the controls.
        benchmark_options: the benchmark's own ones; those left out are at their defaults.
        bootstrap: resamples for confidence intervals; 0 leaves them out.
        limit, ids: score only the first N questions, or only these, as in an evaluation.
        literature: whether the report shows published numbers beside these.

    Returns:
        The record that `scores.json` holds: "percent" has the scores, "predictions_file" what was found.

    Raises:
        TimeChatError: anything that the user can fix, naming the file, the field and the fix.
    """
    _check(output_dir, videos_dir, bootstrap, limit)
    options = complete_options(benchmark, benchmark_options or {})
    chosen = get_benchmark(benchmark, options)
    train = read_train(chosen, train_anno)
    annotations = chosen.load_annotations(anno_path, limit=limit, ids=asked_ids(ids))
    file = read_predictions(predictions, form)
    matched = match(file, chosen, annotations)
    _warn(file, matched)
    durations = _durations(chosen, annotations, videos_dir, output_dir)
    prompts = _prompts(chosen, annotations, matched, prompt_file)
    result = chosen.score(matched.answers, annotations, train=train, durations=durations, prompt=prompts)
    record = scores_of(chosen, result, resamples=bootstrap)
    record["predictions_file"] = counts_of(matched, file, len(annotations.rows))
    record |= {"limit": limit, "ids": None if ids is None else len(annotations.rows), "benchmark_options": options}
    record |= {"literature": literature, "published": published_scores(benchmark) if literature else []}
    record |= _sources(predictions, file, anno_path, annotations, train_anno, prompt_file)
    if output_dir is not None:
        _write(Path(output_dir), record, chosen, annotations.rows, result, videos_dir)
    return record


def read_train(benchmark: Benchmark, path: str | Path | None) -> list[Row] | None:
    """The rows of `--train-anno`; None without one.

    Raises:
        AnnotationError: a broken file.
        ConfigError: no such file, or a benchmark that has no use for it.
    """
    if path is None:
        return None
    if not Path(path).exists():
        raise ConfigError(f"--train-anno {path}: no such file")
    if type(benchmark).controls is Benchmark.controls:
        raise ConfigError(f"--train-anno {path}: {benchmark.name} has no controls that use it")
    return benchmark.read_train(path)


def _check(output_dir: str | Path | None, videos_dir: str | Path | None, bootstrap: int, limit: int | None) -> None:
    """What can be seen before anything is read. Raises ConfigError or PredictionError."""
    if bootstrap < 0:
        raise ConfigError(f"--bootstrap {bootstrap}: give the number of resamples, such as 1000")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: give 1 or more")
    if videos_dir is not None and not Path(videos_dir).is_dir():
        raise ConfigError(f"--videos-dir {videos_dir}: no such folder")
    if videos_dir is not None and output_dir is None:
        raise ConfigError(f"--videos-dir {videos_dir}: pictures need a place; give --output-dir as well")
    if output_dir is not None and Path(output_dir).exists() and not Path(output_dir).is_dir():
        raise ConfigError(f"--output-dir {output_dir}: is a file; give a folder")
    if output_dir is None or not (Path(output_dir) / SCORES).is_file():
        return
    earlier = read_json(Path(output_dir) / SCORES)
    if not isinstance(earlier, dict) or "predictions_file" not in earlier or (Path(output_dir) / MERGED).is_file():
        raise PredictionError(
            f"{output_dir}: holds an evaluation, whose scores would be overwritten; give another --output-dir"
        )


def _warn(file: PredictionFile, matched: Matched) -> None:
    for what, places in (("belong to no question", matched.left_over), ("are of a question again", matched.doubled)):
        if places:
            logger.warning(
                "%s: %d of %d predictions %s, for example %s",
                ascii(file.name), len(places), len(file.predictions), what, ascii(places[0]),
            )  # fmt: skip


def _prompts(
    benchmark: Benchmark, annotations: Annotations, matched: Matched, prompt_file: str | Path | None
) -> dict[str, str]:
    """Id -> what the model was asked, without transcripts, as far as that is known."""
    known = {key: without_speech(prompt) for key, prompt in matched.prompts.items()}
    if prompt_file is None:
        return known
    template = load_prompt(prompt_file)
    questions = benchmark.questions(annotations, template)
    return {question.id: fill_prompt(template, question.query) for question in questions} | known


def _durations(
    benchmark: Benchmark, annotations: Annotations, videos_dir: str | Path | None, output_dir: str | Path | None
) -> dict[str, float] | None:
    if videos_dir is None or output_dir is None or not benchmark.uses_durations:
        return None
    from timechat.evaluation.durations import cached_durations  # decoders take seconds to import

    folder = Path(videos_dir)
    files = _video_files(benchmark, annotations.rows, folder)
    return cached_durations({str(path.relative_to(folder)): path for path in files.values()}, Path(output_dir))


def _video_files(benchmark: Benchmark, rows: Sequence[Row], videos_dir: Path) -> dict[str, Path]:
    """Id of a question -> its video's file: the first of its names that is there."""
    files = {}
    for row in rows:
        paths = [videos_dir / name for name in benchmark.files_of(row)]
        files[benchmark.row_id(row)] = next((path for path in paths if path.exists()), paths[0])
    return files


def _sources(
    predictions: str | Path | Any,
    file: PredictionFile,
    anno_path: str | Path,
    annotations: Annotations,
    train_anno: str | Path | None,
    prompt_file: str | Path | None,
) -> dict[str, Any]:
    """Where the scores come from."""
    settings = {"predictions": file.name, "form": file.form}
    if isinstance(predictions, str | Path) and Path(predictions).is_file():
        settings["predictions_sha256"] = sha256_of_file(predictions)
    if prompt_file is not None:
        settings["prompt_file"] = str(prompt_file)
    return {
        "train_anno": None if train_anno is None else str(train_anno),
        "anno_path": str(anno_path),
        "annotations_sha256": annotations.sha256,
        "settings": settings,
    }


def _write(
    folder: Path,
    record: dict[str, Any],
    benchmark: Benchmark,
    rows: Sequence[Row],
    result: Result,
    videos_dir: str | Path | None,
) -> None:
    plots: list[Path] = []
    write_record(folder, record, benchmark, result)
    if videos_dir is not None:
        from timechat.evaluation.plots import draw_plots  # decoders and matplotlib take seconds to import

        unanswered = set(result.unanswered)
        answered = [example for example in result.examples if example.id not in unanswered]
        plots = draw_plots(answered, _video_files(benchmark, rows, Path(videos_dir)), folder)
    write_text(folder / REPORT, markdown_report(record, plots))
