"""Chaos, ten seeds with real training and ten with a program that trains nothing.

    python -m benchmarks.chaos [--real 20] [--nothing 1000] [--seeds 10] [--again]

A seed that was measured at this commit is not run again unless asked; the result file grows seed by
seed, so that an interrupted measurement goes on. Each row names the commit that it was measured at.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.cli.chaos import photos_of
from atelier.contracts.clock import SystemClock, to_iso
from benchmarks.machine import commit, machine
from infra.chaos.plan import Program, plan_of
from infra.chaos.run import run_plan

RESULT = Path(__file__).with_name("results") / "chaos.json"
FIGURES = ("lost", "doubled", "outcomes_missing", "leaks")


def measure(seed: int, onboardings: int, program: Program, clock: SystemClock) -> dict[str, Any]:
    """Run one seed and return its row; what a run with findings left is kept and named."""
    folder = Path(tempfile.mkdtemp(prefix=f"atelier-chaos-{program}-{seed}-"))
    plan = plan_of(seed, onboardings, program)
    report = run_plan(plan, folder, clock=clock, photos=photos_of(program))
    if report.holds:
        shutil.rmtree(folder)
    else:
        sys.stderr.write(f"seed {seed} of {program}: {folder}\n")
    return {**report.to_dict(), "commit": commit(), "measured_at": to_iso(clock.now())}


def rows(given: argparse.Namespace, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the row of every seed, measured now or, at this very commit, before."""
    clock = SystemClock()
    before = {(r["program"], r["seed"], r["onboardings"], r["commit"]): r for r in known}
    for program, onboardings in ((Program.REAL, given.real), (Program.NOTHING, given.nothing)):
        for seed in range(1, given.seeds + 1) if onboardings else ():
            row = before.get((program, seed, onboardings, commit()))
            if row is None or given.again or not row["holds"]:
                row = measure(seed, onboardings, program, clock)
                sys.stderr.write(
                    f"{program}, seed {seed}: {'held' if row['holds'] else row['findings']}, "
                    f"{row['seconds']} s\n"
                )
            yield row


def summary(measured: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return the sums of all rows, by program."""
    sums: dict[str, Any] = {}
    for program in Program:
        mine = [row for row in measured if row["program"] == program]
        rated = [row["eta_within_20"] for row in mine if row["eta_within_20"] is not None]
        sums[program.value] = {
            "seeds": len(mine),
            "onboardings": sum(row["onboardings"] for row in mine),
            "faults": sum(sum(row["faults"].values()) for row in mine),
            **{name: sum(row[name] for row in mine) for name in FIGURES},
            "findings": sum(len(row["findings"]) for row in mine),
            "eta_within_20": round(sum(rated) / len(rated), 3) if rated else None,
            "seconds": round(sum(row["seconds"] for row in mine), 1),
        }
    return sums


def main() -> int:
    """Measure, write the result after every seed, and print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--real", type=int, default=20, help="onboardings of a real seed; 0: none")
    parser.add_argument("--nothing", type=int, default=1000, help="the same with nothing trained")
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds, from 1")
    parser.add_argument("--again", action="store_true", help="measure what was measured, too")
    given = parser.parse_args()
    known = json.loads(RESULT.read_text())["seeds"] if RESULT.exists() else []
    measured: list[dict[str, Any]] = []
    RESULT.parent.mkdir(exist_ok=True)
    for row in rows(given, known):
        measured.append(row)
        seeds = [*measured, *_others(known, measured)]
        seeds.sort(key=lambda row: (row["program"] != Program.REAL, row["seed"]))
        result = {
            "benchmark": "chaos",
            **summary(seeds),
            "machine": machine(),
            "seeds": seeds,
        }
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
    line = {"benchmark": "chaos", **summary(measured), "commit": commit()}
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if all(row["holds"] for row in measured) else 1


def _others(
    known: list[dict[str, Any]], measured: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield rows of an earlier measurement that are not measured again yet."""
    done = {(row["program"], row["seed"]) for row in measured}
    yield from (row for row in known if (row["program"], row["seed"]) not in done)


if __name__ == "__main__":
    sys.exit(main())
