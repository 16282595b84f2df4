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
from hailuo_mcp.frames import Frame, crop_warning, open_frame


def picture(size: tuple[int, int] = (640, 480), form: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, form, **options)
    return file.getvalue()


def judge(folder: Path, data: bytes, name: str = "frame.jpg") -> Frame:
    (folder / name).write_bytes(data)
    frame = open_frame("first_frame_image", str(folder / name), partial(files.open_confined, folders=[folder]))
    frame.close()
    return frame


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats_are_known_by_content_not_by_name(tmp_path: Path, form: str) -> None:
    frame = judge(tmp_path, picture(form=form), "wrong.txt")
    assert (frame.format, frame.width, frame.height) == (form, 640, 480)
    assert frame.head == f"data:image/{form.lower()};base64,"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"just text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (picture((640, 300)), "640x300 pixels; its short side must be over 300"),
        (picture((1300, 500)), "aspect of 2.60:1; from 2:5 to 5:2"),
        (picture((400, 1010)), "aspect of 0.40:1"),
        (picture(form="GIF"), "is a GIF by content; JPEG, PNG or WebP"),
        (picture(form="BMP"), "is a BMP by content"),
        (picture()[:-400], "damaged or cut off"),
        (picture(form="PNG")[:-400], "damaged or cut off"),
        (picture(form="WEBP")[:-400], "damaged or cut off|not a picture"),
        (picture() + b"\0" * 20_000_000, r"20\.\d MB; less than 20 MB"),
    ],
)
def test_a_frame_that_breaks_a_limit_is_refused_with_its_value(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(FrameRejected, match=words) as refused:
        judge(tmp_path, data)
    assert str(refused.value).startswith("first_frame_image: ")


@pytest.mark.parametrize("size", [(301, 301), (301, 752), (752, 301)])
def test_the_limits_themselves_are_allowed(tmp_path: Path, size: tuple[int, int]) -> None:
    frame = judge(tmp_path, picture(size))
    assert (frame.width, frame.height) == size


def test_a_damaged_png_is_found_by_its_checksums(tmp_path: Path) -> None:
    data = bytearray(picture(form="PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(FrameRejected, match="damaged"):
        judge(tmp_path, bytes(data))


@pytest.mark.parametrize("side", [60_000, 1_400])
def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, side: int) -> None:
    data = bytearray(picture(form="PNG"))
    data[16:24] = struct.pack(">II", 60_000, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(FrameRejected, match=r"megapixels|too many pixels"):
        judge(tmp_path, bytes(data))


def test_an_animated_picture_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    pages = [Image.new("RGB", (640, 480), colour) for colour in ("red", "blue")]
    pages[0].save(file, "WEBP", save_all=True, append_images=pages[1:])
    with pytest.raises(FrameRejected, match="animated"):
        judge(tmp_path, file.getvalue())


def test_a_phone_photo_is_judged_as_it_is_displayed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = judge(tmp_path, picture((640, 480), exif=exif))
    assert (frame.width, frame.height) == (480, 640)
    assert "turned" in frame.warnings[0]


def test_a_data_url_is_judged_like_a_file() -> None:
    text = base64.b64encode(picture(form="PNG")).decode()
    frame = open_frame("last_frame_image", f"data:image/jpeg;base64,{text}", open)
    assert (frame.format, frame.label) == ("PNG", "data URL")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("data:image/png;base64,####", "damaged"),
        ("data:image/png,abc", "must look like"),
        ("/9j/4AAQSkZJRg" * 400, "neither a path"),
        ("http://user:secret@host/x.jpg", "without spaces or a password"),
        ("https:///x.jpg", "public URL"),
    ],
)
def test_what_is_no_source_is_said(source: str, words: str) -> None:
    with pytest.raises(FrameRejected, match=words):
        open_frame("last_frame_image", source, partial(files.open_confined, folders=[Path("/")]))


def test_a_public_url_passes_as_it_is() -> None:
    frame = open_frame("first_frame_image", "https://example.com/a.jpg?x=1", open)
    assert (frame.head, frame.encoded_bytes, frame.warnings) == ("https://example.com/a.jpg?x=1", 0, ())
    assert "reached" in open_frame("first_frame_image", "http://192.168.1.5/a.jpg", open).warnings[0]


async def encode(frame: Frame) -> bytes:
    return b"".join([piece async for piece in frame.encoded()])


async def test_the_encoded_picture_is_the_file_however_large(tmp_path: Path) -> None:
    data = picture() + b"\0" * 1_000_001
    (tmp_path / "x.jpg").write_bytes(data)
    # Trailing bytes push the end marker out of reach, so the marker is written again at the end.
    data = data + b"\xff\xd9"
    (tmp_path / "x.jpg").write_bytes(data)
    frame = open_frame("first_frame_image", str(tmp_path / "x.jpg"), partial(files.open_confined, folders=[tmp_path]))
    first, second = await encode(frame), await encode(frame)
    frame.close()
    assert base64.b64decode(first) == data
    assert len(first) == frame.encoded_bytes
    assert first == second


async def test_a_file_that_shrinks_while_it_is_sent_stops_the_sending(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(picture((900, 900), "PNG"))
    frame = open_frame("first_frame_image", str(path), partial(files.open_confined, folders=[tmp_path]))
    path.write_bytes(b"short")
    with pytest.raises(FrameRejected, match="became shorter"):
        await encode(frame)
    frame.close()


def test_the_crop_of_the_last_frame_is_foretold() -> None:
    wide = Frame("first_frame_image", "a", "", width=1600, height=900)
    square = Frame("last_frame_image", "b", "", width=900, height=900)
    assert crop_warning(wide, wide) is None
    warning = crop_warning(wide, square)
    assert warning is not None
    assert "44%" in warning
    assert "top and bottom" in warning


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["JPEG", "PNG", "WEBP"]), st.integers(0, 4000))
def test_no_bytes_crash_the_judge(tmp_path: Path, noise: bytes, form: str, at: int) -> None:
    data = bytearray(picture((320, 320), form))
    data[at : at + len(noise)] = noise
    try:
        frame = judge(tmp_path, bytes(data))
    except FrameRejected:
        return
    assert frame.format in ("JPEG", "PNG", "WEBP")
