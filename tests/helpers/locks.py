"""Another process that has the lock of a folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from helpers.training import ROOT

HOLD = """
import sys, time
from pathlib import Path
from timechat.locks import FolderLock
lock = FolderLock(Path(sys.argv[1]), "run.output_dir=x", "is training in it")
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen]:
    """The process; it is killed in the end."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
    ) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        yield held
        held.kill()
