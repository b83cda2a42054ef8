"""Numbers, times and durations in the words in which people read them."""

from __future__ import annotations

from datetime import datetime


def counted(number: float, one: str, many: str) -> str:
    """Return `1 launch`, `0.5 launches`."""
    return f"{number:g} {one if number == 1 else many}"


def moment(at: datetime, *, now: datetime) -> str:
    """Return a time of today as `12:00:05 UTC`, one of any other day with its date."""
    return f"{at:%H:%M:%S} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """Return a duration in words: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
