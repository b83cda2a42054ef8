"""The HTTP API as methods: documents in, documents out, every refusal a `CommandFailed`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from app.cli.exits import OF_STATUS, CommandFailed, Exit
from app.cli.photos import Photo
from atelier.contracts.clock import Clock
from atelier.contracts.documents import DocumentError, parse_json

Document = dict[str, Any]

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Several images of the largest size in base64 are far below it."""

LIST = frozenset({"items"})
PAGE = frozenset({"items", "next_cursor"})
UPLOAD = frozenset({"forms", "photos", "upload_set"})
ONBOARDING = frozenset({"id", "user_id", "model", "status", "timeline", "progress"})
DRAWN = frozenset({"images", "model", "version", "format", "width", "height", "seconds"})
"""What the commands read of each answer."""

LISTED_AT_ONCE = 200
"""As many onboardings as one page may hold."""

ERRNO = re.compile(r"\[Errno -?\d+\] ")

ANSWER_SECONDS = 120.0
"""How long one answer may take: the first image of a model waits until it is loaded."""

PATIENCE_SECONDS = 180.0
"""How long a command tries again when the platform says that it cannot now."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Client(AbstractContextManager["Client"]):
    """One platform's API, with one key.

    Args:
        url: of the platform, such as `http://127.0.0.1:8700`.
        key: the API key.
        clock: waits when the platform asks for it.
        told: is told, once each, why a request waits.
        transport: how requests travel; the network unless a test says otherwise.
        patience_seconds: how long a command waits for an answer, and tries again.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        clock: Clock,
        told: Callable[[str], None] = lambda _: None,
        transport: httpx.BaseTransport | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._clock = clock
        self._told = told
        self._patience_seconds = patience_seconds
        self._http = httpx.Client(
            timeout=httpx.Timeout(min(ANSWER_SECONDS, patience_seconds), connect=5.0),
            transport=transport,
            # A proxy of the environment knows nothing of this machine's own loopback.
            trust_env=urlsplit(url).hostname not in LOOPBACK,
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close its connections."""
        self._http.close()

    def upload(self, user: str, photos: Sequence[Photo], *, consent_by: str) -> str:
        """Upload a set of photos with the consent for it; return the set's folder."""
        announced = [photo.announcement() for photo in photos]
        wish = {"user_id": user, "photos": announced}
        upload = self._document("POST", "/v1/uploads", wish, needs=UPLOAD)
        forms = {form["name"]: form for form in upload["forms"]}
        for photo in photos:
            self._send(forms[photo.name], photo)
        self._document(
            "POST",
            f"/v1/uploads/{_part(upload['upload_set'])}/complete",
            {"user_id": user, "consent": {"given_by": consent_by}},
        )
        return str(upload["photos"])

    def start(self, wish: Document, *, idempotency_key: str | None) -> tuple[Document, bool]:
        """Start an onboarding; return it, and whether it is new."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        answer = self._ask("POST", "/v1/onboardings", wish, headers=headers)
        return _read(answer, ONBOARDING), answer.status_code == httpx.codes.ACCEPTED

    def onboarding(self, onboarding: str) -> Document:
        """Return an onboarding with its freshest progress."""
        return self._document("GET", f"/v1/onboardings/{_part(onboarding)}", needs=ONBOARDING)

    def why(self, onboarding: str) -> Document:
        """Return where an onboarding is, and when it will be ready."""
        return self._document("GET", f"/v1/onboardings/{_part(onboarding)}/why")

    def onboardings(self, *, user: str | None, limit: int) -> list[Document]:
        """Return the newest onboardings."""
        query = {"limit": str(limit), **({"user_id": user} if user is not None else {})}
        return list(self._document("GET", "/v1/onboardings", query=query, needs=LIST)["items"])

    def every_onboarding(self, statuses: Sequence[str] = ()) -> Iterator[Document]:
        """Yield all onboardings, or those of some statuses, newest first, page by page."""
        query: dict[str, str | Sequence[str]] = {
            "limit": str(LISTED_AT_ONCE),
            "status": statuses,
        }
        while True:
            page = self._document("GET", "/v1/onboardings", query=query, needs=PAGE)
            yield from page["items"]
            if not page["next_cursor"]:
                return
            query["cursor"] = page["next_cursor"]

    def endpoint_books(self) -> Document:
        """Return what the local platform's endpoint holds, and for how many invocations."""
        return self._document("GET", "/local/endpoint")

    def cancel(self, onboarding: str) -> Document:
        """Cancel an onboarding."""
        path = f"/v1/onboardings/{_part(onboarding)}/cancel"
        return self._document("POST", path, needs=ONBOARDING)

    def redrive(self, onboarding: str) -> Document:
        """Let an onboarding that failed in place go on."""
        return self._document("POST", f"/v1/onboardings/{_part(onboarding)}/redrive")

    def retry(self, onboarding: str) -> Document:
        """Begin the next attempt of an onboarding that failed or was cancelled."""
        path = f"/v1/onboardings/{_part(onboarding)}/retry"
        return self._document("POST", path, needs=ONBOARDING)

    def image(self, onboarding: str, name: str) -> bytes:
        """Return a preview or sample image as PNG."""
        return self._ask("GET", f"/v1/onboardings/{_part(onboarding)}/images/{_part(name)}").content

    def models(self, *, user: str | None) -> list[Document]:
        """Return the models of a user, or of the tenant."""
        query = {"user_id": user} if user is not None else {}
        return list(self._document("GET", "/v1/models", query=query, needs=LIST)["items"])

    def draw(self, model: str, wish: Document) -> Document:
        """Draw images with a model."""
        return self._document("POST", f"/v1/models/{_part(model)}/images", wish, needs=DRAWN)

    def _document(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        needs: frozenset[str] = frozenset(),
    ) -> Document:
        return _read(self._ask(method, path, body, query=query), needs)

    def _ask(
        self,
        method: str,
        path: str,
        body: Document | None = None,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask once, and again for as long as the platform says that it only has to wait."""
        deadline = self._clock.monotonic_seconds() + self._patience_seconds
        said = ""
        while True:
            answer = self._send_request(
                self._request(
                    method,
                    f"{self._url}{path}",
                    json=body,
                    params=query,
                    headers={"Authorization": f"Bearer {self._key}", **(headers or {})},
                )
            )
            if answer.is_success:
                return answer
            wait = _retry_after(answer)
            if wait is None or self._clock.monotonic_seconds() + wait > deadline:
                raise _refusal(answer)
            if (why := _refusal(answer).message) != said:
                self._told(f"{why}; trying again every {wait:g} s")
                said = why
            self._clock.sleep(wait)

    def _send(self, form: Document, photo: Photo) -> None:
        """POST one photo with its form; the form is its own permission, the key stays here."""
        answer = self._send_request(
            self._request(
                "POST",
                form["url"],
                data=form["fields"],
                files={"file": (photo.name, photo.body, photo.content_type)},
            )
        )
        if not answer.is_success:
            raise _refusal(answer, f"photo {photo.name}: ")

    def _request(self, method: str, url: str, **given: Any) -> httpx.Request:
        try:
            return self._http.build_request(method, url, **given)
        except httpx.InvalidURL as problem:
            raise CommandFailed(
                Exit.REFUSED,
                f"{url[:100]} is no address that can be asked: {problem}",
                do="Correct the id or the name that it was made from.",
                error="NoAddress",
            ) from problem

    def _send_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._http.send(request)
        except httpx.TimeoutException as problem:
            raise CommandFailed(
                Exit.UNREACHABLE,
                f"{request.url} did not answer in time",
                do="Look at the platform's log, or try again.",
                error="NoAnswer",
            ) from problem
        except httpx.RequestError as problem:
            raise CommandFailed(
                Exit.UNREACHABLE,
                f"nothing answers at {self._url} ({ERRNO.sub('', str(problem))})",
                do="Start the platform with `atelier up`, or name another with --url and --key.",
                error="NoAnswer",
            ) from problem


def _read(answer: httpx.Response, needs: frozenset[str]) -> Document:
    """Return the object that a platform answered, which has the fields that are needed.

    Raises:
        CommandFailed: it is no platform's answer.
    """
    try:
        document = parse_json(answer.content, max_bytes=MAX_ANSWER_BYTES)
    except DocumentError as problem:
        raise _no_platform(answer, f"is no JSON ({problem.problem:.120})") from problem
    if not isinstance(document, dict):
        raise _no_platform(answer, "is no object")
    if missing := sorted(needs - set(document)):
        raise _no_platform(answer, f"lacks {', '.join(missing)}")
    return document


def _no_platform(answer: httpx.Response, found: str) -> CommandFailed:
    url = answer.request.url
    return CommandFailed(
        Exit.UNREACHABLE,
        f"what {url.scheme}://{url.netloc.decode()}{url.path} answered {found}",
        do="Is that the platform's own address, and this command its version? "
        "`atelier up` prints it.",
        error="UnexpectedAnswer",
    )


def _part(text: str) -> str:
    """Return text as one part of a path, whatever a person typed."""
    return quote(text, safe="", errors="replace")


def _retry_after(answer: httpx.Response) -> float | None:
    """Return after how many seconds the same request is worth trying, or None."""
    if OF_STATUS.get(answer.status_code) is not Exit.BUSY:
        return None
    given = answer.headers.get("Retry-After", "")
    # A platform asks for seconds; whoever asks for more is not waited for.
    return float(given) if given.isascii() and given.isdigit() and len(given) < 6 else None


def _refusal(answer: httpx.Response, prefix: str = "") -> CommandFailed:
    """Return the error of an answer that is none of success."""
    code = OF_STATUS.get(answer.status_code, Exit.BROKEN)
    try:
        problem = parse_json(answer.content, max_bytes=MAX_ANSWER_BYTES)
    except DocumentError:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("detail"), str):
        leads = answer.headers.get("Location", "") if answer.is_redirect else ""
        return CommandFailed(
            Exit.UNREACHABLE if answer.is_redirect else code,
            f"{prefix}{answer.request.url} answered {answer.status_code} {answer.reason_phrase}"
            + (f", which leads to {leads[:200]}" if leads else ""),
            do="Is that the platform's own address? `atelier up` prints it.",
            error="UnexpectedAnswer",
        )
    facts = problem.get("facts")
    return CommandFailed(
        code,
        f"{prefix}{problem['detail']}",
        do=str(problem.get("do") or ""),
        error=str(problem.get("code") or ""),
        facts=facts if isinstance(facts, dict) else {},
        request_id=str(problem.get("request_id") or "")[:64],
    )
