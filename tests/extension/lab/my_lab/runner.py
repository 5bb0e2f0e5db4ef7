"""A runner that says when it is done."""

from __future__ import annotations

from dataclasses import dataclass

from timechat import distributed
from timechat.registry import registry
from timechat.runners import Runner
from timechat.runners.config import RunnerConfig
from timechat.schema import key


@dataclass
class DoneFileConfig(RunnerConfig):
    """The keys of every runner, and one more."""

    done_file: str = key("", 'written below output_dir when training ends; "" = none', may_change=True)


@registry.register_runner("my_runner", config=DoneFileConfig)
class DoneFileRunner(Runner):
    """Trains, then leaves a file for whatever waits for it."""

    def train(self) -> None:
        """As above, and the file."""
        super().train()
        if self.cfg.run.done_file and distributed.is_main_process():
            (self.output_dir / self.cfg.run.done_file).write_text(f"{self.steps} optimizer steps\n")
