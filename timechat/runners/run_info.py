"""run_info.json: what a run was, so that it can be understood, repeated and compared years later."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import secrets
import shlex
import socket
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from packaging.requirements import Requirement

from timechat import distributed
from timechat.config import plain
from timechat.errors import TrainingError
from timechat.io import git_state, write_json

INFO_FILE = "run_info.json"


def record_start(output_dir: Path, cfg: DictConfig, **facts: Any) -> str:
    """Add this start to the run's `run_info.json`; call it on the main process.

    Args:
        output_dir: of the run.
        cfg: the whole config.
        facts: what else is worth knowing, JSON-ready: the engine that actually runs, where the run resumes, ...

    Returns:
        The run's id, eight letters and digits, the same for all its starts.

    Raises:
        TrainingError: an existing file that is not a run_info.json.
    """
    path = output_dir / INFO_FILE
    info: dict[str, Any] = _read(path) if path.is_file() else {"id": secrets.token_hex(4), "starts": []}
    info["starts"].append(describe_start(cfg) | facts)
    write_json(path, info)
    return info["id"]


def _read(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(info["id"], str) and isinstance(info["starts"], list):
            return info
    except (ValueError, LookupError, TypeError):
        pass
    raise TrainingError(f"{path}: is damaged or not written by train.py; move it away")


def describe_start(cfg: DictConfig) -> dict[str, Any]:
    """Time, command, host, versions, commit and config of this process, JSON-ready."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv),
        "working_directory": os.getcwd(),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "world_size": distributed.world_size(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions(),
        "git": git_state(),
        "config": plain(cfg),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python, CUDA, this package and its declared dependencies; None for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "cuda": torch.version.cuda}
    for package in ("timechat", *_dependencies()):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def _dependencies() -> list[str]:
    """The declared dependencies, with all extras except the developers' tools; all packages without an installation."""
    try:
        declared = [Requirement(line) for line in importlib.metadata.requires("timechat") or ()]
    except importlib.metadata.PackageNotFoundError:  # started from a checkout without installation
        return sorted({distribution.name for distribution in importlib.metadata.distributions()})
    return [requirement.name for requirement in declared if 'extra == "dev"' not in str(requirement.marker)]
