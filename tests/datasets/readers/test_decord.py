"""What only matters when reading with decord."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.videos import write_video

from timechat.datasets import readers
from timechat.datasets.video import load_video
from timechat.errors import VideoError

decord = pytest.importorskip("decord")


@pytest.fixture(autouse=True)
def _with_decord(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "READER", "decord")


@pytest.mark.parametrize(("options", "wanted"), [({}, False), ({"x264-params": "open-gop=1:bframes=3"}, True)])
def test_only_open_gops_are_decoded_in_order(tmp_path, options, wanted):
    """The slow path is for those who need it."""
    from timechat.datasets.readers.decord import needs_order

    path = write_video(tmp_path / "clip.mp4", frames=60, gop=12, codec_options=options)
    assert needs_order(str(path)) is wanted


@pytest.mark.parametrize("times", [[0.0, 0.2, 0.1], [-1e14, -1e14], [0.0, float("nan")]])
def test_broken_timestamps_are_refused(tmp_path, monkeypatch, times):
    path = write_video(tmp_path / "clip.mp4", frames=len(times))
    spans = np.repeat(np.array(times)[:, None], 2, axis=1)
    monkeypatch.setattr(decord.VideoReader, "get_frame_timestamp", lambda reader, indices: spans)
    with pytest.raises(VideoError, match="timestamps"):
        load_video(path, 4, 32)


def test_decoding_works_under_any_bridge(tmp_path):
    """Other packages in the process set decord's output type; theirs is put back."""
    path = write_video(tmp_path / "clip.mp4", frames=4)
    plain = load_video(path, 4, 16)
    decord.bridge.set_bridge("torch")
    try:
        assert torch.equal(load_video(path, 4, 16).frames, plain.frames)
        assert isinstance(decord.VideoReader(str(path))[0], torch.Tensor)
    finally:
        decord.bridge.set_bridge("native")
