"""StartFromUpload: start the onboarding that a closed upload set asks for.

The API starts the onboarding of a set that it closes. The bucket's event does the same for whoever
writes the closing document without the API, and when the API died before it could.

The bucket tells that `uploads/<owner>/<set>/_complete.json` was written, as an EventBridge event
or as an S3 notification: at least once, late, in any order, and of other keys as well. The request
derives from the document, so that a set is started once however often it is told. What can never
start is refused in the result and never raised: raised, it would be delivered again and again.

Sources: AmazonS3/latest/userguide `ev-events`, `notification-content-structure`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

from atelier.contracts import ids, keys
from atelier.contracts.base_models import check_available
from atelier.contracts.dataset import MAX_COMPLETE_BYTES, UploadComplete
from atelier.contracts.documents import DocumentError, encode
from atelier.contracts.errors import (
    CallerError,
    ContractBroken,
    InvalidRequest,
    NotFound,
    ObjectMissing,
    WaitError,
)
from atelier.contracts.request import (
    OnboardingInput,
    OnboardingRequest,
    normalise,
    read_input,
)
from tasks.ports import Objects, Ports
from tasks.starting import start

log = logging.getLogger(__name__)

CLOSING = re.compile(rf"(uploads/({ids.OWNER_PATTERN.pattern})/[^/]+/)_complete\.json")
"""The keys that this is about: folder of the set, and its owner."""
FROM_THE_SET = frozenset({"photos", "consent"})
"""Fields of an onboarding's input that are the set's to say."""


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Start what an event's sets ask for: event → `{"started", "refused", "ignored"}`.

    `started` holds the requests' ids, those that were started before as well, `refused` an error
    with its `key` for each set that can never start, `ignored` how many records were of other keys,
    of sets that ask for nothing, or of sets that are gone.

    Raises:
        WaitError: a set cannot be started now; the others are, and the event may come again.
    """
    started: list[str] = []
    refused: list[dict[str, Any]] = []
    ignored = 0
    waiting: WaitError | None = None
    for key in _keys(given):
        try:
            request = _start(key, ports=ports)
        except WaitError as problem:
            waiting = problem
        except (CallerError, ContractBroken) as problem:
            log.warning("%s starts nothing: %s", key, problem.name())
            refused.append({"key": key, **problem.to_dict()})
        else:
            started += [request] if request else []
            ignored += request is None
    if waiting is not None:
        raise waiting
    return {"started": started, "refused": refused, "ignored": ignored}


def asked_by(
    complete: UploadComplete, folder: str, *, ports: Ports
) -> tuple[OnboardingInput, OnboardingRequest] | None:
    """Return the onboarding that a set asks for, checked like the console's; None for nothing.

    Raises:
        InvalidRequest: a field does not read, is the set's own to say, or names a base model that
            this deployment does not have.
        NotFound: the set is not this user's.
    """
    if complete.onboarding is None:
        return None
    wish = _wish(complete.onboarding, folder, complete)
    request = normalise(wish, now=ports.clock.now())
    check_available(request.base, ports.settings.base_models)
    return wish, request


def _wish(asked: Mapping[str, Any], folder: str, complete: UploadComplete) -> OnboardingInput:
    if twice := sorted(FROM_THE_SET & set(asked)):
        raise InvalidRequest(
            f"onboarding.{twice[0]}: the upload set itself says it; leave the field out",
            where=f"onboarding.{twice[0]}",
            found=twice,
        )
    consent = encode(complete.consent)
    wish = read_input({**asked, "photos": folder, "consent": consent})
    owner = ids.owner_of(wish.tenant, wish.user_id)
    if not folder.startswith(keys.uploads(owner)):
        raise NotFound(
            f"{folder} is no upload set of user {wish.user_id[:80]!r} of tenant {wish.tenant}",
            do="Name the tenant and the user whose photos these are.",
            kind="upload set",
            name=folder,
        )
    return wish


def _start(key: str, *, ports: Ports) -> str | None:
    """Start what the set closed by `key` asks for; return the request's id, None for nothing."""
    closing = CLOSING.fullmatch(key)
    if closing is None or not keys.is_segment(key.split("/")[2]):
        return None
    complete = _read(key, objects=ports.objects)
    asked = asked_by(complete, closing[1], ports=ports) if complete else None
    return start(*asked, ports=ports)[0].request if asked else None


def _read(key: str, *, objects: Objects) -> UploadComplete | None:
    try:
        return UploadComplete.from_json(objects.read(key, max_bytes=MAX_COMPLETE_BYTES))
    except ObjectMissing:
        return None  # Erased meanwhile; an event is no promise that its object is still there.
    except DocumentError as problem:
        raise InvalidRequest(f"{key}: {problem}", where=problem.where) from problem


def _keys(event: object) -> Iterator[str]:
    """Yield the key of each object that an event tells of; nothing of other events.

    A notification writes keys as URLs do. Whether EventBridge may, too, makes no difference: no key
    of ours holds what that encoding changes.
    """
    if not isinstance(event, Mapping):
        return
    records = event.get("Records")
    for record in records if isinstance(records, list) else [event.get("detail")]:
        if not isinstance(record, Mapping) or not _created(event, record):
            continue
        inner = record.get("s3", record)
        told = inner.get("object") if isinstance(inner, Mapping) else None
        key = told.get("key") if isinstance(told, Mapping) else None
        if isinstance(key, str):
            yield unquote_plus(key)


def _created(event: Mapping[str, Any], record: Mapping[str, Any]) -> bool:
    name = record.get("eventName")
    if name is not None:
        return isinstance(name, str) and name.removeprefix("s3:").startswith("ObjectCreated:")
    return event.get("detail-type") == "Object Created"
