"""The rules that a state machine of ours keeps, one table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from workflows.validator import on_data, on_errors, on_graph, shape
from workflows.validator.findings import Finding
from workflows.validator.subject import Found, Subject


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its name in findings, and the function that looks."""

    name: str
    look: Callable[[Subject], Found]

    @property
    def finds(self) -> str:
        """What it finds, in one line."""
        return inspect.getdoc(self.look) or ""


def malformed(_subject: Subject) -> Found:
    """Find a definition that does not read."""
    return iter(())  # `shape` asks this before any other rule can be asked


def unknown_field(_subject: Subject) -> Found:
    """Find a field that the language does not know where it stands."""
    return iter(())  # likewise


RULES: Final[tuple[Rule, ...]] = (
    Rule(shape.MALFORMED, malformed),
    Rule(shape.UNKNOWN_FIELD, unknown_field),
    Rule("dangling-target", on_graph.dangling_target),
    Rule("orphan-state", on_graph.orphan_state),
    Rule("no-way-out", on_graph.no_way_out),
    Rule("no-continuation", on_graph.no_continuation),
    Rule("choice-without-default", on_graph.choice_without_default),
    Rule("bad-name", on_graph.bad_name),
    Rule("duplicate-name", on_graph.duplicate_name),
    Rule("no-comment", on_graph.no_comment),
    Rule("task-without-timeout", on_errors.task_without_timeout),
    Rule("bad-seconds", on_errors.bad_seconds),
    Rule("task-without-retry", on_errors.task_without_retry),
    Rule("unknown-error", on_errors.unknown_error),
    Rule("all-misplaced", on_errors.all_misplaced),
    Rule("never-matches", on_errors.never_matches),
    Rule("retries-final-error", on_errors.retries_final_error),
    Rule("retry-range", on_errors.retry_range),
    Rule("unknown-jitter", on_errors.unknown_jitter),
    Rule("path-not-written", on_data.path_not_written),
    Rule("bad-expression", on_data.bad_expression),
    Rule("unknown-context", on_data.unknown_context),
    Rule("callback-without-token", on_data.callback_without_token),
    Rule("unknown-placeholder", on_data.unknown_placeholder),
)


def ask(subject: Subject) -> Iterator[Finding]:
    """Yield the findings of every rule, in the order of the table."""
    for rule in RULES:
        for at in rule.look(subject):
            yield Finding(at.state, rule.name, at.message)
