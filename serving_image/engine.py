"""The engine: one thread owns the device and draws rows of many people at once.

Between two denoising steps it carries out unloads, lets rows of abandoned requests go, and admits
waiting rows while there is room; then it makes one step of every row. A row brings its own slot,
prompt, seed, guidance, size and schedule, so requests join and leave at any step.

A row's failure hurts nobody else. When a call with several rows fails, they start again in halves
(a row draws the same image however often it starts) until the one that fails stands alone.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from typing import TypeVar

from atelier.contracts.clock import Clock
from atelier.contracts.errors import AtelierError, InvalidRequest, ServiceUnavailable, Throttled
from atelier.contracts.generation import GenerateRequest
from serving_image.drawer import Drawer, Picture, Row
from serving_image.jobs import Drawn, Job, Place, drawing_of, proof_drawing
from serving_image.refusals import DrawingFailed, Refused
from serving_image.residency import AdapterKey, Residency

log = logging.getLogger("atelier.serving.engine")

Made = TypeVar("Made")

FIRST_ROW_SECONDS = 1.0
"""Guess of a row's time before any was measured."""


MAX_SIDES = 2
"""How many times the base model's own side an image may have: attention's cost grows with the
fourth power of it, no step can be interrupted, and everybody else waits for that step."""


class EngineState(StrEnum):
    """How far the engine is. Only READY draws and lets ping answer 200."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class Engine:
    """Draws what is submitted, until it is told to stop.

    Args:
        open_drawer: loads the base model; called on the engine's own thread.
        residency: where adapters are.
        clock: for durations.
        most_rows: images drawn at once.
        queue_rows: images that may wait.
        stuck_seconds: a step that takes longer makes `healthy` say no.
        failed: called once if the engine cannot go on.
    """

    def __init__(
        self,
        *,
        open_drawer: Callable[[], Drawer],
        residency: Residency,
        clock: Clock,
        most_rows: int,
        queue_rows: int,
        stuck_seconds: float,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        self._open_drawer = open_drawer
        self._residency = residency
        self._clock = clock
        self._most_rows = most_rows
        self._queue_rows = queue_rows
        self._stuck_seconds = stuck_seconds
        self._failed = failed
        self._changed = threading.Condition()
        self._state = EngineState.STARTING
        self._opened: Drawer | None = None
        self._waiting: deque[Place] = deque()
        self._running: list[Place] = []
        self._unloads: list[tuple[AdapterKey, Future[None]]] = []
        self._turn_began_at: float | None = None
        self._in_doubt = False
        self._row_seconds = FIRST_ROW_SECONDS
        self._thread = threading.Thread(target=self._live, name="engine", daemon=True)

    # any thread

    @property
    def state(self) -> EngineState:
        """How far the engine is."""
        with self._changed:
            return self._state

    @property
    def healthy(self) -> bool:
        """Whether an image could be made: ready, alive, and not stuck in a step."""
        with self._changed:
            began, now = self._turn_began_at, self._clock.monotonic_seconds()
            stuck = began is not None and now - began > self._stuck_seconds
            return self._state is EngineState.READY and self._thread.is_alive() and not stuck

    @property
    def drawer(self) -> Drawer:
        """What draws.

        Raises:
            ServiceUnavailable: the base model is not loaded yet, or the server is going.
        """
        with self._changed:
            self._check_open()
            assert self._opened is not None  # noqa: S101 - READY comes after it
            return self._opened

    def start(self) -> None:
        """Begin to load the base model and warm up, in the background."""
        self._thread.start()

    def wait_until_started(self, timeout_seconds: float) -> EngineState:
        """Wait until the engine is ready or failed, at most so long; return its state."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._state is not EngineState.STARTING, timeout=timeout_seconds
            )
            return self._state

    def submit(self, key: AdapterKey, request: GenerateRequest) -> Job:
        """Let a request wait for its images; the adapter is in use from here to its answer.

        Raises:
            InvalidRequest: the image would be too large for the base model.
            NotFound: no such adapter is staged for the request's owner.
            Throttled: too many rows wait; facts: retry_after_seconds.
            ServiceUnavailable: not ready yet, or going.
        """
        side = self.drawer.resolution
        _check_size(request, most=side * MAX_SIDES)
        with self._changed:
            self._check_open()
            waiting = len(self._waiting)
            if waiting + request.count > self._queue_rows:
                raise Throttled(
                    f"{waiting} images wait; {self._queue_rows} may",
                    do="Send the request again after the time in Retry-After.",
                    waiting=waiting,
                    allowed=self._queue_rows,
                    retry_after_seconds=self._wait_seconds(),
                )
            card = self._residency.acquire(key, owner=request.owner)
            job = Job(
                key,
                card,
                request,
                width=request.width or side,
                height=request.height or side,
                rows_left=request.count,
                pictures=[None] * request.count,
            )
            job.result.set_running_or_notify_cancel()
            self._waiting.extend(Place(job, i, self._most_rows) for i in range(request.count))
            self._changed.notify_all()
            return job

    def abandon(self, job: Job) -> None:
        """Draw no further for a job: nobody waits for it. Its rows leave at the next step."""
        with self._changed:
            job.ended = True
            self._changed.notify_all()

    def unload(self, key: AdapterKey) -> Future[None]:
        """Let nobody new use an adapter; the future is done once its memory is free.

        Raises:
            NotFound: no such adapter.
            ServiceUnavailable: the engine is not running.
        """
        with self._changed:
            self._check_running()
            self._residency.retire(key)
            gone: Future[None] = Future()
            gone.set_running_or_notify_cancel()
            self._unloads.append((key, gone))
            self._changed.notify_all()
            return gone

    def stop(self, timeout_seconds: float) -> bool:
        """Take nothing new, finish what is there; what is left after the time fails.

        Returns:
            Whether everything was finished in time.
        """
        with self._changed:
            if self._state in {EngineState.STARTING, EngineState.READY}:
                self._state = EngineState.DRAINING
            self._changed.notify_all()
        if self._thread.ident is None:
            return True
        self._thread.join(timeout_seconds)
        if not self._thread.is_alive():
            return True
        self._end_everything(ServiceUnavailable("the server stops", retry_after_seconds=5))
        self._thread.join(1.0)
        return False

    # the engine's thread

    def _live(self) -> None:
        try:
            self._opened = self._open_drawer()
            self._prove(self._opened)
            self._enter(EngineState.READY, unless=EngineState.DRAINING)
            while self._wait_for_work():
                self._turn(self._opened)
        except Exception:
            log.exception("the engine failed")
            self._enter(EngineState.FAILED)
            self._failed()
        else:
            self._enter(EngineState.STOPPED)
        finally:
            self._end_everything(ServiceUnavailable("the engine is gone", retry_after_seconds=10))

    def _prove(self, drawer: Drawer) -> None:
        """Draw one image with the base model, in two denoising steps.

        At the start, so that nobody's first request pays for set-up; and when a row failed for no
        reason that we know, since a broken device must not go on answering pings.
        """
        began = self._clock.monotonic_seconds()
        rows = drawer.begin([proof_drawing(drawer.resolution)])
        while rows[0].left:
            drawer.advance(rows)
        if drawer.finish(rows) == [None]:
            raise DrawingFailed("the base model's own image came to nothing")
        log.info("drew the proof image in %.2f s", self._clock.monotonic_seconds() - began)

    def _wait_for_work(self) -> bool:
        """Wait until there is something to do; False when there never will be."""
        with self._changed:
            # However long nothing is there to do, nothing is stuck.
            self._turn_began_at = None
            while not (self._waiting or self._running or self._unloads):
                if self._state is not EngineState.READY:
                    return False
                self._changed.wait()
            self._turn_began_at = self._clock.monotonic_seconds()
            return True

    def _turn(self, drawer: Drawer) -> None:
        """Do what is due between two denoising steps, then make one."""
        self._let_go()
        self._carry_out_unloads(drawer)
        self._admit(drawer)
        self._try(self._running, drawer.advance)
        self._finish(drawer)
        if self._in_doubt:
            self._in_doubt = False
            self._prove(drawer)

    def _let_go(self) -> None:
        """Drop the rows of jobs that ended before all their images were drawn."""
        with self._changed:
            gone = [p for p in (*self._waiting, *self._running) if p.job.ended]
            for place in gone:
                self._leave(place)

    def _carry_out_unloads(self, drawer: Drawer) -> None:
        with self._changed:
            due = list(self._unloads)
        for key, gone in due:
            if self._residency.drop(key, clear=drawer.clear):
                with self._changed:
                    self._unloads.remove((key, gone))
                gone.set_result(None)

    def _admit(self, drawer: Drawer) -> None:
        """Take waiting rows, first come first served, while there is room and a slot for them."""
        fresh: list[Place] = []
        while (place := self._next_place()) is not None:
            placement = self._residency.pin(place.job.key)
            if placement is None:
                break
            with self._changed:
                self._waiting.remove(place)
            try:
                if placement.clear:
                    drawer.clear(placement.slot)
                if placement.write is not None:
                    drawer.write(placement.slot, placement.write)
            except Exception as problem:  # noqa: BLE001 - it is this job's, and told to it
                self._residency.unplace(place.job.key)
                self._fail(place, problem)
                continue
            place.slot = placement.slot
            self._running.append(place)
            fresh.append(place)
        self._begin(fresh, drawer)

    def _next_place(self) -> Place | None:
        """Return the row that may join now.

        The policy's one place: fairness between owners and deadlines belong here.
        """
        with self._changed:
            place = self._waiting[0] if self._waiting else None
            if place is None:
                return None
            room = min([self._most_rows, place.company, *(p.company for p in self._running)])
            return place if len(self._running) < room else None

    def _begin(self, fresh: Sequence[Place], drawer: Drawer) -> None:
        now = self._clock.monotonic_seconds()
        rows = self._try(fresh, lambda _: drawer.begin([drawing_of(place) for place in fresh]))
        for place, row in zip(fresh, rows or (), strict=rows is not None):
            place.row = row
            if place.job.began_at is None:
                place.job.began_at = now

    def _finish(self, drawer: Drawer) -> None:
        """Decode the rows that have no step left, those of one size together."""
        by_size: dict[tuple[int, int], list[Place]] = {}
        for place in self._running:
            if place.row is not None and not place.row.left:
                by_size.setdefault((place.job.width, place.job.height), []).append(place)
        for places in by_size.values():
            pictures = self._try(places, drawer.finish)
            for place, picture in zip(places, pictures or (), strict=pictures is not None):
                self._keep(place, picture)

    def _keep(self, place: Place, picture: Picture | None) -> None:
        if picture is None:
            seed = place.job.request.seed + place.index
            self._fail(place, DrawingFailed(f"seed {seed} came to no image", seeds=[seed]))
            return
        place.job.pictures[place.index] = picture
        self._measure(place)
        self._leave(place)

    def _try(self, places: Sequence[Place], call: Callable[[list[Row]], Made]) -> Made | None:
        """Call with the rows of `places`; on failure start them again in halves, or fail the one.

        A row that starts again draws the same image: its noise comes from its seed.
        """
        places = list(places)
        if not places:
            return None
        try:
            return call([place.row for place in places if place.row is not None])
        except Exception as problem:  # told to the row it belongs to, once it stands alone
            if len(places) == 1:
                log.exception("a row failed: owner %s", places[0].job.card.owner)
                self._fail(places[0], problem)
                return None
            log.warning("%d rows failed and start again: %r", len(places), problem)
            with self._changed:
                for place in reversed(places):
                    self._stop_drawing(place)
                    place.company = max(1, len(places) // 2)
                    self._waiting.appendleft(place)
            return None

    # ends of rows and jobs

    def _fail(self, place: Place, problem: Exception) -> None:
        self._in_doubt |= not isinstance(problem, AtelierError | Refused)
        with self._changed:
            place.job.ended = True
            self._leave(place)
            if not place.job.result.done():
                place.job.result.set_exception(problem)

    def _leave(self, place: Place) -> None:
        """End one row; with the last one of a job, release its adapter and answer."""
        with self._changed:
            self._stop_drawing(place)
            if place in self._waiting:
                self._waiting.remove(place)
            job = place.job
            job.rows_left -= 1
            if job.rows_left:
                return
            self._residency.release(job.key)
            pictures = [picture for picture in job.pictures if picture is not None]
            if job.result.done() or job.began_at is None:
                return
            if len(pictures) == len(job.pictures):
                job.result.set_result(Drawn(pictures, job.began_at))

    def _stop_drawing(self, place: Place) -> None:
        if place in self._running:
            self._running.remove(place)
        if place.slot is not None:
            self._residency.unpin(place.job.key)
        place.slot = place.row = None

    def _measure(self, place: Place) -> None:
        """Keep a running mean of the time per row, for Retry-After."""
        assert place.job.began_at is not None  # noqa: S101 - it was drawn
        seconds = self._clock.monotonic_seconds() - place.job.began_at
        share = seconds / max(1, len(self._running))
        self._row_seconds += 0.2 * (share - self._row_seconds)

    def _wait_seconds(self) -> float:
        return min(60.0, max(1.0, self._row_seconds * len(self._waiting)))

    def _enter(self, state: EngineState, *, unless: EngineState | None = None) -> None:
        with self._changed:
            if self._state is not unless:
                self._state = state
            self._changed.notify_all()

    def _end_everything(self, problem: Exception) -> None:
        """Answer everybody who still waits; the device is not touched."""
        with self._changed:
            for place in (*self._waiting, *self._running):
                place.job.ended = True
                if not place.job.result.done():
                    place.job.result.set_exception(problem)
            unloads, self._unloads = self._unloads, []
        for _, gone in unloads:
            gone.set_exception(problem)

    def _check_open(self) -> None:
        if self._state is not EngineState.READY:
            raise ServiceUnavailable(
                f"the server is {self._state}",
                do="Try again when ping answers 200.",
                state=str(self._state),
                retry_after_seconds=2,
            )

    def _check_running(self) -> None:
        if self._state in {EngineState.STOPPED, EngineState.FAILED}:
            self._check_open()


def _check_size(request: GenerateRequest, *, most: int) -> None:
    for name, side in (("width", request.width), ("height", request.height)):
        if side is not None and side > most:
            raise InvalidRequest(
                f"{name} {side}; at most {most} is drawn with this base model",
                do="Ask for a smaller image.",
                where=name,
                found=side,
                allowed=most,
            )
