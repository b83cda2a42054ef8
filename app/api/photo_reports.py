"""The report on an upload set: each photo accepted or why not, before anything is paid."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.given import Given, LookingPlaces, Who
from app.api.limits import place_to_look
from app.api.problems import EVERYWHERE
from app.api.reading import StrictRoute
from app.api.shapes import PhotoVerdictView, SetReportView, UserId
from app.api.uploads import read_complete
from atelier.contracts import keys
from atelier.contracts.base_models import DEFAULT_BASE, DEFAULT_PRESET, check_available, preset
from atelier.contracts.errors import NotFound
from atelier.contracts.settings import PresetName
from atelier.photos.report import PhotoVerdict, SetReport
from tasks.photo_sets import closed_set, report_on
from tasks.ports import Objects

router = APIRouter(
    prefix="/v1/uploads", tags=["uploads"], responses=EVERYWHERE, route_class=StrictRoute
)


@router.get("/{upload_set}/report", summary="Say of each photo whether it is used, and why not")
def report_on_upload(
    upload_set: str,
    user_id: Annotated[UserId, Query()],
    ports: Given,
    who: Who,
    places: LookingPlaces,
    base: Annotated[str, Query(description="Base model that the photos are meant for.")] = (
        DEFAULT_BASE
    ),
    chosen: Annotated[PresetName, Query(alias="preset")] = DEFAULT_PRESET,
) -> SetReportView:
    """Of a completed set: looked at once, then kept; an onboarding of it says the same."""
    resolution = preset(base, chosen).hyperparameters.resolution
    check_available(base, ports.settings.base_models)
    folder = _folder(who.owner(user_id), upload_set, objects=ports.objects)
    upload = closed_set(folder, read_complete(ports.objects, folder))
    with place_to_look(places):
        report = report_on(upload, resolution, ports=ports)
    return _view(folder, report)


def _folder(owner: str, upload_set: str, *, objects: Objects) -> str:
    name = upload_set[:80]
    missing = NotFound(f"no upload set {name!r} of this user", kind="upload set", name=name)
    try:
        folder = keys.upload_prefix(owner, upload_set)
    except ValueError:
        raise missing from None
    if objects.info(keys.upload_announced(folder)) is None:
        raise missing
    return folder


def _view(folder: str, report: SetReport) -> SetReportView:
    return SetReportView(
        photos=folder,
        makes_a_model=report.makes_a_model,
        used=len(report.accepted),
        findings=dict(report.findings),
        advice=dict(report.advice),
        verdicts=[_verdict(photo) for photo in report.photos],
    )


def _verdict(photo: PhotoVerdict) -> PhotoVerdictView:
    return PhotoVerdictView(
        name=photo.name,
        used=photo.accepted,
        reason=photo.reason,
        detail=photo.detail,
        same_as=photo.same_as,
        notes=dict(photo.notes),
    )
