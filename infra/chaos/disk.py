"""Faults in the middle of writing: an audit hook sees every file that the process touches.

The points are `file:open` (for writing), `file:utime` (a body is written and not yet synced),
`file:rename` and `file:link` (a whole file is about to take its name), `file:mkdir` and
`file:remove`. The same under `disk:` count only once the platform answers: a disk that is full
before that keeps it from starting, which is no history.

Source: docs.python.org, "Audit events table".
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infra.chaos.plan import Kind
from infra.chaos.points import Points

_POINTS: Mapping[str, str] = {
    "open": "open",
    "os.utime": "utime",
    "os.rename": "rename",
    "os.link": "link",
    "os.mkdir": "mkdir",
    "os.remove": "remove",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NEEDS_ROOM = frozenset({"open", "rename", "link", "mkdir"})


def audit_hook(
    points: Points, home: Path, *, answers: Callable[[], bool]
) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook for `sys.addaudithook` that hits the points of files below `home`.

    Args:
        points: counts calls.
        home: the platform's folder.
        answers: whether the platform answers by now.
    """
    inside = str(home.resolve()) + os.sep

    def hook(event: str, given: tuple[Any, ...]) -> None:
        point = _POINTS.get(event)
        if point is None or not _is_ours(event, given, inside):
            return
        name = Path(str(given[0])).name[:40]
        points.hit(f"file:{point}", name)
        if point in _NEEDS_ROOM and answers():
            for fault in points.hit(f"disk:{point}", name):
                if fault.kind is Kind.DISK_FULL:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))

    return hook


def install(points: Points, home: Path, *, answers: Callable[[], bool]) -> None:
    """Let faults hit the files below `home`, for as long as this process lives."""
    sys.addaudithook(audit_hook(points, home, answers=answers))


def _is_ours(event: str, given: tuple[Any, ...], inside: str) -> bool:
    """Tell whether a file below the home is about to be changed."""
    path = given[0]
    if event == "open" and not (isinstance(given[2], int) and given[2] & _WRITING):
        return False
    if isinstance(path, int):
        return event == "os.utime"
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    # A bare name is one that is opened within a folder: so the bucket does.
    return bool(text) and (text.startswith(inside) or os.sep not in text)
