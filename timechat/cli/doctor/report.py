"""The doctor's report: sections of plain text, written as they are checked, each ending with its findings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from timechat.wording import counted

OK, WARNING, ERROR = "OK", "WARNING", "ERROR"


def to_stdout(text: str) -> None:
    """Write without delay: a section may take minutes, and the earlier ones should be visible meanwhile."""
    sys.stdout.write(text)
    sys.stdout.flush()


@dataclass(frozen=True)
class Finding:
    """One conclusion.

    Attributes:
        section: title of its section.
        level: OK, WARNING or ERROR.
        text: what was found and, if it is a problem, what to do.
    """

    section: str
    level: str
    text: str


class ReportSection:
    """A section in progress; lines are written immediately, findings at its end."""

    def __init__(self, title: str, write: Callable[[str], None]):
        self.title, self._write = title, write
        self.findings: list[Finding] = []

    def say(self, line: str) -> None:
        """Write a line of facts."""
        self._write(f"  {line}\n")

    def table(self, rows: list[list[str]]) -> None:
        """Write rows of equal length, the first one the header; all columns but the first are right-aligned."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
            self.say("  ".join([row[0].ljust(widths[0]), *cells[1:]]))

    def ok(self, text: str) -> None:
        """Something is as it should be."""
        self.findings.append(Finding(self.title, OK, text))

    def warning(self, text: str) -> None:
        """Something looks wrong, or will surprise."""
        self.findings.append(Finding(self.title, WARNING, text))

    def error(self, text: str) -> None:
        """Something is wrong and must be fixed."""
        self.findings.append(Finding(self.title, ERROR, text))


class Report:
    """All sections in order.

    Args:
        write: called with every piece of text.
    """

    def __init__(self, write: Callable[[str], None] = to_stdout):
        self._write = write
        self.findings: list[Finding] = []

    @contextmanager
    def section(self, title: str) -> Iterator[ReportSection]:
        """Check one subject; its findings are written when the block ends."""
        self._write(f"\n== {title} ==\n")
        section = ReportSection(title, self._write)
        try:
            yield section
        finally:  # findings from before an error are worth knowing
            for finding in section.findings:
                self._write(f"  {finding.level + ':':<9}{finding.text}\n")
            self.findings += section.findings

    def summary(self) -> None:
        """Repeat every finding, and count them."""
        self._write("\n== All findings ==\n")
        for finding in self.findings:
            self._write(f"  {finding.level + ':':<9}[{finding.section}] {finding.text}\n")
        errors, warnings = (sum(f.level == level for f in self.findings) for level in (ERROR, WARNING))
        verdict = "this set-up does not work as it is" if errors else "nothing was found that keeps it from working"
        self._write(f"\n{counted(errors, 'error')}, {counted(warnings, 'warning')}: {verdict}.\n")

    @property
    def exit_status(self) -> int:
        """1 when there is an ERROR among the findings, else 0."""
        return int(any(finding.level == ERROR for finding in self.findings))


def size_text(num_bytes: float) -> str:
    """Readable number of bytes: 1.5 GB, 23.4 MB, 512 bytes."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes:.0f} bytes"


def some(names: list[str], limit: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
