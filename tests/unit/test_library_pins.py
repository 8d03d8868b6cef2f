"""A library whose pins exclude the installed hikari is named, with what to do."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from consumers.library_pins import unmet_pins


def installed(folder: Path, name: str, version: str, *requires: str) -> metadata.Distribution:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {one}" for one in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    return metadata.Distribution.at(info)


@pytest.mark.parametrize("pin", ["hikari~=2.6.0", "hikari (<2.7)", "Hikari==2.5.0", "hikari[server]>=3"])
def test_a_library_that_excludes_the_installed_hikari_is_named(tmp_path: Path, pin: str) -> None:
    (sentence,) = unmet_pins([installed(tmp_path, "hikari-lightbulb", "3.2.6", "linkd", pin)], "2.7.0")
    assert sentence.startswith("hikari-lightbulb 3.2.6 asks for ")
    assert "hikari 2.7.0 is installed: install a version of hikari-lightbulb that takes it" in sentence


@pytest.mark.parametrize(
    "pin", ["hikari~=2.6", "hikari", "hikari>=2.0.0.dev115, <3", 'hikari<2; extra == "old"', "hikari @@"]
)
def test_one_that_takes_it_is_not(tmp_path: Path, pin: str) -> None:
    assert list(unmet_pins([installed(tmp_path, "fine", "1.0", pin)], "2.7.0")) == []


def test_only_the_copy_that_is_imported_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    found = [installed(first, "one", "2.0", "hikari>=2.6"), installed(second, "one", "1.0", "hikari<2")]
    assert list(unmet_pins(found, "2.7.0")) == []


def test_what_the_project_installs_for_itself_fits_together() -> None:
    assert list(unmet_pins(metadata.distributions(), metadata.version("hikari"))) == []
