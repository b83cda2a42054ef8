"""The platform's home folder: what a crash at any moment leaves there does no harm."""

from __future__ import annotations

import logging
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from app.local import hold
from atelier.contracts.errors import AtelierError, ContractBroken
from infra.local.home import (
    REPOSITORY,
    lay_out_base_models,
    read_or_make_secret,
    refusal,
    write_whole,
)
from infra.local.platform import LocalPlatform, LocalSettings
from infra.local.time_mark import MARK_FILE, TimeMark, read_mark, steady_clock
from tests.local.disks import small_disk
from workflows.engine.engine import StorageError


def test_the_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "secret"
    secret = read_or_make_secret(path)
    assert len(secret) == 32
    assert read_or_make_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_secret_that_a_crash_left_is_never_used(tmp_path):
    path = tmp_path / "secret"
    path.with_name("secret.new").write_bytes(b"half")
    assert len(read_or_make_secret(path)) == 32
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("body", [b"", b"short", bytes(33)])
def test_a_secret_that_is_not_as_it_was_made_is_refused_with_what_to_do(tmp_path, body):
    path = tmp_path / "secret"
    path.write_bytes(body)
    with pytest.raises(ContractBroken, match=f"has {len(body)} bytes") as refused:
        read_or_make_secret(path)
    assert "remove it" in refusal(refused.value, tmp_path)
    assert path.read_bytes() == body


def test_a_file_is_written_whole_or_stays_as_it_was_when_the_disk_fills_up(tmp_path):
    path = tmp_path / "file"
    write_whole(path, b"before")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with small_disk(10), pytest.raises(OSError, match="large") as refused:
        write_whole(path, bytes(100))
    assert path.read_bytes() == b"before"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert "Free space and start again" in refusal(refused.value, tmp_path)


def test_a_base_model_link_that_leads_nowhere_is_made_again(tmp_path):
    folder = tmp_path / "base-models"
    folder.mkdir()
    (folder / "tiny").symlink_to(tmp_path / "moved away")
    assert lay_out_base_models(folder) == ("tiny",)
    assert (folder / "tiny/model_index.json").is_file()
    assert [found.name for found in folder.iterdir()] == ["tiny"]


def spoil_with_a_file(home):
    home.rmdir()
    home.write_bytes(b"not a folder")


def spoil_database(name):
    def spoil(home):
        (home / name).write_bytes(b"no database, but long enough to look like one" * 100)

    return spoil


def spoil_version(home):
    with closing(sqlite3.connect(home / "ledger.sqlite3")) as connection:
        connection.execute("PRAGMA user_version = 9999")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_with_a_file, "choose another folder with --home"),
        (spoil_database("ledger.sqlite3"), "ledger.sqlite3: file is not a database"),
        (spoil_database("executions.sqlite3"), "executions.sqlite3"),
        (spoil_version, "newer Atelier"),
        (lambda home: (home / "objects").write_bytes(b"a file"), "objects"),
        (lambda home: (home / "secret").write_bytes(b""), "has 0 bytes"),
        (lambda home: (home / "base-models").write_bytes(b""), "base-models"),
        (lambda home: (home / "clock").mkdir(), "clock"),
    ],
)
def test_a_home_that_cannot_be_used_is_refused_in_one_sentence_with_what_to_do(
    tmp_path, spoil, told
):
    home = tmp_path / "home"
    home.mkdir()
    spoil(home)
    with pytest.raises((AtelierError, StorageError, OSError)) as refused:
        LocalPlatform(LocalSettings(home=home, upload_url="http://127.0.0.1/"))
    sentence = refusal(refused.value, home)
    assert sentence.startswith(f"no platform can start in {home}: ")
    assert told in sentence
    assert "\n" not in sentence


def test_a_platform_that_cannot_start_says_why_and_leaves_no_traceback(tmp_path):
    (tmp_path / "secret").write_bytes(b"")
    command = [sys.executable, "-m", "app.local", "--home", str(tmp_path), "--port", "0"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"no platform can start in {tmp_path}: ")
    assert "Traceback" not in ended.stderr


FAILING = """
import sys
from app.local import main
from infra.local.platform import LocalPlatform

class Failing(LocalPlatform):
    def start(self):
        super().start()
        self._on_failure()

sys.exit(main(["--home", sys.argv[1], "--port", "0"], build=Failing))
"""


WRITING = """
import os, signal, subprocess, sys
from app.local import main
from infra.local.platform import LocalPlatform

class Writing(LocalPlatform):
    def start(self):
        super().start()
        subprocess.run(["touch", str(self.settings.home / "of a child")], check=True)
        os.kill(os.getpid(), signal.SIGTERM)

sys.exit(main(["--home", sys.argv[1], "--port", "0"], build=Writing))
"""


def test_a_platform_that_cannot_go_on_ends_and_leaves_word_that_nobody_stopped_it(tmp_path):
    command = [sys.executable, "-c", FAILING, str(tmp_path)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Start it again: it goes on, or says what has to be done first" in ended.stderr
    assert (tmp_path / "platform.json").exists()


def test_what_a_platform_and_its_children_write_is_readable_by_its_owner_alone(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "lock").touch()
    command = [sys.executable, "-c", WRITING, str(home)]
    subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)
    written = [home, *(found for found in home.rglob("*") if not found.is_symlink())]
    assert {"platform.log", "of a child"} <= {found.name for found in written}
    fresh = [found for found in written if found.name != "lock"]
    assert [str(found) for found in fresh if found.stat().st_mode & 0o077] == []


def test_a_folder_of_other_things_keeps_its_rights(tmp_path):
    tmp_path.chmod(0o755)
    hold(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_of_two_simultaneous_starts_one_holds_the_home_and_the_other_is_refused(tmp_path):
    (tmp_path / "platform.json").write_text("what a crash left")
    with hold(tmp_path):
        assert not (tmp_path / "platform.json").exists()
        (tmp_path / "platform.json").write_text("the first one's")
        with pytest.raises(SystemExit, match="already"):
            hold(tmp_path)
        assert (tmp_path / "platform.json").exists()
    hold(tmp_path).close()


def test_base_models_of_the_repository_are_laid_out_by_id_and_again(tmp_path):
    for _ in range(2):
        assert lay_out_base_models(tmp_path / "base-models") == ("tiny",)
    assert (tmp_path / "base-models/tiny/model_index.json").is_file()


def test_a_base_model_that_the_operator_put_there_counts_too(tmp_path):
    (tmp_path / "base-models/sd15").mkdir(parents=True)
    assert lay_out_base_models(tmp_path / "base-models") == ("tiny", "sd15")


LATE = datetime(2100, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)


def test_the_time_mark_is_what_was_kept_last_without_any_end(tmp_path):
    mark = TimeMark(tmp_path / MARK_FILE)
    assert mark.read() is None
    mark.keep(LATE - timedelta(1))
    mark.keep(LATE)
    assert read_mark(tmp_path) == LATE
    assert TimeMark(tmp_path / MARK_FILE).read() == LATE


def test_a_closed_time_mark_keeps_nothing_more(tmp_path):
    mark = TimeMark(tmp_path / MARK_FILE)
    mark.keep(LATE)
    mark.close()
    mark.close()
    mark.keep(LATE + timedelta(1))
    mark.flush()
    assert read_mark(tmp_path) == LATE


@pytest.mark.parametrize("body", [b"", b"1234", bytes(8), b"\xff" * 8, b"not a time at all"])
def test_what_is_no_time_mark_is_none(tmp_path, body):
    (tmp_path / MARK_FILE).write_bytes(body)
    assert read_mark(tmp_path) is None
    assert TimeMark(tmp_path / MARK_FILE).read() is None


def test_a_home_without_a_time_mark_has_none(tmp_path):
    assert read_mark(tmp_path) is None


def test_time_goes_on_from_a_mark_in_the_future_and_the_log_says_so(tmp_path, caplog):
    mark = TimeMark(tmp_path / MARK_FILE)
    mark.keep(LATE)
    mark.close()
    with caplog.at_level(logging.WARNING):
        clock = steady_clock(TimeMark(tmp_path / MARK_FILE))
    assert "goes on from 2100-01-01T00:00:00.123Z" in caplog.text
    assert clock.now() >= LATE
    assert read_mark(tmp_path) >= LATE
    assert clock.ahead_seconds() > 0
