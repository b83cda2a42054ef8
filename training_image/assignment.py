"""What this host is to do: its rank among the job's hosts, and its share of the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from atelier.contracts import ids, keys
from atelier.contracts.container import (
    MANIFEST_DIGEST_HYPERPARAMETER,
    MANIFEST_HYPERPARAMETER,
    MlFolder,
)
from atelier.contracts.documents import MAX_DOCUMENT_BYTES, DocumentError, decode, parse_json
from atelier.contracts.errors import ContractBroken
from atelier.contracts.manifest import TrainingManifest, TrainingTask
from atelier.objects import Objects


@dataclass(frozen=True, slots=True)
class Assignment:
    """One host's part of a training job.

    Attributes:
        manifest: the whole job's.
        host: SageMaker's name of this host.
        rank: its place among the sorted hosts, 0 first.
        tasks: what this host trains, in the manifest's order.
    """

    manifest: TrainingManifest
    host: str
    rank: int
    tasks: tuple[TrainingTask, ...]


def read_assignment(ml: MlFolder, *, objects: Objects) -> Assignment:
    """Read hyperparameters and resource configuration, then the manifest that they name.

    Raises:
        ContractBroken: a file is missing or does not read, or the manifest is another than the
            hyperparameters say.
        ObjectMissing, ServiceUnavailable: the manifest cannot be fetched.
    """
    given = _read(ml, "hyperparameters.json")
    missing = {MANIFEST_HYPERPARAMETER, MANIFEST_DIGEST_HYPERPARAMETER} - set(given)
    if missing:
        raise ContractBroken(f"hyperparameters.json lacks {sorted(missing)}", where="$")
    key, digest = (
        str(given[name]) for name in (MANIFEST_HYPERPARAMETER, MANIFEST_DIGEST_HYPERPARAMETER)
    )
    try:
        keys.check_key(key)
    except ValueError as problem:
        raise ContractBroken(
            f"hyperparameters.json {MANIFEST_HYPERPARAMETER}: {problem}", where="$"
        ) from problem
    body = objects.read(key, max_bytes=MAX_DOCUMENT_BYTES)
    if ids.digest_of(body) != digest:
        raise ContractBroken(
            f"manifest {key} has the digest {ids.digest_of(body)}, not {digest[:80]}: another "
            "manifest was written under this job's name",
            where=key,
        )
    try:
        manifest = TrainingManifest.from_json(body)
    except DocumentError as problem:
        raise ContractBroken(f"manifest {key}: {problem}", where=problem.where) from problem
    host, hosts = _hosts(ml)
    rank = hosts.index(host)
    if rank >= len(manifest.hosts):
        raise ContractBroken(
            f"host {host} has rank {rank}; manifest {key} has {len(manifest.hosts)} shares",
            where="$.hosts",
        )
    return Assignment(manifest, host, rank, manifest.share(rank))


def _hosts(ml: MlFolder) -> tuple[str, tuple[str, ...]]:
    given = _read(ml, "resourceconfig.json")
    try:
        host = decode(str, given.get("current_host"), "$.current_host")
        hosts = tuple(sorted(decode(tuple[str, ...], given.get("hosts"), "$.hosts")))
    except DocumentError as problem:
        raise ContractBroken(f"resourceconfig.json: {problem}", where=problem.where) from problem
    if host not in hosts:
        raise ContractBroken(
            f"resourceconfig.json: host {host} is none of {list(hosts)}", where="$.hosts"
        )
    return host, hosts


def _read(ml: MlFolder, name: str) -> dict[str, object]:
    path = ml.hyperparameters.parent / name
    try:
        found = parse_json(path.read_bytes())
    except (OSError, DocumentError) as problem:
        raise ContractBroken(f"{path} does not read: {problem}", where=name) from problem
    if not isinstance(found, dict):
        raise ContractBroken(f"{path} holds no object", where=name)
    return found
