"""Damage inside an MP4's pictures and sound, which its boxes do not show: found by decoding all of it once.

An MP4 holds no checksums: blocks of zeros are always found, garbage nearly always, a few wrong bytes mostly.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from av.packet import Packet
from av.video.stream import VideoStream

from hailuo_mcp import video
from hailuo_mcp.media import mp4

# Pictures are decoded one after the other: 6 s of 1080p take 1.2 s on two cores and, like any length, about 60 MB.
# This is ten times that. What lies behind it in a file that long is only looked at for torn parts, which costs nothing.
_DECODED_PIXELS_MAX = 3_000_000_000


def check(path: Path) -> mp4.Mp4Facts:
    """The facts of an MP4 video that can be played to its end; raises `mp4.NotAVideo` and `OSError` as `inspect`."""
    facts = mp4.inspect(path)  # the libraries open truncated files without a word
    try:
        with video.opened(path) as (container, stream):
            _check_packets(container.demux(stream, *container.streams.audio), stream)
    except video.Unreadable as error:
        raise mp4.NotAVideo("The MP4 file is damaged: its pictures or its sound cannot be decoded.") from error
    return facts


def _check_packets(packets: "Iterator[Packet[Any]]", stream: VideoStream) -> None:
    prefix, pixels, torn, shown = length_bytes(stream), 0, False, 0
    for packet in packets:
        picture = packet.stream is stream
        torn = torn or (picture and not is_whole(bytes(packet), prefix))
        for frame in packet.decode() if pixels < _DECODED_PIXELS_MAX and not torn else ():
            torn = torn or frame.is_corrupt
            pixels += stream.width * stream.height if picture else 0
            shown += picture
    if torn or not shown:
        raise mp4.NotAVideo("The MP4 file is damaged: not all of its pictures can be decoded.")


def length_bytes(stream: VideoStream) -> int:
    """How many bytes before each part of a picture tell its length (H.264 in MP4); 0: the codec has no such parts."""
    settings = stream.codec_context.extradata or b""
    return (settings[4] & 3) + 1 if stream.codec_context.name == "h264" and len(settings) > 4 else 0


def is_whole(picture: bytes, prefix: int) -> bool:
    """Whether the lengths of its parts add up, and no part holds zeros as a crash leaves them; without decoding."""
    at = 0
    while prefix and at < len(picture):
        length = int.from_bytes(picture[at : at + prefix])
        at += prefix
        # H.264 writes no three zeros within a part; a decoder takes them for a picture, and often for a wrong one.
        if not length or b"\0\0\0" in picture[at : at + length].rstrip(b"\0"):
            return False
        at += length
    return at in (0, len(picture))
