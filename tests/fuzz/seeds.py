"""What the fuzzing of each target starts from: right inputs of every kind, and words that wrong ones are made of."""

import base64
import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw
from test_mp4 import write
from world import KEY

from hailuo_mcp import camera, rules
from hailuo_mcp.media import pictures


def picture(form: str, mode: str = "RGB", size: tuple[int, int] = (310, 320), **options: object) -> bytes:
    """A small file of a picture that is within the limits."""
    image = Image.new("RGB", size, "navy")
    ImageDraw.Draw(image).ellipse([40, 40, 200, 200], fill="orange")
    file = io.BytesIO()
    image.convert(mode).save(file, form, **options)
    return file.getvalue()


@cache
def _frames() -> list[bytes]:
    pictures.formats()  # registers what is not Pillow's own
    turned = Image.Exif()
    turned[0x0112] = 6
    turned[0x010F] = "a maker"
    more = [Image.new("RGB", (310, 320), colour) for colour in ("red", "green")]
    small = {"BMP": {"mode": "1"}, "TIFF": {"compression": "tiff_lzw"}}
    forms, animated = ("JPEG", "PNG", "WEBP", "GIF", "AVIF", "JPEG2000", *small), ("GIF", "PNG", "WEBP", "TIFF", "MPO")
    still = [picture(form, **small.get(form, {})) for form in forms]
    moving = [picture(form, save_all=True, append_images=more, **small.get(form, {})) for form in animated]
    noted = [picture(form, exif=turned, icc_profile=b"profile") for form in ("JPEG", "PNG", "WEBP")]
    modes = {"JPEG": ("L", "CMYK"), "PNG": ("1", "LA", "P", "RGBA", "I;16"), "WEBP": ("RGBA",), "TIFF": ("LAB", "F")}
    coloured = [picture(form, mode, **small.get(form, {})) for form, each in modes.items() for mode in each]
    packed = [picture("TIFF", "1", compression=name) for name in ("tiff_deflate", "group4", "packbits")]
    packed.append(picture("TIFF", compression="jpeg"))
    other = [picture("JPEG", progressive=True), picture("WEBP", lossless=True), picture("JPEG", size=(300, 200))]
    heic = [picture("HEIF")] if "HEIF" in pictures.formats() else []
    return [*still, *moving, *noted, *coloured, *packed, *other, *heic]


@cache
def _clips() -> list[bytes]:
    """Clips with the index before the pictures, behind them, and in fragments; one with sound."""
    kinds: list[dict[str, bool]] = [{}, {"fast_start": False}, {"fragmented": True}, {"sound": True}]
    with TemporaryDirectory() as folder:
        return [write(Path(folder) / "clip.mp4", **kind).read_bytes() for kind in kinds]


@cache
def _answers() -> list[bytes]:
    """Answers to each call, named by their first byte: as the document shows them, and as gateways word them."""
    said = {"base_resp": {"status_code": 0, "status_msg": "success"}}
    link = "https://bucket.example.com/a.mp4?Expires=1763571243&x-oss-date=20251119T000000Z&x-oss-expires=60"
    bodies = [
        {"task_id": "335812458701204"} | said,
        {"status": "Success", "file_id": "3358", "task_id": "3", "video_width": 1364, "video_height": 768} | said,
        {"status": "Failed", "base_resp": {"status_code": 1027, "status_msg": "output new_sensitive"}},
        {"file": {"file_id": 335811572470048, "filename": "output_aigc.mp4", "download_url": link}} | said,
        {"data": {"data": {"task_id": 7, "file": {"download_url": link}}, "status": "Processing"}},
        {"error": {"message": f"no quota for {KEY}", "code": "x"}, "message": KEY, "status": KEY, "task_id": KEY},
        *({"task_id": "", "base_resp": {"status_code": code, "status_msg": "no"}} for code in rules.API_CODES),
    ]
    late = f"Retry-After: Wed, 21 Oct 2099 07:28:00 +0100\r\nTrace-Id: {KEY}"
    heads = ["200 OK", f"429 Slow down\r\n{late}", "503 Busy\r\nRetry-After: 3", "302 Found\r\nLocation: /elsewhere"]
    heads.append("206 Part\r\nContent-Range: bytes 5-9/10")
    full = [(heads[0], json.dumps(body)) for body in bodies] + [(head, json.dumps(bodies[0])) for head in heads]
    full.append(("200 OK\r\nTransfer-Encoding: chunked", '5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'))
    return [f"{call}HTTP/1.1 {head}\r\n\r\n{body}".encode() for head, body in full for call in "sqrd"]


_PROMPTS = [
    *camera.EXAMPLES,
    *(f"a [{command.text}] b [{command.english}]" for command in camera.COMMANDS),
    "【推进】花［拉遠］ [左摇，上升、下降;固定] [Push inn] [] [[a]] \ud83d \u202e 4:3 [sensitive]",
]
# Values that no argument wants, or that only look like one.
_NUMBERS = (True, 0, 6, -1, 1.5, 6.0, 10**30)
_TEXTS = ("", " ", "6", "²", "9" * 5000, "\0", "\u202e", "null", "[]")
ODD = (None, *_NUMBERS, *_TEXTS, [], {}, [[]])


def usual(task_id: str, film_id: str, good: str, bad: str) -> dict[str, tuple[object, ...]]:
    """What is usually given for each argument of the tools, right and wrong; `good` and `bad` are pictures."""
    still = f"hailuo://videos/{task_id}/"
    elsewhere = (
        "/etc/passwd ~ ftp://a http://10.0.0.1/a.png http://127.0.0.1:1/a.png data:image/png;base64,AAAA hailuo://x"
    )
    frames = (good, "", bad, f" {good}", *elsewhere.split(), still, still + "last-frame", still + "frame/1e999")
    prompts = ("a sea", "[Push in] a sea", "[Push inn] a sea", "[推进,左摇]", "x" * 2000, "x" * 2001, " ")
    ids = (task_id, film_id, int(task_id), f" {task_id} ", f"{task_id}.mp4", "7", "film-7", "../x.mp4", "a b")
    shot, odd = {"prompt": "a hill"}, {"prompt": "a [Pan] b", "duration": "10"}
    return {
        "prompt": prompts,
        **dict.fromkeys(("first_frame_image", "last_frame_image"), frames),
        "keyframes": ([good], ["", good], [good] * 3, [bad], [*frames], [7], []),
        "shots": ([shot], [shot, odd], [{"prompt": "x", "take": 1}], [shot] * 61, ["a hill"], '[{"prompt": "a lake"}]'),
        "duration": (6, 10, "6", 10.0, "10s", 7),
        "resolution": ("768P", "1080P", " 1080p", "512P"),
        "filename": ("sea.mp4", "../sea", "CON", "a" * 300, "."),
        "state": ("", "Success", "success"),
        **dict.fromkeys(("task_id", "film_id", "record", "cursor", "file_id"), ids),
        **dict.fromkeys(("take", "limit", "shot", "frames", "wait_seconds"), (1, 2, "3", 50, 51, 1000)),
        "save_frame": ("last", "first", "0.5", 2, "1e999", "-1", "nan"),
    }


_CHOICES = [bytes([at, *([1, 0] * 15)]) for at in range(10)] + [bytes(range(at, at + 40)) for at in range(0, 200, 8)]

# The seeds of each target, by its name.
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "prompt": lambda: [prompt.encode("utf-8", "surrogatepass") for prompt in _PROMPTS],
    "frame": _frames,
    "data_url": lambda: [f"image/jpeg;base64,{base64.b64encode(data).decode()}".encode() for data in _frames()[:3]],
    "answer": _answers,
    "clip": _clips,
    "tool": lambda: _CHOICES,
}
# Pieces that a byte at a time would hardly ever hit upon.
WORDS: dict[str, list[bytes]] = {
    "prompt": [word.encode() for word in ("[", "]", "【", "】", "［］", "，", "推进", "Push in", "[推进,拉远]", "向")],
    "frame": [b"\xff\xd8", b"\xff\xda\0\2", b"\xff\xd9", b"VP8X", b"VP8L", b"EXIF", b"ICCP", b"IEND", b"acTL", b"\0\0"],
    "data_url": [b";base64,", b"image/png", b"====", b"data:", b"%2B", b"\n"],
    "answer": [
        b"HTTP/1.1 ",
        b"\r\nRetry-After: ",
        b"\r\nContent-Encoding: gzip",
        b"\r\n\r\n",
        b"9" * 30,
        b"\\u0073k",
        b"\\ud800",
    ],
    "clip": [b"moov", b"trak", b"mdia", b"stbl", b"\0\0\0\1", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x08moof"],
    "tool": [b"\0\1\2", b"hailuo://", b"\xff"],
}
