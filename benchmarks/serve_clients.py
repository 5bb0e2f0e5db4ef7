"""Many clients at once, some of which leave: is every answer there and right, and does the server's memory stay flat?

    python benchmarks/serve_clients.py
    python benchmarks/serve_clients.py --cfg-path my_model --videos my_videos

A server of the tiny model of the tests, in a process of its own; each client asks one question after the other,
streamed or not, and leaves a quarter of them at a random moment. Before that, each question is asked alone: the answers
have to be the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from helpers.tiny import BERT, LLAMA, TINY, WEIGHTS
from helpers.videos import write_video

ROOT = Path(__file__).resolve().parents[1]
TINY_OPTIONS = [f"model.llama_model={LLAMA}", f"model.qformer_tokenizer={BERT}", f"model.ckpt={WEIGHTS}"]
QUESTIONS = ("What happens first?", "When does the chef cut the bread?", "Describe it, and say when each part happens.")
VIDEOS = 8
LEAVE = 0.25  # of all requests
MAX_TOKENS = (4, 12, 24)


@dataclass
class Outcome:
    """What became of the requests.

    Attributes:
        seconds: that each answered one took.
        first: until the first words of each that was streamed.
        left: requests that their client left.
        lost: what was wrong with each of the others that has no answer, or another one than alone.
    """

    seconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    left: int = 0
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Load:
    """A server under load.

    Attributes:
        http: to it.
        videos: URLs.
        alone: (video, question, longest answer) -> the answer to it alone.
    """

    http: httpx.AsyncClient
    videos: list[str]
    alone: dict[tuple[str, str, int], str]

    async def ask_each_alone(self) -> None:
        """Fill `alone`."""
        for key in [(v, q, n) for v in self.videos for q in QUESTIONS for n in MAX_TOKENS]:
            answer = await self.http.post("/v1/chat/completions", json=request(*key, stream=False))
            self.alone[key] = answer.raise_for_status().json()["choices"][0]["message"]["content"]

    async def client(self, number: int, requests: int, outcome: Outcome, patience: float) -> None:
        """One client's requests, one after the other; it leaves some, after `patience` seconds at most."""
        draw = random.Random(number)
        for _ in range(requests):
            key = (draw.choice(self.videos), draw.choice(QUESTIONS), draw.choice(MAX_TOKENS))
            stream, leaves = draw.random() < 0.5, draw.random() < LEAVE
            began = time.monotonic()
            asked = self._ask(key, stream, outcome)
            if leaves:
                outcome.left += 1
                try:
                    await asyncio.wait_for(asked, patience * draw.random())
                except asyncio.TimeoutError:
                    pass
                except httpx.HTTPError as error:
                    outcome.lost.append(repr(error))
                continue
            try:
                answer = await asked
            except (httpx.HTTPError, ValueError) as error:
                outcome.lost.append(repr(error))
                continue
            outcome.seconds.append(time.monotonic() - began)
            if answer != self.alone[key]:
                outcome.lost.append(f"{key[1:]}: {answer!r}, alone {self.alone[key]!r}")

    async def _ask(self, key: tuple[str, str, int], stream: bool, outcome: Outcome) -> str:
        """One answer. Raises HTTPError, ValueError: it is not whole."""
        began, text, ended = time.monotonic(), "", False
        body = request(*key, stream=stream)
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            if not stream:
                return json.loads(await response.aread())["choices"][0]["message"]["content"]
            async for line in response.aiter_lines():
                if line == "data: [DONE]":
                    ended = True
                elif line:
                    piece = json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
                    if piece and not text:
                        outcome.first.append(time.monotonic() - began)
                    text += piece
        if not ended:
            raise ValueError("a stream without its end")
        return text


def request(video: str, question: str, max_tokens: int, *, stream: bool) -> dict[str, Any]:
    """The JSON of a question."""
    parts = [{"type": "video_url", "video_url": {"url": video}}, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": parts}]
    return {"model": "timechat", "max_tokens": max_tokens, "stream": stream, "messages": messages}


def megabytes(server: subprocess.Popen[str]) -> float:
    """Memory of the server and of the process that reads its videos."""
    process = psutil.Process(server.pid)
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def start(cfg_path: str, options: list[str], folder: Path) -> tuple[subprocess.Popen[str], str]:
    """A server that may read the videos of a folder; its process and its URL."""
    command = [sys.executable, "-m", "timechat", "serve", "--port", "0", "--cfg-path", cfg_path, "--device", "cpu"]
    more = ["--media-dir", str(folder), "--options", *options]
    server = subprocess.Popen([*command, *more], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"running on (http://\S+)", line):
            return server, found[1]
    raise SystemExit("the server did not start")


async def load(server: subprocess.Popen[str], url: str, videos: list[str], clients: int, requests: int) -> int:
    """Ask, and print the figures; the number of answers that were lost."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, trust_env=False) as http:
        load = Load(http, videos, {})
        await load.ask_each_alone()
        warm = Outcome()  # what is allocated once, is
        await asyncio.gather(*(load.client(-1 - i, 2, warm, 1.0) for i in range(clients)))
        patience = max(warm.seconds)
        before, began, outcome = megabytes(server), time.monotonic(), Outcome()
        await asyncio.gather(*(load.client(i, requests, outcome, patience) for i in range(clients)))
        took, after = time.monotonic() - began, megabytes(server)
        figures = (await http.get("/metrics")).text
    waiting = float(re.findall(r"^timechat_requests_in_server (\S+)", figures, re.MULTILINE)[0])
    write = sys.stdout.write
    write(f"{clients} clients, {requests} requests each: {clients * requests} in {took:.1f} s\n")
    write(f"answered {len(outcome.seconds)}, left by their client {outcome.left}, lost {len(outcome.lost)}\n")
    write(f"places still taken at the end: {waiting:.0f}\n")
    write(f"an answer: median {median(outcome.seconds):.2f} s, slowest {max(outcome.seconds):.2f} s\n")
    write(f"first words of a stream: median {median(outcome.first):.2f} s, slowest {max(outcome.first):.2f} s\n")
    write(f"memory of the server: {before:.0f} MB before, {after:.0f} MB after ({after - before:+.1f})\n")
    for each in outcome.lost[:10]:
        write(f"lost: {each}\n")
    return len(outcome.lost) + int(waiting)


def main() -> int:
    """Print the figures; the exit status is 1 when an answer was lost or a place is still taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg-path", help="a model in place of the tiny one")
    parser.add_argument("--options", nargs="*", default=[], metavar="KEY=VALUE", help="of its config")
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of videos in place of small gray ones")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--requests", type=int, default=10, help="of each client")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = (args.videos or Path(made)).resolve()
        if args.videos is None:
            for i in range(VIDEOS):
                write_video(folder / f"{i}.mp4", frames=10 + 3 * i)
        videos = [path.as_uri() for path in sorted(folder.glob("*.mp4"))[:VIDEOS]]
        model = [args.cfg_path, args.options] if args.cfg_path else [str(TINY / "config.yaml"), TINY_OPTIONS]
        server, url = start(*model, folder)
        try:
            lost = asyncio.run(load(server, url, videos, args.clients, args.requests))
        finally:
            server.terminate()
            _, said = server.communicate()
    if server.returncode or "Traceback" in said:
        sys.stdout.write(f"the server ended with status {server.returncode}:\n{said}")
    return int(lost > 0 or server.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
