"""Manifests: which items of an annotation file an audit found unfit, so that training leaves them out.

`timechat data audit` writes them, `build_info.manifest` names one. A manifest belongs to one annotation file, of which
it has the hash, and counts items from zero in the order of that file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timechat.errors import AnnotationError
from timechat.io import sha256_of, sha256_of_file, write_json
from timechat.lfs import refuse_pointer

FORMAT = "timechat manifest 1"


@dataclass(frozen=True)
class Manifest:
    """What is left out of an annotation file.

    Attributes:
        path: of the manifest.
        items: how many items the annotation file has.
        left_out: the items' numbers, increasing, by the fault for which they are left out; each has only one.
    """

    path: str
    items: int
    left_out: Mapping[str, Sequence[int]]

    @property
    def numbers(self) -> frozenset[int]:
        """All that is left out."""
        return frozenset(number for numbers in self.left_out.values() for number in numbers)

    @property
    def digest(self) -> str:
        """A hash of what is left out: two manifests with the same one leave the same samples."""
        return sha256_of(json.dumps(sorted(self.numbers)))

    def facts(self) -> dict[str, Any]:
        """Counts, JSON-ready."""
        counts = {fault: len(numbers) for fault, numbers in self.left_out.items()}
        return {"manifest": self.path, "items": self.items, "left_out": counts, "digest": self.digest}

    def __str__(self) -> str:
        counts = ", ".join(f"{fault} {len(numbers):,}" for fault, numbers in self.left_out.items() if numbers)
        left_out = f"{len(self.numbers):,} of {self.items:,} items are left out"
        return f"{left_out} by {self.path}" + (f" ({counts})" if counts else "")


def write_manifest(manifest: Manifest, annotations: str | Path, about: Mapping[str, Any]) -> None:
    """Write a manifest.

    Args:
        manifest: to be written to its path.
        annotations: the file that it belongs to.
        about: what else is worth knowing, JSON-ready.

    Raises:
        OSError: a file cannot be read or written.
    """
    belongs_to = {"path": str(annotations), "sha256": sha256_of_file(annotations), "items": manifest.items}
    content = {"format": FORMAT, "annotations": belongs_to, **about, "left_out": dict(manifest.left_out)}
    write_json(manifest.path, content)


def read_manifest(path: str | Path, annotations: str | Path) -> Manifest:
    """Read a manifest, and check that it belongs to an annotation file.

    Raises:
        AnnotationError: it is missing, damaged, or belongs to other annotations.
    """
    if not Path(path).is_file():
        raise AnnotationError(f"build_info.manifest={path}: no such file; write it with: timechat data audit")
    refuse_pointer(path, AnnotationError, "build_info.manifest")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        known = content["format"] == FORMAT
        belongs_to, items = content["annotations"], content["annotations"]["items"]
        left_out = {str(fault): _numbers(numbers, items) for fault, numbers in content["left_out"].items()}
        digest, other = belongs_to["sha256"], belongs_to["path"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AnnotationError(
            f"build_info.manifest={path}: not a manifest ({type(error).__name__}: {error}); write it with: timechat "
            "data audit"
        ) from error
    if not known:
        raise AnnotationError(
            f"build_info.manifest={path}: its format is {content['format']!r}, not {FORMAT!r}; write it again with: "
            "timechat data audit"
        )
    if Path(annotations).is_file() and (found := sha256_of_file(annotations)) != digest:
        raise AnnotationError(
            f"build_info.manifest={path}: belongs to other annotations ({other}, SHA-256 {digest[:12]}...) than "
            f"build_info.anno_dir={annotations} ({found[:12]}...): audit that file again, or name its own manifest"
        )
    return Manifest(str(path), items, left_out)


def earlier_manifest(path: str | Path) -> tuple[str, Manifest] | None:
    """The annotation file that a manifest belongs to, as it was called, and the manifest; None if there is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        belongs_to = content["annotations"]
        items = belongs_to["items"]
        left_out = {str(fault): _numbers(numbers, items) for fault, numbers in content["left_out"].items()}
        return str(belongs_to["path"]), Manifest(str(path), items, left_out)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # a damaged one may be replaced


def _numbers(numbers: Sequence[Any], items: Any) -> list[int]:
    """The numbers of items. Raises ValueError: they are none."""
    if not all(type(number) is int and 0 <= number < items for number in numbers):
        raise ValueError(f"left_out must hold numbers from 0 to {items} - 1")
    return list(numbers)
