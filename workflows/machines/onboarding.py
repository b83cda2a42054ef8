"""The onboarding state machine: from ten photos to a model that is ready to serve.

    ResumeAt → Register → NeedsTraining → LaunchTraining → WaitForCheckpoint → SyncCheckpoints
             → TrainingDone → PublishModel → AnnounceReady → Ready
    any final error → RecordFailure → AnnounceFailure → Failed
    an input that says nothing → InvalidInput

Errors that pass by themselves are retried, final errors are caught, and anything unexpected fails
in place, so that the console's redrive goes on from that very state once the cause is gone.

The states come first, each with the reason why it is there; `build` joins them.
"""

from __future__ import annotations

from atelier.contracts.errors import InvalidRequest
from atelier.contracts.request import MAX_DEADLINE_SECONDS
from workflows.machines import parts
from workflows.machines.sdk import BaseRule, Choice, ChoiceRule, Fail, Machine, Succeed, Task, Wait

NAME = "onboarding"

TIMEOUT_SECONDS = MAX_DEADLINE_SECONDS + 24 * 3600
"""A backstop behind the request's own deadline, which LaunchTraining and SyncCheckpoints keep."""

REQUEST = "$.onboarding.request"
DEADLINE = "$.onboarding.deadline_seconds"
KNOWN = "$.onboarding.known"
WAIT = "$.training.wait_seconds"
TURN = "$.training.turn"
STATE = "$.training.state"
FAILURE = ("$.failure.request", "$.failure.error", "$.failure.message")

TRAINING_FIELDS = ("attempt", "job", "host", "wait_seconds", "turn", "state")
"""What LaunchTraining's token is completed with and what SyncCheckpoints returns."""

RESUMABLE: dict[str, tuple[str, ...]] = {
    "Register": (),
    "NeedsTraining": (REQUEST, DEADLINE, KNOWN),
    "LaunchTraining": (REQUEST, DEADLINE),
    "WaitForCheckpoint": (REQUEST, DEADLINE, WAIT, TURN),
    "SyncCheckpoints": (REQUEST, DEADLINE, TURN),
    "TrainingDone": (REQUEST, DEADLINE, WAIT, TURN, STATE),
    "PublishModel": (REQUEST,),
    "AnnounceReady": (REQUEST,),
    "Ready": (),
    "RecordFailure": ("$.error.Error",),
    "AnnounceFailure": FAILURE,
    "Failed": FAILURE[1:],
}
"""Where a fork may go on, and what its input must then hold for this state and those after it."""


def _resume_at() -> Choice:
    return Choice(
        "ResumeAt",
        comment="Lets a fork of an execution go on from any state: resume_at names it, and the "
        "input carries what the states before it would have written. A fresh onboarding has no "
        "resume_at.",
    )


def _invalid_resume_at() -> Fail:
    return Fail(
        "InvalidResumeAt",
        comment="A fork that names no state, or lacks data for the state it names, is told so at "
        "once instead of failing on a path somewhere later.",
        error="InvalidResumeAt",
        cause="resume_at must name a state, and the input must hold what that state and those "
        "after it read. " + "; ".join(_needs(name) for name in RESUMABLE) + ".",
    )


def _invalid_input() -> Fail:
    return Fail(
        "InvalidInput",
        comment="An input that is no object, or says neither who nor which photos, is refused "
        "here: no state behind this one could write its error into it.",
        error=InvalidRequest.name(),
        cause='The input must be an object such as {"user_id": "42", "photos": '
        '"uploads/<folder>/"}; found none of its fields. Start an execution with such an input.',
    )


def _needs(state: str) -> str:
    paths = RESUMABLE[state]
    return f"{state} needs {', '.join(paths)}" if paths else f"{state} needs nothing"


def _register() -> Task:
    return parts.invoke(
        "Register",
        comment="Checks the input and the photos, re-encodes them, and writes the request into "
        "the ledger. Idempotent by the request's id: a retry finds what it made.",
        function="Register",
        given=parts.payload(given="$", execution=parts.EXECUTION_NAME),
        timeout_seconds=300,
        returns=("request", "attempt", "deadline_seconds", "known"),
        result_path="$.onboarding",
        retry=parts.retriers(),
    )


def _needs_training() -> Choice:
    return Choice(
        "NeedsTraining",
        comment="A returning owner with the same photos, base model and hyperparameters has this "
        "model already: nothing is trained or paid for twice.",
    )


def _launch_training() -> Task:
    return parts.invoke_and_wait(
        "LaunchTraining",
        comment="Queues the request with this state's token and waits until the dispatcher has "
        "put it into a training job. It costs nothing while it waits and sends no heartbeat: the "
        "timeout is the request's own deadline.",
        function="LaunchTraining",
        given=parts.payload(request=REQUEST, token=parts.TOKEN),
        timeout_seconds_path=DEADLINE,
        returns=TRAINING_FIELDS,
        result_path="$.training",
        retry=parts.retriers(),
    )


def _wait_for_checkpoint() -> Wait:
    return Wait(
        "WaitForCheckpoint",
        comment="Sleeps as long as the job's own estimate says, so that a job that keeps its "
        "estimate is looked at no more than eight times.",
        seconds_path=WAIT,
    )


def _sync_checkpoints() -> Task:
    return parts.invoke(
        "SyncCheckpoints",
        comment="Reads the progress that the training host left in the bucket and brings it into "
        "the ledger: one object and one item, never DescribeTrainingJob, whose five requests per "
        "second all onboardings would share.",
        function="SyncCheckpoints",
        given=parts.payload(request=REQUEST, turn=TURN),
        timeout_seconds=60,
        returns=TRAINING_FIELDS,
        result_path="$.training",
        retry=parts.retriers(),
    )


def _training_done() -> Choice:
    return Choice(
        "TrainingDone",
        comment="Trained goes on to publishing; a job that was lost through no fault of the photos "
        "is queued again; everything else waits one more turn.",
    )


def _publish_model() -> Task:
    return parts.invoke(
        "PublishModel",
        comment="Checks the adapter file, writes the artifact under a new key, and makes it the "
        "model's current version and the request ready in one transaction. After it there is no "
        "way to Failed.",
        function="PublishModel",
        given=parts.payload(request=REQUEST),
        timeout_seconds=300,
        returns=("version", "artifact", "digest", "target_model"),
        result_path="$.published",
        retry=parts.retriers(),
    )


def _announce(name: str, *, request: str, outcome: str, comment: str) -> Task:
    return parts.invoke(
        name,
        comment=comment,
        function="Announce",
        given={**parts.payload(request=request), "outcome": outcome},
        timeout_seconds=60,
        result_path=None,
        retry=parts.quick_retriers(),
    )


def _announce_ready() -> Task:
    return _announce(
        "AnnounceReady",
        request=REQUEST,
        outcome="ready",
        comment="Delivers the notification that was written together with the status. Best effort: "
        "the model is ready whether or not anybody could be told, and the outbox tries again.",
    )


def _ready() -> Succeed:
    return Succeed("Ready", comment="The person has a model; the endpoint serves it on demand.")


def _record_failure() -> Task:
    return parts.invoke(
        "RecordFailure",
        comment="Writes into the ledger why this onboarding ended, with what the person can do "
        "about it. It catches nothing: a failure that is not recorded must stay visible and be "
        "redriven.",
        function="RecordFailure",
        given=parts.payload(given="$", execution=parts.EXECUTION_NAME),
        timeout_seconds=60,
        returns=("request", "error", "message"),
        result_path="$.failure",
        retry=parts.retriers(),
    )


def _announce_failure() -> Task:
    return _announce(
        "AnnounceFailure",
        request=FAILURE[0],
        outcome="failed",
        comment="Tells the person that, and why, there is no model. Best effort: the failure is "
        "recorded already.",
    )


def _failed() -> Fail:
    return Fail(
        "Failed",
        comment="Ends with the error's own name and message, so that the list of executions and "
        "the status event say what happened.",
        error_path=FAILURE[1],
        cause_path=FAILURE[2],
    )


def build() -> Machine:
    """Return the machine with its states joined."""
    register, needs_training, launch = _register(), _needs_training(), _launch_training()
    wait, sync, done = _wait_for_checkpoint(), _sync_checkpoints(), _training_done()
    publish, announce_ready, ready = _publish_model(), _announce_ready(), _ready()
    record, announce_failure, failed = _record_failure(), _announce_failure(), _failed()
    resume_at, invalid_resume_at = _resume_at(), _invalid_resume_at()
    invalid_input = _invalid_input()
    states = (
        *(register, needs_training, launch, wait, sync, done, publish, announce_ready, ready),
        *(record, announce_failure, failed),
    )

    resume_at.add_choice(_says_nothing(), invalid_input)
    resume_at.add_choice(ChoiceRule.IsPresent("$.resume_at", value=False), register)
    for state in states:
        resume_at.add_choice(_resumes(state.state_id), state)
    resume_at.default_choice(invalid_resume_at)

    register.next(needs_training)
    needs_training.add_choice(ChoiceRule.BooleanEquals(KNOWN, value=True), announce_ready)
    needs_training.default_choice(launch)
    launch.next(wait)
    wait.next(sync)
    sync.next(done)
    done.add_choice(ChoiceRule.StringEquals(STATE, "trained"), publish)
    done.add_choice(ChoiceRule.StringEquals(STATE, "requeue"), launch)
    done.default_choice(wait)
    publish.next(announce_ready)
    announce_ready.next(ready)
    record.next(announce_failure)
    announce_failure.next(failed)

    for state in (register, sync, publish):
        state.add_catch(parts.catch_final(record))
    launch.add_catch(parts.catch_final(record, also=["States.Timeout"]))
    announce_ready.add_catch(parts.catch_everything(ready))
    announce_failure.add_catch(parts.catch_everything(failed))

    return Machine(
        (resume_at, *states, invalid_resume_at, invalid_input),
        comment="Onboards one person: registers the photos, trains an adapter, publishes it. One "
        "execution per attempt.",
        timeout_seconds=TIMEOUT_SECONDS,
    )


def _says_nothing() -> BaseRule:
    """Return the rule that holds for an input that is no object, or one with no field of ours."""
    fields = ("$.user_id", "$.photos", "$.resume_at")
    return ChoiceRule.And([ChoiceRule.IsPresent(field, value=False) for field in fields])


def _resumes(state: str) -> BaseRule:
    """Return the rule that lets a fork go on at `state`: it is named and its data is there."""
    named = ChoiceRule.StringEquals("$.resume_at", state)
    present = [ChoiceRule.IsPresent(path, value=True) for path in RESUMABLE[state]]
    return ChoiceRule.And([named, *present]) if present else named
