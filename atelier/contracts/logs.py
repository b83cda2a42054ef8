"""Logs as JSON lines, the same from every part: one object a line, with the ids that it is about.

    {"at": "2026-01-01T12:00:00.000Z", "level": "INFO", "part": "tasks", "message": "…",
     "request": "r…", "job": "atelier-…", "execution": "…", "request_id": "…"}

The ids come from a context (`about`) that whoever begins a piece of work binds once; everything
that is logged inside carries them. A line never holds a token, a key, a prompt or a photo's name:
messages are our own words with ids and numbers, and of an exception, logged with its traceback or
as an argument, a line has the type. Its text may quote what a person sent, so it is told only where
it speaks of the platform (`SPEAKS_OF_US`), or at DEBUG.
"""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Final, Literal

from atelier.contracts.clock import to_iso
from atelier.contracts.errors import AtelierError, WaitError

Id = Literal["request", "job", "execution", "model", "request_id", "task", "host"]
"""What a line may be about."""

REQUEST_ID_HEADER: Final = "X-Request-Id"
REQUEST_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A request id that somebody else may give: it stands in logs and headers as it is."""
MAX_FILE_BYTES: Final = 8 * 1024 * 1024
KEPT_FILES: Final = 3
MOST_FRAMES: Final = 12
SPEAKS_OF_US: Final = (OSError, MemoryError, sqlite3.Error, WaitError)
"""Exceptions whose text tells of disks, sockets and services, never of what a person sent."""

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("atelier_logs_about", default={})  # noqa: B039 - never changed in place


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """Let every line that is logged inside name these ids; None leaves out what is not known."""
    known = {name: value for name, value in ids.items() if value}
    token = _ABOUT.set({**_ABOUT.get(), **known})
    try:
        yield
    finally:
        _ABOUT.reset(token)


def subject() -> Mapping[str, str]:
    """Return the ids that lines are about here."""
    return _ABOUT.get()


def read_request_id(given: str | None) -> str | None:
    """Return a request id that may be taken over, or None for none or a malformed one."""
    return given if given and REQUEST_ID_PATTERN.fullmatch(given) else None


def write_attributes(request_id: str) -> str:
    """Return SageMaker's custom attributes that carry a request id to the model server."""
    return f"request-id={request_id}"


def read_attributes(attributes: str) -> str | None:
    """Return the request id in SageMaker's custom attributes, or None."""
    name, _, value = attributes.partition("=")
    return read_request_id(value) if name == "request-id" else None


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object on one line."""

    def __init__(self, part: str, parts: Mapping[str, str] | None = None) -> None:
        """Name the part that logs.

        Args:
            part: whose lines these are.
            parts: logger's name, or the beginning of it up to a dot → another part; the longest
                one that fits counts.
        """
        super().__init__()
        self._part = part
        self._parts = sorted((parts or {}).items(), key=lambda item: len(item[0]), reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "at": to_iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "part": self._part_of(record.name),
            "message": _message(record),
            **_ABOUT.get(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = _told(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, default=str)

    def _part_of(self, name: str) -> str:
        for prefix, part in self._parts:
            if name == prefix or name.startswith(f"{prefix}."):
                return part
        return self._part


def _message(record: logging.LogRecord) -> str:
    """Return a record's message; an exception among its arguments is told as everywhere."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    given = tuple(words_of(a) if isinstance(a, BaseException) else a for a in record.args)
    return str(record.msg) % given if given else str(record.msg)


def _told(error: BaseException) -> dict[str, object]:
    """Return what may be said of an exception, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    return {
        "type": type(error).__name__,
        "words": words_of(error),
        "at": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


def words_of(error: BaseException) -> str:
    """Return an exception's name, and its text or its cause's if that speaks of the platform."""
    name, found = type(error).__name__, [error]
    while (cause := found[-1].__cause__) is not None and len(found) < MOST_FRAMES:
        found.append(cause)
    everything = logging.getLogger().isEnabledFor(logging.DEBUG)
    for one in found:
        if isinstance(one, SPEAKS_OF_US) or everything:
            text = one.message if isinstance(one, AtelierError) else str(one)
            return f"{name}: {text[:1000]}"
    return name


def log_to_stream(part: str, stream: IO[str]) -> None:
    """Let this process log to a stream, line by line, as a container does."""
    _use(logging.StreamHandler(stream), JsonLines(part))


def log_to_file(path: Path, part: str, parts: Mapping[str, str] | None = None) -> None:
    """Let this process log to a file that never grows beyond what is kept of it."""
    handler = RotatingFileHandler(
        path, maxBytes=MAX_FILE_BYTES, backupCount=KEPT_FILES - 1, encoding="utf-8", delay=True
    )
    _use(handler, JsonLines(part, parts))


def _use(handler: logging.Handler, lines: logging.Formatter) -> None:
    handler.setFormatter(lines)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Libraries tell of single requests, with their addresses; warnings are theirs to give.
    for library in ("httpx", "httpcore", "urllib3", "botocore", "PIL"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
