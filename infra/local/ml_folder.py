"""A training host's `/opt/ml`: laid out before the program starts, carried away after it ends.

Sources: sagemaker/latest/dg `your-algorithms-training-algo-running-container`,
`your-algorithms-training-algo-output`, `model-train-storage-env-var-summary`.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from atelier.contracts.container import FAILURE_CHARACTERS, MlFolder
from atelier.contracts.errors import ObjectMissing
from infra.local.job_definition import Channel, Instances, JobDefinition
from tasks.ports import Objects

GROUP = "homogeneousCluster"
PAGE = 1000


def host_names(count: int) -> list[str]:
    """Return SageMaker's names of so many hosts, sorted as resourceconfig.json has them."""
    return sorted(f"algo-{number}" for number in range(1, count + 1))


def lay_out(folder: MlFolder, definition: JobDefinition, instances: Instances, host: str) -> None:
    """Make the folders and write the three configuration files of one host."""
    hosts = host_names(instances.count)
    for made in (
        folder.hyperparameters.parent,
        folder.root / "input/data",
        folder.model,
        folder.output_data,
        folder.root / definition.checkpoint_path,
    ):
        made.mkdir(parents=True, exist_ok=True)
    _write(folder.hyperparameters, definition.hyperparameters)
    _write(
        folder.input_data_config,
        {
            channel.name: {
                **({"ContentType": channel.content_type} if channel.content_type else {}),
                "TrainingInputMode": "File",
                "S3DistributionType": "ShardedByS3Key" if channel.sharded else "FullyReplicated",
                "RecordWrapperType": channel.record_wrapper,
            }
            for channel in definition.channels
        },
    )
    _write(
        folder.resource_config,
        {
            "current_host": host,
            "current_instance_type": instances.instance_type,
            "current_group_name": GROUP,
            "hosts": hosts,
            "instance_groups": [
                {
                    "instance_group_name": GROUP,
                    "instance_type": instances.instance_type,
                    "hosts": hosts,
                }
            ],
            "network_interface_name": "lo",
        },
    )


def copy_channel(
    objects: Objects, channel: Channel, folder: MlFolder, *, rank: int, hosts: int
) -> None:
    """Copy a channel's objects, or this host's share of them, into its folder.

    Raises:
        ObjectMissing: the prefix has no objects.
    """
    target = folder.channel(channel.name)
    target.mkdir(parents=True, exist_ok=True)
    found = [key for key in keys_below(objects, channel.prefix) if not key.endswith("/")]
    if not found:
        raise ObjectMissing(
            f"channel {channel.name}: no object begins with {channel.prefix}", key=channel.prefix
        )
    for key in found[rank::hosts] if channel.sharded else found:
        path = target / _inside(key, channel.prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(objects.read(key))


def keys_below(objects: Objects, prefix: str) -> Iterator[str]:
    """Yield every key that begins with `prefix`, sorted."""
    after = ""
    while page := objects.list(prefix, after=after, limit=PAGE):
        for info in page:
            yield info.key
        after = page[-1].key


def failure_text(folder: MlFolder) -> str:
    """Return the beginning of the failure file, or nothing when the program left none."""
    try:
        with folder.failure.open("rb") as file:
            text = file.read(4 * FAILURE_CHARACTERS).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return text[:FAILURE_CHARACTERS].strip()


def upload(
    objects: Objects, folders: Sequence[Path], *, name: str, prefix: str, compressed: bool
) -> str:
    """Store what hosts left in one kind of folder; return its key or prefix, empty for nothing.

    Args:
        objects: where to.
        folders: that folder of every host; equal names in two of them: the last host's stays.
        name: `model` or `output`.
        prefix: `<S3OutputPath>/<job>/output/`.
        compressed: as `<name>.tar.gz`, else file by file below `<name>/`.
    """
    files: dict[str, Path] = {}
    for folder in folders:
        files.update({str(path.relative_to(folder)): path for path in _files(folder)})
    if not files:
        return ""
    if compressed:
        key = f"{prefix}{name}.tar.gz"
        objects.put(key, _archive(files), content_type="application/gzip")
        return key
    for inside, path in sorted(files.items()):
        objects.put(f"{prefix}{name}/{inside}", path.read_bytes())
    return f"{prefix}{name}/"


def _archive(files: dict[str, Path]) -> bytes:
    body = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=body, mode="wb", compresslevel=1, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for inside, path in sorted(files.items()):
            content = path.read_bytes()
            member = tarfile.TarInfo(inside)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return body.getvalue()


def _files(folder: Path) -> Iterator[Path]:
    """Yield regular files below a folder; links are not followed and not carried away."""
    if not folder.is_dir():
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _inside(key: str, prefix: str) -> str:
    """Return a key's path within its channel: what follows the prefix's folder."""
    if key.startswith(prefix.rstrip("/") + "/"):
        return key[len(prefix.rstrip("/")) + 1 :]
    return key[prefix.rfind("/") + 1 :]


def _write(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, sort_keys=True))
