"""From a config to a runner that is ready to train."""

from __future__ import annotations

from datetime import timedelta

from omegaconf import DictConfig

from timechat import distributed
from timechat.device import resolve_device
from timechat.registry import registry
from timechat.runners.missing_files import must_have_files
from timechat.runners.runner import Runner
from timechat.tasks import build_task


def build_runner(cfg: DictConfig) -> Runner:
    """Build everything that a config names, ready for `train()`. Raises the errors of what it builds."""
    device = resolve_device(cfg.run.device)
    runner_class = registry.get_runner_class(cfg.run.runner)
    task = build_task(cfg)
    # Longer than a process may wait for its data, because the others wait for it meanwhile.
    distributed.init_process_group(device, timedelta(seconds=max(1800.0, 2 * (cfg.run.data_timeout_s or 0))))
    distributed.on_main_process(lambda: must_have_files(cfg))
    return runner_class(cfg, task, task.build_datasets(cfg), device)
