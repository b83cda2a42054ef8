"""What people, disks and strangers' servers do wrong: one sentence, an exit code, no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli.exits import Exit
from tests.cli.platform import HALF, ID, MODEL, TRAINING, URL, Shell, onboarding, write_platform

HALF_A_CHARACTER = "\udcff"
"""How Python hands over an argument that is no UTF-8."""
WORDS = [
    *["", " ", "\n", "\x00", "\x1b[2J", "../../etc", "-", "--", "漢" * 300, "a" * 100_000],
    *[HALF_A_CHARACTER, "’", "'; drop", "%00", "${HOME}", "\u202e", "1e999", "nan", "-1", "٣"],
]
Answering = Callable[[httpx.Request], httpx.Response]


def typed(shell: Shell, *words: str) -> int:
    """Type a command; a refusal of the parser itself counts as its exit code."""
    try:
        return shell(*words)
    except SystemExit as ended:
        return int(ended.code or 0)


def is_told_well(shell: Shell) -> bool:
    shell.err.encode()
    return "Traceback" not in shell.out + shell.err and "\x1b" not in shell.out + shell.err


# arguments


@pytest.mark.parametrize("word", WORDS, ids=lambda word: repr(word)[:20])
def test_no_argument_whatever_it_holds_makes_a_command_fail_in_another_way(shell, photos, word):
    for words in (
        ["onboard", str(photos), "--user", word],
        ["onboard", str(photos), "--user", "ada", "--model", word],
        ["onboard", str(photos), "--user", "ada", "--prompt", word],
        ["onboard", str(photos), "--user", "ada", "--trigger", word],
        ["onboard", str(photos), "--user", "ada", "--consent-by", word],
        ["onboard", str(photos), "--user", "ada", "--idempotency-key", word],
        ["onboard", word, "--user", "ada"],
        ["status", word],
        ["status", "--user", word],
        ["cancel", word],
        ["models", "--user", word],
        ["generate", word, "--user", "ada", "--out", str(photos)],
        ["generate", "x", "--user", "ada", "--negative", word, "--out", str(photos)],
        ["generate", "x", "--user", "ada", "--guidance", word, "--out", str(photos)],
        ["key", word],
        ["key", "default", "--user", word],
        ["models", "--url", word, "--key", "x"],
        ["models", "--url", URL, "--key", word],
        ["down", "--home", word],
        [word],
    ):
        assert typed(shell, *words) in set(Exit), words
        assert is_told_well(shell), words


@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.sampled_from(["status", "models", "cancel", "generate", "key", "down"]),
    st.lists(st.sampled_from(["--user", "--json", "--limit", "--out"]) | st.text(), max_size=4),
)
def test_no_command_line_ends_in_a_traceback(shell, command, words):
    if "-h" not in words:
        assert typed(shell, command, *words) in set(Exit)
        assert is_told_well(shell)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8700", "ftp://x", "http://", "http://[", "http://x:99999", "http://a b", "x"]
)
def test_an_address_that_is_none_is_a_mistake_of_the_command_line(shell, url):
    assert shell("models", "--url", url, "--key", "k") == Exit.USAGE
    assert "is no address such as" in shell.err


# folders and files


def test_a_folder_or_a_photo_that_is_something_else_is_named(shell, tmp_path, photos):
    (tmp_path / "file").write_text("x")
    assert shell("onboard", str(tmp_path / "file"), "--user", "ada") == Exit.NOT_FOUND
    assert "is a file" in shell.err
    assert shell("onboard", str(tmp_path / ("x" * 300)), "--user", "ada") == Exit.REFUSED
    assert "file name too long" in shell.err
    os.mkfifo(photos / "05.jpg")
    (photos / "06.jpg").symlink_to(photos / "06.jpg")
    (photos / "07.jpg").mkdir()
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert len(shell.platform.files) == 4


CAPTIONS = {
    b"": "no readable JSON",
    b"[]": "does not give each file name a caption",
    b'{"01.jpg": 1}': "does not give each file name a caption",
    b'{"01.jpg": "a", "01.jpg": "b"}': "keys stand twice",
    b"[" * 100_000: "no readable JSON",
    b"\xff\xfe": "no readable JSON",
    b'{"01.jpg": "\\ud800"}': "half a surrogate pair",
    b'{"01.jpg": "a\\nb"}': "printable characters",
    b'{"01.jpg": "%s"}' % (b"a" * 1001): "at most 1000",
    b'{"01.jpg": NaN}': "NaN",
    b'"%s"' % (b"a" * 2**20): "at most 1,048,576",
    b'{"99.jpg": "a"}': "which the folder does not hold",
}


@pytest.mark.parametrize("body", CAPTIONS, ids=lambda body: repr(body)[:20])
def test_captions_that_do_not_read_are_refused_before_anything_is_sent(shell, photos, body):
    (photos / "captions.json").write_bytes(body)
    assert shell("onboard", str(photos), "--user", "ada") == Exit.REFUSED
    assert CAPTIONS[body] in shell.err
    assert not shell.platform.asked


def test_captions_with_a_mark_of_windows_are_read(shell, photos):
    (photos / "captions.json").write_bytes(b'\xef\xbb\xbf{"01.jpg": "a zorp"}')
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert shell.platform.bodies["POST /v1/uploads"]["photos"][0]["caption"] == "a zorp"


def test_captions_that_are_a_folder_are_named(shell, photos):
    (photos / "captions.json").mkdir()
    assert shell("onboard", str(photos), "--user", "ada") == Exit.REFUSED
    assert "captions.json: is a directory" in shell.err


# the home folder


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"pid": NaN}'],
    ids=lambda body: repr(body)[:20],
)
def test_a_platform_json_that_does_not_read_is_told_with_what_to_do(shell, body):
    (shell.home / "platform.json").write_bytes(body)
    for command in (["models"], ["down"], ["up"]):
        assert shell(*command) == Exit.BROKEN
        assert "platform.json does not read" in shell.err
        assert "remove it" in shell.err


@pytest.mark.parametrize("change", [{"pid": "1"}, {"api_url": 7}, {"key": None}, {"pid": True}])
def test_a_platform_json_with_wrong_types_is_told_with_the_place(shell, change):
    write_platform(shell.home, **change)
    assert shell("models") == Exit.BROKEN
    assert next(iter(change)) in shell.err


def test_a_home_that_is_a_file_is_told(shell, tmp_path):
    (tmp_path / "file").write_text("x")
    for command in ("up", "down", "models"):
        assert shell(command, "--home", str(tmp_path / "file")) == Exit.REFUSED
        assert "is a file; name a folder" in shell.err


def test_a_platform_json_that_is_a_folder_is_told(shell):
    (shell.home / "platform.json").unlink()
    (shell.home / "platform.json").mkdir()
    assert shell("models") == Exit.BROKEN


# other servers


def html(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, html="<h1>Welcome to nginx</h1>")


def of(body: Any, status: int = 200) -> Answering:
    return lambda _: httpx.Response(status, json=body)


def broken(_: httpx.Request) -> httpx.Response:
    raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")


def garbled(request: httpx.Request) -> httpx.Response:
    raise httpx.DecodingError("incorrect header check", request=request)


def elsewhere(_: httpx.Request) -> httpx.Response:
    return httpx.Response(302, headers={"Location": "https://example.org/login"})


SERVERS: dict[str, Answering] = {
    "html": html,
    "an empty body": lambda _: httpx.Response(200),
    "half a body": lambda _: httpx.Response(200, content=b'{"items": [{"id": '),
    "a list": of([]),
    "null": of(None),
    "another object": of({"status": "ok"}),
    "items that are none": of({"items": [1, None], "next_cursor": None, "images": 1}),
    "items that are text": of({"items": "x", "next_cursor": None}),
    "deep": lambda _: httpx.Response(200, content=b"[" * 100_000),
    "a redirect": elsewhere,
    "a broken connection": broken,
    "a broken encoding": garbled,
    "a problem that is none": of(["x"], 400),
    "a problem of wrong types": of({"detail": 1, "do": [], "facts": 7, "code": {}}, 500),
    "a teapot": lambda _: httpx.Response(418),
    "busy for a thousand years": lambda _: httpx.Response(
        429, json={"detail": "wait"}, headers={"Retry-After": "9" * 30}
    ),
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_is_no_platform_is_told_in_a_sentence(shell, photos, server):
    shell.platform = SERVERS[server]
    for words in (
        ["onboard", str(photos), "--user", "ada"],
        ["status"],
        ["status", ID],
        ["status", ID, "--watch"],
        ["cancel", ID],
        ["models"],
        ["generate", "x", "--user", "ada", "--out", str(photos)],
    ):
        assert shell(*words) in set(Exit) - {Exit.DONE}, words
        assert is_told_well(shell), words
        assert len(shell.err.strip().splitlines()) <= 3, shell.err


def test_a_server_that_answers_pages_is_told_from_a_platform(shell):
    shell.platform = html
    assert shell("models") == Exit.UNREACHABLE
    assert "/v1/models answered is no JSON" in shell.err


def test_a_redirect_is_told_with_where_it_leads(shell):
    shell.platform = elsewhere
    assert shell("models") == Exit.UNREACHABLE
    assert "leads to https://example.org/login" in shell.err


def test_what_a_platform_says_obeys_no_terminal(shell):
    evil = onboarding(waiting_for="\x1b]0;owned\x07\x1b[2Jnext\r", user_id="a\x1b[31m")
    shell.platform.looks = [evil]
    shell.platform.models = [{**MODEL, "instance_prompt": "\x9b31m"}]
    for words in (["status", ID], ["models"]):
        assert shell(*words) == Exit.DONE
        assert not set(shell.out) & {"\x1b", "\x07", "\r", "\x9b"}


def test_names_that_a_platform_gives_to_pictures_lead_nowhere(shell, tmp_path):
    names = ["../../../escaped.png", "/etc/passwd", ".hidden"]
    progress = {**HALF, "previews": names, "samples": []}
    ended = onboarding(*TRAINING, ("failed", 9.0), progress=progress)
    shell.platform.looks = [ended]
    shell.platform.refusals = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if "/images/" in request.url.path:
            return httpx.Response(200, content=b"png")
        return httpx.Response(200, json=ended)

    shell.platform = answer
    out = tmp_path / "a" / "b" / "out"
    shell("status", ID, "--watch", "--out", str(out))
    assert len(list(out.iterdir())) == 3
    assert not list(tmp_path.rglob("escaped.png"))


def test_names_that_a_platform_gives_to_drawings_lead_nowhere(shell, tmp_path):
    drawn = {
        "model": "../../x",
        "version": "/v",
        "images": [{"seed": "../7", "image_base64": "AAAA"}],
        "format": "/../png",
        "width": 1,
        "height": 1,
        "seconds": 1.0,
    }
    shell.platform = of(drawn)
    out = tmp_path / "a" / "out"
    assert shell("generate", "x", "--user", "ada", "--out", str(out)) == Exit.DONE
    assert [path.parent for path in tmp_path.rglob("*png")] == [out]


def test_refusals_are_json_where_json_is_wanted(shell, tmp_path):
    (tmp_path / "file").write_text("x")
    assert shell("models", "--json", "--home", str(tmp_path / "file")) == Exit.REFUSED
    assert json.loads(shell.out)["error"]["exit_code"] == Exit.REFUSED


def test_a_place_that_cannot_be_written_is_told(shell):
    place = Path("/proc/nowhere")
    code = shell("generate", "x", "--user", "ada", "--out", str(place))
    assert code == Exit.REFUSED
    assert is_told_well(shell)
