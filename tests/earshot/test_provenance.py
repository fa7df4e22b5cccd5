"""What a result says that it was made by."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from earshot import provenance


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """aac-metrics comes with an extra alone."""

    def without(package: str) -> str:
        if package == "aac-metrics":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(provenance, "version", without)
    found = provenance.provenance(["earshot"])
    assert found["torch"] == version("torch") and "aac-metrics" not in found
