"""Pictures as people have them: each is sent as it is, mended, or refused, and the mended ones keep their looks."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageFilter, ImageOps, ImageStat
from test_frames import sent

from hailuo_mcp import files
from hailuo_mcp.frames import Judged, judge_file, judge_source
from hailuo_mcp.media import pictures
from hailuo_mcp.media.containers import picture_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
SIZE = (480, 360)


def scene(size: tuple[int, int] = SIZE) -> Image.Image:
    """Something to recognise: no two corners alike."""
    ramps = Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90), Image.radial_gradient("L")
    picture = Image.merge("RGB", ramps).resize(size)
    picture.paste("orange", (size[0] // 8, size[1] // 8, size[0] // 4, size[1] // 3))
    return picture


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def judge(folder: Path, data: bytes, *, mend: bool = True, show: int | None = None) -> Judged:
    path = folder / "picture"
    path.write_bytes(data)
    judged = judge_source(
        "first_frame_image", str(path), partial(files.open_confined, folders=[folder]), mend=mend, show=show
    )
    assert path.read_bytes() == data
    return judged


def difference(a: Image.Image, b: Image.Image) -> float:
    """Mean difference in levels, of the channel that differs most, without the grain of compression."""
    assert a.size == b.size
    blurred = (picture.convert("RGB").filter(ImageFilter.GaussianBlur(2)) for picture in (a, b))
    return max(ImageStat.Stat(ImageChops.difference(*blurred)).mean)


def turned(orientation: int, form: str = "JPEG") -> bytes:
    """The scene, stored so that its note turns it back."""
    stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(scene().transpose(stored) if stored is not None else scene(), form, exif=exif)


def deep(mode: str = "I;16") -> Image.Image:
    gray = scene().convert("L").convert("I").point(lambda level: level * 257)
    return gray.convert(mode)


def deep_png(picture: Image.Image | None = None) -> bytes:
    """A PNG with 16 bits for a colour, which Pillow reads but does not write: each byte twice."""
    picture = picture or scene()
    each = len(picture.getbands())
    rows = [bytes(v for v in row for _ in "12") for row in batched_rows(picture.tobytes(), each * picture.width)]
    head = struct.pack(">IIBBBBB", *picture.size, 16, {3: 2, 4: 6}[each], 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def batched_rows(data: bytes, length: int) -> list[bytes]:
    return [data[at : at + length] for at in range(0, len(data), length)]


def with_hole(mode: str = "RGBA") -> Image.Image:
    """The scene, its middle transparent with red hidden under it."""
    picture = scene().convert("RGBA")
    picture.paste((255, 0, 0, 0), (200, 150, 280, 210))
    return picture.convert(mode)


def whitened() -> Image.Image:
    picture = scene()
    picture.paste("white", (200, 150, 280, 210))
    return picture


def palette_with_hole() -> bytes:
    picture = whitened().quantize(64)
    return saved(picture, "PNG", transparency=picture.getpixel((240, 180)))


def pages(form: str, **options: object) -> bytes:
    return saved(scene(), form, save_all=True, append_images=[ImageOps.invert(scene())], **options)


def noted() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 0.0)}
    return exif


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def heic() -> bytes:
    pytest.importorskip("pillow_heif").register_heif_opener()
    return saved(scene(), "HEIF", quality=90)


AS_IT_IS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved(scene(), "JPEG"),
    "progressive JPEG": lambda: saved(scene(), "JPEG", progressive=True),
    "gray JPEG": lambda: saved(scene().convert("L"), "JPEG"),
    "optimised JPEG": lambda: saved(scene(), "JPEG", optimize=True, quality=30),
    "JPEG with restart markers": lambda: saved(scene(), "JPEG", restart_marker_rows=1),
    "JPEG without subsampling": lambda: saved(scene(), "JPEG", subsampling=0),
    "JPEG with a colour profile": lambda: saved(scene(), "JPEG", icc_profile=srgb()),
    "JPEG with EXIF": lambda: saved(scene(), "JPEG", exif=noted()),
    "JPEG with a comment": lambda: saved(scene(), "JPEG", comment=b"SecretCamera"),
    "JPEG with XMP": lambda: saved(scene(), "JPEG", xmp=b"<x>SecretCamera</x>"),
    "JPEG that says it is upright": lambda: turned(1),
    "JPEG with a film behind it": lambda: saved(scene(), "JPEG") + b"\0\0\0\x18ftypmp42SecretCamera" * 99,
    "JPEG with padding between its parts": lambda: saved(scene(), "JPEG").replace(b"\xff\xdb", b"\xff\xff\xff\xdb", 1),
    "JPEG with stray bytes and EXIF between its parts": lambda: (
        (made := saved(scene(), "JPEG", exif=noted()))[:20]
        + b"stray\xff\0"
        + made[20:].replace(b"\xff\xdb", b"\0\xff\xdb", 1)
    ),
    "phone photograph with a second picture": lambda: pages("MPO", exif=noted()),
    "PNG": lambda: saved(scene(), "PNG"),
    "interlace-free gray PNG": lambda: saved(scene().convert("L"), "PNG"),
    "palette PNG": lambda: saved(scene().quantize(64), "PNG"),
    "one-bit PNG": lambda: saved(scene().convert("1"), "PNG"),
    "PNG with an opaque alpha channel": lambda: saved(scene().convert("RGBA"), "PNG"),
    "gray PNG with an opaque alpha channel": lambda: saved(scene().convert("LA"), "PNG"),
    "PNG with EXIF": lambda: saved(scene(), "PNG", exif=noted()),
    "PNG with something behind it": lambda: saved(scene(), "PNG") + b"SecretCamera" * 100,
    "WebP": lambda: saved(scene(), "WEBP"),
    "lossless WebP": lambda: saved(scene(), "WEBP", lossless=True),
    "WebP with EXIF": lambda: saved(scene(), "WEBP", exif=noted()),
    "WebP with XMP and a profile": lambda: saved(scene(), "WEBP", xmp=b"SecretCamera", icc_profile=srgb()),
    "WebP with an opaque alpha channel": lambda: saved(scene().convert("RGBA"), "WEBP", exact=True),
}

# What it becomes, the words that say so, and what it looks like.
MENDED: dict[str, tuple[Callable[[], bytes], str, str, Callable[[], Image.Image]]] = {
    **{
        f"JPEG stored in way {way}": (partial(turned, way), "JPEG", "turned upright", scene) for way in range(2, 9)
    },
    "turned PNG": (lambda: turned(6, "PNG"), "PNG", "turned upright", scene),
    "turned WebP": (lambda: turned(8, "WEBP"), "JPEG", "turned upright", scene),
    "GIF": (lambda: saved(scene(), "GIF"), "PNG", "converted from GIF", scene),
    "animated GIF": (lambda: pages("GIF"), "PNG", "converted from GIF and reduced to its first", scene),
    "animated WebP": (lambda: pages("WEBP", quality=90), "JPEG", "reduced to its first picture", scene),
    "animated PNG": (lambda: pages("PNG"), "PNG", "reduced to its first picture", scene),
    "GIF with a hole": (lambda: saved(with_hole(), "GIF"), "PNG", "laid on white", whitened),
    "BMP": (lambda: saved(scene(), "BMP"), "PNG", "converted from BMP", scene),
    "gray BMP": (lambda: saved(scene().convert("L"), "BMP"), "PNG", "from BMP", lambda: scene().convert("L")),
    "TIFF": (lambda: saved(scene(), "TIFF"), "PNG", "converted from TIFF", scene),
    "LZW TIFF": (lambda: saved(scene(), "TIFF", compression="tiff_lzw"), "PNG", "from TIFF", scene),
    "JPEG in a TIFF": (lambda: saved(scene(), "TIFF", compression="jpeg"), "PNG", "from TIFF", scene),
    "TIFF of two pages": (lambda: pages("TIFF"), "PNG", "reduced to its first picture", scene),
    "turned TIFF": (
        lambda: saved(scene().transpose(Image.Transpose.ROTATE_90), "TIFF", tiffinfo={274: 6}),
        "PNG", "converted from TIFF and turned upright", scene,
    ),
    "CMYK TIFF": (lambda: saved(scene().convert("CMYK"), "TIFF"), "PNG", "converted to RGB", scene),
    "LAB TIFF": (
        lambda: saved(
            ImageCms.applyTransform(
                scene(),
                ImageCms.buildTransform(
                    ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
                ),
            ),
            "TIFF",
        ),
        "PNG", "converted to RGB", scene,
    ),
    "16-bit TIFF": (lambda: saved(deep(), "TIFF"), "PNG", "brought to 8 bits", lambda: scene().convert("L")),
    "TIFF of fractions": (
        lambda: saved(scene().convert("F").point(lambda level: level * (1 / 255)), "TIFF"),
        "PNG", "brought to 8 bits", lambda: scene().convert("L"),
    ),
    "AVIF": (lambda: saved(scene(), "AVIF", quality=90), "JPEG", "converted from AVIF", scene),
    "JPEG 2000": (lambda: saved(scene(), "JPEG2000"), "JPEG", "converted from JPEG 2000", scene),
    "HEIC": (heic, "JPEG", "converted from HEIC", scene),
    "CMYK JPEG": (lambda: saved(scene().convert("CMYK"), "JPEG"), "JPEG", "converted to RGB", scene),
    "16-bit gray PNG": (lambda: saved(deep(), "PNG"), "PNG", "brought to 8 bits", lambda: scene().convert("L")),
    "16-bit colour PNG": (lambda: deep_png(), "PNG", "brought to 8 bits", scene),
    "16-bit colour PNG with a hole": (
        lambda: deep_png(with_hole()), "PNG", "brought to 8 bits and laid on white", whitened,
    ),
    "PNG with a hole": (lambda: saved(with_hole(), "PNG"), "PNG", "laid on white", whitened),
    "WebP with a hole": (lambda: saved(with_hole(), "WEBP", quality=95), "JPEG", "laid on white", whitened),
    "gray PNG with a hole": (
        lambda: saved(with_hole("LA"), "PNG"), "PNG", "laid on white", lambda: whitened().convert("L"),
    ),
    "palette PNG with a hole": (
        palette_with_hole, "PNG", "laid on white", lambda: whitened().quantize(64).convert("RGB"),
    ),
}  # fmt: skip

BEYOND: dict[str, tuple[Callable[[], bytes], str]] = {
    "too small JPEG": (lambda: saved(scene((300, 400)), "JPEG"), "short side must be over 300"),
    "too small GIF": (lambda: saved(scene((300, 400)), "GIF"), "short side must be over 300"),
    "too wide PNG": (lambda: saved(scene((900, 350)), "PNG"), "aspect of 2.57:1"),
    "too tall TIFF": (lambda: saved(scene((350, 900)), "TIFF"), "aspect of 0.39:1"),
    "icon": (lambda: saved(scene((256, 256)), "ICO"), "not a picture that can be read"),
    "PostScript": (lambda: saved(scene(), "EPS"), "a document"),
    "PDF": (lambda: saved(scene(), "PDF"), "a document"),
    "Photoshop": (lambda: b"8BPS\0\1" + bytes(400), "not a picture that can be read"),
    "PPM": (lambda: saved(scene(), "PPM"), "not a picture that can be read"),
    "TGA": (lambda: saved(scene(), "TGA"), "not a picture that can be read"),
    "half a CMYK JPEG": (lambda: half(saved(scene().convert("CMYK"), "JPEG")), "damaged or cut off"),
    "half a turned JPEG": (lambda: half(turned(6)), "damaged or cut off"),
    "half a progressive JPEG": (lambda: half(saved(scene(), "JPEG", progressive=True)), "damaged or cut off"),
    "half a PNG with a hole": (lambda: half(saved(with_hole(), "PNG")), "damaged or cut off"),
    "half a lossless WebP": (lambda: half(saved(scene(), "WEBP", lossless=True)), "damaged|not a picture"),
    "half an AVIF": (lambda: half(saved(scene(), "AVIF")), "damaged"),
    "half a HEIC": (lambda: half(heic()), "damaged"),
    "a HEIC's first bytes": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "a HEIC photo, which is damaged"),
    "half a GIF": (lambda: half(saved(scene(), "GIF")), "damaged"),
    "zeros": (lambda: bytes(5000), "not a picture"),
    "a JPEG's first bytes": (lambda: b"\xff\xd8\xff\xe0", "not a picture"),
    "a PNG's first bytes": (lambda: b"\x89PNG\r\n\x1a\n", "not a picture"),
}


def test_a_heic_photo_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = heic()
    monkeypatch.setattr(pictures, "formats", lambda: ("JPEG", "PNG", "WEBP"))
    (problem,) = judge(tmp_path, photo).problems
    assert "a HEIC photo, which needs the package pillow-heif (or export it as JPEG)" in problem


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def test_there_are_enough_of_them() -> None:
    assert len(AS_IT_IS) + len(MENDED) + len(BEYOND) >= 60


@pytest.mark.parametrize("name", AS_IT_IS)
@pytest.mark.parametrize("mend", [True, False])
def test_what_needs_no_mending_is_sent_pixel_for_pixel_without_who_and_where(
    tmp_path: Path, name: str, mend: bool
) -> None:
    data = AS_IT_IS[name]()
    frame = judge(tmp_path, data, mend=mend).frame
    assert frame is not None
    copy = sent(frame)
    frame.close()
    assert (frame.warnings, frame.size, frame.sha256) == ((), len(copy), hashlib.sha256(data).hexdigest())
    was, comes = Image.open(io.BytesIO(data)), Image.open(io.BytesIO(copy))
    assert (comes.mode, comes.size, comes.format) == (was.mode, was.size, frame.format)
    assert comes.tobytes() == was.tobytes()
    assert comes.info.get("icc_profile") == was.info.get("icc_profile")
    assert b"SecretCamera" not in copy
    assert b"SecretCamera" in data or b"SecretCamera" not in name.encode()
    assert not comes.getexif()


@pytest.mark.parametrize("name", MENDED)
def test_what_can_be_mended_keeps_its_looks_and_is_told(tmp_path: Path, name: str) -> None:
    make, form, words, looks = MENDED[name]
    frame = judge(tmp_path, make()).frame
    assert frame is not None
    copy = Image.open(io.BytesIO(sent(frame)))
    frame.close()
    assert (copy.format, frame.format, copy.size) == (form, form, SIZE)
    assert (frame.width, frame.height) == SIZE
    assert not copy.getexif()
    assert difference(copy, looks()) < 5
    (notice,) = frame.warnings
    assert words in notice
    assert notice.startswith("first_frame_image: ")
    assert "the file itself is unchanged" in notice


@pytest.mark.parametrize("name", MENDED)
def test_without_mending_it_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    judged = judge(tmp_path, MENDED[name][0](), mend=False)
    assert judged.frame is None
    (problem,) = judged.problems
    assert problem.startswith("first_frame_image: ")
    assert "mend=true sends a mended copy" in problem


@pytest.mark.parametrize("name", BEYOND)
@pytest.mark.parametrize("show", [None, 200])
def test_what_is_beyond_mending_is_refused_and_told(tmp_path: Path, name: str, show: int | None) -> None:
    make, words = BEYOND[name]
    judged = judge(tmp_path, make(), show=show)
    assert judged.frame is None
    assert any(word in "; ".join(judged.problems) for word in words.split("|"))


@pytest.mark.parametrize("name", MENDED)
def test_the_small_picture_shows_the_same(tmp_path: Path, name: str) -> None:
    make, _, _, looks = MENDED[name]
    judged = judge(tmp_path, make(), show=180)
    assert judged.image is not None
    assert difference(judged.image, looks().convert("RGB").resize((240, 180))) < 5
    if judged.frame:
        judged.frame.close()


@pytest.mark.parametrize("name", ["JPEG", "progressive JPEG", "PNG", "WebP", "lossless WebP", "JPEG with EXIF"])
def test_a_picture_cut_anywhere_is_not_whole(name: str) -> None:
    data = AS_IT_IS[name]()
    form = {"J": "JPEG", "p": "JPEG", "P": "PNG", "W": "WEBP", "l": "WEBP"}[name[0]]
    assert picture_of(form, io.BytesIO(data)) is not None
    for length in range(12, len(data) - 1, max(1, len(data) // 50)):
        assert picture_of(form, io.BytesIO(data[:length])) is None


def test_a_body_is_read_in_any_pieces() -> None:
    data = saved(scene(), "WEBP", exif=noted())
    body = picture_of("WEBP", io.BytesIO(data))
    assert body is not None
    whole = body.read(0, body.size)
    for step in (1, 7, 100, 10**6):
        assert b"".join(body.read(at, step) for at in range(0, body.size, step)) == whole
    assert body.read(body.size, 10) == b""


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def riff(parts: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WEBP" + parts


class Counted(io.BytesIO):
    """A file that counts what is read of it: bytes, and a thousand for each time."""

    cost = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.cost += 1000 + len(data)
        return data


TINY = 200_000  # parts, which took a minute for each 20 MB when every one of them was looked at
CROWDED: dict[str, Callable[[], bytes]] = {
    "PNG, before its pixels": lambda: (made := saved(scene(), "PNG"))[:33] + chunk(b"noNe") * TINY + made[33:],
    "PNG, behind its pixels": lambda: (made := saved(scene(), "PNG"))[:-12] + chunk(b"noNe") * TINY + made[-12:],
    "JPEG, comments": lambda: (made := saved(scene(), "JPEG"))[:2] + b"\xff\xfe\0\2" * TINY + made[2:],
    "JPEG, padding": lambda: (made := saved(scene(), "JPEG"))[:2] + b"\xff" * TINY + made[2:],
    "JPEG, scans": lambda: (made := saved(scene(), "JPEG"))[:-2] + b"\xff\xda\0\2" * TINY + made[-2:],
    "WebP": lambda: riff(saved(scene(), "WEBP", exif=noted())[12:] + b"none\0\0\0\0" * TINY),
}


@pytest.mark.parametrize("name", CROWDED)
@pytest.mark.parametrize("show", [None, 64])
def test_a_picture_of_countless_tiny_parts_is_refused_soon(name: str, show: int | None) -> None:
    file = Counted(CROWDED[name]())
    judged = judge_file("first_frame_image", "frame", file, show=show)
    assert "frame is" in "; ".join(judged.problems)
    assert file.cost < 500_000_000


def test_a_picture_of_many_small_parts_is_sent() -> None:
    made = saved(scene(), "PNG")
    judged = judge_file("first_frame_image", "frame", io.BytesIO(made[:33] + chunk(b"noNe") * 5_000 + made[33:]))
    assert judged.frame is not None
    judged.frame.close()


@pytest.mark.parametrize(
    "data",
    [
        riff(saved(scene(), "WEBP")[12:] + b"VP8X\0\0\0\0"),
        saved(scene(), "JPEG")[:2] + b"\xff\xe9\0\0" + saved(scene(), "JPEG")[2:],
    ],
    ids=["WebP", "JPEG"],
)
def test_a_part_that_is_too_short_for_itself_is_damage(data: bytes) -> None:
    assert picture_of("WEBP" if data[:4] == b"RIFF" else "JPEG", io.BytesIO(data)) is None
    assert judge_file("first_frame_image", "frame", io.BytesIO(data)).problems


def test_a_large_turned_picture_is_scaled_to_what_can_help(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    frame = judge(tmp_path, saved(scene((4000, 3000)), "JPEG", exif=exif)).frame
    assert frame is not None
    assert (frame.width, frame.height) == (1440, 1920)
    copy = Image.open(io.BytesIO(sent(frame)))
    expected = scene((4000, 3000)).transpose(Image.Transpose.ROTATE_270).resize(copy.size)
    assert difference(copy, expected) < 3
    frame.close()


def test_what_is_large_and_lossless_becomes_a_jpeg(tmp_path: Path) -> None:
    noise = Image.merge("RGB", [Image.effect_noise((2200, 2200), 90) for _ in range(3)])
    frame = judge(tmp_path, saved(noise, "BMP")).frame
    assert frame is not None
    assert (frame.format, frame.width) == ("JPEG", 1440)
    frame.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 1200),
    st.integers(1, 1200),
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"]),
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]),
    st.integers(1, 8),
)
def test_whatever_is_sent_is_within_the_limits(
    tmp_path: Path, width: int, height: int, mode: str, form: str, way: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = way
    try:
        made = scene((width, height)).convert("L" if mode == "I;16" else mode).convert(mode)
        data = saved(made, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}))
    except (OSError, ValueError, KeyError):
        return  # no such file can be made
    judged = judge(tmp_path, data)
    short, long = sorted((width, height))
    within = short > 300 and 5 * short >= 2 * long
    assert (judged.frame is not None) == within, judged.problems
    if judged.frame:
        copy = Image.open(io.BytesIO(sent(judged.frame)))
        judged.frame.close()
        assert copy.format in ("JPEG", "PNG", "WEBP")
        assert min(copy.size) > 300
        assert 5 * min(copy.size) >= 2 * max(copy.size)
        assert copy.getexif().get(0x0112, 1) == 1
        copy.load()
