"""Artifacts as publishing leaves them: small, valid, and one thing wrong on request."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from atelier.contracts import ids
from atelier.contracts.adapter import AdapterCard, TrainingReport
from atelier.contracts.checkpoints import ADAPTER_CARD, ADAPTER_FILE
from atelier.contracts.settings import Targets

ANN = ids.owner_of("acme", "ann")
BOB = ids.owner_of("acme", "bob")


def card_of(owner: str, body: bytes, **changes: Any) -> AdapterCard:
    card = AdapterCard(
        owner=owner,
        model="default",
        request=ids.request_from_key(owner, "k"),
        base="tiny",
        base_digest="",
        family="stable-diffusion",
        rank=4,
        alpha=4.0,
        targets=Targets.ATTENTION,
        trigger="zorp",
        subject="creature",
        instance_prompt="a photo of zorp creature",
        file_digest=ids.digest_of(body),
        file_bytes=len(body),
        tensors=2,
        resolution=64,
        seed=1,
        report=TrainingReport(6, 0.5, 1.0, 10, "cpu"),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return replace(card, **changes)


def files_of(owner: str, body: bytes = b"", **changes: Any) -> dict[str, bytes]:
    body = body or f"weights of {owner}".encode()
    return {ADAPTER_CARD: card_of(owner, body, **changes).to_json(), ADAPTER_FILE: body}


def folder_with(path: Path, files: Mapping[str, bytes]) -> Path:
    path.mkdir(parents=True)
    for name, body in files.items():
        (path / name).write_bytes(body)
    return path


def archive_of(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for name, body in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member)
    return out.getvalue()
