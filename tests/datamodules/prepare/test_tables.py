"""Tables of corpora that are odd, or wrong."""

import json
from pathlib import Path

import pytest

from datamodules.prepare.__main__ import main
from datamodules.prepare.corpora import audiocaps, audioset, clotho, wavcaps
from earshot.errors import InputError
from tests.datamodules.prepare.commands import packed, report
from tests.datamodules.prepare.made_media import tone, write_audio


def test_audioset_as_it_is_published(tmp_path: Path) -> None:
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'
    )
    table = tmp_path / "eval_segments.csv"
    table.write_text(
        "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=2, num_segs=2\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--4gqARaEJE, 0.000, 10.000, "/m/09x0r,/m/05zppz"\n-0SdAVK79lg, 30.000, 36.500, "/m/05zppz"\n'
    )
    first, second = audioset([table])
    assert (first.clip_id, first.start, first.seconds) == ("Y--4gqARaEJE", 0, 10)
    assert first.labels == ("Speech", "Male speech, man speaking") and second.seconds == 6.5
    for line, message in (("a, b\n", "in line 6 .*'a, b'"), ('a, 0, 10, "/m/0"\n', "label '/m/0' of line 6")):
        table.write_text(table.read_text() + line)
        with pytest.raises(InputError, match=message):
            audioset([table])
        table.write_text(table.read_text().removesuffix(line))
    with pytest.raises(InputError, match="by --classes"):
        audioset([table], tmp_path / "nowhere.csv")


def test_audiocaps_with_two_starts_of_one_video_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "test.csv"
    table.write_text("audiocap_id,youtube_id,start_time,caption\n1,7fmOlUlwoNg,20,a\n2,7fmOlUlwoNg,20,b\n")
    (segment,) = audiocaps([table])
    assert (segment.clip_id, segment.start, segment.captions) == ("Y7fmOlUlwoNg", 20, ("a", "b"))
    table.write_text(table.read_text() + "3,7fmOlUlwoNg,50,c\n")
    with pytest.raises(InputError, match="found 20 and 50 for 7fmOlUlwoNg"):
        audiocaps([table])
    table.write_text("youtube_id,start_time,caption\n7fmOlUlwoNg,soon,a\n")
    with pytest.raises(InputError, match="start_time of .*'soon'"):
        audiocaps([table])


def test_clothos_names_are_kept(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('file_name,caption_1,caption_2\n a.b; "c".wav,x,y\n'.replace('"c"', "'c'"))
    (segment,) = clotho([table])
    assert segment.clip_id == " a.b; 'c'" and segment.names == (" a.b; 'c'", "a.b; 'c'")
    assert segment.captions == ("x", "y")


def test_wavcaps_subsets_in_one_split(tmp_path: Path) -> None:
    """FreeSound and SoundBible both have a sound 2219; AudioSet's clips keep their ids; folders as they unpack."""
    tables = []
    for subset, name, clip in (("FreeSound", "fsd", "2219"), ("SoundBible", "sb", "2219"),
                               ("AudioSet_SL", "as", "Yb0RFKhbpFJA.wav")):  # fmt: skip
        table = tmp_path / "json" / f"{name}_final.json"
        table.parent.mkdir(exist_ok=True)
        entry = {"id": clip, "caption": f"Of {subset}.", "duration": 1.0}
        # the first files of WavCaps were lists
        table.write_text(json.dumps([entry] if name == "sb" else {"num_captions_per_audio": 1, "data": [entry]}))
        tables.append(table)
        folder = subset if name == "as" else f"{subset}_flac"
        write_audio(tmp_path / "media" / folder / f"{clip.removesuffix('.wav')}.flac", tone(1.0))
    main(
        ["wavcaps", "--table", *map(str, tables), "--input", str(tmp_path / "media"), "--output", str(tmp_path / "out")]
    )
    assert {row["file"] for row in report(tmp_path / "out") if row["reason"].startswith("packed")} == {
        "FreeSound_flac/2219.flac", "SoundBible_flac/2219.flac", "AudioSet_SL/Yb0RFKhbpFJA.flac"
    }  # fmt: skip
    assert {clip_id: sample.record["captions"] for clip_id, sample in packed(tmp_path / "out").items()} == {
        "FreeSound_2219": ["Of FreeSound."], "SoundBible_2219": ["Of SoundBible."], "Yb0RFKhbpFJA": ["Of AudioSet_SL."]
    }  # fmt: skip
    tables[0].write_text('{"data": [{"title": "no id"}]}')
    with pytest.raises(InputError, match="KeyError"):
        wavcaps(tables)


def test_start_times_count_under_any_spelling(tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("Audiocap ID;YouTube_ID;Start Time;Caption\n1;b0RFKhbpFJA;30;a bell\n")
    (segment,) = audiocaps([table])
    assert (segment.clip_id, segment.start, segment.captions) == ("Yb0RFKhbpFJA", 30.0, ("a bell",))
