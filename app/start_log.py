"""What the platform's process says on stdout and stderr once it runs: a file that stays small.

While it starts, `atelier up` listens on a pipe: a sentence that says why it cannot start, such as
that the disk is full, must not need that disk. Then nobody listens any more.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

MAX_CHARACTERS = 1024 * 1024


class Bounded(io.TextIOBase):
    """A stream that passes on so many characters and then no more; a full disk is no failure."""

    def __init__(self, stream: TextIO, most: int) -> None:
        """Pass on to `stream`."""
        super().__init__()
        self._stream = stream
        self._left = most

    def write(self, text: str) -> int:
        """Take a text whole, whatever is passed on of it."""
        passed, self._left = text[: self._left], max(0, self._left - len(text))
        with suppress(OSError):
            self._stream.write(passed)
            self._stream.flush()
        return len(text)


def say_into(log: Path, *, most: int = MAX_CHARACTERS) -> None:
    """Let this process say what it says from now on at the end of a file, or nowhere."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        file = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    words = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = sys.stderr = Bounded(words, most)
