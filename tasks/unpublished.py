"""Archives that were written and never published: found by their card, and deleted.

PublishModel writes an archive before the transaction that makes it a version. A cancel or another
version may come in between, and the process may die before it can take the archive back.
"""

from __future__ import annotations

from atelier.contracts import archive, keys
from atelier.contracts.adapter import AdapterCard
from atelier.contracts.checkpoints import ADAPTER_CARD
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AdapterRejected, ContractBroken, NotFound, ObjectMissing
from atelier.contracts.records import RequestRecord
from atelier.contracts.status import TERMINAL, Status
from tasks.ports import Objects, Ports


def withdraw(record: RequestRecord, *, ports: Ports) -> None:
    """Delete what a request that has ended wrote and no version names.

    Nothing happens while it may still publish; doing it again changes nothing.
    """
    if record.status not in TERMINAL or Status.PUBLISHING not in record.entered:
        return
    given = record.given
    try:
        versions = ports.ledger.model(given.owner, given.model).versions
    except NotFound:
        versions = ()
    named = {version.artifact for version in versions}
    for info in ports.objects.list(keys.artifacts(given.base, given.owner, given.model)):
        if info.key not in named and _made_by(info.key, objects=ports.objects) == record.request:
            ports.objects.delete(info.key)


def _made_by(key: str, *, objects: Objects) -> str | None:
    """Return the request that an archive's card names; None where there is none that reads."""
    try:
        for member in archive.read(objects.read(key, max_bytes=archive.MAX_ARCHIVE_BYTES)):
            if member.name == ADAPTER_CARD:
                return AdapterCard.from_json(b"".join(member.chunks)).request
    except (AdapterRejected, ContractBroken, DocumentError, ObjectMissing):
        return None
    return None
