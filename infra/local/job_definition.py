"""CreateTrainingJob's request, read strictly: limits, patterns and pairs that SageMaker refuses.

Source: the API reference, sagemaker/latest/APIReference `API_CreateTrainingJob`, and the limits of
botocore's model of it. What this platform does not offer (pipe mode, instance groups, an entry
point of one's own …) is refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from atelier.contracts import keys
from atelier.contracts.errors import InvalidRequest

JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_ROLE_ARN = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
_INSTANCE_TYPE = re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+")
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9.\-_]+")
_VARIABLE = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

MAX_INSTANCES = 20
MAX_RUNTIME_SECONDS = 28 * 24 * 3600
DEFAULT_RUNTIME_SECONDS = 24 * 3600
ML_ROOT = "/opt/ml/"

_OFFERED = frozenset(
    {
        "TrainingJobName",
        "HyperParameters",
        "AlgorithmSpecification",
        "RoleArn",
        "InputDataConfig",
        "OutputDataConfig",
        "ResourceConfig",
        "StoppingCondition",
        "CheckpointConfig",
        "Environment",
        "EnableManagedSpotTraining",
        "RetryStrategy",
    }
)
_WITHOUT_EFFECT = frozenset(
    {
        "Tags",
        "VpcConfig",
        "EnableNetworkIsolation",
        "EnableInterContainerTrafficEncryption",
        "DebugHookConfig",
        "DebugRuleConfigurations",
        "TensorBoardOutputConfig",
        "ExperimentConfig",
        "ProfilerConfig",
        "ProfilerRuleConfigurations",
        "RemoteDebugConfig",
        "InfraCheckConfig",
        "SessionChainingConfig",
    }
)
"""Kept and told again, but one machine has no network, tags or profiler to apply them to."""


@dataclass(frozen=True, slots=True)
class Channel:
    """An input channel in File mode.

    Attributes:
        name: folder below `/opt/ml/input/data`.
        prefix: object key prefix, S3's meaning: any text that keys begin with.
        content_type, record_wrapper: as told to the program, or empty.
        sharded: every host gets its share of the objects, instead of all.
    """

    name: str
    prefix: str
    content_type: str
    record_wrapper: str
    sharded: bool


@dataclass(frozen=True, slots=True)
class Instances:
    """So many instances of one type."""

    instance_type: str
    count: int


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """What the training service needs of a request that was found right.

    Attributes:
        choices: what to run on, in order of preference.
        output_prefix: key prefix that `<job>/output/…` is appended to.
        compressed: outputs as one `.tar.gz`, or file by file.
        checkpoint_prefix: key prefix of the checkpoint sync, or None without one.
        checkpoint_path: the synced folder, relative to `/opt/ml`.
        max_runtime_seconds: the job is stopped then.
    """

    name: str
    hyperparameters: Mapping[str, str]
    environment: Mapping[str, str]
    channels: tuple[Channel, ...]
    choices: tuple[Instances, ...]
    output_prefix: str
    compressed: bool
    checkpoint_prefix: str | None
    checkpoint_path: str
    max_runtime_seconds: int


def read_definition(given: Mapping[str, Any], *, bucket_urls: Sequence[str]) -> JobDefinition:
    """Read a CreateTrainingJob request.

    Args:
        given: the request as boto3 takes it.
        bucket_urls: prefixes under which it may name objects, each ending in `/`.

    Raises:
        InvalidRequest: the first rule that it breaks, with where, found, allowed.
    """
    unknown = sorted(set(given) - _OFFERED - _WITHOUT_EFFECT)
    if unknown:
        raise _invalid(unknown[0], "present", "a field that the local training service offers")
    name = _text(given, "TrainingJobName", most=63, pattern=JOB_NAME)
    _text(given, "RoleArn", least=20, most=2048, pattern=_ROLE_ARN)
    _check_algorithm(_object(given, "AlgorithmSpecification", required=True))
    output = _object(given, "OutputDataConfig", required=True)
    checkpoints = _object(given, "CheckpointConfig")
    retries = _object(given, "RetryStrategy")
    if retries:
        _whole(retries, "RetryStrategy.MaximumRetryAttempts", 1, 30)
    spot = given.get("EnableManagedSpotTraining", False) is True
    return JobDefinition(
        name=name,
        hyperparameters=_texts(given, "HyperParameters", key_most=256, value_most=2500),
        environment=_texts(
            given, "Environment", key_most=512, value_most=512, key_pattern=_VARIABLE
        ),
        channels=tuple(_channels(given, bucket_urls)),
        choices=_choices(_object(given, "ResourceConfig", required=True), spot=spot),
        output_prefix=_key_prefix(output, "OutputDataConfig.S3OutputPath", bucket_urls),
        compressed=_one_of(output, "OutputDataConfig.CompressionType", ("GZIP", "NONE")) == "GZIP",
        checkpoint_prefix=(
            _folder(_key_prefix(checkpoints, "CheckpointConfig.S3Uri", bucket_urls))
            if checkpoints
            else None
        ),
        checkpoint_path=_checkpoint_path(checkpoints),
        max_runtime_seconds=_runtime(_object(given, "StoppingCondition"), spot=spot),
    )


def check_job_name(name: object) -> str:
    """Return a training job's name if it may be one.

    Raises:
        InvalidRequest: it may not.
    """
    return _text({"TrainingJobName": name}, "TrainingJobName", most=63, pattern=JOB_NAME)


def _check_algorithm(given: Mapping[str, Any]) -> None:
    where = "AlgorithmSpecification"
    if ("TrainingImage" in given) == ("AlgorithmName" in given):
        raise _invalid(where, sorted(given), "exactly one of TrainingImage and AlgorithmName")
    if "TrainingImage" in given:
        _text(given, f"{where}.TrainingImage", most=255)
    for field in ("ContainerEntrypoint", "ContainerArguments"):
        if field in given:
            raise _invalid(f"{where}.{field}", "present", "the image's own entry point, here")
    _one_of(given, f"{where}.TrainingInputMode", ("File", "FastFile"), required=True)


def _choices(given: Mapping[str, Any], *, spot: bool) -> tuple[Instances, ...]:
    where = "ResourceConfig"
    if "InstanceGroups" in given:
        raise _invalid(f"{where}.InstanceGroups", "present", "one instance type per job, here")
    _whole(given, f"{where}.VolumeSizeInGB", 1, 16_384)
    _whole(given, f"{where}.KeepAlivePeriodInSeconds", 0, 3600, default=0)
    if spot and given.get("KeepAlivePeriodInSeconds"):
        raise _invalid(
            f"{where}.KeepAlivePeriodInSeconds", "with spot", "no warm pool with managed spot"
        )
    preferences = given.get("InstancePreferences")
    if preferences is None:
        kind = _text(given, f"{where}.InstanceType", most=64, pattern=_INSTANCE_TYPE)
        return (Instances(kind, _whole(given, f"{where}.InstanceCount", 1, MAX_INSTANCES)),)
    where = f"{where}.InstancePreferences"
    if spot or "InstanceType" in given:
        raise _invalid(where, "with InstanceType or spot", "preferences alone")
    return tuple(
        Instances(
            _text(choice, f"{where}[{i}].InstanceType", most=64, pattern=_INSTANCE_TYPE),
            _whole(
                choice,
                f"{where}[{i}].InstanceCount",
                1,
                MAX_INSTANCES,
                default=_whole(given, "ResourceConfig.InstanceCount", 1, MAX_INSTANCES, default=1),
            ),
        )
        for i, choice in enumerate(_objects(preferences, where, 1, 5))
    )


def _channels(given: Mapping[str, Any], bucket_urls: Sequence[str]) -> Iterator[Channel]:
    if "InputDataConfig" not in given:
        return
    seen: set[str] = set()
    for i, channel in enumerate(_objects(given["InputDataConfig"], "InputDataConfig", 1, 20)):
        where = f"InputDataConfig[{i}]"
        name = _text(channel, f"{where}.ChannelName", most=64, pattern=_CHANNEL_NAME)
        if name in seen or not name.strip("."):
            raise _invalid(f"{where}.ChannelName", name, "a name of its own")
        seen.add(name)
        _one_of(channel, f"{where}.InputMode", ("File", "FastFile"))
        _one_of(channel, f"{where}.CompressionType", ("None",))
        source = _object(channel, f"{where}.DataSource", required=True)
        source = _object(source, f"{where}.DataSource.S3DataSource", required=True)
        where += ".DataSource.S3DataSource"
        _one_of(source, f"{where}.S3DataType", ("S3Prefix",), required=True)
        distribution = _one_of(
            source, f"{where}.S3DataDistributionType", ("FullyReplicated", "ShardedByS3Key")
        )
        yield Channel(
            name=name,
            prefix=_key_prefix(source, f"{where}.S3Uri", bucket_urls),
            content_type=str(channel.get("ContentType", "")),
            record_wrapper=str(channel.get("RecordWrapperType", "None")),
            sharded=distribution == "ShardedByS3Key",
        )


def _runtime(given: Mapping[str, Any], *, spot: bool) -> int:
    where = "StoppingCondition"
    runtime = _whole(
        given,
        f"{where}.MaxRuntimeInSeconds",
        1,
        MAX_RUNTIME_SECONDS,
        default=DEFAULT_RUNTIME_SECONDS,
    )
    if spot:
        _whole(given, f"{where}.MaxWaitTimeInSeconds", runtime, MAX_RUNTIME_SECONDS)
    elif "MaxWaitTimeInSeconds" in given:
        raise _invalid(f"{where}.MaxWaitTimeInSeconds", "without spot", "spot training only")
    _whole(given, f"{where}.MaxPendingTimeInSeconds", 1800, 2_419_200, default=1800)
    return runtime


def _checkpoint_path(given: Mapping[str, Any]) -> str:
    path = str(given.get("LocalPath", ML_ROOT + "checkpoints"))
    refused = _invalid("CheckpointConfig.LocalPath", path, f"a folder below {ML_ROOT}")
    if not path.startswith(ML_ROOT):
        raise refused
    try:
        return keys.check_key(path.removeprefix(ML_ROOT).rstrip("/"))
    except ValueError as problem:
        raise refused from problem


def _key_prefix(given: Mapping[str, Any], where: str, bucket_urls: Sequence[str]) -> str:
    url = _text(given, where, most=1024)
    for root in bucket_urls:
        if url.startswith(root) or url + "/" == root:
            inside = url[len(root) :]
            break
    else:
        raise _invalid(where, url, f"a place below {' or '.join(bucket_urls)}")
    try:
        if inside:
            keys.check_key(inside.removesuffix("/"))
    except ValueError as problem:
        raise _invalid(where, url, str(problem)) from problem
    return inside


def _folder(prefix: str) -> str:
    return prefix if prefix.endswith("/") or not prefix else prefix + "/"


def _object(given: Mapping[str, Any], where: str, *, required: bool = False) -> Mapping[str, Any]:
    value = given.get(where.rpartition(".")[2], {} if not required else None)
    if not isinstance(value, Mapping):
        raise _invalid(where, value, "an object")
    return cast("Mapping[str, Any]", value)


def _objects(given: object, where: str, least: int, most: int) -> Sequence[Mapping[str, Any]]:
    if (
        not isinstance(given, list | tuple)
        or not least <= len(given) <= most
        or not all(isinstance(item, Mapping) for item in given)
    ):
        raise _invalid(where, given, f"a list of {least} to {most} objects")
    return cast("Sequence[Mapping[str, Any]]", given)


def _texts(
    given: Mapping[str, Any],
    where: str,
    *,
    key_most: int,
    value_most: int,
    key_pattern: re.Pattern[str] | None = None,
) -> Mapping[str, str]:
    entries = _object(given, where)
    if len(entries) > 100:
        raise _invalid(where, f"{len(entries)} entries", "at most 100")
    for key, value in entries.items():
        if len(key) > key_most or (key_pattern and not key_pattern.fullmatch(key)):
            raise _invalid(f"{where}.{key[:80]}", "this key", f"at most {key_most} characters")
        if not isinstance(value, str) or len(value) > value_most or "\0" in value:
            raise _invalid(f"{where}.{key}", value, f"text of at most {value_most} characters")
    return dict(entries)


def _text(
    given: Mapping[str, Any],
    where: str,
    *,
    least: int = 1,
    most: int,
    pattern: re.Pattern[str] | None = None,
) -> str:
    value = given.get(where.rpartition(".")[2])
    allowed = f"text of {least} to {most} characters"
    if pattern is not None:
        allowed += f" like {pattern.pattern}"
    if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
        raise _invalid(where, value, allowed)
    if pattern is not None and not pattern.fullmatch(value):
        raise _invalid(where, value, allowed)
    return value


def _whole(
    given: Mapping[str, Any], where: str, least: int, most: int, *, default: int | None = None
) -> int:
    value = given.get(where.rpartition(".")[2], default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise _invalid(where, value, f"a whole number from {least:,} to {most:,}")
    return value


def _one_of(
    given: Mapping[str, Any], where: str, allowed: tuple[str, ...], *, required: bool = False
) -> str:
    """Return the field, or the first of `allowed` when it is absent and need not be there."""
    value = given.get(where.rpartition(".")[2], None if required else allowed[0])
    if value not in allowed:
        raise _invalid(where, value, " or ".join(allowed))
    return cast("str", value)


def _invalid(where: str, found: object, allowed: str) -> InvalidRequest:
    shown = repr(found) if not isinstance(found, str) else found
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return InvalidRequest(
        f"CreateTrainingJob: {where}: found {shown}; allowed: {allowed}",
        where=where,
        found=shown,
        allowed=allowed,
    )
