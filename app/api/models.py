"""Models: which there are, the status check of a user, and images from them."""

from __future__ import annotations

import logging
from contextlib import suppress

from fastapi import APIRouter

from app.api import views
from app.api.given import DrawingPlaces, Given, Who
from app.api.limits import place_of
from app.api.problems import EVERYWHERE, responses
from app.api.reading import StrictRoute
from app.api.shapes import Generate, Generated, Image, ModelPage, UserView
from atelier.contracts import ids, keys
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import (
    ContractBroken,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    ObjectMissing,
    ServiceUnavailable,
    Throttled,
    WaitError,
)
from atelier.contracts.generation import GenerateRequest, GenerateResponse
from atelier.contracts.records import ModelRecord
from atelier.contracts.status import UNFINISHED
from tasks.lookout import Lookout
from tasks.ports import Ports

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["models"], responses=EVERYWHERE, route_class=StrictRoute)
MAX_RESPONSE_BYTES = 64 * 1024 * 1024


@router.get("/users/{user_id:path}", summary="Model status check of a user")
def read_user(user_id: str, ports: Given, who: Who) -> UserView:
    """Models that are ready to draw with, and onboardings under way."""
    owner = who.owner(user_id)
    unfinished, _ = ports.ledger.list_requests(
        tenant=who.tenant, owner=owner, statuses=UNFINISHED, limit=200
    )
    lookout = Lookout(ports)
    return UserView(
        user_id=user_id,
        models=[views.model(m) for m in ports.ledger.models(owner=owner)],
        onboardings=[views.onboarding(r, None, lookout.of(r, None)) for r in unfinished],
    )


@router.get("/models", summary="Models of a user, or of the tenant")
def list_models(ports: Given, who: Who, user_id: str | None = None) -> ModelPage:
    """By user and name."""
    one = who.user if user_id is None else user_id
    if one is None:
        found = ports.ledger.list_models(tenant=who.tenant)
    else:
        found = ports.ledger.models(owner=who.owner(one))
    return ModelPage(items=[views.model(m) for m in found])


@router.post(
    "/models/{model}/images",
    summary="Draw images with a model",
    responses=responses(
        Throttled, ModelNotReady, ServiceUnavailable, ContractBroken, ObjectMissing
    ),
)
def draw_images(
    model: str, body: Generate, ports: Given, who: Who, places: DrawingPlaces
) -> Generated:
    """Draws with the model's current version on the shared endpoint."""
    owner = who.owner(body.user_id)
    record = _model(owner, model, body.user_id, ports, who.tenant)
    version = record.current_version
    try:
        wish = GenerateRequest(owner=owner, **body.model_dump(exclude={"user_id"}))
    except ValueError as problem:
        raise InvalidRequest(str(problem), where=str(problem).split(" ", 1)[0]) from problem
    target = keys.target_model(record.base, owner, record.model, version.version)
    with place_of(places):
        try:
            answer = ports.endpoint.invoke(target, wish.to_json())
        except NotFound as problem:
            raise _lost(record, body.user_id, ports, who.tenant) from problem
    try:
        drawn = GenerateResponse.from_json(answer, max_bytes=MAX_RESPONSE_BYTES)
    except DocumentError as problem:
        raise ContractBroken(f"the endpoint's answer: {problem}", where=problem.where) from problem
    if drawn.adapter_digest != version.digest:
        # The one promise that must never break: an image is never drawn with other weights.
        raise ContractBroken(
            f"the endpoint drew with adapter {drawn.adapter_digest[:16]}…, not with "
            f"{version.digest[:16]}… of {record.model} {version.version}; the images are discarded",
            where="adapter_digest",
        )
    with suppress(WaitError):
        # Best effort: whoever asked gets the images, also when the ledger cannot note it now.
        ports.ledger.touch_model(owner, record.model, used_at=ports.clock.now())
    return Generated(
        model=record.model,
        version=version.version,
        images=[Image(seed=i.seed, image_base64=i.image_base64) for i in drawn.images],
        format=drawn.format,
        width=drawn.width,
        height=drawn.height,
        seconds=drawn.seconds,
    )


def _lost(record: ModelRecord, user_id: str, ports: Ports, tenant: str) -> ObjectMissing:
    """Return what it means that the endpoint does not know a version that the ledger calls current.

    Raises:
        NotFound: it does no longer; the model was erased meanwhile.
    """
    _model(record.owner, record.model, user_id, ports, tenant)
    version = record.current_version
    log.error("artifact %s is not there, and its version is current", version.artifact)
    return ObjectMissing(
        f"the weights of model {record.model} {version.version} are lost: the platform published "
        "them and no longer finds them",
        do="Tell whoever runs the platform: `atelier doctor` names the file to put back. Or "
        "onboard the person once more.",
    )


def _model(owner: str, model: str, user_id: str, ports: Ports, tenant: str) -> ModelRecord:
    if not ids.MODEL_PATTERN.fullmatch(model):
        raise NotFound(f"no model {model[:80]!r}", kind="model", name=model[:80])
    try:
        return ports.ledger.model(owner, model)
    except NotFound:
        unfinished, _ = ports.ledger.list_requests(
            tenant=tenant, owner=owner, statuses=UNFINISHED, limit=200
        )
        coming = next((r for r in unfinished if r.given.model == model), None)
        raise NotFound(
            f"user {user_id!r} has no model {model!r} to draw with"
            + (f" yet; onboarding {coming.request} is {coming.status}" if coming else ""),
            kind="model",
            name=model,
            do="Wait until the onboarding is ready."
            if coming
            else "Start an onboarding, or read GET /v1/users/{id} for what there is.",
        ) from None
