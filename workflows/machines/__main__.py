"""Compile the state machines: `python -m workflows.machines [--check | --draw]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from workflows.machines import compiling
from workflows.machines.asl import MACHINES


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the definitions, or with `--check` say whether the committed ones are current."""
    parser = argparse.ArgumentParser(prog="python -m workflows.machines", description=__doc__)
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; print a diff and exit 1 when a committed definition is not current",
    )
    given = parser.parse_args(arguments)
    return _check() if given.check else _write()


def _write() -> int:
    for name, machine in MACHINES.items():
        text = compiling.compile_machine(name)
        machine.path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{machine.path.name}: {len(text):,} characters\n")
    return 0


def _check() -> int:
    differences = [text for name in MACHINES if (text := compiling.difference(name))]
    for text in differences:
        sys.stderr.write(text)
    if differences:
        sys.stderr.write("Run `python -m workflows.machines` and commit what it writes.\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
