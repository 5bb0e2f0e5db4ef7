"""What is measured, one file for each; a subject is a function from model and patience to rows of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.speed.measure import Patience
from benchmarks.speed.rows import Row
from benchmarks.speed.sizes import Bench
from benchmarks.speed.subjects import answers, checkpoints, collating, decoding, encoding, growth, scoring, training

Subject = Callable[[Bench, Patience], Iterator[Row]]

SUBJECTS: dict[str, Subject] = {
    "encode": encoding.encode,
    "train": training.train,
    "generate": answers.generate,
    "questions": answers.questions,
    "bf16": training.bf16,
    "decode": decoding.decode,
    "collate": collating.collating,
    "scoring": scoring.scoring,
    "checkpoint": checkpoints.checkpoint,
    "growth": growth.growth,
}
