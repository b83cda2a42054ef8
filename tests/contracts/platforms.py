"""The platforms under contract, by name: how each opens a ledger and a bucket for one test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from atelier.contracts.clock import Clock
from infra.local.ledger import SqliteLedger
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.ports import Ledger, Objects

SECRET = b"a secret of the tests, 32 bytes."
UPLOAD_URL = "http://127.0.0.1:8080/v1/uploads/files"


@contextmanager
def local_ledger(folder: Path, clock: Clock) -> Iterator[Ledger]:
    ledger = SqliteLedger(folder / "ledger.sqlite3", clock=clock)
    yield ledger
    ledger.close()


@contextmanager
def local_objects(folder: Path, clock: Clock) -> Iterator[Objects]:
    yield FileObjects(
        folder / "objects", clock=clock, sign=hmac_signer(SECRET), upload_url=UPLOAD_URL
    )


LEDGERS: Mapping[str, Callable[[Path, Clock], AbstractContextManager[Ledger]]] = {
    "local": local_ledger,
}
OBJECTS: Mapping[str, Callable[[Path, Clock], AbstractContextManager[Objects]]] = {
    "local": local_objects,
}
