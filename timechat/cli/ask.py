"""Ask a model about a video: the answer while it is written, and a table of the parts of the video that it names.

timechat ask v.mp4 "When does she crack the egg?"
timechat ask v.mp4 "she cracks the egg" --task ground --model my_model --json | jq .segments
timechat ask v.mp4 --task caption --srt > v.srt
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial

from timechat.app.answer import TASKS, Answer
from timechat.app.exports import cut_clips, to_markdown, to_srt
from timechat.app.terminal import read_answer, shown_segments, without_controls
from timechat.cli.asking import add_generation, add_model, add_speech, check, generation, load_model
from timechat.cli.common import INTERRUPTED, path, run_main
from timechat.datasets.video import FRAME_SUFFIXES
from timechat.errors import ConfigError

NOTHING_FOUND = 3
_STATUS = (
    "exit status: 0; 1 after an error, which stands on stderr; 2 for a wrong command line; "
    f"{NOTHING_FOUND} if --task, --srt, --markdown or --clips was given and the answer names no part of the video; "
    f"{INTERRUPTED} after Ctrl-C, which ends the answer: what is there is printed"
)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="timechat ask", description="Ask a model about a video.", epilog=_STATUS)
    add = parser.add_argument
    add("video", type=path, metavar="VIDEO", help="a video, or an image")
    add("question", metavar="QUESTION", nargs="?", default="", help="a question; with --task, what is looked for")
    add_model(parser)
    add("--task", choices=TASKS, help="ask for times, captions with times (needs no QUESTION), or highlights")
    add_speech(parser, "the question")
    add_generation(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print one JSON object: text, segments, seconds of the frames"
    )
    form.add_argument("--srt", action="store_true", help="print the segments as chapters, for players")
    form.add_argument("--markdown", action="store_true", help="print the segments as a Markdown table")
    form.add_argument(
        "--stream",
        action=argparse.BooleanOptionalAction,
        help="print the words as they come (default: if stdout is a terminal)",
    )
    add("--clips", type=path, metavar="DIR", help="cut the segments out of the video, and list the files on stderr")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, ask; returns the exit status."""
    args = build_parser().parse_intermixed_args(argv)
    status = 0

    def run() -> None:
        nonlocal status
        answer, stopped = _ask(args)
        wanted = args.task or args.srt or args.markdown or args.clips
        status = INTERRUPTED if stopped else NOTHING_FOUND if wanted and not answer.segments else 0

    return run_main(run) or status


def _ask(args: argparse.Namespace) -> tuple[Answer, bool]:
    """Ask and print; returns the answer, and whether Ctrl-C ended it."""
    if not args.question.strip() and args.task != "caption":
        raise ConfigError("no QUESTION: say what you want to know, or ask for captions with --task caption")
    if args.clips and args.video.lower().endswith(FRAME_SUFFIXES):
        raise ConfigError(f"--clips {args.clips}: {args.video} is an image, of which there are no clips")
    check(args)
    model = load_model(args)
    whole = args.json or args.srt or args.markdown
    streams = not whole and (sys.stdout.isatty() if args.stream is None else args.stream)
    options = {"task": args.task, "system": args.system, "asr": args.asr, **generation(args)}
    start = partial(model.stream, model.encode(args.video), args.question, **options)
    answer, stopped = read_answer(start, _say if streams else lambda piece: None)
    _show(args, answer, streams)
    if stopped:
        sys.stderr.write("interrupted\n")
    elif args.clips:
        sys.stderr.writelines(f"{clip}\n" for clip in cut_clips(args.video, answer.segments, args.clips))
    return answer, stopped


def _show(args: argparse.Namespace, answer: Answer, streamed: bool) -> None:
    """Print an answer in the form that was asked for; the words of one that was streamed are there."""
    if args.json:
        sys.stdout.write(json.dumps(answer.to_dict(), ensure_ascii=False) + "\n")
    elif not (args.srt or args.markdown):
        _say("\n" if streamed else f"{answer.text}\n")
        sys.stdout.write(f"\n{shown_segments(answer)}" if answer.segments else "")
    elif answer.segments:
        sys.stdout.write(to_srt(answer) if args.srt else to_markdown(answer))
    else:
        sys.stderr.write(f"the answer names no part of the video: {answer.text}\n")


def _say(text: str) -> None:
    sys.stdout.write(without_controls(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
