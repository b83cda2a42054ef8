"""The registered state machines: definitions with their placeholders filled in, parsed once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from workflows.engine.definition import Machine
from workflows.engine.errors import (
    InvalidArn,
    InvalidDefinition,
    InvalidName,
    StateMachineDoesNotExist,
)
from workflows.engine.jsontext import Json, decode, encode
from workflows.engine.parse import Supports, parse_machine

DEFINITION_LIMIT_CHARACTERS: Final = 1_048_576
NAME_LIMIT_CHARACTERS: Final = 80

_FORBIDDEN_IN_NAMES: Final = re.compile(r"[\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]")
_PLACEHOLDER: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Registered:
    """A state machine as it is now."""

    name: str
    arn: str
    definition: str
    machine: Machine


class Registry:
    """State machines by name, and the parsed form of every definition met so far."""

    def __init__(self, *, region: str, account: str, supports: Supports) -> None:
        self._prefix = f"arn:aws:states:{region}:{account}"
        self._supports = supports
        self._machines: dict[str, Registered] = {}
        self._parsed: dict[str, Machine] = {}

    def register(
        self, name: str, definition: Mapping[str, Json], substitutions: Mapping[str, str]
    ) -> Registered:
        """Create a state machine or give it a new definition.

        Raises:
            InvalidName: AWS would refuse the name.
            InvalidDefinition: the definition breaks the language, or a placeholder stays open.
            UnsupportedDefinition: it is beyond this engine.
        """
        check_name(name)
        try:
            text = encode(substitute(definition, substitutions))
        except RecursionError:
            raise InvalidDefinition("It is nested too deeply", location="") from None
        arn = f"{self._prefix}:stateMachine:{name}"
        registered = Registered(name, arn, text, self.parsed(text))
        self._machines[name] = registered
        return registered

    def find(self, name_or_arn: str) -> Registered:
        """Return a state machine.

        Raises:
            StateMachineDoesNotExist: none is registered under this name or ARN.
        """
        name = name_or_arn.removeprefix(f"{self._prefix}:stateMachine:")
        if name not in self._machines:
            raise StateMachineDoesNotExist(
                f"No state machine is registered as {name_or_arn!r}; there are "
                f"{', '.join(sorted(self._machines)) or 'none'}"
            )
        return self._machines[name]

    def parsed(self, text: str) -> Machine:
        """Return a definition's parsed form.

        Raises:
            InvalidDefinition: it cannot be run.
        """
        if text not in self._parsed:
            if len(text) > DEFINITION_LIMIT_CHARACTERS:
                raise InvalidDefinition(
                    f"A definition has at most {DEFINITION_LIMIT_CHARACTERS} characters, not "
                    f"{len(text)}",
                    location="",
                )
            try:
                self._parsed[text] = parse_machine(decode(text), supports=self._supports)
            except RecursionError:
                raise InvalidDefinition("It is nested too deeply", location="") from None
        return self._parsed[text]

    def execution_arn(self, machine: Registered, name: str) -> str:
        """Return the ARN of an execution.

        Raises:
            InvalidName: AWS would refuse the name.
        """
        check_name(name)
        return f"{self._prefix}:execution:{machine.name}:{name}"

    def check_execution_arn(self, arn: str) -> None:
        """Refuse what is no ARN of an execution.

        Raises:
            InvalidArn: it is none.
        """
        if not re.fullmatch(r"arn:[^:]+:states:[^:]*:[^:]*:execution:[^:]+:[^:]+", arn):
            raise InvalidArn(f"Invalid Arn: {arn!r} names no execution")


def check_name(name: str) -> None:
    """Refuse a name that AWS would refuse.

    Raises:
        InvalidName: it is empty, too long, or holds a forbidden character.
    """
    if not 0 < len(name) <= NAME_LIMIT_CHARACTERS or _FORBIDDEN_IN_NAMES.search(name):
        raise InvalidName(
            f"Invalid Name: {name!r}; a name has 1 to {NAME_LIMIT_CHARACTERS} characters, without "
            'spaces, brackets or any of ?*"#%\\^|~`$&,;:/'
        )


def substitute(definition: Json, substitutions: Mapping[str, str], location: str = "") -> Json:
    """Fill in `${Name}` placeholders, as CloudFormation's DefinitionSubstitutions does.

    Raises:
        InvalidDefinition: there is no substitution for a placeholder.
    """
    if isinstance(definition, dict):
        return {
            key: substitute(value, substitutions, f"{location}/{key}")
            for key, value in definition.items()
        }
    if isinstance(definition, list):
        return [
            substitute(value, substitutions, f"{location}/{index}")
            for index, value in enumerate(definition)
        ]
    if not isinstance(definition, str):
        return definition

    def fill_in(match: re.Match[str]) -> str:
        if match[1] not in substitutions:
            raise InvalidDefinition(f"Nothing was given for {match[0]}", location=location)
        return substitutions[match[1]]

    return _PLACEHOLDER.sub(fill_in, definition)
