"""The stores: every file whole, every document readable, every object that is named there."""

from __future__ import annotations

from collections.abc import Iterator

from atelier.contracts import keys
from atelier.contracts.status import Status
from infra.doctor.case import Case
from infra.doctor.findings import Trouble
from infra.doctor.moments import moments


def files_are_sound(case: Case) -> Iterator[Trouble]:
    """Every SQLite file passes SQLite's own check of itself."""
    evidence = case.evidence
    for store in evidence.stores:
        if store.problem is not None and not (store.bare and evidence.being_made):
            do = "Stop the platform and restore the home folder from a copy."
            yield Trouble(f"file {store.name}", store.problem, "a sound file", do)


def documents_read(case: Case) -> Iterator[Trouble]:
    """Every document of ours, in the files and among the objects, reads with its codec."""
    bucket = case.evidence.bucket
    among_objects = bucket.unreadable if bucket is not None else ()
    for document in (*case.evidence.unreadable, *among_objects):
        do = "Run the newer Atelier that wrote it, or restore it from a copy."
        expected = f"a {document.kind} that reads"
        yield Trouble(document.where, document.problem, expected, do)


def datasets_are_there(case: Case) -> Iterator[Trouble]:
    """The dataset of every request is there, with every photo that it names as it was written."""
    do = "Upload the photos again and start the onboarding anew."
    for record in case.ledger.requests.values():
        if record.dataset is None or record.status is Status.ERASED:
            continue
        key = keys.dataset_document(record.given.owner, record.dataset)
        if key not in case.bucket.datasets:
            found = f"{key} is not there, or does not read"
            yield Trouble(f"request {record.request}", found, "its dataset", do)
    for dataset in case.bucket.datasets.values():
        for key, wrong in dataset.wrong.items():
            yield Trouble(f"object {dataset.key}", f"photo {key} {wrong}", "as written", do)


def nobody_left_half_a_file(case: Case) -> Iterator[Trouble]:
    """No hidden file of a writer that is no more lies about."""
    for hidden in case.bucket.hidden:
        if not hidden.held and case.settled(hidden.modified_at):
            found = f"half a file of {hidden.modified_at.isoformat()}; its writer is gone"
            do = "Restart the platform: it sweeps them."
            yield Trouble(f"file {hidden.path}", found, "none", do)


def nothing_lies_in_the_future(case: Case) -> Iterator[Trouble]:
    """No time that is stored lies after the platform's own time."""
    latest = case.now + case.skew
    evidence = case.evidence
    stored = moments(evidence.ledger, evidence.executions, evidence.training, evidence.bucket)
    for subject, at in stored:
        if at > latest:
            do = "Set the machine's clock; what waits for that time goes on then."
            found = f"{at.isoformat()}, and it is {case.now.isoformat()}"
            yield Trouble(subject, found, "no time to come", do)
