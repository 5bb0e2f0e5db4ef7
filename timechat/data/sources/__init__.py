"""The sources that `timechat data convert` reads: to add one, write a file like these and put it into SOURCES."""

from __future__ import annotations

from timechat.data.sources import (
    activitynet_captions,
    charades_sta,
    coin,
    conversations,
    didemo,
    hirest,
    mine,
    queryd,
    qvhighlights,
    summaries,
    timelens_100k,
    vitt,
    webvid,
    youcook2,
    yttemporal,
)
from timechat.data.sources.contract import Asked, Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        mine.SOURCE,
        charades_sta.SOURCE,
        qvhighlights.SOURCE,
        youcook2.SOURCE,
        activitynet_captions.SOURCE,
        didemo.SOURCE,
        queryd.SOURCE,
        hirest.SOURCE,
        coin.SOURCE,
        vitt.SOURCE,
        summaries.TVSUM,
        summaries.SUMME,
        yttemporal.SOURCE,
        conversations.ET_INSTRUCT,
        timelens_100k.SOURCE,
        conversations.VALLEY,
        conversations.LLAVA,
        webvid.SOURCE,
    )
}

__all__ = ["SOURCES", "Asked", "Source"]
