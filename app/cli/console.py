"""Where a command's words go: plain lines, JSON, or a part of the terminal that is redrawn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TextIO

from app.cli.exits import CommandFailed
from app.cli.progress import ASCII, UNICODE, Marks, reasons

UP: Final = "\x1b[{}A"
CLEAR_BELOW: Final = "\x1b[J"
LEAST_WIDTH: Final = 60
NO_TERMINAL_WIDTH: Final = 120
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal obeys instead of showing it; tabs and line ends are words' own."""


@dataclass(slots=True)
class Console:
    """Standard output and error of one command.

    Attributes:
        out, err: the streams.
        json: print documents instead of sentences.
        live: whether what was printed can be redrawn: a terminal that understands ANSI.
        columns: how wide the terminal is now; people resize them.
    """

    out: TextIO
    err: TextIO
    json: bool = False
    live: bool = False
    columns: Callable[[], int] = lambda: NO_TERMINAL_WIDTH
    _drawn: int = field(default=0, init=False)

    @property
    def marks(self) -> Marks:
        """Signs that the stream's encoding can carry."""
        try:
            "".join(getattr(UNICODE, name) for name in UNICODE.__slots__).encode(
                getattr(self.out, "encoding", None) or "ascii"
            )
        except UnicodeEncodeError:
            return ASCII
        return UNICODE

    @property
    def width(self) -> int:
        """Columns that may be used."""
        if not self.live:
            return NO_TERMINAL_WIDTH
        return max(LEAST_WIDTH, self.columns() - 1)

    @property
    def table_width(self) -> int | None:
        """Columns that a table may use; a file or a pipe takes whole lines."""
        return self.width if self.live else None

    def say(self, *lines: str) -> None:
        """Print sentences for people; nothing where documents are wanted."""
        if not self.json:
            self._write(lines)

    def document(self, document: object) -> None:
        """Print one JSON document on one line, where documents are wanted."""
        if self.json:
            self._write([json.dumps(document, ensure_ascii=False)])

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines over those of the last drawing; only on a live console."""
        self.out.write((UP.format(self._drawn) if self._drawn else "") + "\r" + CLEAR_BELOW)
        self._write(lines)
        self._drawn = len(lines)

    def release(self) -> None:
        """Leave the last drawing where it is; what comes next is written below it."""
        self._drawn = 0

    def aside(self, line: str) -> None:
        """Say something that is neither result nor failure, such as why it takes so long."""
        self.release()
        self.err.write(f"{_printable(line, self.err)}\n")
        self.err.flush()

    def failure(self, failed: CommandFailed) -> None:
        """Say why a command cannot go on: to people on standard error, to programs as JSON."""
        self.document({"error": failed.to_dict()})
        if not self.json:
            name = "" if failed.error in {"Refused", "NotFound", ""} else f" ({failed.error})"
            lines = [
                f"atelier: {failed.message}{name}",
                *reasons(failed.facts, said=failed.message),
            ]
            if failed.do:
                lines.append(f"  {self.marks.arrow} {failed.do}")
            if failed.request_id:
                lines.append(f"  request {failed.request_id}")
            self.err.write("".join(f"{_printable(line, self.err)}\n" for line in lines))
            self.err.flush()

    def _write(self, lines: Sequence[str]) -> None:
        self.out.write("".join(f"{_printable(line, self.out)}\n" for line in lines))
        self.out.flush()


def _printable(line: str, stream: TextIO) -> str:
    """Return a line that moves no cursor and that the stream's encoding can carry.

    File names and a platform's answers may hold anything, also what a terminal obeys.
    """
    plain = CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", line)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return plain.encode(encoding, "backslashreplace").decode(encoding)


def is_live(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal whose lines can be redrawn."""
    return out.isatty() and environment.get("TERM", "dumb") != "dumb"
