"""Talk with a model about a video in a terminal, or through a pipe: one question or command a line.

timechat chat v.mp4
printf '%s\n' "What happens?" "/save answer.srt" | timechat chat v.mp4
"""

from __future__ import annotations

import argparse
import io
import sys

from timechat.app.terminal import COMMANDS, TerminalChat, typed_line
from timechat.cli.asking import add_generation, add_model, add_speech, check, generation, load_model
from timechat.cli.common import path, run_main
from timechat.errors import ConfigError

_COMMANDS = "lines that begin with a slash are commands:\n" + "".join(f"  {text}\n" for text in COMMANDS.values())
_STATUS = "exit status: 0; 1 after an error at the start, or in any line of a pipe; 130 after Ctrl-C in a pipe"


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="timechat chat",
        description="Talk with a model about a video. It reads each question together with the earlier ones.",
        epilog=f"{_COMMANDS}\n{_STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "video", type=path, metavar="VIDEO", nargs="?", help="a video, or an image; /video names others"
    )
    add_model(parser)
    add_speech(parser, "the first question")
    add_generation(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, load the model, talk; returns the exit status."""
    args = build_parser().parse_args(argv)
    failed = False

    def run() -> None:
        nonlocal failed
        check(args)
        if args.asr is not None and args.video is None:
            raise ConfigError(f"--asr {args.asr}: name the VIDEO, too; /asr gives the speech of other ones")
        chat = TerminalChat(load_model(args), args.system, generation(args))
        if isinstance(sys.stdin, io.TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")  # what is not text is no reason to end
        interactive = sys.stdin.isatty() and sys.stdout.isatty()
        if args.video is not None:
            chat.take(f"/video {args.video}")
        if args.asr is not None:
            chat.take(f"/asr {args.asr}")
        chat.run(typed_line if interactive else sys.stdin.readline, interactive)
        failed = chat.failed and not interactive

    return run_main(run) or int(failed)


if __name__ == "__main__":
    sys.exit(main())
