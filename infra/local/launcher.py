"""Tie the program that is started to the platform's life, then become it.

    python -I -S launcher.py <platform's process id> <command> [arguments …]

On Linux the kernel kills the program when the platform's thread that started it ends
(prctl(2), PR_SET_PDEATHSIG, which survives exec). A fresh interpreter does it, because code
between fork and exec is not safe in a process with threads. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_CANNOT_START = 127


def main(arguments: list[str]) -> int:
    """Become the program; return 127, as shells do, when it cannot be started."""
    platform, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != int(platform):
            return _CANNOT_START
    try:
        os.execvp(command[0], command)  # noqa: S606 - the point of a launcher
    except OSError as problem:
        sys.stderr.write(f"{command[0]} cannot be started: {problem}\n")
    return _CANNOT_START


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
