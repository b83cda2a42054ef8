"""What callers of the engine hand in, checked, and what they get back in pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from workflows.engine.errors import (
    CAUSE_LIMIT_CHARACTERS,
    ERROR_LIMIT_CHARACTERS,
    InvalidRequest,
    InvalidToken,
    ValidationError,
)
from workflows.engine.jsontext import DATA_LIMIT_BYTES, Json, decode, encode, size_bytes

_T = TypeVar("_T")

PAGE_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page(Generic[_T]):
    """A part of a list; `next_token` asks for the part behind it, None ends the list."""

    items: tuple[_T, ...]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class StartedExecution:
    """What StartExecution returns."""

    arn: str
    start_date: datetime


def json_text(value: Json, refusal: type[InvalidRequest], what: str) -> str:
    """Return a caller's value as JSON.

    Raises:
        InvalidRequest: as `refusal`: it is no JSON, or too large.
    """
    try:
        text = encode(value)
        decode(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise refusal(f"Invalid {what}: {error}") from None
    if size_bytes(text) > DATA_LIMIT_BYTES:
        raise refusal(
            f"Invalid {what}: it has {size_bytes(text)} bytes; at most {DATA_LIMIT_BYTES} are taken"
        )
    return text


def position(token: str | None, start: int) -> int:
    """Return where a page begins.

    Raises:
        InvalidToken: the token was not handed out with a page.
    """
    if token is None:
        return start
    if not token.isdecimal():
        raise InvalidToken(f"Invalid Token: {token!r} was not handed out with a page")
    return int(token)


def check_page_size(max_results: int) -> None:
    """Refuse a page that AWS would refuse.

    Raises:
        ValidationError: it is outside 1…1000.
    """
    if not 0 < max_results <= PAGE_LIMIT:
        raise ValidationError(f"max_results is 1 to {PAGE_LIMIT}, not {max_results}")


def check_told(error: str | None, cause: str | None) -> None:
    """Refuse an error or cause that no history can carry.

    Raises:
        ValidationError: it is too long, or no UTF-8.
    """
    told: tuple[tuple[str, str | None, int], ...] = (
        ("error", error, ERROR_LIMIT_CHARACTERS),
        ("cause", cause, CAUSE_LIMIT_CHARACTERS),
    )
    for name, text, limit in told:
        if text is None:
            continue
        if len(text) > limit:
            raise ValidationError(f"{name} has {len(text)} characters; at most {limit} are taken")
        if text.encode(errors="replace").decode() != text:
            raise ValidationError(f"{name} holds half a character, which UTF-8 cannot carry")
