import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from hailuo_mcp import files
from hailuo_mcp.errors import RequestRejected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "a picture.jpg").write_bytes(b"inside")
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    return allowed


@pytest.mark.parametrize("way", ["{}", "'{}'", ' "{}" ', "file://{}"])
def test_a_path_is_read_as_people_write_it(folder: Path, way: str) -> None:
    text = way.format((folder / "a picture.jpg").as_posix())
    with files.open_confined(text, [folder]) as file:
        assert file.read() == b"inside"


@pytest.mark.parametrize("escape", ["../secret.jpg", "../allowed/../secret.jpg", "link.jpg", "sub/link.jpg"])
def test_no_road_leads_out_of_the_allowed_folders(folder: Path, escape: str) -> None:
    (folder / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    (folder / "sub").symlink_to(folder.parent)
    (folder.parent / "link.jpg").symlink_to(folder.parent / "secret.jpg")
    with pytest.raises(RequestRejected, match="outside the allowed folders"):
        files.open_confined(f"{folder}/{escape}", [folder])


def test_a_folder_whose_name_starts_the_same_is_not_allowed(folder: Path) -> None:
    other = folder.with_name("allowed-not")
    other.mkdir()
    (other / "x.jpg").write_bytes(b"x")
    with pytest.raises(RequestRejected, match="outside"):
        files.open_confined(str(other / "x.jpg"), [folder])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x.jpg", "not a full path"),
        ("{}/none.jpg", "does not exist"),
        ("{}", "is not a file|cannot be opened"),
        ("~no-such-person/x", "not a full path"),
    ],
)
def test_what_cannot_be_read_is_said(folder: Path, text: str, words: str) -> None:
    with pytest.raises(RequestRejected, match=words):
        files.open_confined(text.format(folder), [folder])


def test_without_allowed_folders_no_path_is_read(folder: Path) -> None:
    with pytest.raises(RequestRejected, match="HAILUO_ALLOWED_DIRS"):
        files.open_confined(str(folder / "a picture.jpg"), [])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs in folders")
def test_a_pipe_does_not_hang_the_server(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    with pytest.raises(RequestRejected, match="not a file"):
        files.open_confined(str(folder / "pipe.jpg"), [folder])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no devices in folders")
@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/fd", "/dev/stdin"])
def test_a_device_is_no_picture_wherever_it_lies(device: str) -> None:
    with pytest.raises(RequestRejected, match=r"is not a file|cannot be opened|lies outside|does not exist"):
        files.open_confined(device, [Path("/dev")])


@pytest.mark.parametrize(
    ("given", "name"), [("clip", "clip.mp4"), ("clip.MP4", "clip.mp4"), ("日落 1.5", "日落 1.5.mp4")]
)
def test_a_file_name_gets_its_ending(given: str, name: str) -> None:
    assert files.video_name(given) == name


@pytest.mark.parametrize(
    "name",
    ["../x.mp4", "a/b.mp4", "a\\b.mp4", "C:x.mp4", "/etc/x.mp4", ".hidden.mp4", ".mp4", "nul.mp4", "COM1", "x.mov",
     "a\x00b", "x" * 300, "x .mp4", "..", "a\nb", "日" * 70, "caf\udce9.mp4", "a\u202e4pm.mp4",
     "a\u200bb", "x:stream.mp4",
     "com¹", "LPT³.mp4", "conin$", "nul .mp4", "aux.film.mp4", "~/x.mp4",
     "%2e%2e/x.mp4", "//server/x", "x.mp4/", " . "],
)  # fmt: skip
def test_a_name_that_is_no_plain_name_is_refused(name: str) -> None:
    with pytest.raises(RequestRejected, match="filename"):
        files.video_name(name)


def test_a_draft_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"mine")
    with files.draft(tmp_path, "clip.mp4") as draft:
        draft.path.write_bytes(b"new")
        published = draft.publish()
    assert published.name == "clip-2.mp4"
    assert (tmp_path / "clip.mp4").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-2.mp4", "clip.mp4"]


def test_a_failed_draft_leaves_nothing_behind(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with files.draft(tmp_path, "clip.mp4") as draft:
            draft.path.write_bytes(b"half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "../outside.jpg",
        "a/../../outside.jpg",
        "%2e%2e/outside.jpg",
        "..\\outside.jpg",
        "x" * 5000,
        "/".join(["x"] * 3000),
        "a\0b",
        "caf\udce9.jpg",
        "\u202egpj.exe",
        "~nobody-here/x.jpg",
        "file:///etc/passwd",
        "FILE://localhost/etc/passwd",
        "file:..%2Foutside.jpg",
        "/dev/zero",
        "/proc/self/environ",
        "//server/share/x.jpg",
        "\\\\?\\C:\\x.jpg",
        "CON",
        ".",
        "",
        " ",
    ],
)
def test_no_trick_of_names_opens_what_is_elsewhere_or_breaks_the_reader(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    for text in (name, f"{folder}/{name}"):
        with pytest.raises(RequestRejected):
            files.open_confined(text, [folder])


def test_whether_a_file_is_there_is_told_only_of_allowed_folders(tmp_path: Path) -> None:
    folder = tmp_path / "allowed"
    folder.mkdir()
    (tmp_path / "there.jpg").touch()
    said = []
    for name in ("there.jpg", "gone.jpg"):
        with pytest.raises(RequestRejected) as refused:
            files.open_confined(str(tmp_path / name), [folder])
        said.append(str(refused.value).replace(name, "X"))
    assert said[0] == said[1]


@pytest.mark.parametrize("id", ["../x", "a/../../x", "..\\x", "C:x", "a:stream", "con", "日落", "a\u202eb", "x" * 128])
def test_an_id_names_files_in_one_folder_alone(tmp_path: Path, id: str) -> None:
    name = files.named_after(id)
    assert PureWindowsPath(name).name == PurePosixPath(name).name == name
    assert ":" not in name
    assert files.named_after(f"{id}_") != name
    with files.draft(tmp_path, f"{name}.mp4", keep_as=name) as draft:
        draft.path.write_bytes(b"x")
        assert draft.publish().parent == tmp_path


def test_nothing_is_written_through_a_link_that_somebody_laid(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    for name in (".hailuo-1.part", "clip.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    with files.draft(tmp_path, "clip.mp4", keep_as="hailuo-1") as draft:
        draft.path.write_bytes(b"new")
        assert draft.publish().name == "clip-2.mp4"
    assert (tmp_path / "precious").read_bytes() == b"mine"
