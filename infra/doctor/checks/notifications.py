"""Notifications: one id per outcome, written with it, delivered as written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from atelier.contracts.status import TERMINAL, Status
from infra.doctor.case import Case
from infra.doctor.findings import Trouble
from tasks.notices import TYPES, notice_id


def one_notice_per_outcome(case: Case) -> Iterator[Trouble]:
    """The outbox has one notification for each outcome, and none for anything else.

    It is there exactly when the status says so; an earlier attempt that a person retried may have
    one of its own.
    """
    rows = {row.id: row for row in case.ledger.outbox}
    known: set[str] = set()
    for record in case.ledger.requests.values():
        subject = f"request {record.request}"
        for attempt in range(1, record.attempt + 1):
            of_attempt = replace(record, attempt=attempt)
            ids = {status: notice_id(of_attempt, status) for status in TYPES}
            known.update(ids.values())
            written = sorted(status for status, id_ in ids.items() if id_ in rows)
            if len(written) > 1:
                found = f"attempt {attempt} was told as {' and as '.join(written)}"
                yield Trouble(subject, found, "one outcome", "Tell the tenant which one holds.")
            if attempt < record.attempt or record.status is Status.ERASED:
                continue
            wanted = [record.status] if record.status in TERMINAL else []
            if written != wanted and len(written) <= 1:
                yield Trouble(
                    subject,
                    f"{record.status}, and the outbox says {written[0] if written else 'nothing'}",
                    f"a notification of {wanted[0]}" if wanted else "no notification yet",
                    "Tell the tenant by hand; report it with the request's id.",
                )
    for row in rows.values():
        if row.id not in known:
            yield Trouble(
                f"notification {row.id}",
                f"{row.type} of no request and no attempt that the ledger knows",
                "a notification of an outcome",
                "Report it; the tenant was told of something that does not exist.",
            )


def delivered_as_written(case: Case) -> Iterator[Trouble]:
    """What the ledger calls delivered stands in the log, and nothing stands there unwritten.

    The same notification may stand there several times, always with the same content.
    """
    deliveries = case.evidence.deliveries or ()
    rows = {row.id: row for row in case.ledger.outbox}
    told: dict[str, set[str]] = defaultdict(set)
    for delivery in deliveries:
        told[delivery.id].add(delivery.digest)
    for row in rows.values():
        if row.delivered_at is not None and row.id not in told:
            yield Trouble(
                f"notification {row.id}",
                f"delivered at {row.delivered_at.isoformat()}, and not in the log",
                "a line in the log",
                "Tell the tenant by hand what the outbox holds.",
            )
    early = {delivery.id for delivery in deliveries if delivery.early}
    for id_, digests in told.items():
        written = rows.get(id_)
        if written is None:
            if id_ in early:
                found, expected = "delivered, and not in the outbox", "a row of the outbox"
                yield Trouble(f"notification {id_}", found, expected, "Report it with its line.")
        elif digests != {written.digest}:
            found = f"delivered with {len(digests)} contents, one of them another than written"
            yield Trouble(
                f"notification {id_}", found, "what the outbox holds", "Report it with its lines."
            )


def outcomes_are_delivered(case: Case) -> Iterator[Trouble]:
    """Every notification is delivered in time: the platform's receiver is a file, which takes all.

    Announce delivers at once and sweeps what failed; a receiver of AWS may be away for longer.
    """
    for row in case.ledger.outbox:
        if row.delivered_at is None and case.settled(row.created_at):
            found = f"{row.type} of {row.created_at.isoformat()}, delivered to nobody yet"
            do = (
                "Look into platform.log for why: a full disk, say. Then the next sweep delivers it."
            )
            yield Trouble(f"notification {row.id}", found, "delivered within minutes", do)
