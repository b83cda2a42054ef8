"""Rules on what goes wrong: timeouts, and the errors that are retried and caught.

Which error names exist is the error tree's to say (`atelier.contracts.errors`).
"""

from __future__ import annotations

from typing import Final

from atelier.contracts import errors
from workflows.validator.findings import meant
from workflows.validator.subject import At, Found, Subject

NEVER_MATCHED: Final = frozenset({"States.Runtime"})
JITTER_STRATEGIES: Final = ("NONE", "FULL")


def task_without_timeout(subject: Subject) -> Found:
    """Find a Task that could be waited for during years."""
    for name, state in subject.states():
        if state["Type"] == "Task" and not {"TimeoutSeconds", "TimeoutSecondsPath"} & set(state):
            yield At(
                name,
                "has no timeout, so a lost call would be waited for 99,999,999 seconds; set "
                "TimeoutSeconds or TimeoutSecondsPath",
            )


def bad_seconds(subject: Subject) -> Found:
    """Find a timeout or heartbeat out of its range."""
    for name, state in subject.states():
        timeout, heartbeat = state.get("TimeoutSeconds"), state.get("HeartbeatSeconds")
        for field, seconds in (("TimeoutSeconds", timeout), ("HeartbeatSeconds", heartbeat)):
            if seconds is not None and not 1 <= seconds <= 99_999_999:
                yield At(name, f"{field} is {seconds}; 1 to 99,999,999 are allowed")
        if timeout is not None and heartbeat is not None and heartbeat >= timeout:
            yield At(
                name,
                f"HeartbeatSeconds {heartbeat} is not below TimeoutSeconds {timeout}, so it never "
                "acts; lower it or drop it",
            )


def task_without_retry(subject: Subject) -> Found:
    """Find a Task that one throttled call would end."""
    for name, state in subject.states():
        if state["Type"] == "Task" and "Retry" not in state:
            yield At(
                name,
                "has no Retry, so the first throttled call fails the execution; derive "
                "retriers from the error tree",
            )


def unknown_error(subject: Subject) -> Found:
    """Find a Retry or Catch on a name that nothing raises."""
    known = sorted(errors.known_error_names())
    for name, field, entries in subject.error_lists():
        for number, entry in enumerate(entries):
            for error in entry["ErrorEquals"]:
                if error not in known:
                    yield At(
                        name,
                        f"{field}[{number}] names {error!r}, which nothing raises; "
                        f"{meant(error, known)}",
                    )


def all_misplaced(subject: Subject) -> Found:
    """Find States.ALL that is not alone or not last."""
    for name, field, entries in subject.error_lists():
        for number, entry in enumerate(entries):
            names = entry["ErrorEquals"]
            if "States.ALL" not in names:
                continue
            if len(names) > 1:
                yield At(
                    name,
                    f"{field}[{number}] names States.ALL beside {len(names) - 1} others; it "
                    "must stand alone",
                )
            if number != len(entries) - 1:
                yield At(
                    name,
                    f"{field}[{number}] names States.ALL before the last entry; what follows "
                    "would never be asked, so put it last",
                )


def never_matches(subject: Subject) -> Found:
    """Find an error name that is never matched where it stands."""
    for name, field, entries in subject.error_lists():
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            for error in entry["ErrorEquals"]:
                if error in NEVER_MATCHED:
                    yield At(
                        name,
                        f"{field}[{number}] names {error}, which Step Functions never retries or "
                        "catches; remove it",
                    )
                elif error in seen:
                    yield At(
                        name,
                        f"{field}[{number}] names {error} again; the first entry that names it "
                        "acts, so name it once",
                    )
                seen.add(error)


def retries_final_error(subject: Subject) -> Found:
    """Find a Retry of what fails again for sure."""
    final = set(errors.final_error_names())
    for name, field, entries in subject.error_lists():
        if field == "Retry":
            for number, entry in enumerate(entries):
                if found := [e for e in entry["ErrorEquals"] if e in final]:
                    yield At(
                        name,
                        f"Retry[{number}] names {', '.join(found)}: final, the same again fails "
                        "the same; catch it instead",
                    )


def retry_range(subject: Subject) -> Found:
    """Find a number in a retrier that is out of its range."""
    bounds = (
        ("IntervalSeconds", 1, 99_999_999),
        ("MaxAttempts", 0, 99_999_999),
        ("BackoffRate", 1, 99_999_999),
        ("MaxDelaySeconds", 1, 31_622_400),
    )
    for name, field, entries in subject.error_lists():
        for number, entry in enumerate(entries):
            place = f"{field}[{number}]"
            for key, least, most in bounds:
                if key in entry and not least <= entry[key] <= most:
                    yield At(
                        name, f"{place}.{key} is {entry[key]}; {least:,} to {most:,} are allowed"
                    )
            interval, cap = entry.get("IntervalSeconds", 1), entry.get("MaxDelaySeconds")
            if cap is not None and cap <= interval:
                yield At(
                    name,
                    f"{place}.MaxDelaySeconds {cap} is not above IntervalSeconds {interval}, so "
                    "no delay ever grows; raise it or drop it",
                )


def unknown_jitter(subject: Subject) -> Found:
    """Find a JitterStrategy that does not exist."""
    for name, field, entries in subject.error_lists():
        for number, entry in enumerate(entries):
            strategy = entry.get("JitterStrategy", "NONE")
            if strategy not in JITTER_STRATEGIES:
                yield At(
                    name,
                    f"{field}[{number}].JitterStrategy is {strategy!r}; write one of "
                    f"{', '.join(JITTER_STRATEGIES)}",
                )
