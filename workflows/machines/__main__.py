"""Compile the state machines: `python -m workflows.machines [--check | --draw FOLDER]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from workflows.machines.asl import MACHINES, load
from workflows.machines.drawing import draw


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the definitions; `--check`: are the committed ones current; `--draw`: draw them."""
    parser = argparse.ArgumentParser(prog="python -m workflows.machines", description=__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check",
        action="store_true",
        help="write nothing; print a diff and exit 1 when a committed definition is not current",
    )
    action.add_argument(
        "--draw",
        type=Path,
        metavar="FOLDER",
        help="write each committed definition's state diagram as FOLDER/<name>.mmd (Mermaid)",
    )
    given = parser.parse_args(arguments)
    if given.draw is not None:
        return _draw(given.draw)
    # Importing the SDK takes two seconds, which a drawing need not wait for.
    from workflows.machines import compiling  # noqa: PLC0415

    return compiling.check(sys.stderr) if given.check else compiling.write(sys.stdout, sys.stderr)


def _draw(folder: Path) -> int:
    for name in MACHINES:
        path = folder / f"{name}.mmd"
        path.write_text(draw(load(name)), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
