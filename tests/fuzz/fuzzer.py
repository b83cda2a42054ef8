"""The coverage-guided fuzzer: `python -m tests.fuzz.fuzzer --seconds 60 [TARGET …]`.

libFuzzer, through atheris, mutates what reaches new code of ours. Each target runs in a process of
its own; a finding is kept in `cases/<target>/`, where the suite replays it for ever.

Source: https://github.com/google/atheris
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
CASES = HERE / "cases"
OURS = ["atelier", "tasks", "infra", "app", "workflows", "serving_image", "training_image"]
MOST_BYTES = 16_384
SLOW_SECONDS = 10
MEBIBYTES = 2048
DONE = re.compile(rb"^#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+)", re.MULTILINE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the named targets, or all, one after the other; print one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help="folder that keeps what was learned")
    given = parser.parse_args(arguments)
    if given.inside:
        return inside(given.inside, given.seconds, given.corpus)
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - the inner process instruments them

    names = given.targets or [one.name for one in TARGETS]
    found = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            corpus = (given.corpus or Path(temporary)) / name
            told = outside(name, given.seconds, corpus)
            found += told["finding"] is not None
            print(json.dumps(told), flush=True)  # noqa: T201 - what it is for
    return 1 if found else 0


def outside(name: str, seconds: int, corpus: Path) -> dict[str, object]:
    """Run one target in a process of its own; return executions, coverage and what was found."""
    from tests.fuzz.targets import target  # noqa: PLC0415 - as above

    corpus.mkdir(parents=True, exist_ok=True)
    kept = (CASES / name).glob("*") if (CASES / name).is_dir() else ()
    for body in [*target(name).seeds(), *(path.read_bytes() for path in kept)]:
        (corpus / hashlib.sha256(body).hexdigest()[:16]).write_bytes(body)
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.fuzzer", "--inside", name),
                *("--seconds", str(seconds), "--corpus", f"{corpus}"),
            ],
            cwd=place,
            env=_environment(),
            capture_output=True,
            check=False,
        )
        crashes = [path for path in Path(place).iterdir() if path.is_file()]
        case = _keep(name, crashes[0]) if crashes else None
    last = DONE.findall(done.stderr)
    executions, coverage, features = map(int, last[-1]) if last else (0, 0, 0)
    finding = None if done.returncode == 0 else _reason(done.stderr + done.stdout)
    return {
        "target": name,
        "executions": executions,
        "coverage": coverage,
        "features": features,
        "finding": finding,
        "case": case and str(case.relative_to(HERE)),
    }


def inside(name: str, seconds: int, corpus: Path) -> int:
    """Fuzz one target until the time is up or something is found; libFuzzer ends the process."""
    import atheris  # noqa: PLC0415 - a tool of its own

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with atheris.instrument_imports(include=OURS):
            from tests.fuzz.targets import target  # noqa: PLC0415 - instrumented

    one = target(name)

    def try_one(data: bytes) -> None:
        one.try_with(data)

    atheris.Setup(
        [
            *("fuzzer", str(corpus), f"-max_total_time={seconds}", f"-max_len={MOST_BYTES}"),
            *(f"-timeout={SLOW_SECONDS}", f"-rss_limit_mb={MEBIBYTES}", "-print_final_stats=1"),
        ],
        try_one,
    )
    atheris.Fuzz()
    return 0


def _environment() -> dict[str, str]:
    import os  # noqa: PLC0415 - the fuzzer is a root of its own

    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)  # noqa: TID251
    # The inner process works in a folder of its own.
    path = [str(HERE.parents[1]), *(str(Path(name).absolute()) for name in given if name)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}  # noqa: TID251


def _keep(name: str, crash: Path) -> Path:
    folder = CASES / name
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / hashlib.sha256(crash.read_bytes()).hexdigest()[:16]
    kept.write_bytes(crash.read_bytes())
    return kept


def _reason(said: bytes) -> str:
    lines = said.decode(errors="replace").splitlines()
    told = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Failure)\b|ERROR: ", line)]
    return (told or lines[-3:] or ["it ended without a word"])[0][:300]


if __name__ == "__main__":
    sys.exit(main())
