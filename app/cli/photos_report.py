"""`atelier photos DIR`: what a platform would say of a folder of photos, before any upload.

The photos are looked at here, by the very code that Register and the API run.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any, Final

from app.cli.commands import Desk
from app.cli.console import Console
from app.cli.exits import CommandFailed, Exit
from app.cli.looking import report_on
from app.cli.photos import TYPES, image_files, read_captions
from app.cli.progress import counted
from atelier.contracts.base_models import DEFAULT_BASE, check_available
from atelier.contracts.errors import InvalidRequest
from atelier.photos.report import PhotoVerdict, SetReport

MOST_NAME: Final = 32
BASE_MODELS_FOLDER: Final = "base-models"
"""Where a home keeps the weights of its base models."""


def photos(given: Namespace, desk: Desk) -> Exit:
    """Look at a folder of photos and say of each whether a platform would use it."""
    paths = _paths(given.folder)
    unknown = _check_base(given.base or DEFAULT_BASE, desk)
    report = report_on(paths, base=given.base, chosen=given.preset)
    desk.console.document(_document(report))
    desk.console.say(*_lines(report, desk.console))
    desk.console.say(*unknown)
    read_captions(given.folder, paths)
    return Exit.DONE if report.makes_a_model else Exit.REFUSED


def _check_base(base: str, desk: Desk) -> list[str]:
    """Refuse a base model that the home's platform lacks; without one, say that nobody looked.

    Raises:
        CommandFailed: the platform of this home has no such base model.
    """
    laid_out = desk.home / BASE_MODELS_FOLDER
    if laid_out.is_dir():
        has = [path.name for path in sorted(laid_out.iterdir()) if path.is_dir()]
        try:
            check_available(base, has)
        except InvalidRequest as missing:
            raise CommandFailed(
                Exit.REFUSED,
                f"the platform in {desk.home} has no base model {base}",
                do=f"Choose one that it has: {', '.join(has)}.",
                error=missing.name(),
            ) from missing
    elif base != DEFAULT_BASE:
        return [f"Not looked at: whether the platform that you will use has base model {base}."]
    return []


def _document(report: SetReport) -> dict[str, Any]:
    """Return the report for programs; of a photo that is not used no size is told."""
    told = [
        photo if photo["reason"] is None else {**photo, "width": None, "height": None}
        for photo in report.to_dict()["photos"]
    ]
    return report.to_dict() | {"photos": told, "makes_a_model": report.makes_a_model}


def _paths(folder: Path) -> list[Path]:
    paths = image_files(folder)
    if not paths:
        raise CommandFailed(
            Exit.REFUSED,
            f"{folder} holds no photo",
            do=f"Photos end in {', '.join(TYPES)}; convert others first.",
        )
    return paths


def _lines(report: SetReport, console: Console) -> list[str]:
    marks = console.marks
    wide = min(MOST_NAME, max((len(photo.name) for photo in report.photos), default=0))
    lines = [_line(photo, wide, console) for photo in report.photos]
    whole = [*report.findings.values(), *report.advice.values()]
    if report.photos:
        used = f"{len(report.accepted)} of {counted(len(report.photos), 'photo')} would be used"
        verdict = "a model can be made of them" if report.makes_a_model else "they make no model"
        lines.append(f"{used}: {verdict}.")
    return [*lines, *(f"  {marks.arrow} {sentence}" for sentence in whole)]


def _line(photo: PhotoVerdict, wide: int, console: Console) -> str:
    marks = console.marks
    name = photo.name.ljust(wide)
    if not photo.accepted:
        return f"{marks.bad} {name}  {photo.detail}"
    notes = "; ".join(photo.notes.values())
    return f"{marks.done} {name}  {notes}".rstrip()
