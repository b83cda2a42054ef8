"""A shell for every test of the command."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.platform import Shell, write_platform

MASCOT = Path(__file__).parents[2] / "examples" / "mascot"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return a shell whose platform runs."""
    home = tmp_path / "home"
    write_platform(home)
    return Shell(home)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of four photos; each ends with its name, which no decoder minds."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, body in enumerate(_bodies(), 1):
        (folder / f"{number:02d}.jpg").write_bytes(body + b"photo %d" % number)
    return folder


@lru_cache(1)
def _bodies() -> tuple[bytes, ...]:
    bodies = []
    for path in sorted(MASCOT.glob("*.png"))[:4]:
        out = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize((96, 96)).save(out, "JPEG", quality=90)
        bodies.append(out.getvalue())
    return tuple(bodies)
