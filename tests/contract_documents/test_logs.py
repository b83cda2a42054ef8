"""Log lines: one JSON object each, with the ids of their context and without anybody's words."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atelier.contracts import logs
from atelier.contracts.errors import InvalidRequest, ServiceUnavailable


@contextmanager
def listening(part: str = "tasks", parts: dict[str, str] | None = None) -> Iterator[io.StringIO]:
    """Let a logger of the tests' own write to a buffer."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logs.JsonLines(part, parts))
    logger = logging.getLogger("house")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield out
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_says_when_how_loud_who_and_what() -> None:
    with listening() as out:
        logging.getLogger("house.room").info("took %d s", 3)
    [line] = lines(out)
    assert line.pop("at").endswith("Z")
    assert line == {"level": "INFO", "part": "tasks", "message": "took 3 s"}


def test_a_line_names_what_its_context_is_about_and_nothing_after_it() -> None:
    with listening() as out:
        with logs.about(request="r1", job=None), logs.about(execution="r1-1"):
            logging.getLogger("house").info("inside")
        logging.getLogger("house").info("after")
    inside, after = lines(out)
    assert (inside["request"], inside["execution"]) == ("r1", "r1-1")
    assert "job" not in inside
    assert not {"request", "execution"} & set(after)


def test_the_longest_beginning_of_a_logger_s_name_decides_whose_line_it_is() -> None:
    with listening("platform", {"house": "ground", "house.attic": "attic"}) as out:
        for name in ("house.attic.box", "house.cellar", "house"):
            logging.getLogger(name).info("creaks")
    assert [line["part"] for line in lines(out)] == ["attic", "ground", "ground"]


def raised(error: Exception) -> dict[str, Any]:
    with listening() as out:
        try:
            raise error
        except type(error):
            logging.getLogger("house").exception("failed")
    return dict(lines(out)[0]["error"])


def test_an_exception_is_told_by_type_and_place_and_never_by_what_a_person_sent() -> None:
    told = raised(InvalidRequest("samples: prompt 'my secret cat' is refused", where="samples"))
    assert told["type"] == "InvalidRequest"
    assert "raised" in told["at"][-1]
    assert "secret" not in json.dumps(told)


@pytest.mark.parametrize(
    "error", [OSError("No space left on device"), ServiceUnavailable("the disk is full")]
)
def test_what_a_disk_or_a_service_says_is_told(error: Exception) -> None:
    assert raised(error)["words"] == f"{type(error).__name__}: {error}"


def test_an_exception_among_a_message_s_arguments_is_told_no_further() -> None:
    with listening() as out:
        logging.getLogger("house").warning("%s: %s", "photo 3", InvalidRequest("my secret cat"))
        logging.getLogger("house").warning("stored: %r", ServiceUnavailable("the disk is full"))
    assert [line["message"] for line in lines(out)] == [
        "photo 3: InvalidRequest",
        "stored: 'ServiceUnavailable: the disk is full'",
    ]


def test_a_cause_that_speaks_of_the_platform_is_told_for_the_error_that_it_made() -> None:
    error = InvalidRequest("my secret cat")
    error.__cause__ = OSError("Input/output error")
    assert logs.words_of(error) == "InvalidRequest: Input/output error"


@given(st.text())
def test_any_message_stays_on_one_line(message: str) -> None:
    record = logging.LogRecord("house", logging.INFO, "", 0, "%s", (message,), None)
    text = logs.JsonLines("tasks").format(record)
    assert len(text.split("\n")) == 1
    assert json.loads(text)["message"] == message


@pytest.mark.parametrize("given_id", ["a", "req-1_2.3", "A" * 64])
def test_a_well_formed_request_id_is_taken_over(given_id: str) -> None:
    assert logs.read_request_id(given_id) == given_id
    assert logs.read_attributes(logs.write_attributes(given_id)) == given_id


@pytest.mark.parametrize(
    "given_id", [None, "", "-a", "a b", "a\n", "a\r\nSet-Cookie: b", "é", "A" * 65, "a=b", "{}"]
)
def test_any_other_request_id_is_not(given_id: str | None) -> None:
    assert logs.read_request_id(given_id) is None
    assert logs.read_attributes(f"request-id={given_id or ''}") is None


def test_a_log_file_never_grows_beyond_what_is_kept(tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    try:
        logs.log_to_file(tmp_path / "platform.log", "platform")
        [handler] = logging.getLogger().handlers
        assert isinstance(handler, logging.handlers.RotatingFileHandler)
        assert (handler.maxBytes, handler.backupCount) == (
            logs.MAX_FILE_BYTES,
            logs.KEPT_FILES - 1,
        )
        handler.maxBytes = 1000
        for number in range(100):
            logging.getLogger("house").info("line %d", number)
        kept = sorted(path.name for path in tmp_path.iterdir())
        assert kept == ["platform.log", "platform.log.1", "platform.log.2"]
        assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    finally:
        logging.captureWarnings(capture=False)
        for handler in logging.getLogger().handlers[:]:
            logging.getLogger().removeHandler(handler)
            handler.close()
        for handler in before:
            logging.getLogger().addHandler(handler)
