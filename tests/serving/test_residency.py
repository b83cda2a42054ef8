"""Where adapters are: never two in one slot, never one evicted that is in use."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atelier.contracts.errors import AlreadyExists, NotFound
from serving_image.refusals import MemoryExhausted
from serving_image.residency import AdapterKey, Door, Level, Residency
from tests.serving.artifacts import ANN, BOB, card_of
from tests.serving.fakes import FakeStaged

SLOTS = 3
HOST_BYTES = 600
PEOPLE = {name: (ANN, BOB)[i % 2] for i, name in enumerate("abcdefgh")}
KEYS = [
    AdapterKey(Door.PLATFORM if i < 5 else Door.ARTIFACT, name) for i, name in enumerate(PEOPLE)
]


def staged(residency: Residency, key: AdapterKey, size: int = 100, owner: str = ANN) -> None:
    residency.register(key, source="")
    residency.stage(key, card_of(owner, key.name.encode()), FakeStaged(key.name, size))


class ResidencyMachine(RuleBasedStateMachine):
    """Any order of calls that the doors and the engine may make, against a model of the bank.

    `bank` is what lies in each slot (None is all zeros); `uses` and `pins` are counted here again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.residency = Residency(slots=SLOTS, host_bytes=HOST_BYTES)
        self.bank: list[str | None] = [None] * SLOTS
        self.uses: dict[AdapterKey, int] = {}
        self.pins: dict[AdapterKey, int] = {}
        self.retired: set[AdapterKey] = set()

    def clear(self, slot: int) -> None:
        self.bank[slot] = None

    def loaded(self) -> set[AdapterKey]:
        return {resident.key for resident in self.residency.all()}

    @rule(key=st.sampled_from(KEYS), size=st.sampled_from([50, 100, 250]))
    def load(self, key: AdapterKey, size: int) -> None:
        before = self.loaded()
        try:
            self.residency.register(key, source="")
        except AlreadyExists:
            assert key in before
            return
        assert key not in before
        try:
            card = card_of(PEOPLE[key.name], key.name.encode())
            self.residency.stage(key, card, FakeStaged(key.name, size))
        except MemoryExhausted:
            self.residency.forget(key)
        gone = before - self.loaded()
        assert all(k.door is Door.ARTIFACT and not self.uses.get(k) for k in gone)

    @rule(key=st.sampled_from(KEYS), owner=st.sampled_from([ANN, BOB]))
    def acquire(self, key: AdapterKey, owner: str) -> None:
        allowed = key in self.loaded() and key not in self.retired and owner == PEOPLE[key.name]
        try:
            self.residency.acquire(key, owner=owner)
        except NotFound:
            assert not allowed
            return
        assert allowed
        self.uses[key] = self.uses.get(key, 0) + 1

    @precondition(lambda self: any(self.uses.values()))
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, n in self.uses.items() if n]))
        placement = self.residency.pin(key)
        pinned = {k for k, n in self.pins.items() if n}
        if placement is None:
            assert len(pinned) == SLOTS
            assert key not in pinned
            return
        evicted = self.bank[placement.slot]
        if evicted is not None and evicted != key.name:
            assert evicted not in {k.name for k in pinned}, "evicted in use"
        if placement.clear:
            self.clear(placement.slot)
        if placement.write is not None:
            assert self.bank[placement.slot] is None, "written before it was zeroed"
            if data.draw(st.booleans(), label="the copy fails"):
                self.residency.unplace(key)
                return
            self.bank[placement.slot] = key.name
        assert self.bank[placement.slot] == key.name
        self.pins[key] = self.pins.get(key, 0) + 1

    @precondition(lambda self: any(self.pins.values()))
    @rule(data=st.data())
    def unpin(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, n in self.pins.items() if n]))
        self.residency.unpin(key)
        self.pins[key] -= 1

    @precondition(lambda self: any(self.uses.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, n in self.uses.items() if n]))
        if self.uses[key] == 1 and self.pins.get(key):
            with pytest.raises(RuntimeError):
                self.residency.release(key)
            return
        self.residency.release(key)
        self.uses[key] -= 1

    @rule(key=st.sampled_from(KEYS))
    def count_below_zero(self, key: AdapterKey) -> None:
        if key not in self.loaded():
            return
        if not self.pins.get(key):
            with pytest.raises(RuntimeError):
                self.residency.unpin(key)
        if not self.uses.get(key):
            with pytest.raises(RuntimeError):
                self.residency.release(key)
            with pytest.raises(RuntimeError):
                self.residency.pin(key)

    @rule(key=st.sampled_from(KEYS))
    def retire(self, key: AdapterKey) -> None:
        allowed = key in self.loaded() and key not in self.retired
        try:
            self.residency.retire(key)
        except NotFound:
            assert not allowed
            return
        assert allowed
        self.retired.add(key)

    @precondition(lambda self: self.retired)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.retired)))
        gone = self.residency.drop(key, clear=self.clear)
        assert gone == (not self.uses.get(key))
        if gone:
            self.retired.remove(key)
            assert key.name not in self.bank, "its weights are still in a slot"

    @invariant()
    def every_slot_has_one_holder_and_holds_what_it_says(self) -> None:
        active = [r for r in self.residency.all() if r.level is Level.ACTIVE]
        slots = [r.slot for r in active]
        assert len(slots) == len(set(slots))
        for resident in active:
            assert resident.slot is not None
            assert self.bank[resident.slot] == resident.key.name

    @invariant()
    def counts_are_what_was_counted(self) -> None:
        for resident in self.residency.all():
            assert resident.uses == self.uses.get(resident.key, 0)
            assert resident.pins == self.pins.get(resident.key, 0)
            assert resident.pins == 0 or resident.level is Level.ACTIVE


TestResidencyMachine = ResidencyMachine.TestCase
TestResidencyMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def test_the_least_recently_pinned_adapter_leaves_its_slot() -> None:
    residency = Residency(slots=2, host_bytes=HOST_BYTES)
    for key in KEYS[:3]:
        staged(residency, key)
        residency.acquire(key, owner=ANN)
    for key in (KEYS[0], KEYS[1], KEYS[0]):
        residency.pin(key)
        residency.unpin(key)
    placement = residency.pin(KEYS[2])
    assert placement is not None
    assert placement.clear
    assert [r.level for r in residency.all()] == [Level.ACTIVE, Level.STAGED, Level.ACTIVE]


def test_a_clean_slot_is_taken_before_anybody_is_evicted() -> None:
    residency = Residency(slots=2, host_bytes=HOST_BYTES)
    for key in KEYS[:2]:
        staged(residency, key)
        residency.acquire(key, owner=ANN)
        placement = residency.pin(key)
        residency.unpin(key)
        assert placement is not None
        assert not placement.clear
    assert {r.slot for r in residency.all()} == {0, 1}


def test_unused_artifacts_make_room_and_what_the_platform_loaded_does_not() -> None:
    residency = Residency(slots=2, host_bytes=250)
    platform, artifact = KEYS[0], KEYS[6]
    staged(residency, platform)
    staged(residency, artifact)
    staged(residency, KEYS[1])
    assert {r.key for r in residency.all()} == {platform, KEYS[1]}
    residency.register(KEYS[2], source="")
    with pytest.raises(MemoryExhausted) as refused:
        residency.stage(KEYS[2], card_of(ANN, b"c"), FakeStaged("c", 100))
    assert refused.value.facts["needed_bytes"] == 100


def test_of_the_unused_artifacts_the_one_that_came_first_makes_room() -> None:
    residency = Residency(slots=1, host_bytes=250)
    first, second, third = (AdapterKey(Door.ARTIFACT, name) for name in ("1st", "2nd", "3rd"))
    staged(residency, first)
    residency.acquire(first, owner=ANN)
    residency.pin(first)
    residency.unpin(first)
    residency.release(first)
    staged(residency, second)
    # Nobody has drawn with the second yet: it was staged for a request that is about to.
    staged(residency, third)
    assert {resident.key for resident in residency.all()} == {second, third}


def test_an_adapter_that_is_only_registered_cannot_be_used_or_seen() -> None:
    residency = Residency(slots=1, host_bytes=HOST_BYTES)
    residency.register(KEYS[0], source="/models/a")
    for call in (residency.find, residency.retire):
        with pytest.raises(NotFound):
            call(KEYS[0])
    with pytest.raises(NotFound):
        residency.acquire(KEYS[0], owner=ANN)
    assert residency.page(Door.PLATFORM, after="", limit=10) == ([], False)
