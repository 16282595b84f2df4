"""What looking costs: frames judged, bombs refused, previews drawn, clips checked and shown.

    python benchmarks/looking.py

Times are the best of a few runs, so that other work on the machine counts little. Memory is what a process of its own
takes at most beyond its imports.
"""

import asyncio
import io
import multiprocessing
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
from PIL import Image

from hailuo_mcp import camera, files, frames, video
from hailuo_mcp.media import animatic, damage, pictures

PICTURES = Path(__file__).parents[1] / "hailuo_mcp" / "simulator" / "pictures"
RUNS = 5


def best(work: Callable[[], object], runs: int = RUNS) -> float:
    """Seconds of the fastest run."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def peak(work: Callable[[], object]) -> float:
    """Megabytes that a process of its own takes for that, at most."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_peak, work).result()


def _peak(work: Callable[[], object]) -> float:
    pictures.formats()
    before = _most_so_far()
    work()
    return _most_so_far() - before


def _most_so_far() -> float:
    """Megabytes; what the system calls a process's most also counts its parent, so it is read where Linux tells it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def judge(path: Path, show: int | None = None) -> frames.Judged:
    judged = frames.judge_source(
        "first_frame_image", str(path), partial(files.open_confined, folders=[path.parent]), show=show
    )
    if judged.frame:
        judged.frame.close()
    return judged


async def held(path: Path) -> float:
    """Seconds for which judging holds up the event loop, at most."""
    longest, done = 0.0, asyncio.create_task(asyncio.to_thread(judge, path))
    while not done.done():
        start = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - start - 0.001)
    return longest


def large(path: Path, form: str, megabytes: float) -> Path:
    """A photograph-like picture of about that size."""
    side = 1000
    while True:
        noise = Image.effect_noise((side * 4 // 3, side), 60)
        picture = Image.merge("RGB", (noise, noise.transpose(Image.Transpose.ROTATE_180), noise))
        picture.save(path, form, **({"compress_level": 1} if form == "PNG" else {"quality": 95}))
        size = path.stat().st_size / 1e6
        if abs(size - megabytes) < 0.7:
            return path
        side = round(side * (megabytes / size) ** 0.5)


def bomb(path: Path, side: int) -> Path:
    """A small PNG that unpacks to a square of that many pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    packer = zlib.compressobj(9)
    row, data = bytes(1 + 3 * side), io.BytesIO()
    for _ in range(side):
        data.write(packer.compress(row))
    data.write(packer.flush())
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, body in ((b"IHDR", head), (b"IDAT", data.getvalue()), (b"IEND", b"")):
            file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return path


def sketch(path: Path, short_side: int, seconds: float = 6) -> Path:
    first, last = (Image.open(PICTURES / f"dandelion_{end}.jpg") for end in ("first", "last"))
    reading = camera.read("[Push in] The sun comes, then [Truck left, Pedestal up] the flower opens")
    animatic.render(
        path,
        first=first,
        last=last,
        moves=reading.moves,
        prompt_length=len(reading.prompt),
        seconds=seconds,
        size=video.output_size(first.size, short_side),
        caption="preview",
    )
    return path


def decode(path: Path) -> None:
    with video.opened(path) as (container, stream):
        for _ in container.decode(stream):
            pass


def long_file(path: Path, clip: Path, megabytes: int) -> Path:
    """The clip's packets over and over until the file is that large."""
    with av.open(str(path), "w", format="mp4") as out, video.opened(clip) as (_, template):
        stream, offset = out.add_stream_from_template(template), 0
        for _ in range(megabytes * 1_000_000 // clip.stat().st_size):
            with video.opened(clip) as (container, source):
                length = source.duration or 0
                for packet in container.demux(source):
                    if packet.size:
                        packet.pts, packet.dts = (packet.pts or 0) + offset, (packet.dts or 0) + offset
                        packet.stream = stream
                        out.mux(packet)
                offset += length
    return path


def cost(what: str, work: Callable[[], object], runs: int = RUNS) -> None:
    """Print how long it takes and how much memory."""
    print(f"{what}: {1000 * best(work, runs):.0f} ms, +{peak(work):.0f} MB")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in ("JPEG", "PNG", "WEBP"):
            path = large(folder / f"large.{form}", form, 19 if form != "WEBP" else 12)
            cost(f"judge a {form} of {path.stat().st_size / 1e6:.0f} MB", partial(judge, path))
            loop = min(asyncio.run(held(path)) for _ in range(RUNS))
            print(f"  and the event loop is held for {1000 * loop:.0f} ms")
        for side in (9_000, 20_000):
            path = bomb(folder / "bomb.png", side)
            assert judge(path).problems
            cost(f"refuse {side}x{side} pixels in {path.stat().st_size / 1e3:.0f} kB", partial(judge, path, 420))
        cost("show that JPEG small", partial(judge, folder / "large.JPEG", 420), 2)
        took = best(partial(sketch, folder / "preview.mp4", 384), 3)
        print(f"preview of 6 s at 682x384: {took:.2f} s, {6 / took:.1f} times real time")
        print(f"the simulator's small clip, 256x144: {best(partial(sketch, folder / 'small.mp4', 144), 3):.2f} s")
        clip = sketch(folder / "clip.mp4", 1080, 10)
        once, sheet = best(partial(decode, clip), 3), best(partial(video.contact_sheet, clip), 3)
        print(f"10 s of 1080P: decoding {once:.2f} s, contact sheet {sheet:.2f} s, {sheet / once:.2f} times that")
        cost("check it on arrival", partial(damage.check, clip), 3)
        film = long_file(folder / "film.mp4", clip, 300)
        cost(f"check a file of {film.stat().st_size / 1e6:.0f} MB", partial(damage.check, film), 1)


if __name__ == "__main__":
    main()
