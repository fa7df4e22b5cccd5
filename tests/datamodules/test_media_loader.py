"""Media files without packing: which are read, and by which rank."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from odd_media import tone, write_bad, write_video

from datamodules.batch_order import BatchOrder
from datamodules.clip_reader import decode_audio
from datamodules.clips import ClipFormat
from datamodules.media_clips import Unusable, list_media, media_digest, read_beginning, read_windows
from datamodules.media_loader import MediaLoader
from earshot.errors import InputError

SOUND = ClipFormat(sampling_rate=16000, max_seconds=1.0)
BOTH = ClipFormat(sampling_rate=16000, image_size=32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven sounds of one to seven tenths of a second, and bad files."""
    for number in range(1, 8):
        soundfile.write(tmp_path / f"{number}.wav", tone(number / 10, 8000), 8000)
    write_bad(tmp_path)
    (tmp_path / "table.csv").write_text("file_name,caption")
    (tmp_path / ".hidden.wav").touch()
    return tmp_path


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_ranks_read_every_file_once_in_as_many_batches(folder: Path, num_workers: int) -> None:
    files, others = list_media([folder])
    assert others == Counter({".csv": 1}) and len(files) == 15
    given: list[str] = []
    broken: list[str] = []
    lengths = set()
    for rank in (0, 1):
        order = BatchOrder(rank=rank, world_size=2)
        loader = MediaLoader(files, SOUND, 3, order, num_workers)
        with pytest.warns(UserWarning, match="left out a file"):
            batches = list(loader)
        lengths.add((len(loader), len(batches)))
        for batch in batches:
            assert batch.waveforms is not None  # a filler batch has some, too
            for name, samples in zip(
                batch.clip_ids, batch.num_samples.tolist() if batch.num_samples is not None else ()
            ):
                assert samples == 1600 * int(name[0])
        given += [name for batch in batches for name in batch.clip_ids]
        broken += sorted(loader.broken)
    assert lengths == {(3, 3)}
    assert sorted(given) == [f"{number}.wav" for number in range(1, 8)] and len(broken) == 8


def test_where_all_files_are_done_there_is_a_filler() -> None:
    """Without any batch, Lightning would leave out what follows the last one, such as writing the table."""
    (only,) = MediaLoader({}, SOUND, 3)
    assert not only.valid


def test_a_part_is_what_a_packed_clip_would_be(tmp_path: Path) -> None:
    """The same samples as the reader of shards makes of the same file; the beginning of a long one."""
    soundfile.write(tmp_path / "a.wav", tone(3, 44100), 44100, subtype="FLOAT")
    part = read_beginning("a", tmp_path / "a.wav", SOUND)
    assert part.cut and part.end == pytest.approx(1.0) and len(part.clip.waveform) == 16000
    whole = decode_audio((tmp_path / "a.wav").read_bytes(), 16000)
    part = read_beginning("a", tmp_path / "a.wav", ClipFormat(sampling_rate=16000))
    assert not part.cut and np.array_equal(part.clip.waveform, whole)


def test_the_image_is_the_middle_frame_of_the_part(tmp_path: Path) -> None:
    """Frame n is grey 3n, ten a second; of three seconds the middle one begins with frame 10, of the last, 20."""
    write_video(tmp_path / "a.mp4", "libx264", "aac", seconds=3)
    part = read_beginning("a", tmp_path / "a.mp4", BOTH)
    assert abs(float(part.clip.image.mean()) - 30) < 3
    parts = list(read_windows("a", tmp_path / "a.mp4", BOTH, 1.0))
    assert [round(float(each.clip.image.mean()) / 30) for each in parts] == [0, 1, 2]  # not the codec's last 10 ms


def test_the_still_image_of_a_sound_is_its_image(tmp_path: Path) -> None:
    from PIL import Image

    soundfile.write(tmp_path / "a.wav", tone(1, 16000), 16000)
    Image.new("RGB", (64, 48), (10, 20, 30)).save(tmp_path / "a.png")
    part = read_beginning("a", tmp_path / "a.wav", BOTH)
    assert part.clip.image.shape == (3, 32, 32) and part.clip.image[:, 5, 5].tolist() == [10, 20, 30]
    alone = read_beginning("a", tmp_path / "a.png", ClipFormat(image_size=32))
    assert alone.clip.waveform is None and alone.clip.image.shape == (3, 32, 32)


def test_what_is_not_there_is_refused_and_other_files_have_another_digest(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="found no nothing.wav"):
        list_media([Path("nothing.wav")])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="expected media files"):
        list_media([tmp_path / "none"])
    files, _ = list_media([folder])
    before = media_digest(files)
    soundfile.write(folder / "1.wav", tone(1, 8000), 8000)
    assert media_digest(files) != before


def test_a_part_that_cannot_be_used_does_not_end_the_file(tmp_path: Path) -> None:
    """Silence in the second second, a value that is not finite in the third."""
    samples = tone(4, 16000)
    samples[16000:32000] = 0
    samples[40000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    parts = list(read_windows("a", tmp_path / "a.wav", SOUND, 1.0))
    assert [(part.start, part.end) for part in parts] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [part.error.reason if isinstance(part, Unusable) else "" for part in parts] == [
        "", "silent", "not finite", ""
    ]  # fmt: skip


def test_every_file_of_a_folder_is_listed_by_a_name_that_can_be_written(tmp_path: Path) -> None:
    """Two names in Latin-1, a link to nothing; hidden folders and links that lead in a circle are passed over."""
    (tmp_path / ".cache").mkdir()
    for name in (".cache/a.wav", "a.wav", "caf\udce9.wav", "caf\udce8.wav"):
        (tmp_path / name).touch()
    (tmp_path / "gone.wav").symlink_to("nothing.wav")
    (tmp_path / "circle").symlink_to(".")
    files, others = list_media([tmp_path])
    assert {name.encode().decode() for name in files} == set(files) and not others
    assert sorted(path.name for path in files.values()) == ["a.wav", "caf\udce8.wav", "caf\udce9.wav", "gone.wav"]
    assert sorted(files)[1:] == ["a.wav", "caf?.wav", "gone.wav"]
    assert media_digest(files) != media_digest({"a.wav": tmp_path / "a.wav"})
