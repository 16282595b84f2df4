import asyncio
import base64
import io
import struct
import zlib
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hailuo_mcp import files
from hailuo_mcp.errors import FrameRejected
from hailuo_mcp.frames import Frame, crop_of, crop_warning, judge_source, judge_url


def picture(size: tuple[int, int] = (640, 480), form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, form, **options)
    return file.getvalue()


def opened(source: Path | str, *folders: Path, mend: bool = True) -> Frame:
    """The frame that can be sent; raises FrameRejected with all problems."""
    judged = judge_source("first_frame_image", str(source), partial(files.open_confined, folders=folders), mend=mend)
    if judged.frame is None:
        raise FrameRejected("; ".join(judged.problems))
    return judged.frame


def judge(folder: Path, data: bytes, name: str = "frame.jpg", *, mend: bool = True) -> Frame:
    (folder / name).write_bytes(data)
    frame = opened(folder / name, folder, mend=mend)
    frame.close()
    return frame


def sent(frame: Frame) -> bytes:
    """What the API gets, decoded."""

    async def encode() -> bytes:
        return b"".join([piece async for piece in frame.encoded()])

    text = asyncio.run(encode())
    assert len(text) == frame.encoded_bytes
    return base64.b64decode(text, validate=True)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_known_by_content_not_by_name(tmp_path: Path, form: str) -> None:
    frame = judge(tmp_path, picture(form=form), "wrong.txt")
    assert (frame.format, frame.width, frame.height, frame.warnings) == (form, 640, 480, ())
    assert frame.head == f"data:image/{form.lower()};base64,"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"just text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing, not a picture"),
        (b"<?xml version='1.0'?>\n<svg/>", "an SVG drawing"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"%PDF-1.7 " * 9, "a document"),
        (b"\0\0\0\x18ftypmp42" * 9, "a video"),
        (picture((640, 300)), "640x300 pixels; its short side must be over 300"),
        (picture((1300, 500)), "aspect of 2.60:1; from 2:5 to 5:2"),
        (picture((400, 1010)), "aspect of 0.40:1"),
        (picture()[:-400], "damaged or cut off"),
        (picture(form="PNG")[:-400], "damaged or cut off"),
        (picture(form="WEBP")[:-400], "damaged or cut off|not a picture"),
        (picture(form="GIF")[:-4000], "damaged or cut off"),
        (picture(form="BMP")[:-4000], "damaged or cut off"),
        (picture(form="TIFF")[:-4000], "damaged or cut off|not a picture"),
    ],
)
@pytest.mark.parametrize("mend", [True, False])
def test_what_is_beyond_mending_is_refused_with_its_value(tmp_path: Path, data: bytes, words: str, mend: bool) -> None:
    if not mend and data[:3] in (b"GIF", b"BM\x36", b"II*"):
        words = "by content"
    with pytest.raises(FrameRejected, match=words) as refused:
        judge(tmp_path, data, mend=mend)
    assert str(refused.value).startswith("first_frame_image: ")


def test_every_limit_that_is_broken_is_told(tmp_path: Path) -> None:
    with pytest.raises(FrameRejected, match=r"short side must be over 300 pixels; .*an aspect of 3.33:1"):
        judge(tmp_path, picture((1000, 300)))


@pytest.mark.parametrize("size", [(301, 301), (301, 752), (752, 301)])
def test_the_limits_themselves_are_allowed(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = judge(tmp_path, picture(size))
    assert (frame.width, frame.height) == size


def test_a_damaged_png_is_found_by_its_checksums(tmp_path: Path) -> None:
    data = bytearray(picture(form="PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FrameRejected, match="damaged"):
        judge(tmp_path, bytes(data))


@pytest.mark.parametrize("mend", [True, False])
@pytest.mark.parametrize("side", [60_000, 4_000, 1_400])
def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, side: int, mend: bool) -> None:
    data = bytearray(picture(form="PNG"))
    data[16:24] = struct.pack(">II", 60_000, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(FrameRejected, match=r"megapixels|too many pixels"):
        judge(tmp_path, bytes(data), mend=mend)


def test_a_file_over_the_limit_becomes_a_smaller_copy(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    path.write_bytes(picture((3000, 2000)) + b"\0" * 20_000_000)
    with pytest.raises(FrameRejected, match=r"has 2\d\.\d MB; less than 20 MB is allowed; mend=true sends"):
        opened(path, tmp_path, mend=False)
    frame = opened(path, tmp_path)
    assert (frame.format, frame.width, frame.height) == ("JPEG", 2160, 1440)
    assert "compressed for sending, as a JPEG of 2160x1440" in frame.warnings[0]
    assert "the file itself is unchanged" in frame.warnings[0]
    frame.close()
    assert path.stat().st_size > 20_000_000


def test_a_phone_photo_is_judged_as_it_is_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = picture((1700, 640), exif=exif)
    with pytest.raises(FrameRejected, match=r"is 640x1700, an aspect of 0\.38:1"):
        judge(tmp_path, data)


def test_a_data_url_is_judged_like_a_file() -> None:
    text = base64.b64encode(picture(form="PNG")).decode()
    frame = opened(f"data:image/jpeg;base64,{text}")
    assert (frame.format, frame.label) == ("PNG", "data URL")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("data:image/png;base64,####", "damaged"),
        ("data:image/png,abc", "must look like"),
        ("/9j/4AAQSkZJRg" * 400, "neither a path"),
        ("ftp://example.com/a.jpg", "neither a path, an http"),
    ],
)
def test_what_is_no_source_is_said(source: str, words: str) -> None:
    with pytest.raises(FrameRejected, match=words):
        opened(source, Path("/"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@host/x.jpg", "without spaces or a password"),
        ("https:///x.jpg", "public URL"),
        ("https://[::1/x.jpg", "is not a URL"),
    ],
)
def test_what_is_no_url_is_said(url: str, words: str) -> None:
    judged = judge_url("last_frame_image", url, None, None)
    assert judged.frame is None
    assert words in judged.problems[0]


def test_a_url_is_sent_as_it_is() -> None:
    frame = judge_url("first_frame_image", "https://example.com/a.jpg?x=1", None, None).frame
    assert frame is not None
    assert (frame.head, frame.encoded_bytes, frame.warnings) == ("https://example.com/a.jpg?x=1", 0, ())


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_picture_at_a_url_is_judged_by_its_beginning(form: str) -> None:
    data = picture((1600, 900), form)
    judged = judge_url("first_frame_image", "https://example.com/a", data[:4000], len(data))
    assert judged.frame is not None
    assert (judged.frame.width, judged.frame.height, judged.frame.size) == (1600, 900, len(data))


@pytest.mark.parametrize(
    ("data", "size", "words"),
    [
        (picture((300, 300)), None, "its short side must be over 300"),
        (picture((300, 300), "WEBP")[:100], 5000, "its short side must be over 300"),
        (picture(), 20_000_000, "20.0 MB; less than 20 MB"),
        (picture(form="WEBP")[:100], 20_000_000, "20.0 MB"),
        (picture(form="GIF"), None, "GIF by content; JPEG, PNG or WebP is needed; save it and give its path"),
        (b"<html>Not found</html>", None, "a web page, not a picture"),
        (
            b"RIFF\xff\xff\0\0WEBPVP8 \xff\xff\0\0\x30\1\0\x9d\x01\x2a\x40\x01\0\0",
            70_000,
            "not a picture that can be read",
        ),
    ],
)
def test_a_picture_at_a_url_that_breaks_a_limit_is_refused(data: bytes, size: int | None, words: str) -> None:
    judged = judge_url("first_frame_image", "https://example.com/a", data, size)
    assert judged.frame is None
    assert words in "; ".join(judged.problems)


def test_a_picture_at_a_url_that_could_be_better_is_warned_of() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = judge_url("first_frame_image", "https://example.com/a", picture(exif=exif), None).frame
    assert frame is not None
    assert (frame.width, frame.height) == (480, 640)
    assert "stored turned" in frame.warnings[0]


def test_the_encoded_picture_is_the_file_however_large(tmp_path: Path) -> None:
    data = picture((1300, 1300), "PNG")
    (tmp_path / "x.png").write_bytes(data)
    frame = opened(tmp_path / "x.png", tmp_path)
    assert len(data) > 2_000_000
    assert sent(frame) == sent(frame) == data
    frame.close()


async def test_a_file_that_shrinks_while_it_is_sent_stops_the_sending(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(picture((900, 900), "PNG"))
    frame = opened(path, tmp_path)
    path.write_bytes(b"short")
    with pytest.raises(FrameRejected, match="became shorter"):
        assert [piece async for piece in frame.encoded()]
    frame.close()


def test_the_crop_of_the_last_frame_is_foretold() -> None:
    wide = Frame("first_frame_image", "a", "", width=1600, height=900)
    square = Frame("last_frame_image", "b", "", width=900, height=900)
    assert crop_warning(wide, wide) is None
    warning = crop_warning(wide, square)
    assert warning is not None
    assert "44%" in warning
    assert "top and bottom" in warning


@pytest.mark.parametrize(
    ("first", "last", "percent", "sides"),
    [
        ((16, 9), (16, 10), 10, "top and bottom"),
        ((16, 9), (3, 2), 16, "top and bottom"),
        ((16, 9), (9, 16), 68, "top and bottom"),
        ((9, 16), (16, 9), 68, "left and right"),
        ((1, 1), (16, 9), 44, "left and right"),
    ],
)
def test_the_crop_is_that_of_covering_and_cutting_the_middle(
    first: tuple[int, int], last: tuple[int, int], percent: int, sides: str
) -> None:
    crop = crop_of(first, last)
    assert (round(100 * crop.loss), crop.sides) == (percent, sides)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "TIFF"]), st.integers(0, 4000))
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_no_bytes_crash_the_judge(tmp_path: Path, noise: bytes, form: str, at: int) -> None:
    data = bytearray(picture((320, 320), form))
    data[at : at + len(noise)] = noise
    try:
        frame = judge(tmp_path, bytes(data))
    except FrameRejected:
        return
    assert frame.format in ("JPEG", "PNG", "WEBP")
