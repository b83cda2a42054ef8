"""The people of a chaos run: they upload, ask, ask again, cancel and look, through the HTTP API.

They know nothing but the API: when nobody answers they find the platform's new address and try
again, as a client of any service must.
"""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from atelier.contracts.clock import Clock
from infra.chaos.plan import Photos, Posts, Wish

Document = dict[str, Any]

PHOTOS = 4
"""As many as a set must have."""
SIDE_PIXELS = 64
PATIENCE_SECONDS = 150.0
PAUSE_SECONDS = 0.2
ANSWER_SECONDS = 75.0
_PASSING = frozenset({429, 500, 502, 503, 504})


class NoAnswer(Exception):
    """The platform did not answer for as long as anybody would wait, or the run is over."""


class Refused(Exception):
    """The platform answered, and it was no."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        """Keep the answer."""
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status = status
        self.code = str(problem.get("code", ""))


@dataclass(slots=True)
class Api:
    """The platform's API, wherever it answers now. Safe to use from many threads.

    Attributes:
        home: the platform's folder; its `platform.json` says where it answers.
        clock: time.
        over: set when the run ends; nobody waits any longer.
        defects: what was answered that no client should ever see.
    """

    home: Path
    clock: Clock
    over: threading.Event
    defects: list[str] = field(default_factory=list)
    _http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        """Open a pool of connections."""
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=2.0)
        self._http = httpx.Client(timeout=timeout, limits=limits, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def address(self) -> tuple[str, str] | None:
        """Return URL and key of the platform that answers now, or None."""
        try:
            found = json.loads((self.home / "platform.json").read_bytes())
            return found["api_url"], found["key"]
        except (OSError, ValueError, KeyError):
            return None

    def ask(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        key: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> tuple[int, Document]:
        """Ask until there is an answer; return its status and document.

        Args:
            method: HTTP's.
            path: of the API.
            body: a document to send.
            key: Idempotency-Key.
            patience_seconds: how long to try again while nobody answers or it is said to wait.

        Raises:
            NoAnswer: there is none.
            Refused: it is one of refusal.
        """
        headers = {"Idempotency-Key": key} if key else {}

        def send(url: str, secret: str) -> httpx.Response:
            return self._http.request(
                method,
                url + path,
                json=body,
                headers={"Authorization": f"Bearer {secret}", **headers},
            )

        answer = self._until_answered(send, f"{method} {path}", patience_seconds)
        return answer.status_code, dict(answer.json()) if answer.content else {}

    def post_form(self, form: Document, body: bytes) -> bool:
        """POST a photo with its form, once; False when the form's address is no more."""
        try:
            answer = self._http.post(form["url"], data=form["fields"], files={"file": body})
        except httpx.TransportError:
            return False
        return answer.is_success

    def _until_answered(
        self, send: Callable[[str, str], httpx.Response], what: str, patience_seconds: float
    ) -> httpx.Response:
        deadline = self.clock.monotonic_seconds() + patience_seconds
        while not self.over.is_set() and self.clock.monotonic_seconds() < deadline:
            where = self.address()
            if where is not None:
                try:
                    answer = send(*where)
                except httpx.TransportError:
                    pass
                else:
                    if answer.is_success:
                        return answer
                    if answer.status_code == 500:
                        self.defects.append(f"{what} answered 500: {answer.text[:300]}")
                    if answer.status_code not in _PASSING:
                        raise Refused(answer.status_code, _problem(answer))
            self.over.wait(PAUSE_SECONDS)
        raise NoAnswer(what)


@dataclass(slots=True)
class Asked:
    """What became of one wish, as the person who had it knows.

    Attributes:
        wish: the wish.
        ids: every onboarding that was answered; more than one is a doubled onboarding.
        refused: why it was refused at the door.
        accepted_at: monotonic seconds.
        cancelled: what cancelling was answered: the status then.
        status, error: how it ended, as last read.
        seen: (seconds since the epoch, expected end) as told while it ran.
        created_at, ended_at: as the platform tells, seconds since the epoch.
    """

    wish: Wish
    ids: list[str] = field(default_factory=list)
    refused: str = ""
    accepted_at: float | None = None
    cancelled: str = ""
    status: str = ""
    error: str = ""
    seen: list[tuple[float, float]] = field(default_factory=list)
    created_at: float = 0.0
    ended_at: float = 0.0


@dataclass(slots=True)
class People:
    """Everybody who asks. Safe to use from many threads.

    Attributes:
        api: the platform.
        photos: good photos of a person, by the person's name.
        preset: what everybody asks for.
    """

    api: Api
    photos: Callable[[str], Sequence[bytes]]
    preset: str = "nano"
    _sets: dict[str, str] = field(default_factory=dict)
    _locks: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, asked: Asked) -> None:
        """Upload what a wish needs, then send it as often as the plan says."""
        wish = asked.wish
        folder = self._upload(wish)
        if wish.posts is Posts.AT_ONCE:
            threads = [
                threading.Thread(target=self._post, args=(asked, folder), daemon=True)
                for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            for _ in range(2 if wish.posts is Posts.TWICE else 1):
                self._post(asked, folder)
        asked.accepted_at = self.api.clock.monotonic_seconds()

    def cancel(self, asked: Asked) -> None:
        """Cancel an onboarding and keep what was answered."""
        _, document = self.api.ask("POST", f"/v1/onboardings/{asked.ids[0]}/cancel")
        asked.cancelled = str(document["status"])

    def _post(self, asked: Asked, folder: str) -> None:
        wish = asked.wish
        body = {
            "user_id": wish.user,
            "photos": folder,
            "model": wish.model,
            "preset": self.preset,
        }
        try:
            _, document = self.api.ask("POST", "/v1/onboardings", body, key=wish.key)
        except Refused as refusal:
            asked.refused = str(refusal)
            asked.error = refusal.code
        except NoAnswer:
            return
        else:
            if document["id"] not in asked.ids:
                asked.ids.append(document["id"])

    def _upload(self, wish: Wish) -> str:
        """Return a person's upload set, made when it is needed first."""
        with self._lock:
            lock = self._locks.setdefault(wish.user, threading.Lock())
        with lock:
            if wish.user not in self._sets:
                good = self.photos(wish.user)
                photos = rejected_photos(good) if wish.photos is Photos.REJECTED else good
                self._sets[wish.user] = self._uploaded(wish.user, photos)
            return self._sets[wish.user]

    def _uploaded(self, user: str, photos: Sequence[bytes]) -> str:
        announced = [
            {
                "name": f"{number:02d}.png",
                "digest": hashlib.sha256(body).hexdigest(),
                "bytes": len(body),
                "content_type": "image/png",
            }
            for number, body in enumerate(photos, 1)
        ]
        while not self.api.over.is_set():
            _, upload = self.api.ask("POST", "/v1/uploads", {"user_id": user, "photos": announced})
            sent = zip(upload["forms"], photos, strict=True)
            if not all(self.api.post_form(form, body) for form, body in sent):
                # The platform is another one now, and so are the forms.
                self.api.over.wait(PAUSE_SECONDS)
                continue
            path = f"/v1/uploads/{upload['upload_set']}/complete"
            self.api.ask("POST", path, {"user_id": user, "consent": {"given_by": user}})
            return str(upload["photos"])
        raise NoAnswer("upload")


def drawn_photos(person: str) -> Sequence[bytes]:
    """Return small pictures of nothing in particular, each another, the same for a name always."""
    return [_picture(f"{person} {number}") for number in range(PHOTOS)]


def rejected_photos(good: Sequence[bytes]) -> Sequence[bytes]:
    """Return what nobody can make a model of: one photo cut short, texts instead of the others."""
    texts = [b"this is no photo, number %d" % number for number in range(len(good) - 1)]
    return [good[0][: len(good[0]) // 2], *texts]


def _picture(of: str) -> bytes:
    """Return a PNG of coarse noise with sharp edges: nothing finds two of them alike or blurred."""
    draw, blocks, side = random.Random(of), 8, SIDE_PIXELS  # noqa: S311 - a picture, not a secret
    size = side // blocks
    colours = [bytes(draw.randrange(20, 236) for _ in range(3)) for _ in range(blocks * blocks)]
    rows = b"".join(
        b"\0" + b"".join(colours[(y // size) * blocks + x // size] for x in range(side))
        for y in range(side)
    )
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"detail": answer.text[:300]}
