"""The endpoint: what it serves exists, within its limits, and nothing is held for nobody."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.contracts import keys
from infra.doctor.case import Case
from infra.doctor.evidence import EndpointSeen
from infra.doctor.findings import Trouble

RESTART = "Restart the platform; report it with logs/endpoint.log."


def loaded_models_exist(case: Case) -> Iterator[Trouble]:
    """Every model that the endpoint holds is a version that the ledger knows."""
    known = {v.artifact for model in case.ledger.models for v in model.versions}
    for model in _seen(case).loaded:
        if keys.ARTIFACT_PREFIX + model.target not in known:
            found = "the endpoint serves it, and no model has such a version"
            yield Trouble(f"target model {model.target}", found, "a version of a model", RESTART)


def endpoint_within_its_limits(case: Case) -> Iterator[Trouble]:
    """The endpoint's disk and slots hold no more than they may."""
    seen = _seen(case)
    if seen.disk_bytes > seen.disk_limit_bytes and not seen.in_flight:
        found = f"{seen.disk_bytes:,} bytes of models on the disk"
        yield Trouble("endpoint", found, f"at most {seen.disk_limit_bytes:,}", RESTART)
    taken = [held.slot for held in seen.held or () if held.slot is not None]
    if len(set(taken)) != len(taken):
        yield Trouble("endpoint", f"slots {sorted(taken)} are held", "each by one adapter", RESTART)
    if seen.slots is not None and len(taken) > seen.slots:
        found = f"{len(taken)} slots are held"
        yield Trouble("endpoint", found, f"at most {seen.slots}", RESTART)


def nothing_held_for_nobody(case: Case) -> Iterator[Trouble]:
    """When no invocation is under way, no adapter is in use and none keeps its slot."""
    seen = _seen(case)
    if seen.in_flight:
        return
    for model in seen.loaded:
        if model.in_flight:
            found = f"{model.in_flight} invocations use it, and none is under way"
            yield Trouble(f"target model {model.target}", found, "none", RESTART)
    for held in seen.held or ():
        if held.uses or held.pins:
            found = f"{held.uses} uses and {held.pins} pins, and no invocation is under way"
            yield Trouble(f"adapter {held.name}", found, "none", RESTART)


def _seen(case: Case) -> EndpointSeen:
    seen = case.evidence.endpoint
    assert seen is not None  # noqa: S101 - the table names what each check needs
    return seen
