import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hailuo_mcp.media import mp4

Boxes = list[tuple[bytes, bytes]]


def write(path: Path, *, sound: bool = False, fast_start: bool = True, fragmented: bool = False) -> Path:
    """A second of video, as MP4."""
    flags = {"movflags": "+faststart"} if fast_start else {}
    if fragmented:
        flags = {"movflags": "frag_keyframe+empty_moov"}
    with av.open(str(path), "w", format="mp4", options=flags) as container:
        video = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 36, "yuv420p"
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for at in range(24):
            frame = av.VideoFrame(64, 36, "yuv420p")
            frame.pts = at
            for plane in frame.planes:
                plane.update(bytes([at * 10]) * plane.buffer_size)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio:
            tone = av.AudioFrame("fltp", "mono", 1024)
            tone.sample_rate, tone.pts, tone.time_base = 8000, 0, Fraction(1, 8000)
            tone.planes[0].update(bytes(tone.planes[0].buffer_size))
            container.mux([*audio.encode(tone), *audio.encode(None)])
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4").read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch") / "some.mp4"


def _inspect(scratch: Path, content: bytes) -> mp4.Mp4Facts:
    scratch.write_bytes(content)
    return mp4.inspect(scratch)


def _split(content: bytes) -> Boxes:
    boxes, at = [], 0
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        boxes.append((kind, content[at + 8 : at + length]))
        at += length
    return boxes


def _join(boxes: Boxes) -> bytes:
    return b"".join(struct.pack(">I4s", len(body) + 8, kind) + body for kind, body in boxes)


def test_a_whole_video_tells_its_facts(clip: bytes, scratch: Path) -> None:
    facts = _inspect(scratch, clip)
    assert facts == mp4.Mp4Facts(64, 36, 1.0, 24, len(clip), fast_start=True, has_audio=False, codec="h264")


def test_a_fragmented_video_is_whole_or_cut_like_any_other(tmp_path: Path, scratch: Path) -> None:
    content = write(tmp_path / "a.mp4", fragmented=True).read_bytes()
    facts = _inspect(scratch, content)
    assert (facts.width, facts.height) == (64, 36)
    with pytest.raises(mp4.NotAVideo, match="cut short"):
        _inspect(scratch, content[:-30])


def test_sound_and_a_late_index_are_seen(tmp_path: Path) -> None:
    facts = mp4.inspect(write(tmp_path / "a.mp4", sound=True, fast_start=False))
    assert (facts.has_audio, facts.fast_start, facts.frames) == (True, False, 24)


def test_a_truncated_video_is_refused_wherever_it_is_cut(clip: bytes, scratch: Path) -> None:
    for length in {*range(0, 200), *range(200, len(clip), 97), *range(len(clip) - 20, len(clip))}:
        with pytest.raises(mp4.NotAVideo):
            _inspect(scratch, clip[:length])


def test_a_truncated_video_with_a_late_index_is_refused(tmp_path: Path, scratch: Path) -> None:
    content = write(tmp_path / "late.mp4", fast_start=False).read_bytes()
    for length in range(0, len(content), 61):
        with pytest.raises(mp4.NotAVideo):
            _inspect(scratch, content[:length])


def test_bytes_behind_the_last_box_are_refused(clip: bytes, scratch: Path) -> None:
    for tail in (b"\0", b"</html>", b"<html>and more</html>"):
        with pytest.raises(mp4.NotAVideo):
            _inspect(scratch, clip + tail)


def test_pictures_missing_inside_a_box_that_ends_well_are_noticed(clip: bytes, scratch: Path) -> None:
    shorter = [(kind, body[:-1] if kind == b"mdat" else body) for kind, body in _split(clip)]
    with pytest.raises(mp4.NotAVideo, match="behind its end"):
        _inspect(scratch, _join(shorter))


@pytest.mark.parametrize("missing", [b"ftyp", b"moov", b"mdat"])
def test_a_missing_box_is_named(missing: bytes, clip: bytes, scratch: Path) -> None:
    with pytest.raises(mp4.NotAVideo, match=missing.decode()):
        _inspect(scratch, _join([box for box in _split(clip) if box[0] != missing]))


def test_a_last_box_without_a_length_reaches_to_the_end(clip: bytes, scratch: Path) -> None:
    *front, (kind, body) = _split(clip)
    content = _join(front) + struct.pack(">I4s", 0, kind) + body
    assert _inspect(scratch, content).frames == 24


def test_a_length_of_64_bits_is_understood(tmp_path: Path, scratch: Path) -> None:
    content = write(tmp_path / "late.mp4", fast_start=False).read_bytes()
    *front, (kind, body) = _split(content)
    assert kind == b"moov"
    wide = _join(front) + struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    assert _inspect(scratch, wide).frames == 24
    for lie in (0, 15, len(body) + 15, len(body) + 17, 2**64 - 1):
        with pytest.raises(mp4.NotAVideo):
            _inspect(scratch, _join(front) + struct.pack(">I4sQ", 1, kind, lie) + body)


def test_a_wide_table_of_places_is_understood(tmp_path: Path, scratch: Path) -> None:
    content = write(tmp_path / "late.mp4", fast_start=False).read_bytes()
    at = content.index(b"stco")
    (count,) = struct.unpack_from(">I", content, at + 8)
    assert count == 1
    (offset,) = struct.unpack_from(">I", content, at + 12)

    def widened(offset: int) -> bytes:
        table = b"co64" + struct.pack(">IIQ", 0, 1, offset)
        longer = bytearray(content[:at] + table + content[at + 16 :])
        for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"co64"):
            place = longer.index(kind) - 4
            struct.pack_into(">I", longer, place, struct.unpack_from(">I", longer, place)[0] + 4)
        return bytes(longer)

    assert _inspect(scratch, widened(offset)).frames == 24
    with pytest.raises(mp4.NotAVideo, match="behind its end"):
        _inspect(scratch, widened(2**63))


def test_an_endless_index_is_not_read(scratch: Path) -> None:
    with scratch.open("wb") as file:
        file.write(struct.pack(">I4sI4s", 8, b"ftyp", 8, b"mdat") + struct.pack(">I4s", 70_000_008, b"moov"))
        file.truncate(16 + 70_000_008)
    with pytest.raises(mp4.NotAVideo, match="70000000 bytes"):
        mp4.inspect(scratch)
    scratch.unlink()


def test_a_million_empty_boxes_are_not_walked(scratch: Path) -> None:
    with pytest.raises(mp4.NotAVideo, match="boxes"):
        _inspect(scratch, struct.pack(">I4s", 8, b"ftyp") + struct.pack(">I4s", 8, b"free") * 50_000)


def test_only_sound_is_not_a_video(clip: bytes, scratch: Path) -> None:
    with pytest.raises(mp4.NotAVideo, match="no video track"):
        _inspect(scratch, clip.replace(b"vide", b"soun", 1))


@pytest.mark.parametrize("content", [b"", b"{}", b"<html>busy</html>", b"\x89PNG\r\n\x1a\n" + bytes(99), b"ffconcat"])
def test_other_content_is_refused_in_a_sentence(content: bytes, scratch: Path) -> None:
    with pytest.raises(mp4.NotAVideo, match=r"^The .+\.$"):
        _inspect(scratch, content)


def test_an_index_of_countless_boxes_is_damage(clip: bytes, scratch: Path) -> None:
    (_, kind), (_, index), *more = _split(clip)
    crowded = index + _join([(b"trak", b"")] * 1_000_000)
    with pytest.raises(mp4.NotAVideo, match="more than 10000 boxes"):
        _inspect(scratch, _join([(b"ftyp", kind), (b"moov", crowded), *more]))


def test_a_missing_file_is_not_called_a_bad_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mp4.inspect(tmp_path / "none.mp4")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_random_bytes_are_refused_without_a_crash(scratch: Path, noise: bytes, with_type: bool) -> None:
    content = struct.pack(">I4s", 8, b"ftyp") + noise if with_type else noise
    with pytest.raises(mp4.NotAVideo):
        _inspect(scratch, content)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_index_never_crashes_the_reader(clip: bytes, scratch: Path, data: st.DataObject) -> None:
    changed = bytearray(clip)
    end = clip.index(b"mdat")
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, end - 4))
        changed[place : place + 4] = data.draw(
            st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\1", b"moov"])
        )
    try:
        facts = _inspect(scratch, bytes(changed))
    except mp4.NotAVideo:
        return
    assert facts.bytes == len(clip)
    assert facts.frames > 0
    assert facts.seconds > 0
