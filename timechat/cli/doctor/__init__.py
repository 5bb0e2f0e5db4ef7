"""`timechat doctor`: check a set-up with its real files, one module per section of the report."""

from __future__ import annotations

from timechat.cli.doctor.main import main

__all__ = ["main"]
