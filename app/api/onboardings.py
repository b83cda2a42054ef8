"""Onboardings: start, read, list, cancel; their previews and samples."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from app.api import views
from app.api.given import Given, Who
from app.api.keys import Caller
from app.api.names import check_free, check_unused
from app.api.problems import EVERYWHERE, responses
from app.api.reading import StrictRoute
from app.api.shapes import NewOnboarding, OnboardingPage, OnboardingView, WhyView
from app.api.uploads import read_complete
from atelier.contracts import checkpoints, ids, keys
from atelier.contracts.base_models import check_available
from atelier.contracts.errors import (
    AlreadyExists,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    ObjectMissing,
)
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import OnboardingInput, SamplePrompt, normalise
from atelier.contracts.status import Status
from tasks import cancel, redrive, retry
from tasks.attempts import read_progress
from tasks.lookout import Lookout
from tasks.ports import Ports
from tasks.starting import start

router = APIRouter(
    prefix="/v1/onboardings", tags=["onboardings"], responses=EVERYWHERE, route_class=StrictRoute
)
MAX_IMAGE_BYTES = 16 * 1024 * 1024
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        description="The same key and input are the same onboarding, however it ended. Without a "
        "key the input alone decides, and one that failed or was cancelled is tried once more.",
    ),
]


@router.post(
    "",
    status_code=202,
    summary="Start an onboarding",
    responses={
        200: {"model": OnboardingView, "description": "It was started before."},
        **responses(AlreadyExists, IdempotencyConflict),
    },
)
def start_onboarding(
    body: NewOnboarding,
    response: Response,
    ports: Given,
    who: Who,
    idempotency_key: IdempotencyKey = None,
) -> OnboardingView:
    """Write the request, then start its execution; both are found, not repeated, by a repetition.

    Without an Idempotency-Key it is a person's word, too: one that failed or was cancelled is
    tried once more.
    """
    owner = who.owner(body.user_id)
    if not body.photos.startswith(keys.uploads(owner)):
        raise NotFound(
            f"no upload set {body.photos[:120]!r} of user {body.user_id!r}",
            kind="upload set",
            name=body.photos[:120],
        )
    given = _input(body, who, idempotency_key, ports)
    request = normalise(given, now=ports.clock.now())
    check_available(request.base, ports.settings.base_models)
    check_free(request, ports=ports)
    record, new = start(given, request, ports=ports)
    if not new and idempotency_key is None and record.status in retry.RETRIABLE:
        check_unused(record.given, ports=ports)
        record, new = retry.begin_next(record, ports=ports)
    if not new:
        response.status_code = 200
    response.headers["Location"] = f"/v1/onboardings/{record.request}"
    return _view(record, ports)


@router.get("", summary="List onboardings, newest first")
def list_onboardings(
    ports: Given,
    who: Who,
    user_id: str | None = None,
    status: Annotated[list[Status] | None, Query()] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> OnboardingPage:
    """A tenant's onboardings, or one user's."""
    user = who.user if user_id is None else user_id
    items, following = ports.ledger.list_requests(
        tenant=who.tenant,
        owner=who.owner(user) if user is not None else None,
        statuses=frozenset(status) if status else None,
        cursor=cursor,
        limit=limit,
    )
    # A list shows what the ledger knows; one onboarding's own page reads its freshest progress.
    lookout = Lookout(ports)
    return OnboardingPage(
        items=[views.onboarding(r, None, lookout.of(r, None)) for r in items],
        next_cursor=following,
    )


@router.get("/{onboarding}", summary="Read an onboarding with its freshest progress")
def read_onboarding(onboarding: str, ports: Given, who: Who) -> OnboardingView:
    """Status, timeline, training progress, and why it failed if it did."""
    return _view(find(onboarding, ports, who), ports)


@router.get("/{onboarding}/why", summary="Where an onboarding is, and when it will be ready")
def explain_onboarding(onboarding: str, ports: Given, who: Who) -> WhyView:
    """One sentence, and what stands behind it: measured durations, queue, attempts, execution."""
    record = find(onboarding, ports, who)
    progress = read_progress(record, objects=ports.objects)
    return views.why(record, Lookout(ports).closely(record, progress))


@router.post("/{onboarding}/cancel", summary="Cancel an onboarding at any moment")
def cancel_onboarding(onboarding: str, ports: Given, who: Who) -> OnboardingView:
    """Queued or training: it ends now, its neighbours in the job do not notice."""
    record = find(onboarding, ports, who)
    cancel.run({"request": record.request}, ports=ports)
    return _view(ports.ledger.read(record.request), ports)


@router.post("/{onboarding}/redrive", summary="Let an onboarding that failed in place go on")
def redrive_onboarding(onboarding: str, ports: Given, who: Who) -> OnboardingView:
    """Say that the cause is gone; it goes on in the state where it stands."""
    record = find(onboarding, ports, who)
    redrive.run({"request": record.request}, ports=ports)
    return _view(ports.ledger.read(record.request), ports)


@router.post(
    "/{onboarding}/retry",
    summary="Try an onboarding once more that failed or was cancelled",
    responses=responses(AlreadyExists),
)
def retry_onboarding(onboarding: str, ports: Given, who: Who) -> OnboardingView:
    """Its next attempt begins, with the same photos and words; it keeps its id."""
    record = find(onboarding, ports, who)
    if record.status in retry.RETRIABLE:
        check_unused(record.given, ports=ports)
    retry.run({"request": record.request}, ports=ports)
    return _view(ports.ledger.read(record.request), ports)


@router.get(
    "/{onboarding}/images/{name}",
    summary="A preview or sample image",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def read_image(onboarding: str, name: str, ports: Given, who: Who) -> Response:
    """Names are those that the onboarding's progress lists."""
    record = find(onboarding, ports, who)
    preview = re.fullmatch(r"step-(\d{1,6})\.png", name)
    sample = re.fullmatch(r"(\d{2})\.png", name)
    missing = NotFound(f"no image {name[:80]!r}", kind="image", name=name[:80])
    if record.job is None or record.host is None or not (preview or sample):
        raise missing
    if preview:
        path = checkpoints.preview(record.host, record.request, int(preview[1]))
    else:
        path = checkpoints.sample(record.host, record.request, int(name[:2]))
    try:
        body = ports.objects.read(keys.checkpoint(record.job, path), max_bytes=MAX_IMAGE_BYTES)
    except ObjectMissing:
        raise missing from None
    return Response(body, media_type="image/png")


def find(onboarding: str, ports: Ports, who: Caller) -> RequestRecord:
    """Return a request of the caller's; what is foreign does not exist.

    Raises:
        NotFound: there is none of that id for this caller.
    """
    missing = NotFound(
        f"no onboarding {onboarding[:80]!r}", kind="onboarding", name=onboarding[:80]
    )
    if not ids.REQUEST_PATTERN.fullmatch(onboarding):
        raise missing
    try:
        record = ports.ledger.read(onboarding)
    except NotFound:
        raise missing from None
    if record.given.tenant != who.tenant or who.user not in {None, record.given.user}:
        raise missing
    return record


def _input(
    body: NewOnboarding, who: Caller, idempotency_key: str | None, ports: Ports
) -> OnboardingInput:
    complete = read_complete(ports.objects, body.photos)
    try:
        samples = tuple(SamplePrompt(**sample.model_dump()) for sample in body.samples)
    except ValueError as problem:
        raise InvalidRequest(f"samples: {problem}", where="samples") from problem
    fields = body.model_dump(exclude={"samples"})
    return OnboardingInput(
        **fields,
        samples=samples,
        tenant=who.tenant,
        consent=complete.consent,
        idempotency_key=idempotency_key,
    )


def _view(record: RequestRecord, ports: Ports) -> OnboardingView:
    progress = read_progress(record, objects=ports.objects)
    return views.onboarding(record, progress, Lookout(ports).of(record, progress))
