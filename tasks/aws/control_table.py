"""The control table: what the ledger keeps beside requests and models, an item each.

The dispatcher, batches, the outbox of notifications, measured durations, the scan's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any

from atelier.contracts.clock import Clock, from_iso, to_iso
from atelier.contracts.durations import KEPT_MEASUREMENTS, Measurement, Measurements
from atelier.contracts.errors import NotFound
from atelier.contracts.records import Batch, BatchState, DispatchState, Notification
from tasks import durations, ledger_changes
from tasks.aws.dynamo import Conflict, Dynamo, Item, put, until_written

DISPATCH: Item = {"item": "dispatch"}
AT_FIRST: Item = {**DISPATCH, "epoch": 1, "doorbell": 0, "last_launch_ms": 0}
SCAN: Item = {"item": "scan"}
"""Where the next look at unfinished requests goes on."""
NOTIFICATIONS, BATCHES = "notifications", "batches"
"""Partitions of the index `waiting`."""


class ControlTable:
    """What the ledger keeps beside requests and models."""

    def __init__(self, dynamo: Dynamo, *, table: str, clock: Clock) -> None:
        """Bind the table of that name."""
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    # outbox

    def notification_writes(self, notification: Notification) -> Sequence[Mapping[str, Any]]:
        """Return the write of a notification: none when its id was written before.

        Whoever wrote it between this look and the transaction makes that fail and look again.
        """
        notification = ledger_changes.readable(notification)
        key = {"item": f"notification#{notification.id}"}
        if self._dynamo.get(self._table, key) is not None:
            return []
        item = {
            **key,
            "document": notification.to_json().decode(),
            "waiting": NOTIFICATIONS,
            "waiting_since": _since(notification),
        }
        return [put(self._table, item, replacing=None)]

    def undelivered(self, *, limit: int, after: Notification | None) -> Sequence[Notification]:
        """Return notifications that nobody delivered yet, oldest first; those behind `after`."""
        place = _since(after) if after else None
        waiting = self._waiting(NOTIFICATIONS, limit, after=place)
        return [Notification.from_json(item["document"]) for item in waiting]

    def notification(self, notification: str) -> tuple[Notification, datetime | None] | None:
        """Return a notification and when it was delivered, or None when there is none."""
        found = self._dynamo.get(self._table, {"item": f"notification#{notification}"})
        if found is None:
            return None
        delivered_at = from_iso(found["delivered_at"]) if "delivered_at" in found else None
        return Notification.from_json(found["document"]), delivered_at

    def mark_delivered(self, notification: str, *, at: datetime) -> None:
        """Note a delivery; a second one changes nothing."""
        key = {"item": f"notification#{notification}"}

        def turn() -> None:
            found = self._dynamo.get(self._table, key)
            if found is not None and "delivered_at" not in found:
                item = {**found, "waiting": None, "waiting_since": None, "delivered_at": to_iso(at)}
                self._dynamo.write(put(self._table, item, replacing=found))

        until_written(notification, turn)

    # durations

    def measure(self, measurement: Measurement) -> None:
        """Put a measurement among the newest of its base model and preset: one item of them."""
        measurement = ledger_changes.readable(measurement)
        key = _measurements_key(measurement.base, measurement.preset)

        def turn() -> None:
            found = self._dynamo.get(self._table, key)
            kept = durations.newest(_measurements(found), measurement, most=KEPT_MEASUREMENTS)
            item = {**key, "document": Measurements(tuple(kept)).to_json().decode()}
            self._dynamo.write(put(self._table, item, replacing=found))

        until_written(str(key["item"]), turn)

    def measurements(self, *, base: str, preset: str) -> Sequence[Measurement]:
        """Return what the last onboardings took, newest first."""
        return _measurements(self._dynamo.get(self._table, _measurements_key(base, preset)))

    # dispatch

    def dispatch_state(self) -> DispatchState:
        """Return the dispatcher's epoch and doorbell."""
        return _dispatch(self._dispatch_item())

    def ring(self) -> DispatchState:
        """Ring the doorbell."""
        item = self._changed(lambda item: {"doorbell": item["doorbell"] + 1})
        assert item is not None  # noqa: S101 - a ring always changes the item
        return _dispatch(item)

    def close_epoch(self, *, epoch: int, doorbell: int | None) -> bool:
        """Begin the next epoch if `epoch` is current and, unless None, nobody rang since."""

        def close(item: Item) -> Item | None:
            rang = doorbell is not None and item["doorbell"] != doorbell
            return None if item["epoch"] != epoch or rang else {"epoch": epoch + 1}

        return self._changed(close) is not None

    def reserve_launch(self, *, interval_seconds: float) -> datetime:
        """Reserve the next launch slot, in whole milliseconds, rounded up."""
        now_ms = math.ceil(self._clock.now().timestamp() * 1000)
        interval_ms = math.ceil(interval_seconds * 1000)
        item = self._changed(
            lambda item: {
                "last_launch_ms": ledger_changes.next_launch_ms(
                    item["last_launch_ms"], now_ms=now_ms, interval_ms=interval_ms
                )
            }
        )
        assert item is not None  # noqa: S101 - a reservation always changes the item
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=item["last_launch_ms"])

    # the scan of unfinished requests

    def scan_place(self) -> str | None:
        """Return the cursor that was kept for whoever looks at unfinished requests next."""
        found = self._dynamo.get(self._table, SCAN)
        return found.get("place") if found is not None else None

    def keep_scan_place(self, cursor: str | None) -> None:
        """Keep where the next look at unfinished requests goes on; None is the beginning."""

        def turn() -> None:
            found = self._dynamo.get(self._table, SCAN)
            self._dynamo.write(put(self._table, {**SCAN, "place": cursor}, replacing=found))

        until_written("scan", turn)

    # batches

    def create_batch(self, batch: Batch) -> tuple[Batch, BatchState]:
        """Write a batch once; return the stored one and how far it came."""
        batch = ledger_changes.readable(batch)
        item = {
            "item": f"batch#{batch.batch}",
            "document": batch.to_json().decode(),
            "state": BatchState.OPEN.value,
            "waiting": BATCHES,
            "waiting_since": f"{to_iso(batch.created_at)}#{batch.batch}",
        }
        try:
            self._dynamo.write(put(self._table, item, replacing=None))
        except Conflict:
            return _batch(self._batch_item(batch.batch))
        return batch, BatchState.OPEN

    def move_batch(self, batch: str, *, to: BatchState) -> BatchState:
        """Move a batch forward; a move that is none changes nothing. Return its state."""

        def turn() -> BatchState:
            found = self._batch_item(batch)
            state = BatchState(found["state"])
            if (state, to) not in ledger_changes.BATCH_MOVES:
                return state
            item = {**found, "state": to.value}
            if to in {BatchState.LAUNCHED, BatchState.RELEASED}:
                item |= {"waiting": None, "waiting_since": None}
            self._dynamo.write(put(self._table, item, replacing=found))
            return to

        return until_written(batch, turn)

    def open_batches(self) -> Sequence[tuple[Batch, BatchState]]:
        """Return batches that are open or sealed, oldest first."""
        return [_batch(item) for item in self._waiting(BATCHES, None)]

    def _waiting(
        self, partition: str, limit: int | None, *, after: str | None = None
    ) -> list[Item]:
        pages = self._dynamo.query(
            self._table,
            "waiting",
            ("waiting", partition),
            after=("waiting_since", after) if after else None,
        )
        keys = [{"item": i["item"]} for i in islice(chain.from_iterable(pages), limit)]
        # The index lags: what waits no more is left out.
        return [item for item in self._dynamo.get_all(self._table, keys) if "waiting" in item]

    def _batch_item(self, batch: str) -> Item:
        found = self._dynamo.get(self._table, {"item": f"batch#{batch}"})
        if found is None:
            raise NotFound(f"no batch {batch[:80]!r}", kind="batch", name=batch[:80])
        return found

    def _dispatch_item(self) -> Item:
        found = self._dynamo.get(self._table, DISPATCH)
        return found if found is not None else AT_FIRST

    def _changed(self, change: Callable[[Item], Item | None]) -> Item | None:
        """Change the dispatcher's item; return it as it stands then, or None if nothing changes."""

        def turn() -> Item | None:
            found = self._dispatch_item()
            changes = change(found)
            if changes is None:
                return None
            item = {**found, **changes}
            stored = found if "revision" in found else None
            self._dynamo.write(put(self._table, item, replacing=stored))
            return item

        return until_written("dispatch", turn)


def _since(notification: Notification) -> str:
    return f"{to_iso(notification.created_at)}#{notification.id}"


def _dispatch(item: Item) -> DispatchState:
    return DispatchState(epoch=item["epoch"], doorbell=item["doorbell"])


def _measurements_key(base: str, preset: str) -> Item:
    return {"item": f"measurements#{base}#{preset}"}


def _measurements(item: Item | None) -> Sequence[Measurement]:
    return Measurements.from_json(item["document"]).kept if item else ()


def _batch(item: Item) -> tuple[Batch, BatchState]:
    return Batch.from_json(item["document"]), BatchState(item["state"])
