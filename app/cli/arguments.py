"""The command line: every command with its arguments, one function each, and the help."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from app.cli.exits import MEANING
from atelier.contracts.base_models import BASE_MODELS, DEFAULT_BASE, DEFAULT_PRESET
from atelier.contracts.generation import MAX_ADAPTER_SCALE, MAX_IMAGES, ImageFormat, Scheduler
from atelier.contracts.prompts import DEFAULT_GUIDANCE, MAX_GUIDANCE
from atelier.contracts.request import DEFAULT_MODEL, DEFAULT_SUBJECT
from atelier.contracts.settings import PresetName

DEFAULT_PORT: Final = 8700
DEFAULT_HOME: Final = ".atelier"

EXIT_CODES: Final = "exit codes:\n" + "".join(
    f"  {int(code):>3}  {meaning}\n" for code, meaning in MEANING.items()
)
ENVIRONMENT: Final = f"""\
environment:
  ATELIER_HOME  the local platform's folder instead of {DEFAULT_HOME}
  ATELIER_URL, ATELIER_KEY  another platform than the local one
"""


AN_ID: Final = "the onboarding's id, or its first 6 characters and more"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help with room for the names of options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=96)


class _Version(argparse.Action):
    """Look the version up only when somebody asks for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        from importlib.metadata import version  # noqa: PLC0415 - 20 ms that other commands save

        parser.exit(message=f"atelier {version('atelier-personal-models')}\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line; argparse itself ends the process with 2 when it does not read."""
    return build_parser().parse_args(arguments)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="atelier",
        description="A model of their own for every person: photos in, images out.",
        epilog=f"{EXIT_CODES}\n{ENVIRONMENT}",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    parser.add_argument("--json", action="store_true", help="print JSON; one document a line")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    local, remote = _local(), _remote()

    def add(name: str, summary: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=summary,
            epilog="`atelier --help` lists the exit codes.",
            formatter_class=_Help,
            parents=list(parents),
        )

    _up(add("up", "Start the local platform; its state is one folder.", local))
    add("down", "Stop the local platform; what is under way goes on at the next start.", local)
    _photos(add("photos", "Look at a folder of photos and say which would be used.", local))
    _onboard(add("onboard", "Upload a folder of photos and start an onboarding.", local, remote))
    _status(add("status", "Show one onboarding, or list them.", local, remote))
    _why(add("why", "Say where an onboarding is, and when it will be ready.", local, remote))
    _logs(add("logs", "Tell what happened to an onboarding, part by part, in time order.", local))
    _models(add("models", "List the models that can be drawn with.", local, remote))
    _generate(add("generate", "Draw images with a model.", local, remote))
    _cancel(add("cancel", "Cancel an onboarding, queued or in training.", local, remote))
    redrive = "Let an onboarding that failed in place go on, once the cause is gone."
    _cancel(add("redrive", redrive, local, remote))
    retry = "Try an onboarding once more that failed or was cancelled."
    _cancel(add("retry", retry, local, remote))
    _key(add("key", "Print an API key of the local platform for a tenant.", local))
    _doctor(add("doctor", "Read all that the local platform stored; name what disagrees.", local))
    _chaos(add("chaos", "Let everything fail while many onboard; see that nothing is lost."))
    return parser


def _local() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,  # It may stand before the command too, which decides then.
        help="print JSON; one document a line",
    )
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help=f"folder of the local platform's state (default: {DEFAULT_HOME})",
    )
    return parser


def _remote() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--url", help="address of another platform than the local one")
    parser.add_argument("--key", help="API key for it")
    return parser


def _up(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port",
        type=_whole(0, 65_535),
        default=DEFAULT_PORT,
        help="of the API; 0 takes any (default: %(default)s)",
    )
    parser.add_argument("--foreground", action="store_true", help="run here, until Ctrl-C")


def _photos(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="photos; nothing is sent")
    parser.add_argument(
        "--base",
        choices=list(BASE_MODELS),
        help=f"base model that they are meant for (default: {DEFAULT_BASE})",
    )
    parser.add_argument(
        "--preset",
        choices=[str(name) for name in PresetName],
        help=f"and its preset (default: {DEFAULT_PRESET})",
    )


def _onboard(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="photos (.jpg .jpeg .png .webp), and perhaps captions.json: file name → caption",
    )
    _user(parser, required=True)
    parser.add_argument(
        "--model", metavar="M", help=f"name of the model to make (default: {DEFAULT_MODEL})"
    )
    parser.add_argument(
        "--preset",
        choices=[str(name) for name in PresetName],
        help="how long and how well to train; nano tries the plumbing in seconds, and no image "
        f"will look like the subject (default: {DEFAULT_PRESET})",
    )
    parser.add_argument(
        "--base", choices=list(BASE_MODELS), help=f"the base model (default: {DEFAULT_BASE})"
    )
    parser.add_argument(
        "--subject",
        metavar="WORD",
        help=f"what the photos show, such as dog (default: {DEFAULT_SUBJECT})",
    )
    parser.add_argument(
        "--trigger",
        metavar="WORD",
        help=f"word that will call the subject (default: {BASE_MODELS[DEFAULT_BASE].trigger})",
    )
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="TEXT",
        help="an image to draw right after training; may be given several times",
    )
    parser.add_argument(
        "--steps",
        type=_whole(1, 20_000),
        metavar="N",
        help="optimiser steps, instead of the preset's",
    )
    parser.add_argument("--seed", type=_whole(0, 2**63 - 1), metavar="N", help="of training")
    parser.add_argument(
        "--deadline-seconds", type=_whole(60, 604_800), metavar="N", help="give up after so long"
    )
    parser.add_argument("--priority", type=_whole(0, 9), metavar="N", help="0 to 9, higher first")
    parser.add_argument(
        "--new-version", action="store_true", help="make the next version of a model that exists"
    )
    parser.add_argument(
        "--consent-by",
        default="operator",
        metavar="NAME",
        help="who allowed the use of the photos; kept with them (default: %(default)s)",
    )
    parser.add_argument(
        "--idempotency-key",
        metavar="WORD",
        help="the same word and input are the same onboarding; without it the input alone decides",
    )
    _watch(parser)


def _status(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onboarding", nargs="?", metavar="ID", help=f"{AN_ID}; all without it")
    _user(parser, required=False)
    parser.add_argument(
        "--limit",
        type=_whole(1, 200),
        default=20,
        metavar="N",
        help="how many to list (default: %(default)s)",
    )
    _watch(parser)


def _why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onboarding", metavar="ID", help=AN_ID)


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onboarding", metavar="ID", help=AN_ID)
    parser.add_argument("--all", action="store_true", help="every line, not the short story alone")
    parser.add_argument("--follow", action="store_true", help="go on until it has ended")


def _models(parser: argparse.ArgumentParser) -> None:
    _user(parser, required=False)


def _generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        help="what to draw; name the subject by its words (`atelier models`)",
    )
    _user(parser, required=True)
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="M",
        help="name of the model to draw with (default: %(default)s)",
    )
    parser.add_argument(
        "-n",
        "--count",
        type=_whole(1, MAX_IMAGES),
        default=1,
        metavar="N",
        help="how many images (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**63 - 1),
        metavar="N",
        help="of the first image; the others count on",
    )
    parser.add_argument("--steps", type=_whole(1, 200), metavar="N", help="denoising steps")
    parser.add_argument(
        "--guidance",
        type=_number(1, MAX_GUIDANCE),
        metavar="X",
        help="how much more the prompt and --negative weigh: 1 adds nothing, higher follows them "
        f"more strictly (default: {DEFAULT_GUIDANCE:g})",
    )
    parser.add_argument("--negative", metavar="TEXT", help="what to avoid")
    parser.add_argument(
        "--scale",
        type=_number(0, MAX_ADAPTER_SCALE),
        metavar="X",
        help="of the adapter: 0 is the base model alone, 1 as trained",
    )
    parser.add_argument("--size", type=_size, metavar="WxH", help="in pixels, such as 64x64")
    parser.add_argument(
        "--scheduler", choices=[str(name) for name in Scheduler], help="denoising schedule"
    )
    parser.add_argument(
        "--format", choices=[str(name) for name in ImageFormat], help="of the files"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="where the files go (default: here)"
    )


def _cancel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("onboarding", metavar="ID", help=AN_ID)


def _key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tenant", metavar="TENANT", help="the organisation")
    parser.add_argument("--user", metavar="U", help="for this user alone, not all of the tenant's")


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace-seconds",
        type=_whole(0, 86_400),
        default=180,
        metavar="N",
        help="what is younger may be under way and is no finding (default: %(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="name the invariants that held, too")


def _chaos(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A platform of its own is killed, starved and lied to while a fleet is onboarded;\n"
        "afterwards every outcome is counted, and the doctor examines what is left.\n"
        "20 onboardings take about 3 minutes, and so do 200 with --program nothing.\n"
        "Exit code 1: an invariant is broken."
    )
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print JSON; one document a line",
    )
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**63 - 1),
        default=1,
        metavar="N",
        help="the same seed plans the same faults everywhere (default: %(default)s)",
    )
    parser.add_argument(
        "--onboardings",
        type=_whole(1, 100_000),
        default=20,
        metavar="M",
        help="how many (default: %(default)s)",
    )
    parser.add_argument(
        "--program",
        choices=["real", "nothing"],
        default="real",
        help="what training jobs run: the real program, or one that trains nothing "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        help="folder of the run, kept; without it a temporary one, kept if anything is found",
    )
    parser.add_argument("--keep", action="store_true", help="keep what the run leaves")


def _user(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--user", required=required, metavar="U", help="the person, as you call them"
    )


def _watch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="follow it until it has ended")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where previews and samples go while watching (default: <home>/previews/<id>)",
    )


def _whole(least: int, most: int) -> Any:
    """Return a reader of whole numbers within bounds, whose refusal says them."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _number(least: float, most: float) -> Any:
    """Return a reader of numbers within bounds, whose refusal says them."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} to {most:g}")
        return number

    return read


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 64x64")
    return int(found[1]), int(found[2])
