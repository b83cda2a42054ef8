"""A shell for every test of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.platform import Shell, write_platform


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell whose platform runs."""
    home = tmp_path / "home"
    write_platform(home)
    return Shell(home)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of four photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(1, 5):
        (folder / f"{number:02d}.jpg").write_bytes(b"photo %d" % number)
    return folder
