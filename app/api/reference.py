"""`GET /docs`: the OpenAPI document as one page to read; it fetches nothing elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from fastapi import Request
from fastapi.responses import HTMLResponse

Document = Mapping[str, Any]

HEADERS: Final = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
p, td { white-space: pre-line } h2 { margin-top: 3rem } h3 { margin: 2rem 0 0 }
code, h3 { font-family: ui-monospace, monospace } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0 }
tr { border-bottom: 1px solid #8884 } .lead { white-space: pre-wrap }
:root { color-scheme: light dark }
"""
LIMITS: Final[Mapping[str, str]] = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches {}",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "default": "default {}",
}
"""JSON Schema's keyword → how it is told."""


def reference(request: Request) -> HTMLResponse:
    """Answer the page."""
    return HTMLResponse(page(request.app.openapi()), headers=HEADERS)


def page(document: Document) -> str:
    """Return an OpenAPI document as HTML: every call, then every shape."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{STYLE}</style><h1>{escape(title)}</h1>",
            f'<p class="lead">{_words(info["description"])}</p>',
            '<p>For programs: <a href="/openapi.json">/openapi.json</a></p><h2>Calls</h2>',
            *_calls(document["paths"]),
            "<h2>Shapes</h2>",
            *_shapes(document["components"]["schemas"]),
        ]
    )


def _calls(paths: Document) -> Iterator[str]:
    for path, methods in paths.items():
        for method, call in methods.items():
            yield f"<h3>{method.upper()} {escape(path)}</h3>"
            yield f"<p>{_words(call.get('description') or call['summary'])}</p><table>"
            for given in call.get("parameters", ()):
                told = given.get("description", "")
                needed = ", needed" if given.get("required") else ""
                yield _row(f"{given['name']} ({given['in']}{needed})", given["schema"], told)
            for content in call.get("requestBody", {}).get("content", {}).values():
                yield _row("body", content["schema"], "")
            for status, answer in sorted(call["responses"].items()):
                shape: Document = {}
                for content in answer.get("content", {}).values():
                    shape = content.get("schema", {})
                yield _row(f"answers {status}", shape, answer["description"])
            yield "</table>"


def _shapes(schemas: Document) -> Iterator[str]:
    for name, schema in sorted(schemas.items()):
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>'
        yield f"<p>{_words(schema.get('description', ''))}</p><table>"
        if "properties" not in schema:
            yield _row("value", schema, "")
        for field, told in schema.get("properties", {}).items():
            needed = " (needed)" if field in schema.get("required", ()) else ""
            yield _row(f"{field}{needed}", told, told.get("description", ""))
        yield "</table>"


def _row(name: str, schema: Document, told: str) -> str:
    return f"<tr><th>{escape(name)}<td>{_kind(schema)}<td>{_words(told)}"


def _kind(schema: Document) -> str:
    """Return what a value may be, with its limits."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        kind = " or ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"])
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        kind = " or ".join(map(_kind, choices))
    elif schema.get("type") == "array":
        kind = f"list of {_kind(schema.get('items', {}))}"
    else:
        kind = escape(str(schema.get("format") or schema.get("type", "")))
    limits = [
        escape(words.format(schema[keyword]))
        for keyword, words in LIMITS.items()
        if schema.get(keyword) is not None
    ]
    return ", ".join([kind, *limits] if kind else limits)


def _words(text: str) -> str:
    """Return words with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
