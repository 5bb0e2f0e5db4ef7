"""`timechat doctor`: examine a set-up with the real files, one module for each thing that is looked at."""

from __future__ import annotations

from timechat.cli.doctor.main import main

__all__ = ["main"]
