"""Read and check the annotations of several benchmarks before the first one runs: eval.sh calls it, no model is loaded.

python -m timechat.cli.annotations charades_sta data/Charades/charades_sta_test.txt data/Charades/videos ...
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from timechat.cli.common import path, run_main
from timechat.errors import TimeChatError
from timechat.evaluation.asked import check_videos
from timechat.evaluation.benchmarks import get_benchmark
from timechat.evaluation.prompting import load_prompt
from timechat.evaluation.tables import text_table


def main(argv: Sequence[str] | None = None) -> int:
    """Check all of them, print what they hold and what is wrong; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m timechat.cli.annotations", description="Check annotations.")
    parser.add_argument("asked", nargs="+", type=path, metavar="NAME ANNO VIDEOS", help="benchmark, file, folder")
    asked = parser.parse_args(argv).asked
    if len(asked) % 3:
        parser.error("give a name, annotations and a folder of videos for each benchmark")
    problems: list[str] = []

    def run() -> None:
        rows = []
        for name, anno, videos in zip(*(asked[first::3] for first in range(3)), strict=True):
            try:
                rows.append((name, *_counts(name, anno, Path(videos))))
            except (TimeChatError, OSError) as error:
                problems.append(f"{name}: {type(error).__name__}: {error}")
        sys.stdout.write(text_table(("benchmark", "questions", "videos", "of them missing"), rows) if rows else "")
        sys.stderr.write("".join(f"{problem}\n" for problem in problems))

    return run_main(run) or int(bool(problems))


def _counts(name: str, anno: str, videos_dir: Path) -> tuple[str, str, str]:
    """How many questions and videos there are. Raises TimeChatError as an evaluation would."""
    benchmark = get_benchmark(name)
    annotations = benchmark.load_annotations(anno)
    questions = benchmark.questions(annotations, load_prompt(benchmark.prompt_path), videos_dir=videos_dir)
    check_videos(questions, videos_dir)
    videos = {question.video for question in questions}
    missing = sum(not (videos_dir / video).exists() for video in videos)
    return str(len(questions)), str(len(videos)), str(missing)


if __name__ == "__main__":
    sys.exit(main())
