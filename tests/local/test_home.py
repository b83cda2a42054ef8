"""The platform's home folder: what a crash at any moment leaves there does no harm."""

from __future__ import annotations

import logging
import stat
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.platform import lay_out_base_models, read_or_make_secret
from infra.local.time_mark import MARK_FILE, TimeMark, read_mark, steady_clock


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
