"""Model names: whether an onboarding may take one, said at once rather than after registration.

Register has the last word; what is refused here would train for nothing or replace a model whose
owner did not ask for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from atelier.contracts import keys
from atelier.contracts.dataset import UploadComplete
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import AlreadyExists, NotFound, ObjectMissing
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import OnboardingRequest
from atelier.contracts.status import UNFINISHED
from tasks.ports import Objects, Ports
from tasks.register import name_taken


def check_free(asked: OnboardingRequest, *, ports: Ports) -> None:
    """Check that nothing stands in the way of an onboarding's model name.

    A repetition of a request that the ledger knows is always free, and so is a new version.

    Raises:
        AlreadyExists: another onboarding for that name is under way, or the owner has a model of
            that name that was made from other photos or in another way.
    """
    if not _is_known(asked, ports=ports):
        check_unused(asked, ports=ports)


def check_unused(asked: OnboardingRequest, *, ports: Ports) -> None:
    """Check that nobody else has, or is getting, the name of an onboarding that is to begin.

    Raises:
        AlreadyExists: as above.
    """
    if asked.new_version:
        return
    for other in _under_way(asked, ports=ports):
        if other.given.model == asked.model:
            raise _under_way_already(other)
    made = _made(asked, ports=ports)
    if made is not None and not _makes_the_same(made, asked, objects=ports.objects):
        raise name_taken(asked)


def _is_known(asked: OnboardingRequest, *, ports: Ports) -> bool:
    try:
        ports.ledger.read(asked.request)
    except NotFound:
        return False
    return True


def _under_way(asked: OnboardingRequest, *, ports: Ports) -> Iterator[RequestRecord]:
    cursor = None
    while True:
        page, cursor = ports.ledger.list_requests(
            tenant=asked.tenant, owner=asked.owner, statuses=UNFINISHED, cursor=cursor, limit=200
        )
        yield from page
        if cursor is None:
            return


def _under_way_already(other: RequestRecord) -> AlreadyExists:
    return AlreadyExists(
        f"onboarding {other.request} for model {other.given.model!r} of this user is under way",
        do=f"Follow GET /v1/onboardings/{other.request} or cancel it; or choose another model "
        'name, or ask for a version beside it with "new_version": true.',
        kind="onboarding",
        name=other.request,
    )


def _made(asked: OnboardingRequest, *, ports: Ports) -> OnboardingRequest | None:
    """Return the request that made the current version of the model, if there is one."""
    try:
        model = ports.ledger.model(asked.owner, asked.model)
        return ports.ledger.read(model.current_version.request).given
    except NotFound:
        return None


def _makes_the_same(made: OnboardingRequest, asked: OnboardingRequest, *, objects: Objects) -> bool:
    """Return whether both train alike on the same files, as far as the upload sets tell."""
    if not made.trains_like(asked):
        return False
    if made.photos == asked.photos:
        return True
    before, now = (_files(given.photos, objects=objects) for given in (made, asked))
    return before is None or now is None or before == now


def _files(folder: str, *, objects: Objects) -> frozenset[tuple[str, str]] | None:
    """Return digest and caption of each photo, or None when nobody announced them."""
    try:
        complete = UploadComplete.from_json(objects.read(keys.upload_complete(folder)))
    except (ObjectMissing, DocumentError, ValueError):
        return None
    return frozenset((photo.digest, photo.caption) for photo in complete.photos)
