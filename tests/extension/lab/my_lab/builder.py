"""Questions about the lab's moments, to train on."""

from __future__ import annotations

from dataclasses import dataclass

from my_lab.moments import read_moments
from timechat.datasets.annotations import Item, inside
from timechat.datasets.builders import DatasetBuilder
from timechat.datasets.config import DatasetConfig
from timechat.errors import AnnotationError
from timechat.registry import registry
from timechat.schema import key


@dataclass
class MomentsConfig(DatasetConfig):
    """The keys of every dataset, and two more."""

    question: str = key("When does '{event}' happen?", "what is asked about a moment", heading="Moments")
    min_seconds: float = key(0.0, "leave out shorter moments", least=0)


@registry.register_builder("my_moments", config=MomentsConfig)
class MomentsBuilder(DatasetBuilder):
    """One question for each moment."""

    def read_items(self, anno: str, videos_dir: str) -> list[Item]:
        """The moments as questions and answers. Raises AnnotationError."""
        moments = read_moments(anno, self.cfg.min_seconds)
        for moment in moments:
            if not inside(moment.video, videos_dir):
                raise AnnotationError(f"{anno}: {moment.video} is outside of {videos_dir}")
        return [
            Item(
                moment.video,
                ({"q": self.cfg.question.format(event=moment.event), "a": f"{moment.start} - {moment.end} seconds."},),
            )
            for moment in moments
        ]
