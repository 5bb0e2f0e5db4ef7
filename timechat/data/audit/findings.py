"""What an audit finds: counted, written to a file as it is found, and what of it is left out of training."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Iterator
from typing import TextIO

from timechat.data.audit.faults import FAULTS, SCHEMA, Finding
from timechat.io import json_line
from timechat.wording import counted

_EXAMPLES = 3


class Findings:
    """The faults of an annotation file.

    Args:
        file: gets a line of JSON for each.
        unfit: the faults for which an item is left out.

    Attributes:
        counts: how many items have a fault.
        examples: the first ones of each, as lines for people.
        left_out: the numbers of the items, increasing, by the first fault for which they are left out.
    """

    def __init__(self, file: TextIO, unfit: Collection[str]) -> None:
        self._file, self._unfit = file, frozenset(unfit)
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self._left_out: dict[str, array[int]] = {}
        self._gone = bytearray()

    def add(self, finding: Finding, path: str) -> None:
        """Note a fault of an item. `path`: of its video, for people."""
        self._file.write(json_line(finding.row(path)))
        self.counts[finding.fault] += 1
        examples = self.examples.setdefault(finding.fault, [])
        if len(examples) < _EXAMPLES:
            place = f"item {finding.number}" if finding.fault == SCHEMA else f"item {finding.number}, {path}"
            examples.append(f"{place}: {finding.detail}")
        if finding.fault in self._unfit and not self.is_left_out(finding.number):
            self._gone.extend(bytes(max(0, finding.number + 1 - len(self._gone))))
            self._gone[finding.number] = 1
            self._left_out.setdefault(finding.fault, array("q")).append(finding.number)

    def is_left_out(self, number: int) -> bool:
        """Whether an item is left out."""
        return number < len(self._gone) and bool(self._gone[number])

    @property
    def left_out(self) -> dict[str, list[int]]:
        """The items, in the order of `FAULTS`."""
        return {fault: sorted(self._left_out[fault]) for fault in FAULTS if fault in self._left_out}

    def lines(self) -> Iterator[str]:
        """For people: each fault with its count and examples, the gravest first."""
        for fault in FAULTS:
            if self.counts[fault]:
                note = ", left out" if fault in self._unfit else ""
                yield f"{fault}: {counted(self.counts[fault], 'item')}{note} ({FAULTS[fault]})"
                yield from (f"    {example}" for example in self.examples[fault])
                if self.counts[fault] > _EXAMPLES:
                    yield f"    and {self.counts[fault] - _EXAMPLES:,} more"
