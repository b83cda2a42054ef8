"""Requests under way: a job is one request, a place one of its images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from atelier.contracts.adapter import AdapterCard
from atelier.contracts.generation import GenerateRequest, Scheduler
from serving_image.drawer import Drawing, Picture, Row
from serving_image.residency import AdapterKey

PROOF_PROMPT = "a photo"
PROOF_DENOISING_STEPS = 2


@dataclass(frozen=True, slots=True)
class Drawn:
    """A job's images in order of their seeds, and when its first denoising step began."""

    pictures: Sequence[Picture]
    began_at: float


@dataclass(slots=True, eq=False)
class Job:
    """One request under way: `result` is set once, by the engine.

    Attributes:
        rows_left: rows that have not ended; the adapter is released with the last one.
        ended: failed, or nobody waits for it any more: its rows leave at the next step.
    """

    key: AdapterKey
    card: AdapterCard
    request: GenerateRequest
    width: int
    height: int
    rows_left: int
    pictures: list[Picture | None]
    result: Future[Drawn] = field(default_factory=Future)
    began_at: float | None = None
    ended: bool = False


@dataclass(slots=True, eq=False)
class Place:
    """One image of a job: waiting, or drawing as `row`.

    Attributes:
        company: at most so many rows in its batch; halved by every failure.
    """

    job: Job
    index: int
    company: int
    slot: int | None = None
    row: Row | None = None


def drawing_of(place: Place) -> Drawing:
    """Return what the drawer is to draw for a place that has its slot."""
    job, request = place.job, place.job.request
    return Drawing(
        prompt=request.prompt,
        slot=place.slot,
        adapter_scale=request.adapter_scale,
        negative_prompt=request.negative_prompt,
        seed=request.seed + place.index,
        denoising_steps=request.denoising_steps,
        guidance=request.guidance,
        width=job.width,
        height=job.height,
        scheduler=request.scheduler,
    )


def proof_drawing(side: int) -> Drawing:
    """Return a small drawing of the base model alone, which shows that images can be made."""
    return Drawing(
        prompt=PROOF_PROMPT,
        slot=None,
        adapter_scale=1.0,
        negative_prompt="",
        seed=0,
        denoising_steps=PROOF_DENOISING_STEPS,
        guidance=2.0,
        width=side,
        height=side,
        scheduler=Scheduler.DDIM,
    )
