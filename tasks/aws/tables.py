"""The three DynamoDB tables, as data: keys, indexes, and what of them is sparse.

`requests` — one item per onboarding request. Index `queue` holds only what waits, over shards, so
that no partition takes more than its writes; `by-tenant` and `by-owner` list newest first; `by-job`
finds what a job carries, `unfinished` what a reconciler looks at.
`models` — one item per model of an owner; `by-tenant`.
`control` — the dispatcher's item, batches, the outbox, measured durations and the scan's place;
index `waiting` holds open batches and undelivered notifications.

Indexes hold keys only: documents are always read from the table, strongly.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUEUE_SHARDS = 8
"""A partition takes 1,000 writes a second; entering and leaving are two."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Names of a deployment's tables."""

    requests: str = "atelier-requests"
    models: str = "atelier-models"
    control: str = "atelier-control"

    def definitions(self) -> tuple[Mapping[str, Any], ...]:
        """Return CreateTable's requests."""
        return (
            _table(
                self.requests,
                ("request",),
                {
                    "queue": ("queue_shard", "queue_place"),
                    "by-tenant": ("tenant", "listed_at"),
                    "by-owner": ("owner", "listed_at"),
                    "by-job": ("job", "request"),
                    "unfinished": ("unfinished_shard", "unfinished_since"),
                },
            ),
            _table(self.models, ("owner", "model"), {"by-tenant": ("tenant", "listed_at")}),
            _table(self.control, ("item",), {"waiting": ("waiting", "waiting_since")}),
        )


def queue_shard(request: str) -> str:
    """Return the shard of the queue that a request waits in."""
    return str(zlib.crc32(request.encode()) % QUEUE_SHARDS)


def _table(
    name: str, key: tuple[str, ...], indexes: Mapping[str, tuple[str, str]]
) -> Mapping[str, Any]:
    attributes = sorted({*key, *(part for pair in indexes.values() for part in pair)})
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": a, "AttributeType": "S"} for a in attributes],
        "KeySchema": _schema(key),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _schema(pair),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, pair in indexes.items()
        ],
    }


def _schema(key: tuple[str, ...]) -> list[Mapping[str, str]]:
    kinds = ("HASH", "RANGE")
    return [
        {"AttributeName": part, "KeyType": kind} for part, kind in zip(key, kinds, strict=False)
    ]
