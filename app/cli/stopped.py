"""The state of a local platform as it lies in its home folder, whether or not it runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from app.cli.commands import STARTS_AN_ID, check_length
from app.cli.exits import CommandFailed, Exit
from app.cli.home import fell
from atelier.contracts import ids
from atelier.contracts.clock import SystemClock
from atelier.contracts.documents import DocumentError
from atelier.contracts.errors import NotFound
from atelier.contracts.progress import Progress
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import DEFAULT_TENANT
from atelier.contracts.status import TERMINAL, Status
from infra.local.ledger import SqliteLedger
from infra.local.objects import FileObjects
from infra.local.upload_forms import hmac_signer
from tasks.attempts import read_progress
from tasks.background import past
from tasks.durations import Durations
from tasks.endings import due
from tasks.forecast import Ahead
from tasks.outlook import Outlook, outlook
from tasks.ports import TaskSettings
from tasks.wording import moment

_PAGE = 1000


MADE = frozenset({Status.TRAINED, Status.PUBLISHING})
"""What is trained waits for its publication however late it is."""


class Stopped(AbstractContextManager["Stopped"]):
    """Ledger and objects of a home folder, read alone."""

    def __init__(self, home: Path) -> None:
        """Open the ledger that lies in `home`."""
        self.home = home
        clock = SystemClock()
        self.ledger = SqliteLedger(home / "ledger.sqlite3", clock=clock, reading=True)
        # Nothing is uploaded here: no form is ever signed.
        self.objects = FileObjects(
            home / "objects",
            clock=clock,
            sign=hmac_signer(bytes(32)),
            upload_url="",
            reading=True,
        )

    def __enter__(self) -> Self:
        """Return the state itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the ledger; a row that does not read is told as everything that is damaged."""
        self.ledger.close()
        if isinstance(value, DocumentError):
            raise CommandFailed(
                Exit.BROKEN,
                f"what lies in {self.home} does not read: {value}",
                do="`atelier doctor` says what is damaged there.",
                error="ContractBroken",
            ) from value

    def find(self, onboarding: str) -> RequestRecord:
        """Return an onboarding of the folder's own tenant, by its id or enough of its start.

        Raises:
            CommandFailed: there is none, or there are several.
        """
        check_length(onboarding)
        found = [onboarding]
        if STARTS_AN_ID.fullmatch(onboarding):
            found = [r for r in self._ids() if r.startswith(onboarding)]
        if len(found) > 1:
            raise CommandFailed(
                Exit.REFUSED,
                f"{onboarding} starts the ids of {len(found)} onboardings: {', '.join(found[:4])}",
                do="Give more of the id.",
            )
        missing = CommandFailed(
            Exit.NOT_FOUND,
            f"no onboarding {onboarding[:80]!r} in {self.home}",
            do="`atelier status` lists the onboardings of a platform that runs.",
            error="NotFound",
        )
        if not found or not ids.REQUEST_PATTERN.fullmatch(found[0]):
            raise missing
        try:
            record = self.ledger.read(found[0])
        except NotFound:
            raise missing from None
        if record.given.tenant != DEFAULT_TENANT:
            raise missing
        return record

    def progress(self, record: RequestRecord) -> Progress | None:
        """Return what its training host said last."""
        return read_progress(record, objects=self.objects)

    def outlook(self, record: RequestRecord, *, now: datetime) -> Outlook:
        """Return what can be said of an onboarding without its platform."""
        given, progress = record.given, self.progress(record)
        if not self.ended(record):
            return Outlook(
                f"{self._why_stopped()}: the onboarding was {record.status.value}, and "
                f"{_goes_on(record, now=now)}.",
                "stopped",
                faster=("atelier up",),
                details=past(record, progress),
            )
        return outlook(
            record,
            progress,
            ahead=Ahead(),
            durations=Durations.of(self.ledger.measurements(base=given.base, preset=given.preset)),
            settings=TaskSettings(),
            now=now,
        )

    def _why_stopped(self) -> str:
        if not fell(self.home):
            return f"No platform runs in {self.home}, so nothing goes on"
        return (
            f"The platform in {self.home} failed or was killed, and nothing starts it again by "
            f"itself ({self.home / 'platform.log'} may say more), so nothing goes on"
        )

    def ended(self, record: RequestRecord) -> bool:
        """Whether nothing is left to be done for it."""
        return record.status in TERMINAL

    def _ids(self) -> list[str]:
        """Return the ids of the folder's own tenant."""
        found: list[str] = []
        cursor: str | None = None
        while True:
            page, cursor = self.ledger.list_requests(
                tenant=DEFAULT_TENANT, cursor=cursor, limit=_PAGE
            )
            found += [record.request for record in page]
            if cursor is None:
                return found


def open_stopped(home: Path) -> Stopped | None:
    """Return the state that lies in `home`, or None where no platform ever ran."""
    return Stopped(home) if (home / "ledger.sqlite3").exists() else None


def _goes_on(record: RequestRecord, *, now: datetime) -> str:
    """Return what the next start makes of an onboarding; what is trained is never late."""
    if record.status in MADE:
        return "goes on from there at `atelier up`"
    deadline = moment(due(record), now=now)
    if now >= due(record):
        return f"ends as failed at `atelier up`, because its deadline passed at {deadline}"
    return (
        f"goes on from there at `atelier up`, before its deadline, {deadline}, which passes also "
        "while no platform runs"
    )
