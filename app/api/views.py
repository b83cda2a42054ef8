"""From the ledger's records to what the API shows: tokens and foreign facts stay behind."""

from __future__ import annotations

from typing import Any

from app.api.shapes import (
    ConsentView,
    FailureView,
    ModelView,
    OnboardingView,
    OutlookView,
    PhotosView,
    ProgressView,
    StatusEntered,
    VersionView,
    WhyView,
)
from atelier.contracts.progress import Progress
from atelier.contracts.records import ModelRecord, RequestRecord
from atelier.contracts.status import RANK, Status
from tasks.endings import due
from tasks.outlook import Outlook


def onboarding(
    record: RequestRecord, progress: Progress | None, outlook: Outlook
) -> OnboardingView:
    """Show a request; `progress` is its freshest progress.json, if there is one."""
    given = record.given
    timeline = [StatusEntered(status=Status(s), at=at) for s, at in record.entered.items()]
    return OnboardingView(
        id=record.request,
        user_id=given.user,
        model=given.model,
        base=given.base,
        preset=given.preset,
        status=record.status,
        attempt=record.attempt,
        execution=record.execution,
        job=record.job,
        created_at=record.created_at,
        updated_at=record.updated_at,
        deadline=due(record),
        timeline=sorted(timeline, key=lambda entered: (entered.at, RANK[entered.status])),
        waiting_for=record.waiting_for,
        photos=_photos(record) if record.photos_used else None,
        consent=_consent(record),
        progress=_progress(progress) if progress else None,
        failure=(
            FailureView(
                error=record.failure.error,
                message=record.failure.message,
                do=record.failure.do,
                facts=dict(record.failure.facts),
            )
            if record.failure
            else None
        ),
        version=record.version,
        instance_prompt=given.instance_prompt,
        outlook=OutlookView(**_outlook(outlook)),
    )


def why(record: RequestRecord, outlook: Outlook) -> WhyView:
    """Show an outlook with what it rests on."""
    return WhyView(
        id=record.request,
        status=record.status,
        details=list(outlook.details),
        **_outlook(outlook),
    )


def _outlook(outlook: Outlook) -> dict[str, Any]:
    return {
        "sentence": outlook.sentence,
        "phase": outlook.phase,
        "expected_end_at": outlook.expected_end_at,
        "faster": list(outlook.faster),
    }


def model(record: ModelRecord) -> ModelView:
    """Show a model with its versions."""
    return ModelView(
        user_id=record.user,
        model=record.model,
        base=record.base,
        current=record.current,
        versions=[
            VersionView(
                version=v.version,
                created_at=v.created_at,
                onboarding=v.request,
                bytes=v.bytes,
                digest=v.digest,
            )
            for v in record.versions
        ],
        instance_prompt=record.current_version.instance_prompt,
        created_at=record.created_at,
        used_at=record.used_at,
    )


def _photos(record: RequestRecord) -> PhotosView:
    return PhotosView(
        used=record.photos_used,
        left_out=dict(record.photos_left_out),
        notes=dict(record.photos_notes),
        advice=list(record.photos_advice),
    )


def _consent(record: RequestRecord) -> ConsentView:
    consent = record.consent or record.given.consent
    return ConsentView(
        given_by=consent.given_by, given_at=consent.given_at, text_version=consent.text_version
    )


def _progress(progress: Progress) -> ProgressView:
    return ProgressView(
        state=progress.state,
        step=progress.step,
        steps=progress.steps,
        loss=progress.loss,
        steps_per_second=progress.steps_per_second,
        eta_seconds=progress.eta_seconds,
        previews=[path.rpartition("/")[2] for path in progress.previews],
        samples=[path.rpartition("/")[2] for path in progress.samples],
    )
