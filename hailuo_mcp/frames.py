"""First and last frame: opened, judged, mended, encoded for sending."""

import asyncio
import binascii
import hashlib
import io
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal, Self
from urllib.parse import urlsplit

from PIL import Image

from hailuo_mcp.errors import FrameRejected, RequestRejected
from hailuo_mcp.media import mending, pictures
from hailuo_mcp.media.containers import Body
from hailuo_mcp.media.pictures import Facts, Fault, Look
from hailuo_mcp.rules import FRAME_FORMATS

FrameName = Literal["first_frame_image", "last_frame_image"]

_PIECE_BYTES = 3 << 19  # a multiple of 3, so that base64 pieces join; small enough to keep memory flat
_SOURCE_CHARACTERS_MAX = 4096  # of a path or URL
_NO_SOURCE = "is neither a path, an http(s) URL nor a data URL (data:image/jpeg;base64,...)"
_BY_PATH = "save it and give its path instead: then it is mended"


@dataclass(frozen=True, slots=True)
class Frame:
    """A judged frame. `label` is what a person calls it, `sha256` is of what the person gave; the other facts are of
    what is sent: sizes as displayed, in pixels, and None where they are not known."""

    name: FrameName
    label: str
    sha256: str
    url: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None  # bytes
    warnings: tuple[str, ...] = ()
    _body: Body | None = field(default=None, repr=False, compare=False)

    def close(self) -> None:
        """Let go of the file."""
        if self._body:
            self._body.close()

    @property
    def head(self) -> str:
        """What the sent value starts with: the whole URL, or a data URL up to its bytes."""
        return self.url or f"data:{FRAME_FORMATS[self.format or '']};base64,"

    @property
    def encoded_bytes(self) -> int:
        """Length of the base64 text that follows `head`."""
        return 4 * math.ceil((self._body.size if self._body else 0) / 3)

    async def encoded(self) -> AsyncIterator[bytes]:
        """The picture as base64, piece by piece, from the start each time; raises FrameRejected when it shrank."""
        size = self._body.size if self._body else 0

        def soon(offset: int) -> asyncio.Task[bytes]:
            return asyncio.create_task(asyncio.to_thread(self._piece, offset, min(_PIECE_BYTES, size - offset)))

        offset, coming = 0, soon(0) if size else None
        try:
            while coming:
                piece = await coming
                offset += _PIECE_BYTES
                coming = soon(offset) if offset < size else None  # encoded while this piece is sent
                yield piece
        finally:
            if coming:
                coming.cancel()

    def _piece(self, offset: int, size: int) -> bytes:
        assert self._body is not None
        data = self._body.read(offset, size)
        if len(data) != size:
            raise FrameRejected(f"{self.name}: {self.label} became shorter while it was sent; nothing was paid")
        return binascii.b2a_base64(data, newline=False)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a frame argument turned out to be: `frame` can be sent, and is None where there are problems.

    `facts` are of the picture as it was given. `image` is small, upright and in RGB, when it was asked for.
    """

    name: FrameName
    label: str
    facts: Facts | None = None
    problems: tuple[str, ...] = ()
    frame: Frame | None = None
    image: Image.Image | None = None

    def called(self, name: str) -> Self:
        """The same in words that give the frame another name than its argument's."""

        def renamed(words: str) -> str:
            return f"{name}{words.removeprefix(self.name)}" if words.startswith(self.name) else words

        frame = self.frame and replace(self.frame, warnings=tuple(map(renamed, self.frame.warnings)))
        return replace(self, problems=tuple(map(renamed, self.problems)), frame=frame)


def is_url(source: str) -> bool:
    """Whether a source is an http(s) URL."""
    return source.strip()[:8].lower().startswith(("http:", "https:"))


def judge_source(
    name: FrameName, source: str, open_file: Callable[[str], BinaryIO], *, mend: bool = True, show: int | None = None
) -> Judged:
    """Judge a path or data URL; `show` asks for the picture, with a short side of so many pixels. Blocks.

    `open_file` opens a path that a person gave, within what may be read; raises RequestRejected.
    """
    label = "data URL" if source.strip()[:5].lower() == "data:" else source.strip()
    try:
        if label == "data URL":
            file = _from_data_url(source.strip())
        elif len(source) > _SOURCE_CHARACTERS_MAX or "\x00" in source:
            raise RequestRejected(_NO_SOURCE)
        elif "://" in source[:16] and not source.strip().lower().startswith("file:"):
            raise RequestRejected(f"{source.strip()[:200]!r} {_NO_SOURCE}")
        else:
            file = open_file(source)
    except RequestRejected as error:
        return Judged(name, label[:200], problems=(f"{name}: {error}",))
    return judge_file(name, label, file, mend=mend, show=show)


def judge_file(name: FrameName, label: str, file: BinaryIO, *, mend: bool = True, show: int | None = None) -> Judged:
    """Judge an open file, which belongs to the frame from here on. Blocks."""
    found, frame, image = Look(None), None, None
    problems: list[str] = []
    try:
        found = pictures.look(label, file)
        problems += found.problems
        if found.readable and show:
            image, _ = mending.upright(label, file, show)
        if found.facts and not problems:
            frame = _frame(name, label, file, found, mend)
    except RequestRejected as error:
        problems.append(str(error))
    finally:
        if frame is None:
            file.close()
    return Judged(name, label, found.facts, tuple(f"{name}: {problem}" for problem in problems), frame, image)


def _frame(name: FrameName, label: str, file: BinaryIO, found: Look, mend: bool) -> Frame:
    """The frame as it is sent: the file's picture untouched, or a mended copy; raises RequestRejected."""
    facts, faults = found.facts, list(found.faults)
    assert facts is not None
    if faults and not mend:
        raise _unmended(faults)
    body = pictures.whole_picture(label, file, facts)
    digest = _digest(file)
    if faults or found.may_be_transparent:
        picture, transparent = mending.upright(label, file, mending.SHORT_SIDE_KEPT)
        if transparent:
            faults.append(Fault(f"{label} is transparent in parts", "laid on white where it was transparent"))
        if faults and not mend:
            raise _unmended(faults)
        if faults:
            copy, kind = mending.encode(picture, facts.format)
            file.close()
            body = Body(copy, [range(copy.tell())])
            notice = _notice(name, label, faults, f"{kind} of {picture.width}x{picture.height}", body.size)
            return Frame(name, label, digest, None, kind, *picture.size, body.size, (notice,), body)
    assert body is not None, "a format that cannot be sent is a fault"
    return Frame(name, label, digest, None, facts.format, facts.width, facts.height, body.size, (), body)


def _unmended(faults: Sequence[Fault]) -> RequestRejected:
    return RequestRejected(f"{'; '.join(fault.words for fault in faults)}; mend=true sends a mended copy")


def _notice(name: str, label: str, faults: Sequence[Fault], sent: str, size: int) -> str:
    *deeds, last = (fault.deed for fault in faults)
    deed = f"{', '.join(deeds)} and {last}" if deeds else last
    return f"{name}: {label} was {deed} for sending, as a {sent} and {size / 1e6:.1f} MB; the file itself is unchanged"


def judge_url(name: FrameName, url: str, head: bytes | None, size: int | None) -> Judged:
    """Judge an http(s) URL: its text, and the picture as far as `head`, its beginning, shows it.

    The API reads the picture there by itself, so nothing can be mended; `size` is the whole picture's, in bytes.
    """
    try:
        _check_url(url)
    except RequestRejected as error:
        return Judged(name, url[:200], problems=(f"{name}: {error}",))
    frame = Frame(name, url, hashlib.sha256(url.encode()).hexdigest(), url=url)
    if head is None:
        return Judged(name, url, frame=frame)
    found = pictures.look(url, io.BytesIO(head), size or len(head))
    problems = [f"{name}: {problem}" for problem in found.problems]
    problems += [f"{name}: {fault.words}; {_BY_PATH}" for fault in found.faults if fault.fatal]
    if problems or not found.facts:
        return Judged(name, url, found.facts, tuple(problems))
    warnings = tuple(f"{name}: {fault.words}; {_BY_PATH}" for fault in found.faults)
    facts = found.facts
    frame = replace(frame, format=facts.format, width=facts.width, height=facts.height, size=size, warnings=warnings)
    return Judged(name, url, facts, (), frame)


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, credentials, _ = parts.hostname, parts.username or parts.password, parts.port
    except ValueError as error:
        raise RequestRejected(f"{url[:200]!r} is not a URL: {error}") from None
    spaces = any(character.isspace() for character in url)
    if not host or credentials or spaces or len(url) > _SOURCE_CHARACTERS_MAX:
        raise RequestRejected(f"{url[:200]!r} must be a plain public URL, without spaces or a password")


def _from_data_url(url: str) -> BinaryIO:
    header, comma, payload = url.partition(",")
    if not comma or not header.lower().endswith(";base64"):
        raise RequestRejected("the data URL must look like data:image/jpeg;base64,...")
    try:
        data = binascii.a2b_base64(payload.encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise RequestRejected(f"the data URL's base64 is damaged ({error}); a path is safer than copied text") from None
    return io.BytesIO(data)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # its type lacks readinto


@dataclass(frozen=True, slots=True)
class Crop:
    """What the model cuts from the last frame to give it the first one's shape: a share, 0 to 1, and where."""

    loss: float
    sides: Literal["left and right", "top and bottom"]


def crop_of(first: tuple[int, int], last: tuple[int, int]) -> Crop:
    """The cut for two sizes in pixels; the position, in the middle, is not documented but usual."""
    ratio = (first[0] * last[1]) / (first[1] * last[0])
    return Crop(1 - min(ratio, 1 / ratio), "left and right" if ratio < 1 else "top and bottom")


def crop_warning(first: Frame, last: Frame) -> str | None:
    """What the model will cut from the last frame, when that is 1 % or more."""
    if not (first.width and first.height and last.width and last.height):
        return None
    crop = crop_of((first.width, first.height), (last.width, last.height))
    if crop.loss < 0.01:
        return None
    return (
        f"last_frame_image: is {last.width}x{last.height} and the first frame is {first.width}x{first.height}; the "
        f"model will crop {crop.loss:.0%} of the last frame, at its {crop.sides}"
    )
