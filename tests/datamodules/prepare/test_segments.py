"""Which names of files are taken for a clip, and which are not."""

import unicodedata
from pathlib import Path

import pytest

from datamodules.prepare.segments import MediaFolder, Segment, youtube_names
from earshot.errors import InputError

ID = "-a_30_b-_12"  # eleven characters, some of which look like times
CLIP = Segment(f"Y{ID}", youtube_names(ID), 30.0, 10.0)


def find(folder: Path, segment: Segment, *names: str) -> tuple[str, bool] | str:
    """The file taken and whether it is already cut, or the reason why there is none."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    clip, rows = MediaFolder(folder).find(segment)
    return (clip.file, clip.cut) if clip else rows[0].reason


@pytest.mark.parametrize(
    "form",
    ["_30", "_30.000", "_30.0", "_000030", "_30000", "_30_40", "_30.000_40.000", "_30000_40000", "_000030_000040"],
)
@pytest.mark.parametrize("prefix", ["", "Y", "sub/deeper/Y"])
def test_times_of_the_clip_are_read_in_every_form(form: str, prefix: str, tmp_path: Path) -> None:
    name = f"{prefix}{ID}{form}.MP4"
    assert find(tmp_path, CLIP, name) == (name, True)


@pytest.mark.parametrize(
    "form", ["_31", "_3", "_300", "_30_41", "_30_40000", "_30000_40", "_40_30", "_30_40_50", "-30", "x"]
)
def test_other_times_are_another_clip(form: str, tmp_path: Path) -> None:
    assert find(tmp_path, CLIP, f"{ID}{form}.mp4") == "missing"


def test_the_bare_id_is_the_whole_recording(tmp_path: Path) -> None:
    assert find(tmp_path, CLIP, f"{ID}.webm") == (f"{ID}.webm", False)
    assert find(tmp_path, CLIP, f"{ID.upper()}.webm") == (f"{ID}.webm", False)  # ids have a case
    assert find(tmp_path, CLIP, f"{ID}_30.wav") == (f"{ID}_30.wav", True)  # what is cut comes first
    assert find(tmp_path, CLIP, f"b/Y{ID}_30.mp4") == (f"b/Y{ID}_30.mp4", True)  # then videos


def test_ids_that_end_like_times_are_told_apart(tmp_path: Path) -> None:
    short, long = "abcdefgh_30", "abcdefgh_30_30"
    assert len(short) == 11
    for name in (short, long):
        (tmp_path / f"{name}.wav").touch()
    found = MediaFolder(tmp_path).find(Segment(f"Y{short}", youtube_names(short), 30.0, 10.0))[0]
    assert found is not None and (found.file, found.cut) == (f"{long}.wav", True)
    assert find(tmp_path, Segment("abcdefgh", ("abcdefgh",)), "other.wav") == "missing"  # whole files have no times


def test_unicode_in_either_form(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Čeština é") for form in ("NFC", "NFD"))
    assert composed != decomposed
    assert find(tmp_path, Segment("a", (composed,)), f"{decomposed}.wav") == (f"{decomposed}.wav", False)
    assert find(tmp_path, Segment("a", (decomposed,))) == (f"{decomposed}.wav", False)


def test_half_downloads_are_of_an_unknown_kind(tmp_path: Path) -> None:
    assert find(tmp_path, CLIP, f"{ID}.mp4.part", "other.wav", f".{ID}.mp4") == "unknown kind"


def test_images_and_folders(tmp_path: Path) -> None:
    for folder in ("FreeSound", "SoundBible"):
        assert (
            find(tmp_path, Segment(f"{folder}_1", ("1",), folder=folder), f"{folder}/1.flac")[0] == f"{folder}/1.flac"
        )
    for image in ("FreeSound/1.png", "SoundBible/1.JPG"):
        (tmp_path / image).touch()
    clip, _ = MediaFolder(tmp_path).find(Segment("SoundBible_1", ("1",), folder="SoundBible"))
    assert clip is not None and clip.image == "SoundBible/1.JPG"


def test_a_folder_without_media_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none; correct --input"):
        MediaFolder(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="audio files or videos .*found none"):
        MediaFolder(tmp_path)


def test_names_that_are_not_unicode_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "good.wav").touch()
    Path(f"{tmp_path}/b\udce9.wav").touch()  # a byte of Latin-1
    media = MediaFolder(tmp_path)
    assert media.files == ["good.wav"] and media.unknown == ["b?.wav"]
