"""The measurement of the cache of embeddings: what it refuses."""

from pathlib import Path

import pytest

from benchmarks.clap_cache import main


def test_a_table_that_is_missing_or_small_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (table := tmp_path / "few.csv").write_text("clip_id,caption\na,a dog barks\nb,rain falls\n")
    for path, said in (
        (tmp_path / "nothing.csv", "error: expected a CSV table of captions in "),
        (table, "error: expected at least 1024 captions in "),
    ):
        with pytest.raises(SystemExit) as ended:
            main([str(path)])
        err = capsys.readouterr().err
        assert ended.value.code == 2 and err.startswith(said) and str(path) in err and len(err.splitlines()) == 1
