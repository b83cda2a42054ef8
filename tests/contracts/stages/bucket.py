"""The bucket under a local service."""

from __future__ import annotations

from pathlib import Path

from atelier.contracts.clock import SystemClock
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer


def local_bucket(folder: Path) -> FileObjects:
    return FileObjects(
        folder / "objects",
        clock=SystemClock(),
        sign=hmac_signer(b"a secret of the tests, 32 bytes."),
        upload_url="http://127.0.0.1/",
    )
