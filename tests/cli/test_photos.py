"""A folder of photos: what is taken, and what is refused before anything is sent."""

from __future__ import annotations

import pytest

from app.cli.exits import CommandFailed, Exit
from app.cli.photos import read_folder


def test_photos_are_taken_in_the_order_of_their_names(photos):
    (photos / "00.PNG").write_bytes(b"first")
    assert [photo.name for photo in read_folder(photos)][:2] == ["00.png", "01.jpg"]


def test_hidden_files_folders_and_other_files_are_left_out(photos):
    (photos / ".thumb.jpg").write_bytes(b"x")
    (photos / "notes.txt").write_bytes(b"x")
    (photos / "more.jpg").mkdir()
    assert len(read_folder(photos)) == 4


def test_names_that_are_not_plain_become_plain_and_stay_different(photos):
    for name in ("Ada & ich.jpg", "Ada + ich.jpg", "_übung.webp", "….png"):
        (photos / name).write_bytes(b"x")
    names = [photo.name for photo in read_folder(photos)]
    assert names[4:] == ["Ada-ich.jpg", "Ada-ich-2.jpg", "bung.webp", "photo.png"]


def refusal(folder) -> CommandFailed:
    with pytest.raises(CommandFailed) as refused:
        read_folder(folder)
    return refused.value


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    assert refusal(tmp_path / "nowhere").exit is Exit.NOT_FOUND


def test_a_file_is_no_folder(photos):
    assert "is a file" in refusal(photos / "01.jpg").message


def test_a_folder_without_photos_says_what_a_photo_is(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"x")
    refused = refusal(tmp_path)
    assert (refused.exit, "holds 1 file," in refused.message) == (Exit.REFUSED, True)
    assert ".jpg, .jpeg, .png, .webp" in refused.do


def test_too_many_photos_are_refused(photos):
    for number in range(60):
        (photos / f"x{number}.jpg").write_bytes(b"x")
    assert "64 photos; at most 50" in refusal(photos).message


def test_an_empty_photo_is_named(photos):
    (photos / "02.jpg").write_bytes(b"")
    assert "02.jpg has 0 bytes" in refusal(photos).message


def test_a_photo_that_is_too_large_is_named(photos):
    with (photos / "02.jpg").open("wb") as large:
        large.truncate(20 * 1024 * 1024 + 1)
    assert "02.jpg has 20,971,521 bytes" in refusal(photos).message


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "is no JSON"),
        ("[]", "does not give each file name a caption"),
        ('{"01.jpg": 7}', "does not give each file name a caption"),
        ('{"09.jpg": "x"}', "names 09.jpg, which the folder does not hold"),
    ],
)
def test_captions_that_do_not_fit_are_refused(photos, text, found):
    (photos / "captions.json").write_text(text, encoding="utf-8")
    assert found in refusal(photos).message


def test_too_few_photos_are_refused(photos):
    (photos / "01.jpg").unlink()
    refused = refusal(photos)
    assert "3 photos; at least 4 are needed" in refused.message
    assert refused.do == "Add photos of the same subject."


def test_of_many_skipped_images_the_first_are_named(photos):
    for number in range(5):
        (photos / f"{number}.gif").write_bytes(b"x")
    told: list[str] = []
    read_folder(photos, told=told.append)
    assert told == ["0.gif, 1.gif, 2.gif and 2 more are skipped: convert them to JPEG or PNG first"]
