"""The artifact's archive: a tar.gz whose bytes depend on its members alone."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping

from atelier.contracts.adapter import ARCHIVE_MEMBERS

COMPRESSION = 1
"""gzip level: weights hardly compress, and the endpoint has 60 s from nothing to an image."""


def archive(members: Mapping[str, bytes]) -> bytes:
    """Return the archive of an artifact's members, in the contract's order.

    Raises:
        ValueError: a member that artifacts do not hold.
    """
    if unknown := set(members) - set(ARCHIVE_MEMBERS):
        raise ValueError(f"an artifact holds {ARCHIVE_MEMBERS}, not {sorted(unknown)}")
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ARCHIVE_MEMBERS:
            if name in members:
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(members[name]), 0o644
                tar.addfile(entry, io.BytesIO(members[name]))
    return gzip.compress(plain.getvalue(), COMPRESSION, mtime=0)
