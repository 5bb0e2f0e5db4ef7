"""E.T. Bench: twelve tasks about events and their times, 7,289 samples. Accuracy, F1, similarity and recall.

Reads `annotations/etbench_txt_v1.0.json` of the download, the folder `annotations/txt/`, or one task's file in it:
`[{"idx", "task", "source", "video", "duration", "q", ...}]` with `p` (index of the right option) and `o` (options) of
RAR, EVC, RVQ and GVQ; `tgt` (intervals in seconds) of all others and GVQ; `g` (captions) of DVC and SLC. `q` is the
whole prompt. The id is `task/source/idx`, the video a path below `videos/`. The annotations whose times are tokens
(`etbench_vid_v1.0.json`) are refused.

Scored as by its script: every task by source, a task's score is the mean over its sources, a group's that over its
tasks. `etbench_answers.json` holds the samples with their answers as that script reads them.

- `rows.py`: tasks, reading, checks. `answers.py`: what an answer says.
- `scores.py`, `captions.py`: one sample; the samples of a source. `totals.py`: tasks and groups. `controls.py`.
- `benchmark.py`: the benchmark. `examples.py`: plots.
"""

from __future__ import annotations

from timechat.evaluation.benchmarks.etbench.benchmark import ETBench

__all__ = ["ETBench"]
