"""A platform of one class behind httpx's transport, and somebody at a keyboard."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from app.cli.main import run
from atelier.contracts.clock import ManualClock

ID = "r" + "a" * 26
KEY = "atl.default.sign"
URL = "http://127.0.0.1:8700"
VERSION = "v1-1a2b3c4d"
START = "2026-01-01T00:00:00.000Z"


def at(seconds: float) -> str:
    """Return the time so many seconds after the clock's start."""
    minutes, rest = divmod(seconds, 60)
    return f"2026-01-01T00:{int(minutes):02d}:{rest:06.3f}Z"


def progress(state: str = "training", step: int = 0, **more: Any) -> dict[str, Any]:
    """Return what the API shows of progress.json."""
    return {
        "state": state,
        "step": step,
        "steps": 250,
        "loss": None,
        "steps_per_second": None,
        "eta_seconds": None,
        "previews": [],
        "samples": [],
        **more,
    }


def onboarding(*timeline: tuple[str, float], **more: Any) -> dict[str, Any]:
    """Return an onboarding as the API shows it; the last status of the timeline is its own."""
    timeline = timeline or (("queued", 0.0),)
    return {
        "id": ID,
        "user_id": "ada",
        "model": "me",
        "base": "tiny",
        "preset": "fast",
        "status": timeline[-1][0],
        "attempt": 1,
        "execution": f"{ID}-1",
        "job": None,
        "created_at": START,
        "updated_at": at(timeline[-1][1]),
        "deadline": "2026-01-02T00:00:00.000Z",
        "timeline": [{"status": status, "at": at(seconds)} for status, seconds in timeline],
        "waiting_for": "",
        "progress": None,
        "failure": None,
        "version": None,
        "instance_prompt": "a photo of zorp creature",
        **more,
    }


QUEUED = onboarding(("queued", 0))
TRAINING = (("queued", 0), ("claimed", 0.4), ("launching", 0.5), ("training", 2.6))
ALL = (*TRAINING, ("trained", 27.2), ("publishing", 27.3), ("ready", 27.9))
HALF = progress(
    step=125,
    loss=0.0831,
    steps_per_second=10.4,
    eta_seconds=12.02,
    previews=["step-000050.png", "step-000100.png"],
)
WHOLE = progress("done", 250, loss=0.0502, previews=HALF["previews"], samples=["00.png", "01.png"])
REJECTED = {
    "error": "PhotosRejected",
    "message": "2 of 10 photos are accepted, 4 are needed",
    "do": "Replace the photos that are named and send the set again.",
    "facts": {"photos": {"03.jpg": "too dark", "07.jpg": "the same as 02.jpg"}, "accepted": 2},
}
LIFE: list[dict[str, Any]] = [
    QUEUED,
    onboarding(*TRAINING[:3], waiting_for="an instance: the account's quota of 4 is used up"),
    onboarding(*TRAINING, progress=progress("preparing")),
    onboarding(*TRAINING, progress=HALF),
    onboarding(*TRAINING, progress=progress("sampling", 250, previews=HALF["previews"])),
    onboarding(*ALL, progress=WHOLE, version=VERSION),
]
"""What looking again and again shows of an onboarding that goes well."""

MODEL = {
    "user_id": "ada",
    "model": "me",
    "base": "tiny",
    "current": VERSION,
    "versions": [],
    "instance_prompt": "a photo of zorp creature",
    "created_at": START,
    "used_at": None,
}


def problem(status: int, code: str, detail: str, **facts: Any) -> httpx.Response:
    """Return a problem document as the API answers it."""
    return httpx.Response(
        status,
        headers={"Content-Type": "application/problem+json"},
        json={"code": code, "detail": detail, "do": "Do the right thing.", "facts": facts},
    )


@dataclass
class Platform:
    """Answers every route from what a test put here.

    Attributes:
        looks: what reading the onboarding shows, one after the other; the last one stays.
        refusals: `METHOD /path` → answers that come first.
        asked: every request, as `METHOD /path`.
        bodies: JSON bodies by `METHOD /path`.
        files: what was uploaded, by name.
        page: how many onboardings one page of the list holds.
        why: what asking for an onboarding's outlook answers.
    """

    looks: list[dict[str, Any]] = field(default_factory=lambda: [QUEUED])
    items: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    page: int = 200
    why: dict[str, Any] = field(default_factory=dict)
    known: bool = False
    refusals: dict[str, list[httpx.Response]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, httpx.Headers] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = f"{request.method} {request.url.path}"
        self.asked.append(route)
        self.headers[route] = request.headers
        if request.headers.get("Content-Type") == "application/json":
            self.bodies[route] = json.loads(request.content)
        if self.refusals.get(route):
            return self.refusals[route].pop(0)
        return self._answer(route, request)

    def _answer(  # noqa: C901 - a table of routes
        self, route: str, request: httpx.Request
    ) -> httpx.Response:
        method, _, path = route.partition(" ")
        if path == "/v1/uploads":
            forms = [
                {"name": p["name"], "url": f"{URL}/local/uploads", "fields": {"key": p["name"]}}
                for p in self.bodies[route]["photos"]
            ]
            body = {"upload_set": "m1", "photos": "uploads/o/m1/", "forms": forms}
            return httpx.Response(201, json=body)
        if path == "/local/uploads":
            name = request.content.split(b'name="key"\r\n\r\n')[1].split(b"\r\n")[0].decode()
            self.files[name] = request.content
            return httpx.Response(204)
        if path.endswith("/complete"):
            return httpx.Response(200, json={"photos": "uploads/o/m1/", "count": len(self.files)})
        if route == "POST /v1/onboardings":
            return httpx.Response(200 if self.known else 202, json=self.looks[0])
        if route == "GET /v1/onboardings":
            wanted = request.url.params.get_list("status")
            items = [item for item in self.items if not wanted or item["status"] in wanted]
            here = int(request.url.params.get("cursor", 0))
            more = str(here + self.page) if items[here + self.page :] else None
            page = {"items": items[here : here + self.page], "next_cursor": more}
            return httpx.Response(200, json=page)
        if "/images/" in path and method == "GET":
            return httpx.Response(200, content=path.encode())
        if path.endswith(("/cancel", "/redrive", "/retry")):
            return httpx.Response(200, json=self.looks[-1])
        if path == f"/v1/onboardings/{ID}":
            return httpx.Response(200, json=self.looks.pop(0) if self.looks[1:] else self.looks[0])
        if path == f"/v1/onboardings/{ID}/why":
            return httpx.Response(200, json=self.why)
        if path == "/v1/models":
            return httpx.Response(200, json={"items": self.models})
        if path == "/v1/models/me/images":
            return httpx.Response(200, json=_drawn(self.bodies[route]))
        return problem(404, "NotFound", f"no {path}")


def _drawn(wish: Mapping[str, Any]) -> dict[str, Any]:
    seeds = range(wish.get("seed", 0), wish.get("seed", 0) + wish["count"])
    text = base64.b64encode(wish["prompt"].encode()).decode()
    return {
        "model": "me",
        "version": VERSION,
        "images": [{"seed": seed, "image_base64": text} for seed in seeds],
        "format": "png",
        "width": 64,
        "height": 64,
        "seconds": 1.23,
    }


@dataclass
class Terminal(io.StringIO):
    """A stream that says whether it is a terminal."""

    live: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def encoding(self) -> str:
        return "utf-8"

    def isatty(self) -> bool:
        return self.live


@dataclass
class FakeProcesses:
    """Processes that a test writes down instead of starting."""

    commands: dict[int, str] = field(default_factory=dict)
    started: list[list[str]] = field(default_factory=list)
    terminated: list[int] = field(default_factory=list)
    stubborn: bool = False
    words: str = ""
    taken: set[int] = field(default_factory=set)
    starting: Iterator[Any] = field(default_factory=lambda: iter(()))

    def start(self, command: list[str]) -> int:
        self.started.append(command)
        pid = 4000 + len(self.started)
        self.commands[pid] = " ".join(command)
        home = Path(command[command.index("--home") + 1])
        (home / "platform.json").unlink(missing_ok=True)
        self.starting = self._starts(pid, home)
        return pid

    def _starts(self, pid: int, home: Path) -> Iterator[None]:
        write_platform(home, pid=pid)
        yield

    def said(self, _pid: int) -> str:
        return self.words

    def holder(self, _home: Path) -> int | None:
        platforms = (pid for pid, words in self.commands.items() if "app.local" in words)
        return next(platforms, None)

    def command(self, pid: int) -> str | None:
        next(self.starting, None)
        return self.commands.get(pid)

    def port_is_free(self, port: int) -> bool:
        return port not in self.taken

    def terminate(self, pid: int) -> None:
        self.terminated.append(pid)
        if not self.stubborn:
            self.commands.pop(pid, None)


def write_platform(home: Path, /, **changes: Any) -> None:
    """Write a platform.json."""
    home.mkdir(parents=True, exist_ok=True)
    facts = {
        "pid": 4000,
        "api_url": URL,
        "sagemaker_url": "http://127.0.0.1:8701",
        "key": KEY,
        "version": "0.1.0",
        "started_at": START,
        **changes,
    }
    (home / "platform.json").write_text(json.dumps(facts), encoding="utf-8")


@dataclass
class Shell:
    """Somebody at a keyboard, with a home folder and a platform that runs in it."""

    home: Path
    platform: Platform = field(default_factory=Platform)
    processes: FakeProcesses = field(
        default_factory=lambda: FakeProcesses({4000: "python -m app.local --home x"})
    )
    environment: dict[str, str] = field(default_factory=lambda: {"TERM": "xterm"})
    clock: ManualClock = field(default_factory=ManualClock)
    live: bool = False
    out: str = ""
    err: str = ""

    def __call__(self, *words: str) -> int:
        """Type a command; return its exit code, keep what it printed."""
        out, err = Terminal(live=self.live), Terminal()
        try:
            return run(
                [*words],
                out=out,
                err=err,
                environment={"ATELIER_HOME": str(self.home), **self.environment},
                clock=self.clock,
                processes=self.processes,
                columns=lambda: 100,
                transport=httpx.MockTransport(self.platform),
            )
        finally:
            self.out, self.err = out.getvalue(), err.getvalue()

    def documents(self) -> list[Any]:
        """Return what was printed as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]
