"""The door to the `stepfunctions` SDK: its import made quiet, and what version 2.3.0 lacks added.

Importing the SDK (and with it `sagemaker`) takes about two seconds and changes the process: the
root logger is silenced below ERROR, `sys.excepthook` becomes rich's, PyYAML's dumper learns other
representers, INFO lines go to stdout and two packages warn. Here everything is put back. Only who
compiles the machines comes through this door; at run time `workflows.machines.asl` reads the JSON.

The SDK's classes turn keyword arguments in snake_case into fields in PascalCase and refuse what
`allowed_fields` does not name, so a missing field is added by naming it. Fields of the language:
https://docs.aws.amazon.com/step-functions/latest/dg/statemachine-structure.html
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

import yaml  # type: ignore[import-untyped]  # comes with sagemaker, without types


@contextmanager
def _process_as_it_was() -> Iterator[None]:
    """Undo what importing the SDK does to logging, warnings, exceptions and YAML."""
    root, talkative = logging.getLogger(), logging.getLogger("sagemaker.config")
    levels = root.level, talkative.level
    hooks = sys.excepthook, sys.displayhook
    representers = dict(yaml.SafeDumper.yaml_representers)
    talkative.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # pkg_resources and SageMaker's version 2 are deprecated, and the SDK compares strings
            # by identity; the pins in pyproject.toml are our answer to all three.
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(levels[0])
        talkative.setLevel(levels[1])
        sys.excepthook, sys.displayhook = hooks
        yaml.SafeDumper.yaml_representers = representers


with _process_as_it_was():
    from stepfunctions import steps
    from stepfunctions.steps.choice_rule import BaseRule, ChoiceRule

Catch = steps.Catch
Choice = steps.Choice
Pass = steps.Pass
Succeed = steps.Succeed
Wait = steps.Wait
State = steps.states.State

__all__ = [
    "BaseRule",
    "Catch",
    "Choice",
    "ChoiceRule",
    "Fail",
    "Machine",
    "Pass",
    "Retry",
    "State",
    "Succeed",
    "Task",
    "Wait",
]


class Added(Enum):
    """Fields of the language that the SDK does not know, in its own spelling."""

    RESULT_SELECTOR = "result_selector"
    MAX_DELAY_SECONDS = "max_delay_seconds"
    JITTER_STRATEGY = "jitter_strategy"
    ERROR_PATH = "error_path"
    CAUSE_PATH = "cause_path"


class Task(steps.Task):  # type: ignore[misc]  # the SDK is untyped
    """A Task with ResultSelector.

    Always built with a plain `resource`: the SDK's typed steps look up the partition through boto3
    at 100 to 370 ms each.
    """

    def allowed_fields(self) -> list[Enum]:
        """Return the SDK's fields and ours."""
        return [*super().allowed_fields(), Added.RESULT_SELECTOR]


class Retry(steps.Retry):  # type: ignore[misc]  # the SDK is untyped
    """A retrier with MaxDelaySeconds and JitterStrategy."""

    def allowed_fields(self) -> list[Enum]:
        """Return the SDK's fields and ours."""
        return [*super().allowed_fields(), Added.MAX_DELAY_SECONDS, Added.JITTER_STRATEGY]


class Fail(steps.Fail):  # type: ignore[misc]  # the SDK is untyped
    """A Fail that takes error and cause from the data: ErrorPath and CausePath."""

    def allowed_fields(self) -> list[Enum]:
        """Return the SDK's fields and ours."""
        return [*super().allowed_fields(), Added.ERROR_PATH, Added.CAUSE_PATH]


class Machine(steps.Graph):  # type: ignore[misc]  # the SDK is untyped
    """A whole state machine whose states are written in the order in which people read them."""

    def __init__(
        self, states: Sequence[Any], *, comment: str, timeout_seconds: int | None = None
    ) -> None:
        """Take every state, the first of them as StartAt.

        Raises:
            ValueError: a state is listed but cannot be reached, or reached but not listed.
        """
        super().__init__(states[0], comment=comment, timeout_seconds=timeout_seconds, version="1.0")
        listed = [state.state_id for state in states]
        if sorted(listed) != sorted(self.states):
            difference = sorted(set(listed) ^ set(self.states))
            raise ValueError(
                f"states {difference} are either listed and not reachable, or reachable and not "
                "listed; list every state once, in reading order"
            )
        self._listed = listed

    def to_dict(self) -> Mapping[str, Any]:
        """Return the definition with states in reading order."""
        written = super().to_dict()
        return {**written, "States": {name: self.states[name] for name in self._listed}}
