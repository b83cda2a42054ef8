"""Starting an onboarding from outside: the request into the ledger, then its execution.

Both derive from the input: whoever starts the same again, after a crash or because an event came
twice, finds what is there. What has ended stays so: `tasks.retry` begins its next attempt.
"""

from __future__ import annotations

from atelier.contracts import ids
from atelier.contracts.documents import encode
from atelier.contracts.errors import AlreadyExists
from atelier.contracts.records import RequestRecord
from atelier.contracts.request import OnboardingInput, OnboardingRequest
from atelier.contracts.status import TERMINAL, Status
from tasks.ports import Ports
from tasks.settle_execution import ONBOARDING


def start(
    given: OnboardingInput, request: OnboardingRequest, *, ports: Ports
) -> tuple[RequestRecord, bool]:
    """Start the onboarding `request`, which `given` asks for; return it, and whether it is new.

    Raises:
        IdempotencyConflict: the key came before with another input.
        AlreadyExists: the execution's name was used, though the request is new.
    """
    name = ids.execution_name(request.request, 1)
    record, new = ports.ledger.create(
        RequestRecord(
            given=request,
            attempt=1,
            status=Status.QUEUED,
            execution=name,
            steps=request.hyperparameters.steps,
            asked=encode(given),
            entered={Status.QUEUED: request.created_at},
            created_at=request.created_at,
            updated_at=request.created_at,
        )
    )
    if not new:
        record.given.check_same(request)
        if record.status in TERMINAL:
            return record, new
    try:
        # The first caller's own words: the same name and input are the same execution, whoever
        # starts it, this one or Reconcile.
        asked = record.asked if record.asked is not None else encode(given)
        ports.executions.start(ONBOARDING, record.execution, asked)
    except AlreadyExists:
        if new:
            raise
    return record, new
