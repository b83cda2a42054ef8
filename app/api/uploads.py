"""Uploads: one POST form per photo, and the document that closes the set."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter

from app.api.given import Given, Who
from app.api.keys import Caller
from app.api.names import check_free
from app.api.problems import EVERYWHERE, responses
from app.api.reading import StrictRoute
from app.api.shapes import (
    CompletedUpload,
    CompleteUpload,
    ConsentGiven,
    Form,
    NewUpload,
    Upload,
)
from atelier.contracts import ids, keys
from atelier.contracts.consent import TEXT_VERSION, Consent
from atelier.contracts.dataset import (
    MAX_COMPLETE_BYTES,
    MAX_UPLOAD_BYTES,
    UPLOAD_TYPES,
    UploadComplete,
    UploadedPhoto,
)
from atelier.contracts.documents import DocumentError, canonical_json, decode, encode, parse_json
from atelier.contracts.errors import (
    AlreadyExists,
    ContractBroken,
    IdempotencyConflict,
    InvalidRequest,
    NotFound,
    ObjectExists,
)
from tasks.ports import Objects, Ports
from tasks.start_from_upload import asked_by
from tasks.starting import start

router = APIRouter(
    prefix="/v1/uploads", tags=["uploads"], responses=EVERYWHERE, route_class=StrictRoute
)
FORM_LIFETIME = timedelta(hours=1)


@router.post("", status_code=201, summary="Announce photos and get a form for each")
def announce_photos(body: NewUpload, ports: Given, who: Who) -> Upload:
    """The set's id derives from the photos' digests: announcing again finds the same set."""
    owner = who.owner(body.user_id)
    if wrong := sorted({p.content_type for p in body.photos} - set(UPLOAD_TYPES)):
        raise InvalidRequest(
            f"photos of type {', '.join(wrong)}; allowed are {', '.join(UPLOAD_TYPES)}",
            where="photos.content_type",
            found=wrong,
            allowed=list(UPLOAD_TYPES),
        )
    names = [photo.name for photo in body.photos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidRequest(
            f"photo names stand twice: {', '.join(twice)}", where="photos.name", found=twice
        )
    try:
        photos = tuple(
            UploadedPhoto(name=p.name, digest=p.digest, bytes=p.bytes, caption=p.caption)
            for p in body.photos
        )
    except ValueError as problem:
        raise InvalidRequest(str(problem), where="photos") from problem
    announced = canonical_json(encode(photos))
    upload_set = ids.message_id("upload", owner, ids.digest_of(announced))
    prefix = keys.upload_prefix(owner, upload_set)
    ports.objects.put(keys.upload_announced(prefix), announced, content_type="application/json")
    expires_at = ports.clock.now() + FORM_LIFETIME
    forms = []
    for photo in body.photos:
        form = ports.objects.upload_form(
            keys.uploaded_photo(prefix, photo.name),
            content_type=photo.content_type,
            max_bytes=MAX_UPLOAD_BYTES,
            expires_at=expires_at,
        )
        forms.append(Form(name=photo.name, url=form.url, fields=dict(form.fields)))
    return Upload(upload_set=upload_set, photos=prefix, forms=forms, expires_at=expires_at)


@router.post(
    "/{upload_set}/complete",
    summary="Close a set once its photos have arrived",
    responses=responses(AlreadyExists, IdempotencyConflict),
)
def complete_upload(
    upload_set: str, body: CompleteUpload, ports: Given, who: Who
) -> CompletedUpload:
    """Checks what arrived against what was announced, names what is missing, records consent.

    The onboarding that it asks for starts; should this call die before it can, the bucket's event
    starts it.
    """
    owner = who.owner(body.user_id)
    try:
        prefix = keys.upload_prefix(owner, upload_set)
    except ValueError as problem:
        raise _no_such_set(upload_set) from problem
    announced = _announced(ports.objects, prefix, upload_set)
    _check_arrived(announced, prefix, objects=ports.objects)
    consent = _consent(body.consent, ports=ports)
    document = UploadComplete(announced, consent, _wish(body, who))
    asked = asked_by(document, prefix, ports=ports)
    if asked is not None:
        check_free(asked[1], ports=ports)
    try:
        ports.objects.put(
            keys.upload_complete(prefix),
            document.to_json(),
            content_type="application/json",
            if_absent=True,
        )
    except ObjectExists:  # The set was closed before; what it said then stands.
        asked = asked_by(_closed_before(document, prefix, ports=ports), prefix, ports=ports)
    onboarding = start(*asked, ports=ports)[0].request if asked else None
    return CompletedUpload(photos=prefix, count=len(announced), onboarding=onboarding)


def _check_arrived(announced: tuple[UploadedPhoto, ...], prefix: str, *, objects: Objects) -> None:
    found = {info.key.removeprefix(prefix): info.bytes for info in objects.list(prefix)}
    missing = [p.name for p in announced if p.name not in found]
    wrong = [p.name for p in announced if p.name in found and found[p.name] != p.bytes]
    if missing or wrong:
        raise InvalidRequest(
            f"{len(missing)} photos have not arrived and {len(wrong)} have another size than "
            "announced",
            do="Upload the named photos with their forms, then complete the set again.",
            where="photos",
            missing=missing,
            wrong=wrong,
        )


def _wish(body: CompleteUpload, who: Caller) -> dict[str, Any] | None:
    if body.onboarding is None:
        return None
    wish = body.onboarding.model_dump(mode="json")
    return {"tenant": who.tenant, "user_id": body.user_id, **wish}


def _closed_before(document: UploadComplete, prefix: str, *, ports: Ports) -> UploadComplete:
    """Return the document that closed a set first.

    Raises:
        AlreadyExists: it asks for another onboarding than `document`.
    """
    before = read_complete(ports.objects, prefix)
    if document.onboarding not in (None, before.onboarding):
        raise AlreadyExists(
            f"the upload set {prefix} was closed before, without this onboarding",
            do="Start it with POST /v1/onboardings and this set's `photos`.",
            kind="upload set",
            name=prefix,
        )
    return before


def _consent(given: ConsentGiven, *, ports: Ports) -> Consent:
    try:
        return Consent(
            given_by=given.given_by,
            given_at=ports.clock.now(),
            text_version=given.text_version or TEXT_VERSION,
        )
    except ValueError as problem:
        raise InvalidRequest(str(problem), where="consent") from problem


def read_complete(objects: Objects, prefix: str) -> UploadComplete:
    """Return the document that closes a set.

    Raises:
        InvalidRequest: the set is not closed, or is no set.
    """
    try:
        key = keys.upload_complete(prefix)
    except ValueError as problem:
        raise InvalidRequest(
            str(problem),
            do="Send `photos` as POST /v1/uploads answered it.",
            where="photos",
            found=prefix[:120],
        ) from problem
    if objects.info(key) is None:
        raise InvalidRequest(
            f"the upload set {prefix} is not complete",
            do="Upload its photos, then POST /v1/uploads/{set}/complete with the consent.",
            where="photos",
            found=prefix,
        )
    try:
        return UploadComplete.from_json(objects.read(key, max_bytes=MAX_COMPLETE_BYTES))
    except (DocumentError, ContractBroken) as problem:
        raise InvalidRequest(
            f"the document that closes {prefix} does not read: {problem}",
            do="Announce the photos anew with POST /v1/uploads; whoever wrote it can correct it.",
            where="photos",
            found=prefix,
        ) from problem


def _announced(objects: Objects, prefix: str, upload_set: str) -> tuple[UploadedPhoto, ...]:
    key = keys.upload_announced(prefix)
    if objects.info(key) is None:
        raise _no_such_set(upload_set)
    try:
        given = parse_json(objects.read(key, max_bytes=MAX_COMPLETE_BYTES))
        return decode(tuple[UploadedPhoto, ...], given)
    except (DocumentError, ContractBroken) as problem:
        raise InvalidRequest(
            f"what was announced of this set does not read: {problem}",
            do="Announce the photos anew with POST /v1/uploads.",
            where="upload_set",
        ) from problem


def _no_such_set(upload_set: str) -> NotFound:
    return NotFound(
        f"no upload set {upload_set[:80]!r}",
        kind="upload set",
        name=upload_set[:80],
        do="Announce the photos with POST /v1/uploads first; the answer names the set.",
    )
