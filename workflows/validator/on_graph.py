"""Rules on the graph: states, their names and comments, and the ways between them."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from workflows.validator.findings import meant
from workflows.validator.levels import edges, is_end
from workflows.validator.subject import At, Found, Subject

MAX_NAME_CHARACTERS: Final = 80
NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,80}")


def dangling_target(subject: Subject) -> Found:
    """Find a StartAt, Next or Default that names no state."""
    for level in subject.levels():
        if level.start_at not in level.states:
            yield At(
                level.prefix.rstrip("/"),
                f"StartAt names {level.start_at!r}, which is no state here; "
                f"{meant(level.start_at, level.states)}",
            )
        for name, state in level.states.items():
            for edge in edges(state):
                if edge.target not in level.states:
                    yield At(
                        level.prefix + name,
                        f"{edge.place} names {edge.target!r}, which is no state here; "
                        f"{meant(edge.target, level.states)}",
                    )


def orphan_state(subject: Subject) -> Found:
    """Find a state that no way leads to."""
    for level in subject.levels():
        reachable = level.reachable()
        for name in level.states:
            if name not in reachable:
                yield At(
                    level.prefix + name,
                    f"no way leads here from {level.start_at}; lead one here or remove the state",
                )


def no_way_out(subject: Subject) -> Found:
    """Find a state from which no way ends the execution."""
    for level in subject.levels():
        lost = level.reachable() - level.leading_out()
        for name in level.states:
            if name in lost:
                yield At(
                    level.prefix + name,
                    "no way from here ends the execution; lead one to a Succeed, a Fail or a "
                    "state with End",
                )


def no_continuation(subject: Subject) -> Found:
    """Find a state that says neither, or both, where it goes on and that it ends."""
    for name, state in subject.states():
        if state["Type"] in {"Choice", "Succeed", "Fail"}:
            continue
        if ("Next" in state) == is_end(state):
            found = "both Next and End" if "Next" in state else "neither Next nor End"
            yield At(name, f"there is {found}; say where it goes on, or that it ends here")


def choice_without_default(subject: Subject) -> Found:
    """Find a Choice that may match nothing."""
    for name, state in subject.states():
        if state["Type"] == "Choice" and "Default" not in state:
            yield At(
                name,
                "has no Default: an input that no rule matches fails the execution with "
                "States.NoChoiceMatched; say where it goes",
            )


def bad_name(subject: Subject) -> Found:
    """Find a name that is too long or not plain."""
    for level in subject.levels():
        for name in level.states:
            if not NAME.fullmatch(name):
                yield At(
                    level.prefix + name,
                    f"the name has {len(name)} characters; use 1 to {MAX_NAME_CHARACTERS} of "
                    "letters, digits, - and _, which logs and metrics keep as they are",
                )


def duplicate_name(subject: Subject) -> Found:
    """Find two states of one name."""
    counts = Counter(name for level in subject.levels() for name in level.states)
    for name, count in counts.items():
        if count > 1:
            yield At(
                name,
                f"{count} states have this name; give each its own, also inside Parallel and Map, "
                "so that a history can be read",
            )


def no_comment(subject: Subject) -> Found:
    """Find a state, or a machine, that does not say why it is there."""
    if not subject.machine.get("Comment"):
        yield At("", "has no Comment; say in one sentence what the machine does")
    for name, state in subject.states():
        if not state.get("Comment"):
            yield At(name, "has no Comment; say why the state is there")
