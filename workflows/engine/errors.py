"""What can go wrong, sorted by what the caller can do about it.

EngineError
├── InvalidRequest            correct the call
│   ├── InvalidArn, InvalidName, InvalidExecutionInput, InvalidOutput, InvalidToken,
│   │   ValidationError (AWS calls it ValidationException)
│   └── InvalidDefinition     correct the definition; `location` says where
│       └── UnsupportedDefinition   AWS may take it; this engine does not run it
├── DoesNotExist              nothing to act on
│   └── ExecutionDoesNotExist, StateMachineDoesNotExist, TaskDoesNotExist
├── TooLate                   it was decided before; look at what is there
│   └── ExecutionAlreadyExists, ExecutionNotRedrivable, TaskTimedOut
└── StorageError              nothing was changed
    ├── StorageUnavailable    the disk is full or failing: the same call works once it is not
    ├── StorageContended      another process has the file: the same call works later
    └── StorageBroken         the file is damaged: look at it before anything else

StateFailure stands apart: an error of the Amazon States Language, raised while a state is visited
and matched by Retry and Catch, never shown to the engine's callers as an exception.

Class names are the error codes of AWS's API.
Source: https://docs.aws.amazon.com/step-functions/latest/apireference/CommonErrors.html
"""

from __future__ import annotations

from typing import Final


class EngineError(Exception):
    """Anything that the engine refuses to do for a caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def name(self) -> str:
        """The error's code as AWS's API spells it."""
        return type(self).__name__


class InvalidRequest(EngineError):
    """The call itself must be corrected."""


class InvalidArn(InvalidRequest):
    """The text is no ARN of the kind that was asked for."""


class InvalidName(InvalidRequest):
    """The name is empty, longer than 80 characters or holds characters that AWS refuses."""


class InvalidExecutionInput(InvalidRequest):
    """The input is no JSON value or weighs more than 256 KiB."""


class InvalidOutput(InvalidRequest):
    """The output of a callback is no JSON value or weighs more than 256 KiB."""


class InvalidToken(InvalidRequest):
    """The text was never handed out as a task token by this engine."""


class ValidationError(InvalidRequest):
    """An argument is outside its bounds."""

    @property
    def name(self) -> str:
        """The error's code as AWS's API spells it."""
        return "ValidationException"


class InvalidDefinition(InvalidRequest):
    """The definition breaks the Amazon States Language.

    Attributes:
        location: A JSON pointer to the place, such as `/States/Register/Next`.
    """

    def __init__(self, message: str, *, location: str) -> None:
        super().__init__(f"{message} at {location or '/'}")
        self.location = location


class UnsupportedDefinition(InvalidDefinition):
    """The definition uses something that this engine does not run; it is refused, not ignored."""


class DoesNotExist(EngineError):
    """There is nothing under that name."""


class ExecutionDoesNotExist(DoesNotExist):
    """No execution has this ARN."""


class StateMachineDoesNotExist(DoesNotExist):
    """No state machine is registered under this name or ARN."""


class TaskDoesNotExist(DoesNotExist):
    """The token is genuine, but its execution is not known here."""


class TooLate(EngineError):
    """Somebody or something decided before this call."""


class ExecutionAlreadyExists(TooLate):
    """The name was used for another input, or its execution has ended."""


class ExecutionNotRedrivable(TooLate):
    """The execution runs, has succeeded, or a limit of redrives is reached; the message says."""


class TaskTimedOut(TooLate):
    """The token's task attempt is over: answered, timed out, or its execution has ended."""


class StorageError(EngineError):
    """Histories cannot be stored or read; what was asked for has not happened.

    One doubt remains, as with any database whose commit fails: it may have happened after all.
    Repeating the call is safe and settles it.
    """


class StorageUnavailable(StorageError):
    """The disk is full, failing or not there."""


class StorageContended(StorageError):
    """Another process holds the file, or changed the same execution."""


class StorageBroken(StorageError):
    """The file is damaged, is none of ours, or was written by a newer version."""


ERROR_LIMIT_CHARACTERS: Final = 256
CAUSE_LIMIT_CHARACTERS: Final = 32_768


def told_error(error: str) -> str:
    """Return an error name as a history can carry it: cut to AWS's limit, in whole characters."""
    return error[:ERROR_LIMIT_CHARACTERS].encode(errors="replace").decode()


def told_cause(cause: str) -> str:
    """Return a cause as a history can carry it: cut to AWS's limit, in whole characters."""
    return cause[:CAUSE_LIMIT_CHARACTERS].encode(errors="replace").decode()


class StateFailure(Exception):
    """A state fails with an error name that Retry and Catch can match.

    Attributes:
        error: The error name; None when a Fail state or a callback names none.
        cause: Words for people; None when there are none.
        bare: Whether the cause stands alone; AWS puts the state's name before most others.
    """

    def __init__(self, error: str | None, cause: str | None, *, bare: bool = False) -> None:
        super().__init__(f"{error}: {cause}")
        self.error = error
        self.cause = cause
        self.bare = bare


RUNTIME: Final = "States.Runtime"
TIMEOUT: Final = "States.Timeout"
HEARTBEAT_TIMEOUT: Final = "States.HeartbeatTimeout"
TASK_FAILED: Final = "States.TaskFailed"
DATA_LIMIT_EXCEEDED: Final = "States.DataLimitExceeded"
INTRINSIC_FAILURE: Final = "States.IntrinsicFailure"
RESULT_PATH_MATCH_FAILURE: Final = "States.ResultPathMatchFailure"
ALL: Final = "States.ALL"

RESERVED: Final = frozenset(
    {
        ALL,
        DATA_LIMIT_EXCEEDED,
        HEARTBEAT_TIMEOUT,
        INTRINSIC_FAILURE,
        RESULT_PATH_MATCH_FAILURE,
        RUNTIME,
        TASK_FAILED,
        TIMEOUT,
        "States.BranchFailed",
        "States.ExceedToleratedFailureThreshold",
        "States.Http.Socket",
        "States.ItemReaderFailed",
        "States.NoChoiceMatched",
        "States.ParameterPathFailure",
        "States.Permissions",
        "States.QueryEvaluationError",
        "States.ResultWriterFailed",
    }
)
"""Every error name that may begin with `States.`."""
