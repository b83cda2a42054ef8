"""Where every adapter is: registered → staged (host memory) → active (a slot), and who uses it.

    register ──► REGISTERED ──stage──► STAGED ──pin──► ACTIVE
        ▲             │                 ▲  │             │
        └──forget─────┘                 └──┼── evicted ──┘
                                           ▼
                                  retire, then drop (once nobody uses it)

Two counts per adapter: *uses* (requests from admission to answer; while there are any, it stays in
host memory) and *pins* (rows that draw from its slot; while there are any, it keeps the slot). Pins
need a use. The least recently pinned adapter without pins loses its slot when another needs
one.

This is the bookkeeping alone: it says what is to be done to a slot (`Placement`), and the engine,
which owns the device, does it before it goes on. A slot that held anybody must be cleared before
it is written again. Thread-safe: doors register and stage, the engine pins and unpins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from atelier.contracts.adapter import AdapterCard
from atelier.contracts.errors import AlreadyExists, NotFound
from serving_image.drawer import Staged
from serving_image.refusals import MemoryExhausted


class Door(StrEnum):
    """Through which door an adapter came, which is who decides that it goes."""

    PLATFORM = "model"
    """`POST /models`: the platform unloads it."""
    ARTIFACT = "artifact"
    """`/invocations`: ours to evict when host memory is short."""


class AdapterKey(NamedTuple):
    """Name of an adapter here: the platform's opaque model name, or the artifact's digest."""

    door: Door
    name: str


class Level(StrEnum):
    """How near to the device an adapter is."""

    REGISTERED = "registered"
    STAGED = "staged"
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class Resident:
    """What is known of one adapter at a moment."""

    key: AdapterKey
    source: str
    level: Level
    slot: int | None
    uses: int
    pins: int


@dataclass(frozen=True, slots=True)
class Placement:
    """What the engine must do before a row draws from `slot`: clear it, write into it, or nothing.

    `write` is None when the adapter is in the slot already.
    """

    slot: int
    clear: bool
    write: Staged | None


@dataclass(slots=True)
class _Entry:
    key: AdapterKey
    source: str
    bytes: int = 0
    card: AdapterCard | None = None
    staged: Staged | None = None
    slot: int | None = None
    uses: int = 0
    pins: int = 0
    last_used: int = 0
    retiring: bool = False

    @property
    def level(self) -> Level:
        if self.staged is None:
            return Level.REGISTERED
        return Level.STAGED if self.slot is None else Level.ACTIVE


@dataclass(slots=True)
class _Slot:
    """One row of the bank: who holds it, and whether it is all zeros."""

    holder: _Entry | None = None
    clean: bool = True


class Residency:
    """The state machine of all adapters of one server.

    Args:
        slots: number of slots in the bank.
        host_bytes: host memory for staged adapters.
    """

    def __init__(self, *, slots: int, host_bytes: int) -> None:
        self._lock = threading.Lock()
        self._entries: dict[AdapterKey, _Entry] = {}
        self._slots = [_Slot() for _ in range(slots)]
        self._host_bytes = host_bytes
        self._ticks = 0

    # doors

    def register(self, key: AdapterKey, *, source: str) -> None:
        """Take a name, before anything is read.

        Raises:
            AlreadyExists: the name is taken, also while it is still being loaded or unloaded.
        """
        with self._lock:
            if key in self._entries:
                raise AlreadyExists(
                    f"model {key.name[:200]!r} is loaded already", kind="model", name=key.name[:200]
                )
            self._entries[key] = _Entry(key, source)

    def stage(self, key: AdapterKey, card: AdapterCard, staged: Staged) -> None:
        """Keep a registered adapter in host memory: from now on it can be acquired.

        Raises:
            MemoryExhausted: too little host memory is left, even without unused artifacts.
        """
        with self._lock:
            entry = self._entries[key]
            if entry.staged is not None:
                raise RuntimeError(f"{key} is staged already")
            self._make_room(staged.bytes)
            entry.bytes = staged.bytes
            entry.card, entry.staged = card, staged
            self._touch(entry)

    def forget(self, key: AdapterKey) -> None:
        """Give a registered name back: it could not be staged."""
        with self._lock:
            if self._entries[key].staged is not None:
                raise RuntimeError(f"{key} is staged; it leaves through retire and drop")
            del self._entries[key]

    def acquire(self, key: AdapterKey, *, owner: str) -> AdapterCard:
        """Count one more use by `owner`, and return the adapter's card.

        Raises:
            NotFound: it is not staged, on its way out, or another owner's: all told alike.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.card is None or entry.retiring or entry.card.owner != owner:
                raise _not_found(key)
            entry.uses += 1
            return entry.card

    def release(self, key: AdapterKey) -> None:
        """Count one use less."""
        with self._lock:
            entry = self._entries[key]
            if entry.uses <= (1 if entry.pins else 0):
                raise RuntimeError(f"{key}: release of {entry.uses} uses and {entry.pins} pins")
            entry.uses -= 1

    def find(self, key: AdapterKey) -> Resident:
        """Return what is known of a staged adapter.

        Raises:
            NotFound: it is not staged or on its way out.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.staged is None or entry.retiring:
                raise _not_found(key)
            return _view(entry)

    def page(self, door: Door, *, after: str, limit: int) -> tuple[Sequence[Resident], bool]:
        """Return up to `limit` staged adapters with names after `after`, and whether more follow.

        Sorted by name.
        """
        with self._lock:
            names = sorted(
                e.key.name
                for e in self._entries.values()
                if e.key.door is door and e.staged is not None and not e.retiring
            )
            chosen = [name for name in names if name > after]
            page = [_view(self._entries[AdapterKey(door, name)]) for name in chosen[:limit]]
            return page, len(chosen) > limit

    def all(self) -> Sequence[Resident]:
        """Return every adapter, for metrics and tests."""
        with self._lock:
            return [_view(entry) for entry in self._entries.values()]

    # unloading: the door retires, the engine drops

    def retire(self, key: AdapterKey) -> None:
        """Let nobody acquire an adapter any more.

        Raises:
            NotFound: it is not staged or on its way out already.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.staged is None or entry.retiring:
                raise _not_found(key)
            entry.retiring = True

    def drop(self, key: AdapterKey, *, clear: Callable[[int], None]) -> bool:
        """Remove a retired adapter if nobody uses it; say whether it is gone.

        `clear` zeroes its slot, and is called from the engine's thread before the slot is free.
        """
        with self._lock:
            entry = self._entries[key]
            if not entry.retiring:
                raise RuntimeError(f"{key} is not retired")
            if entry.uses:
                return False
            slot = entry.slot
            self._leave_slot(entry)
            del self._entries[key]
        if slot is not None:
            clear(slot)
            self._cleared(slot)
        return True

    # the engine's thread

    def pin(self, key: AdapterKey) -> Placement | None:
        """Give an acquired adapter a slot and count one more pin; None when every slot is pinned.

        The engine carries the placement out, or calls `unplace`, before anybody draws.
        """
        with self._lock:
            entry = self._entries[key]
            if entry.staged is None or not entry.uses:
                raise RuntimeError(f"{key}: pin without acquire")
            if entry.slot is not None:
                placement = Placement(entry.slot, clear=False, write=None)
            else:
                number = self._choose_slot()
                if number is None:
                    return None
                slot = self._slots[number]
                if slot.holder is not None:
                    self._leave_slot(slot.holder)
                placement = Placement(number, clear=not slot.clean, write=entry.staged)
                slot.holder, slot.clean, entry.slot = entry, False, number
            entry.pins += 1
            self._touch(entry)
            return placement

    def unpin(self, key: AdapterKey) -> None:
        """Count one pin less; the adapter stays in its slot until another needs it."""
        with self._lock:
            entry = self._entries[key]
            if entry.pins < 1:
                raise RuntimeError(f"{key}: unpin without pin")
            entry.pins -= 1

    def unplace(self, key: AdapterKey) -> None:
        """Take back a pin whose placement failed: the slot holds nobody and must be cleared."""
        with self._lock:
            entry = self._entries[key]
            if entry.pins != 1:
                raise RuntimeError(f"{key}: unplace of {entry.pins} pins; only a fresh one can be")
            entry.pins = 0
            self._leave_slot(entry)

    # inner

    def _touch(self, entry: _Entry) -> None:
        self._ticks += 1
        entry.last_used = self._ticks

    def _choose_slot(self) -> int | None:
        """Return a clean free slot, else one to be cleared, else the least recently pinned."""
        candidates = [
            (slot.holder.last_used if slot.holder else -1, not slot.clean, number)
            for number, slot in enumerate(self._slots)
            if slot.holder is None or not slot.holder.pins
        ]
        return min(candidates)[2] if candidates else None

    def _leave_slot(self, entry: _Entry) -> None:
        if entry.slot is not None:
            self._slots[entry.slot].holder = None
            entry.slot = None

    def _cleared(self, number: int) -> None:
        with self._lock:
            slot = self._slots[number]
            # Whoever took it meanwhile was told to clear it first.
            if slot.holder is None:
                slot.clean = True

    def _make_room(self, size: int) -> None:
        held = sum(entry.bytes for entry in self._entries.values())
        victims: list[_Entry] = []
        for entry in self._unused_artifacts():
            if held + size <= self._host_bytes:
                break
            held -= entry.bytes
            victims.append(entry)
        if held + size > self._host_bytes:
            raise MemoryExhausted(
                f"{size:,} bytes of host memory for an adapter; {self._host_bytes:,} are there, "
                f"{held:,} of them held",
                what="host memory",
                needed_bytes=size,
                allowed_bytes=self._host_bytes,
            )
        for entry in victims:
            self._leave_slot(entry)
            del self._entries[entry.key]

    def _unused_artifacts(self) -> Iterator[_Entry]:
        unused = (
            e
            for e in self._entries.values()
            if e.key.door is Door.ARTIFACT and e.staged and not e.uses and not e.retiring
        )
        yield from sorted(unused, key=lambda e: e.last_used)


def _view(entry: _Entry) -> Resident:
    return Resident(entry.key, entry.source, entry.level, entry.slot, entry.uses, entry.pins)


def _not_found(key: AdapterKey) -> NotFound:
    return NotFound(
        f"model {key.name[:200]!r} is not loaded for this owner", kind="model", name=key.name[:200]
    )
