"""Register: check the input and the photos, re-encode them, and write the request.

The request's id derives from the input, the dataset's from the photos, so that a repetition finds
what it made. An execution of our API finds the record that the API wrote; one that was started by
hand writes it, or retries the same request after it failed or was cancelled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from atelier.contracts import ids
from atelier.contracts.base_models import check_available
from atelier.contracts.dataset import Dataset
from atelier.contracts.errors import (
    AlreadyExists,
    InvalidRequest,
    LedgerContention,
    NotFound,
)
from atelier.contracts.records import ModelRecord, RequestRecord
from atelier.contracts.request import (
    MACHINE_FIELDS,
    OnboardingRequest,
    normalise,
    read_input,
)
from atelier.contracts.status import TERMINAL, Stamp, Status, Verdict
from tasks.endings import WRITES, due, ended, overdue
from tasks.notices import ready_notice
from tasks.payload import fields, text
from tasks.photo_sets import MadeDataset, make_dataset, read_upload_set, write_dataset
from tasks.ports import Ports
from tasks.retry import leave


def run(given: Mapping[str, Any], *, ports: Ports) -> dict[str, Any]:
    """Register a request: `{"given", "execution"}` → `{request, attempt, deadline_seconds, known}`.

    `known`: the very same photos, base and hyperparameters are already this model's current
    version; the request is ready and nothing is trained.

    Raises:
        CallerError: InvalidRequest, PhotosRejected, ConsentMissing, NotFound, AlreadyExists or
            IdempotencyConflict, each saying what to put right.
        StoppedError: the request was cancelled or erased, or its deadline has passed.
    """
    asked = normalise(read_input(fields(given, "given")), now=ports.clock.now())
    check_available(asked.base, ports.settings.base_models)
    plain = {k: v for k, v in fields(given, "given").items() if k not in MACHINE_FIELDS}
    record = _find_or_create(asked, plain, text(given, "execution"), ports=ports)
    if record.status is Status.READY:
        return _output(record, known=True, ports=ports)
    if passed := overdue(record, now=ports.clock.now()):
        raise passed
    if record.status is not Status.QUEUED or record.queued_at is not None:
        # It went on before this state was entered again.
        return _output(record, known=False, ports=ports)
    upload = read_upload_set(record.given, objects=ports.objects)
    made = make_dataset(upload, record.given, ports=ports)
    model = _model(record.given, ports=ports)
    if model is not None and _is_made_from(model, made.dataset, record.given, ports=ports):
        return _output(_make_ready(record, model, made, ports=ports), known=True, ports=ports)
    _check_name(model, record.given)
    write_dataset(made, objects=ports.objects)
    changed = ports.ledger.annotate(
        record.request,
        attempt=record.attempt,
        steps=record.given.hyperparameters.steps,
        **_noted(made),
    )
    if changed.verdict is Verdict.STALE and changed.record.status in TERMINAL:
        raise ended(changed.record)
    return _output(changed.record, known=False, ports=ports)


def _output(record: RequestRecord, *, known: bool, ports: Ports) -> dict[str, Any]:
    remaining = (due(record) - ports.clock.now()).total_seconds()
    return {
        "request": record.request,
        "attempt": record.attempt,
        "deadline_seconds": max(1, math.ceil(remaining)),
        "known": known,
    }


def _find_or_create(
    asked: OnboardingRequest, plain: Mapping[str, Any], execution: str, *, ports: Ports
) -> RequestRecord:
    now = ports.clock.now()
    for _ in range(WRITES):
        record, _new = ports.ledger.create(
            RequestRecord(
                given=asked,
                attempt=1,
                status=Status.QUEUED,
                execution=execution,
                created_at=now,
                updated_at=now,
                steps=asked.hyperparameters.steps,
                asked=plain,
            )
        )
        if record.execution != execution:
            record.given.check_same(asked)
            if record.status in {Status.FAILED, Status.CANCELLED}:
                _check_newer(record, execution)
                leave(record, ports=ports)
                # Starting the same request again is the person's word that it be retried.
                changed = ports.ledger.retry(record.request, execution=execution)
                if changed.verdict is Verdict.STALE:
                    continue
                record = changed.record
            elif record.status not in {Status.READY, Status.ERASED}:
                raise AlreadyExists(
                    f"the same request is under way as execution {record.execution}",
                    do="Follow that execution, or change the input or its idempotency key.",
                    kind="onboarding",
                    name=record.request,
                )
        if record.status in TERMINAL and record.status is not Status.READY:
            raise ended(record)
        return record
    raise LedgerContention(f"request {asked.request} changed hands {WRITES} times")


def _check_newer(record: RequestRecord, execution: str) -> None:
    named = ids.split_execution_name(execution)
    if named is not None and named[0] == record.request and named[1] <= record.attempt:
        # An execution of an earlier attempt that comes late revives nothing.
        raise ended(record)


def _model(given: OnboardingRequest, *, ports: Ports) -> ModelRecord | None:
    try:
        return ports.ledger.model(given.owner, given.model)
    except NotFound:
        return None


def _is_made_from(
    model: ModelRecord, dataset: Dataset, given: OnboardingRequest, *, ports: Ports
) -> bool:
    """Return whether the current version is what training now would make again."""
    if model.dataset != dataset.dataset:
        return False
    try:
        return ports.ledger.read(model.current_version.request).given.trains_like(given)
    except NotFound:
        return False


def name_taken(given: OnboardingRequest) -> AlreadyExists:
    """Return the error of a request whose model is there already, made otherwise."""
    return AlreadyExists(
        f"this user has a model {given.model!r}",
        do='Choose another name, or ask for a new version with "new_version": true.',
        kind="model",
        name=given.model,
    )


def _check_name(model: ModelRecord | None, given: OnboardingRequest) -> None:
    if model is None:
        return
    if not given.new_version:
        raise name_taken(given)
    if model.base != given.base:
        raise InvalidRequest(
            f"model {given.model!r} has base {model.base}; every version keeps it, found "
            f"{given.base}",
            where="base",
            found=given.base,
            allowed=[model.base],
        )


def _noted(made: MadeDataset) -> dict[str, Any]:
    """Return what the record tells of the photos."""
    return {
        "dataset": made.dataset.dataset,
        "photos_used": len(made.dataset.photos),
        "photos_left_out": made.report.refused,
        "photos_notes": made.report.notes,
        "photos_advice": tuple(made.report.advice.values()),
        "consent": made.dataset.consent,
    }


def _make_ready(
    record: RequestRecord, model: ModelRecord, made: MadeDataset, *, ports: Ports
) -> RequestRecord:
    changed = ports.ledger.advance(
        record.request,
        Stamp(record.attempt, Status.READY),
        notification=ready_notice(record, model.current_version, now=ports.clock.now()),
        version=model.current,
        **_noted(made),
    )
    if changed.record.status is not Status.READY:
        raise ended(changed.record)
    return changed.record
