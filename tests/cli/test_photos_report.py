"""`atelier photos`: a folder is looked at before anything is sent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from app.cli.exits import Exit
from tests.conftest import Golden

MASCOT = Path(__file__).parents[2] / "examples" / "mascot"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the mascot's photos and what people put beside them."""
    folder = tmp_path / "mascot"
    shutil.copytree(MASCOT, folder)
    first = Image.open(MASCOT / "01.png").convert("RGB")
    first.resize((300, 300)).save(folder / "copy.jpg", quality=60)
    Image.open(MASCOT / "04.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(
        folder / "mirror.webp", quality=80
    )
    first.rotate(180).filter(ImageFilter.GaussianBlur(4)).save(folder / "soft.png")
    first.filter(ImageFilter.GaussianBlur(14)).save(folder / "waved.png")
    (folder / "IMG_1.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic\x00\x00")
    (folder / "cut.png").write_bytes((MASCOT / "05.png").read_bytes()[:9000])
    (folder / "notes.txt").write_text("no photo", encoding="utf-8")
    return folder


def test_each_photo_is_a_line_that_says_whether_it_is_used(shell, folder, golden: Golden):
    assert shell("photos", str(folder)) == Exit.DONE
    golden("photos.txt", shell.out)
    assert not shell.platform.files


def test_programs_are_given_the_whole_report(shell, folder):
    shell("--json", "photos", str(folder))
    told = json.loads(shell.out)
    assert told["makes_a_model"] is True
    refused = {p["name"]: p["reason"] for p in told["photos"] if p["reason"]}
    assert refused == {
        "IMG_1.HEIC": "not-an-image",
        "copy.jpg": "duplicate",
        "cut.png": "truncated",
        "mirror.webp": "duplicate",
        "waved.png": "blurred",
    }


def test_no_size_is_told_of_a_photo_that_is_not_used(shell, folder):
    shell("--json", "photos", str(folder))
    sizes = {photo["name"]: photo["width"] for photo in json.loads(shell.out)["photos"]}
    assert sizes["cut.png"] is None
    assert sizes["01.png"]


def test_captions_that_do_not_read_are_told_after_the_photos(shell, folder):
    (folder / "captions.json").write_text('{"09b.png": "x"}', encoding="utf-8")
    assert shell("photos", str(folder)) == Exit.REFUSED
    assert "would be used" in shell.out
    assert "names 09b.png, which the folder does not hold" in shell.err


def test_that_the_base_model_itself_is_not_looked_for_is_said(shell, folder):
    assert shell("photos", str(folder), "--base", "sd15") == Exit.DONE
    assert "whether the platform that you will use has base model sd15" in shell.out


def test_a_base_model_that_the_home_lacks_is_refused_as_its_platform_would(shell, folder):
    (shell.home / "base-models" / "tiny").mkdir(parents=True)
    assert shell("photos", str(folder)) == Exit.DONE
    assert shell("photos", str(folder), "--base", "sd15") == Exit.REFUSED
    assert "has no base model sd15" in shell.err
    assert "Choose one that it has: tiny." in shell.err


def test_photos_that_make_no_model_end_with_refused(shell, folder):
    for path in MASCOT.glob("*.png"):
        (folder / path.name).unlink()
    assert shell("photos", str(folder)) == Exit.REFUSED
    assert "they make no model" in shell.out
    assert "at least 4 are needed" in shell.out


def test_photos_are_judged_for_the_base_model_that_they_are_meant_for(shell, tmp_path):
    for path in sorted(MASCOT.glob("*.png")):
        Image.open(path).resize((200, 200)).save(tmp_path / path.name)
    assert shell("photos", str(tmp_path)) == Exit.DONE
    assert shell("photos", str(tmp_path), "--base", "sd15") == Exit.REFUSED
    assert "200×200 pixels; the shorter side needs at least 256" in shell.out


def test_a_folder_with_too_many_photos_is_not_looked_at(shell, tmp_path):
    for number in range(51):
        (tmp_path / f"{number}.png").write_bytes(b"never read")
    assert shell("photos", str(tmp_path)) == Exit.REFUSED
    assert "51 photos; at most 50 are taken" in shell.out


def test_a_photo_that_is_too_large_is_not_even_read(shell, folder):
    with (folder / "huge.jpg").open("wb") as huge:
        huge.truncate(20 * 1024 * 1024 + 1)
    shell("photos", str(folder))
    assert "20,971,521 bytes; at most 20,971,520 are taken" in shell.out


def test_a_folder_that_is_not_there_or_holds_no_photo_is_said_so(shell, tmp_path):
    assert shell("photos", str(tmp_path / "nowhere")) == Exit.NOT_FOUND
    assert shell("photos", str(tmp_path)) == Exit.REFUSED
    assert "holds no photo" in shell.err
