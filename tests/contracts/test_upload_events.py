"""A closed upload set starts its onboarding from the bucket of either platform."""

from __future__ import annotations

from dataclasses import replace

import pytest

from atelier.contracts import ids, keys
from atelier.contracts.consent import Consent
from atelier.contracts.dataset import UploadComplete, UploadedPhoto
from infra.local.upload_events import object_created
from tasks import start_from_upload
from tests.fakes.world import new_world

FOLDER = keys.upload_prefix(ids.owner_of("default", "42"), "first")
KEY = keys.upload_complete(FOLDER)


@pytest.fixture
def ports(objects):
    with new_world() as world:
        yield replace(world.ports, objects=objects)


def closed(ports, onboarding):
    photo = UploadedPhoto("01.png", ids.digest_of(b"x"), 1)
    document = UploadComplete((photo,), Consent("ada", ports.clock.now()), onboarding)
    ports.objects.put(KEY, document.to_json())


def test_a_closed_set_starts_what_it_asks_for_once(ports):
    closed(ports, {"user_id": "42", "preset": "nano"})
    first, again = (start_from_upload.run(object_created(KEY), ports=ports) for _ in range(2))
    [request] = first["started"]
    assert again == first
    assert ports.ledger.read(request).given.photos == FOLDER
    assert len(ports.executions.executions) == 1


def test_a_set_that_is_gone_or_does_not_read_starts_nothing(ports):
    assert start_from_upload.run(object_created(KEY), ports=ports)["ignored"] == 1
    for body in (b"", b"\xff", b"[" * 100_000, b" " * (2 * 1024 * 1024)):
        ports.objects.put(KEY, body)
        told = start_from_upload.run(object_created(KEY), ports=ports)
        assert (told["started"], len(told["refused"])) == ([], 1)
