"""What a file is, by its first bytes.

ffmpeg also opens text files that name other files and hosts (playlists, lists of parts), which a request must not make
it do. So only files that begin as self-contained videos or pictures are opened at all, whatever they are called.
"""

from __future__ import annotations

NEEDED = 512  # bytes from which it can be told
# Where the first two packets of a transport stream begin; in the second form each has a time stamp before it.
_TS_STARTS = ((0, 188), (4, 196))
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_VIDEO_STARTS = {
    b"\x1a\x45\xdf\xa3": ".mkv",  # and WebM
    b"FLV\x01": ".flv",
    b"OggS": ".ogv",
    b"\x30\x26\xb2\x75": ".wmv",
    b"\x00\x00\x01\xba": ".mpg",
    b"\x00\x00\x01\xb3": ".mpg",
    b"GIF8": ".gif",
}
_IMAGE_STARTS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"BM": ".bmp", b"GIF8": ".gif"}
_RIFF_FORMS = {("video", b"AVI "): ".avi", ("image", b"WEBP"): ".webp"}


def suffix_of(kind: str, begin: bytes) -> str | None:
    """The usual suffix of a video's or an image's file; None where it is neither known nor safe to open.

    Args:
        kind: video | image, what it is to be opened as.
        begin: its first `NEEDED` bytes.
    """
    starts = _VIDEO_STARTS if kind == "video" else _IMAGE_STARTS
    for start, suffix in starts.items():
        if begin.startswith(start):
            return suffix
    if begin.startswith(b"RIFF"):
        return _RIFF_FORMS.get((kind, begin[8:12]))
    if kind == "video" and begin[4:8] in _MP4_BOXES:
        return ".mp4"
    if kind == "video" and any(
        begin[first : first + 1] == begin[second : second + 1] == b"G" for first, second in _TS_STARTS
    ):
        return ".ts"
    return None
