"""docs/doctor.md promises what the table of checks keeps, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

from infra.doctor.table import CHECKS

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "doctor.md"


def test_the_document_lists_every_check_with_its_promise_in_the_tables_order():
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    promised = re.findall(
        r"- `([a-z-]+)` (.+?)(?: \*Only of a running platform\.\*)?(?= - | ##)", text
    )
    assert promised == [(check.name, check.promise) for check in CHECKS]
