"""Lists as tables of text: pure functions of the API's documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from app.cli.progress import span
from atelier.contracts.clock import from_iso

Document = Mapping[str, Any]

CUT: Final = "…"


def onboardings(
    documents: Sequence[Document], *, now: datetime, width: int | None = None
) -> list[str]:
    """Return onboardings, newest first, with how long each has been where it is."""
    lines = table(
        ("ID", "USER", "MODEL", "STATUS", "SINCE", ""),
        (
            (
                document["id"],
                document["user_id"],
                document["model"],
                document["status"],
                _age(document["timeline"][-1]["at"], now),
                _remark(document),
            )
            for document in documents
        ),
        width,
    )
    if any(line.endswith(CUT) for line in lines):
        lines.append(f"{CUT} `atelier status ID` tells the whole of a line that is cut.")
    return lines


def models(documents: Sequence[Document], *, now: datetime, width: int | None = None) -> list[str]:
    """Return models with the words that call their subjects."""
    return table(
        ("USER", "MODEL", "VERSION", "BASE", "AGE", "LAST USED", "CALL IT"),
        (
            (
                document["user_id"],
                document["model"],
                document["current"],
                document["base"],
                _age(document["created_at"], now),
                f"{_age(document['used_at'], now)} ago" if document["used_at"] else "never",
                document["instance_prompt"],
            )
            for document in documents
        ),
        width,
    )


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], width: int | None = None
) -> list[str]:
    """Return columns that are as wide as their widest cell, each line cut at `width` if given."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    lines = [
        "  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    if width is None:
        return lines
    return [line if len(line) <= width else f"{line[: width - 1]}{CUT}" for line in lines]


def _age(at: str, now: datetime) -> str:
    seconds = max(0.0, (now - from_iso(at)).total_seconds())
    days = int(seconds // 86_400)
    return f"{days} d" if days >= 2 else span(seconds)


def _remark(document: Document) -> str:
    if document["failure"]:
        return f"{document['failure']['error']}: {document['failure']['message']}"
    # One sentence: where it is; when it will be ready; what would be faster.
    where = (document.get("outlook") or {}).get("sentence", "").partition(";")[0]
    return str(document["version"] or document["waiting_for"] or where)
