"""The examination: every check of the table on one evidence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from infra.doctor.case import GRACE_SECONDS, Case
from infra.doctor.evidence import Evidence
from infra.doctor.findings import Finding, Invariant, Report, Verdict
from infra.doctor.table import CHECKS, Check

BEING_MADE = "the home is being made; the next `atelier up` finishes it"
NOT_RUNNING = "no platform runs, and only a running one can tell"


def examine(evidence: Evidence, *, now: datetime, grace_seconds: float = GRACE_SECONDS) -> Report:
    """Return what disagrees in a platform's stores.

    Args:
        evidence: what was read (`infra.local.evidence.collect`).
        now: the platform's time.
        grace_seconds: what is younger may still be under way and is no finding.
    """
    case = Case(evidence, now, grace_seconds)
    findings: list[Finding] = []
    invariants: list[Invariant] = []
    for check in CHECKS:
        if why := _why_not(check, evidence):
            invariants.append(Invariant(check.name, check.promise, Verdict.NOT_LOOKED_AT, why))
            continue
        found = [Finding(check.name, t.subject, t.found, t.expected, t.do) for t in check.run(case)]
        findings += found
        verdict = Verdict.BROKEN if found else Verdict.HELD
        invariants.append(Invariant(check.name, check.promise, verdict))
    return Report(tuple(findings), looked_at(evidence), tuple(invariants))


def looked_at(evidence: Evidence) -> Mapping[str, int]:
    """Return how many of each kind were read."""
    counts: dict[str, int] = {}
    if (ledger := evidence.ledger) is not None:
        counts["requests"] = len(ledger.requests)
        counts["models"] = len(ledger.models)
        counts["versions"] = sum(len(model.versions) for model in ledger.models)
        counts["batches"] = len(ledger.batches)
        counts["notifications"] = len(ledger.outbox)
    if evidence.deliveries is not None:
        counts["deliveries"] = len(evidence.deliveries)
    if evidence.executions is not None:
        counts["executions"] = len(evidence.executions)
        counts["history events"] = sum(e.history.events for e in evidence.executions.values())
    if evidence.training is not None:
        counts["training jobs"] = len(evidence.training.jobs)
    if evidence.bucket is not None:
        counts["objects"] = sum(evidence.bucket.counts.values())
        counts["artifacts"] = len(evidence.bucket.artifacts)
    if evidence.processes is not None:
        counts["processes"] = len(evidence.processes)
    if evidence.endpoint is not None:
        counts["loaded models"] = len(evidence.endpoint.loaded)
    return counts


def _why_not(check: Check, evidence: Evidence) -> str:
    missing = [need for need in check.needs if getattr(evidence, need) is None]
    if check.alive and not evidence.life.running:
        return NOT_RUNNING
    if missing and evidence.being_made:
        return BEING_MADE
    return f"{' and '.join(missing)} could not be read" if missing else ""
