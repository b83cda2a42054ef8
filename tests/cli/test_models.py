"""`atelier models` and `atelier generate`."""

from __future__ import annotations

import pytest

from app.cli.exits import Exit
from app.cli.hints import hint
from tests.cli.platform import MODEL, VERSION, at, problem
from tests.conftest import Golden

ROUTE = "POST /v1/models/me/images"
LOADING = "the endpoint is loading the model"


def test_models_are_listed_with_the_words_that_call_them(shell, golden: Golden):
    shell.clock.advance(700)
    shell.platform.models = [MODEL, {**MODEL, "model": "garden", "used_at": at(640)}]
    assert shell("models") == Exit.DONE
    golden("models.txt", shell.out)


def test_no_models_yet_says_where_to_look(shell):
    assert shell("models", "--user", "ada") == Exit.DONE
    assert "atelier status" in shell.out


def test_images_are_saved_under_model_version_and_seed(shell, tmp_path):
    out = tmp_path / "images"
    prompt = "a photo of zorp creature"
    words = ("generate", "--user", "ada", prompt, "-n", "2", "--seed", "7", "--out", str(out))
    assert shell(*words) == Exit.DONE
    assert [p.name for p in sorted(out.iterdir())] == [f"me-{VERSION}-7.png", f"me-{VERSION}-8.png"]
    assert (out / f"me-{VERSION}-7.png").read_bytes() == prompt.encode()
    assert "2 images of 64×64 pixels by ada/me" in shell.out


def test_an_image_never_overwrites_another_one(shell, tmp_path):
    for prompt in ("one", "two", "one"):
        shell("generate", "--user", "ada", prompt, "--out", str(tmp_path))
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {f"me-{VERSION}-0.png", f"me-{VERSION}-0-2.png"}


def test_every_option_of_drawing_is_passed_on(shell, tmp_path):
    options = (
        *("--steps", "9", "--guidance", "3.5", "--negative", "rain", "--scale", "0"),
        *("--size", "64x96", "--scheduler", "euler", "--format", "jpeg", "--out", str(tmp_path)),
    )
    assert shell("generate", "--user", "ada", "x", *options) == Exit.DONE
    assert shell.platform.bodies[ROUTE] == {
        "user_id": "ada",
        "prompt": "x",
        "negative_prompt": "rain",
        "count": 1,
        "denoising_steps": 9,
        "guidance": 3.5,
        "width": 64,
        "height": 96,
        "adapter_scale": 0.0,
        "scheduler": "euler",
        "format": "jpeg",
    }


def test_as_json_images_are_paths(shell, tmp_path):
    shell("generate", "--user", "ada", "x", "--json", "--out", str(tmp_path))
    [drawn] = shell.documents()
    assert drawn["images"] == [{"seed": 0, "path": str(tmp_path / f"me-{VERSION}-0.png")}]
    assert drawn["version"] == VERSION


def test_a_model_that_is_still_loading_is_waited_for(shell, tmp_path):
    loading = [problem(503, "ModelNotReady", LOADING) for _ in range(3)]
    for answer in loading:
        answer.headers["Retry-After"] = "2"
    shell.platform.refusals[ROUTE] = loading
    assert shell("generate", "--user", "ada", "x", "--out", str(tmp_path)) == Exit.DONE
    assert shell.clock.monotonic_seconds() == 6
    assert shell.err == f"{LOADING}; trying again every 2 s\n"


def test_patience_ends(shell, tmp_path):
    busy = [problem(429, "Throttled", "too many requests") for _ in range(99)]
    for answer in busy:
        answer.headers["Retry-After"] = "30"
    shell.platform.refusals[ROUTE] = busy
    assert shell("generate", "--user", "ada", "x", "--out", str(tmp_path)) == Exit.BUSY
    assert shell.clock.monotonic_seconds() <= 180


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "InvalidRequest", Exit.REFUSED),
        (401, "Unauthorized", Exit.NOT_ALLOWED),
        (403, "ConsentMissing", Exit.REFUSED),
        (404, "NotFound", Exit.NOT_FOUND),
        (409, "IdempotencyConflict", Exit.REFUSED),
        (422, "PhotosRejected", Exit.REFUSED),
        (503, "ServiceUnavailable", Exit.BUSY),
        (500, "ContractBroken", Exit.BROKEN),
    ],
)
def test_every_refusal_has_its_exit_code(shell, status, code, exit_code):
    shell.platform.refusals[ROUTE] = [problem(status, code, "It is so.", missing=["a", "b"])]
    assert shell("generate", "--user", "ada", "x") == exit_code
    assert "atelier: It is so." in shell.err
    do = hint("generate", code, "Do the right thing.")
    assert f"  missing: a, b\n  → {do}\n" in shell.err
    shell.platform.refusals[ROUTE] = [problem(status, code, "It is so.")]
    assert shell("generate", "--user", "ada", "x", "--json") == exit_code
    [told] = shell.documents()
    assert told["error"]["error"] == code
    assert told["error"]["exit_code"] == exit_code


@pytest.mark.parametrize(("below", "named"), [("", "README.md"), ("images", "README.md")])
def test_a_file_where_images_should_go_is_refused_before_drawing(shell, tmp_path, below, named):
    (tmp_path / "README.md").write_text("x")
    out = tmp_path / "README.md" / below
    assert shell("generate", "--user", "ada", "x", "--out", str(out)) == Exit.REFUSED
    assert f"{named} is a file; name a folder" in shell.err
    assert shell.platform.asked == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ada", "--model", "My Dog", "x"), "model name 'My Dog': 1 to 40 of a-z"),
        (("ada", " "), "the prompt is empty; say what to draw"),
        (("", "x"), "1 to 256 printable characters"),
    ],
)
def test_words_that_cannot_be_drawn_with_are_refused_before_asking(shell, words, said):
    assert shell("generate", "--user", *words) == Exit.REFUSED
    assert said in shell.err
    assert shell.platform.asked == []
