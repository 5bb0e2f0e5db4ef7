"""What an audit writes: a manifest for training, a page about the coverage of each source, and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from timechat.data.audit.faults import FAULTS
from timechat.data.audit.run import Audit, SourceCounts
from timechat.data.audit.videos import HEADER
from timechat.data.published import Published, published
from timechat.datasets.manifest import Manifest, write_manifest
from timechat.evaluation.tables import markdown_table
from timechat.io import git_commit
from timechat.wording import counted

_COLUMNS = ("source", "task", "items", "as published", "videos", "there", "readable", "items kept")


def write_audit_manifest(audit: Audit, path: Path) -> Manifest:
    """Write the manifest of an audit. Raises OSError."""
    settings, lengths = audit.settings, _lengths(audit)
    manifest = Manifest(str(path), audit.items, audit.findings.left_out)
    about: dict[str, Any] = {
        "dataset": audit.target.name,
        "videos_dir": audit.target.videos_dir,
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": git_commit(),
        "checked": settings.how,
        "min_seconds": settings.min_seconds,
        "tolerance_s": settings.tolerance_s,
        "tokens": lengths or audit.target.no_tokens,
        "items_kept": audit.left,
        "faults": {fault: audit.findings.counts[fault] for fault in FAULTS if audit.findings.counts[fault]},
        "sources": {name: _facts(name, counts) for name, counts in audit.sources.items()},
    }
    write_manifest(manifest, audit.target.annotations, about)
    return manifest


def summary(audit: Audit) -> Iterator[str]:
    """What an audit found, for people, one line each."""
    target, findings = audit.target, audit.findings
    videos = sum(counts.files for counts in audit.sources.values())
    readable = sum(counts.files_readable for counts in audit.sources.values())
    yield f"{target.name}: {target.annotations}, videos in {target.videos_dir}"
    about = f"{counted(audit.items, 'item')} about {counted(videos, 'video')}"
    yield f"  {about}, of which {readable:,} can be read ({_how(audit)})"
    known = f"; what was found before in {videos - audit.looked:,} is unchanged" if audit.looked < videos else ""
    yield f"  {counted(audit.looked, 'video was', 'videos were')} looked at{known}"
    if lengths := _lengths(audit):
        yield "  tokens of an item: " + ", ".join(f"{name} {value:,}" for name, value in lengths.items())
    else:
        yield f"  tokens were not counted: {target.no_tokens or 'no video can be read'}"
    yield from (f"  {line}" for line in findings.lines())
    yield f"  kept: {audit.left:,} of {counted(audit.items, 'item')} ({_percent(audit.left, audit.items)})"


def coverage_page(audits: Sequence[Audit]) -> str:
    """The page about coverage, Markdown."""
    lines = ["# Coverage"]
    for audit in audits:
        lines += ["", f"## {audit.target.name}", "", *_section(audit)]
    lines += ["", "## Where missing videos can be had", "", *_places(audits)]
    return "\n".join(lines) + "\n"


def _section(audit: Audit) -> Iterator[str]:
    yield f"`{audit.target.annotations}`, videos in `{audit.target.videos_dir}` ({_how(audit)})."
    yield ""
    rows = [_row(name, counts) for name, counts in audit.sources.items()]
    total = SourceCounts.sum_of(audit.sources.values())
    rows.append(("all", "", *_numbers(total, _published_total(audit))))
    yield markdown_table(_COLUMNS, rows).rstrip("\n")
    yield ""
    counts = audit.findings.counts
    if sum(counts.values()):
        gone = audit.findings.left_out
        faults = [(name, f"{counts[name]:,}", f"{len(gone.get(name, ())):,}", what) for name, what in FAULTS.items()]
        yield markdown_table(("fault", "items", "left out", "meaning"), [row for row in faults if row[1] != "0"])
    yield "To report with a score:"
    yield ""
    yield f"> {_sentence(audit)}"


def _how(audit: Audit) -> str:
    return "headers and ends" if audit.settings.how == HEADER else "every frame decoded"


def _sentence(audit: Audit) -> str:
    lost = [
        f"{_title(name)} {counts.items_left:,}/{counts.items:,}"
        for name, counts in audit.sources.items()
        if counts.items_left < counts.items
    ]
    where = f": {', '.join(lost)}" if lost else ""
    kept = f"{audit.left:,} of {counted(audit.items, 'item')} ({_percent(audit.left, audit.items)})"
    return f"Trained on {kept} of {Path(audit.target.annotations).name}{where}."


def _places(audits: Sequence[Audit]) -> Iterator[str]:
    lacking: dict[str, int] = {}
    for audit in audits:
        for name, counts in audit.sources.items():
            if counts.files_readable < counts.files:
                lacking[name] = lacking.get(name, 0) + counts.files - counts.files_readable
    if not lacking:
        yield "None is missing."
    for name, count in sorted(lacking.items(), key=lambda pair: -pair[1]):
        entry = published().get(name)
        note = "" if entry else " not a source of TimeIT or Valley"
        yield f"- **{_title(name)}**, {counted(count, 'video')}:{note}"
        yield from (f"  - {place}" for place in (entry.places() if entry else ()))
    if lacking:
        yield ""
        yield "Nobody has checked whether the copies hold every video. `timechat data locate` finds what is on your"
        yield "disks under other names."


def _row(name: str, counts: SourceCounts) -> tuple[str, ...]:
    entry = published().get(name)
    return _title(name), _task(entry, counts), *_numbers(counts, entry.items if entry else None)


def _numbers(counts: SourceCounts, as_published: int | None) -> tuple[str, ...]:
    known = "" if as_published is None else f"{as_published:,}"
    if as_published is not None and counts.items != as_published:
        known += f" ({counts.items - as_published:+,})"
    rest = (counts.files, counts.files_there, counts.files_readable, counts.items_left)
    return f"{counts.items:,}", known, *(f"{number:,}" for number in rest)


def _task(entry: Published | None, counts: SourceCounts) -> str:
    """What is asked for: as published, or what most answers look like."""
    if entry:
        return entry.task
    kinds = [kind for kind, _ in counts.kinds.most_common()]
    return kinds[0] if kinds else ""


def _title(name: str) -> str:
    return published()[name].title if name in published() else name or "(no source)"


def _published_total(audit: Audit) -> int | None:
    """How many items all these sources have as published; None with a source that is not one of them."""
    entries = [published().get(name) for name in audit.sources]
    return sum(entry.items for entry in entries if entry) if all(entries) else None


def _facts(name: str, counts: SourceCounts) -> dict[str, Any]:
    """Counts, JSON-ready."""
    entry = published().get(name)
    return {
        "task": _task(entry, counts),
        "items": counts.items,
        "items_as_published": entry.items if entry else None,
        "items_kept": counts.items_left,
        "videos": counts.files,
        "videos_there": counts.files_there,
        "videos_readable": counts.files_readable,
    }


def _lengths(audit: Audit) -> dict[str, int]:
    """Tokens of the items: half of them have at most `median`; empty if none was counted."""
    if not audit.lengths or audit.target.tokens is None:
        return {}
    lengths = np.array(audit.lengths)
    middle, most = (int(np.percentile(lengths, share)) for share in (50, 99))
    limit = audit.target.tokens.max_txt_len
    return {"median": middle, "99 %": most, "longest": int(lengths.max()), "max_txt_len": limit}


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
