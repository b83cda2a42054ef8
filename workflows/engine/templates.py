"""Payload templates: JSON in which keys that end in `.$` are computed.

Parameters, ResultSelector, ItemSelector, Assign and Credentials are templates; `ErrorPath` and the
like are single expressions. Both are compiled once.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/input-output-inputpath-params.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from workflows.engine.errors import RUNTIME, StateFailure
from workflows.engine.intrinsics import Call, compile_call
from workflows.engine.jsontext import MISSING, Json, encode
from workflows.engine.paths import Path, Scope, compile_path

Expression: TypeAlias = Path | Call
"""A path or a call of an intrinsic function."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A part of a template that computes nothing."""

    value: Json


@dataclass(frozen=True, slots=True)
class Computed:
    """The value of a key that ends in `.$`; `field` is that key, for messages."""

    field: str
    expression: Expression


@dataclass(frozen=True, slots=True)
class ObjectOf:
    """An object with at least one computed part."""

    fields: tuple[tuple[str, Template], ...]


@dataclass(frozen=True, slots=True)
class ArrayOf:
    """An array with at least one computed part."""

    items: tuple[Template, ...]


Template: TypeAlias = Constant | Computed | ObjectOf | ArrayOf


def compile_expression(text: Json) -> Expression:
    """Compile a path or an intrinsic call.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(text, str):
        raise ValueError(f"a path or an intrinsic function is expected, not {encode(text)}")  # noqa: TRY004
    return compile_call(text) if text.startswith("States.") else compile_path(text)


def compile_template(value: Json) -> Template:
    """Compile a payload template.

    Raises:
        ValueError: the value of a key that ends in `.$` is no expression.
    """
    if isinstance(value, dict):
        fields: list[tuple[str, Template]] = []
        for key, item in value.items():
            if key.endswith(".$"):
                fields.append((key[:-2], Computed(key, compile_expression(item))))
            else:
                fields.append((key, compile_template(item)))
        if all(isinstance(part, Constant) for _, part in fields):
            return Constant(value)
        return ObjectOf(tuple(fields))
    if isinstance(value, list):
        items = tuple(compile_template(item) for item in value)
        if all(isinstance(part, Constant) for part in items):
            return Constant(value)
        return ArrayOf(items)
    return Constant(value)


def fill(template: Template, scope: Scope) -> Json:
    """Compute a template's value.

    Raises:
        StateFailure: a path selects nothing, or a function refuses its arguments.
    """
    if isinstance(template, Constant):
        return template.value
    if isinstance(template, Computed):
        return evaluate(template.expression, scope, field=template.field)
    if isinstance(template, ObjectOf):
        return {key: fill(part, scope) for key, part in template.fields}
    return [fill(part, scope) for part in template.items]


def evaluate(expression: Expression, scope: Scope, *, field: str) -> Json:
    """Compute an expression; `field` is where it stands, for the message.

    Raises:
        StateFailure: a path selects nothing, or a function refuses its arguments.
    """
    if isinstance(expression, Call):
        return expression.evaluate(scope)
    value = expression.find(scope)
    if value is MISSING:
        raise StateFailure(
            RUNTIME,
            f"The JSONPath '{expression.text}' specified for the field '{field}' could not be "
            f"found in the input '{encode(scope.data)}'",
        )
    return value
