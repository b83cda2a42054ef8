"""`atelier onboard` and `atelier status`: photos go up, progress comes down."""

from __future__ import annotations

import json

import httpx
import pytest

from app.cli import tables
from app.cli.exits import Exit
from app.cli.progress import panel
from atelier.contracts.clock import ManualClock, from_iso
from tests.cli.platform import (
    ALL,
    HALF,
    ID,
    KEY,
    LIFE,
    QUEUED,
    REJECTED,
    START,
    TRAINING,
    VERSION,
    Shell,
    onboarding,
    problem,
)
from tests.conftest import Golden

FAILED = onboarding(("queued", 0), ("failed", 3.2), failure=REJECTED)


def started(shell: Shell) -> dict:
    return shell.platform.bodies["POST /v1/onboardings"]


def test_a_folder_of_photos_becomes_an_onboarding(shell, photos):
    assert shell("onboard", str(photos), "--user", "ada", "--model", "me") == Exit.DONE
    assert sorted(shell.platform.files) == ["01.jpg", "02.jpg", "03.jpg", "04.jpg"]
    assert started(shell) == {"user_id": "ada", "photos": "uploads/o/m1/", "model": "me"}
    assert f"atelier status {ID} --watch" in shell.out


def test_only_what_was_said_is_sent_so_that_the_platform_has_the_defaults(shell, photos):
    options = (
        *("--preset", "nano", "--subject", "dog", "--trigger", "sks", "--steps", "9"),
        *("--prompt", "a dog at sea", "--prompt", "a dog at home", "--seed", "3", "--new-version"),
    )
    shell("onboard", str(photos), "--user", "ada", *options)
    assert started(shell) == {
        "user_id": "ada",
        "photos": "uploads/o/m1/",
        "preset": "nano",
        "subject": "dog",
        "trigger": "sks",
        "hyperparameters": {"steps": 9},
        "samples": [{"prompt": "a dog at sea"}, {"prompt": "a dog at home"}],
        "seed": 3,
        "new_version": True,
    }


def test_the_key_goes_to_the_api_and_not_with_a_photo(shell, photos):
    shell("onboard", str(photos), "--user", "ada")
    headers = shell.platform.headers
    assert headers["POST /v1/onboardings"]["Authorization"] == f"Bearer {KEY}"
    assert "Authorization" not in headers["POST /local/uploads"]


def test_a_photo_is_the_last_field_of_its_form(shell, photos):
    shell("onboard", str(photos), "--user", "ada")
    sent = shell.platform.files["01.jpg"]
    assert sent.index(b'name="key"') < sent.index(b'name="file"') < sent.index(b"photo 1")


def test_captions_beside_the_photos_go_with_them(shell, photos):
    captions = {"02.jpg": "a photo of zorp creature on a chair"}
    (photos / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    shell("onboard", str(photos), "--user", "ada")
    announced = shell.platform.bodies["POST /v1/uploads"]["photos"]
    assert [photo["caption"] for photo in announced] == ["", captions["02.jpg"], "", ""]
    assert "1 with captions" in shell.out


def test_who_allowed_it_is_kept_with_the_photos(shell, photos):
    shell("onboard", str(photos), "--user", "ada", "--consent-by", "Ada L.")
    consent = shell.platform.bodies["POST /v1/uploads/m1/complete"]["consent"]
    assert consent == {"given_by": "Ada L."}


def test_asking_the_same_again_finds_the_onboarding_and_says_so(shell, photos):
    shell.platform.known = True
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert "asked for before" in shell.out
    assert "--idempotency-key" in shell.out


def test_photos_that_make_no_model_are_refused_before_anything_is_sent(shell, photos):
    for number in (2, 3, 4):
        (photos / f"{number:02d}.jpg").write_bytes((photos / "01.jpg").read_bytes())
    assert shell("onboard", str(photos), "--user", "ada") == Exit.REFUSED
    assert "1 of 4 photos can be used; at least 4 are needed" in shell.err
    assert "  02.jpg: " in shell.err
    assert not shell.platform.asked


def test_what_a_file_holds_counts_and_not_what_it_is_called(shell, photos):
    (photos / "04.jpg").rename(photos / "IMG_4.HEIC")
    assert shell("photos", str(photos)) == Exit.DONE
    assert "4 of 4 photos would be used" in shell.out
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert sorted(shell.platform.files) == ["01.jpg", "02.jpg", "03.jpg", "IMG_4.jpg"]


def test_whose_consent_is_recorded_is_said_and_shown(shell, photos):
    shell("onboard", str(photos), "--user", "ada", "--consent-by", "Ada L.")
    assert "Consent is recorded as given by Ada L." in shell.out
    consent = {"given_by": "Ada L.", "given_at": "2026-01-01T09:00:00.000Z", "text_version": "1"}
    shell.platform.looks = [{**QUEUED, "consent": consent}]
    shell("status", ID)
    assert "  consent of Ada L., 2026-01-01\n" in shell.out


def test_how_an_onboarding_failed_is_told_whole_and_what_a_list_cuts_leads_there():
    why = "too dark to see anything of the subject " * 4
    failure = {**REJECTED, "facts": {"photos": {"03.jpg": why.strip()}}}
    failed = onboarding(("queued", 0), ("failed", 3.2), failure=failure)
    now = from_iso(START)
    told = panel(failed, now=now, width=60)
    assert " ".join(why.split()) in " ".join(" ".join(told).split())
    assert all(len(line) <= 60 for line in told)
    assert "`atelier status ID`" in tables.onboardings([failed], now=now, width=90)[-1]


def test_an_idempotency_key_is_passed_on(shell, photos):
    shell("onboard", str(photos), "--user", "ada", "--idempotency-key", "again")
    assert shell.platform.headers["POST /v1/onboardings"]["Idempotency-Key"] == "again"


def test_watching_without_a_terminal_prints_lines_and_saves_previews(shell, photos, golden: Golden):
    shell.platform.looks = [*LIFE]
    assert shell("onboard", str(photos), "--user", "ada", "--watch") == Exit.DONE
    saved = shell.home / "previews" / ID
    assert sorted(path.name for path in saved.iterdir()) == [
        "00.png",
        "01.png",
        "step-000050.png",
        "step-000100.png",
    ]
    text = shell.out.replace(str(saved), "PREVIEWS").replace(str(photos), "PHOTOS")
    golden("watch.txt", text)


def test_watching_in_a_terminal_redraws(shell):
    shell.live = True
    shell.platform.looks = [*LIFE]
    assert shell("status", ID, "--watch") == Exit.DONE
    frames = shell.out.split("\x1b[J")
    assert len(frames) == len(LIFE) + 1
    assert "━━━" in frames[4]
    assert frames[1].endswith(f"\x1b[{frames[1].count(chr(10))}A\r")
    assert 'atelier generate --user ada --model me "a photo of zorp' in frames[-1]


def test_previews_go_where_they_are_wanted(shell, tmp_path):
    shell.platform.looks = [onboarding(*ALL, progress=HALF, version=VERSION)]
    shell("status", ID, "--watch", "--out", str(tmp_path / "here"))
    assert (tmp_path / "here" / "step-000050.png").exists()


def test_a_preview_that_is_listed_before_it_can_be_read_is_fetched_at_the_next_look(shell):
    early = f"GET /v1/onboardings/{ID}/images/step-000050.png"
    shell.platform.refusals[early] = [problem(404, "NotFound", "no image")]
    half = onboarding(*TRAINING, progress=HALF)
    shell.platform.looks = [half, half, onboarding(*ALL, progress=HALF, version=VERSION)]
    assert shell("status", ID, "--watch") == Exit.DONE
    assert shell.out.count("step-000050.png") == 1


def test_watching_as_json_prints_a_document_for_every_change(shell, photos):
    shell.platform.looks = [LIFE[0], *LIFE, LIFE[-1]]
    assert shell("onboard", str(photos), "--user", "ada", "--watch", "--json") == Exit.DONE
    assert shell.documents() == LIFE


def test_watching_outlives_a_restart_of_the_platform(shell):
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    platform, looks = shell.platform, iter([True, False, False, True, False, True])
    platform.looks = [QUEUED, onboarding(*TRAINING), onboarding(*ALL, version=VERSION)]
    shell.platform = lambda request: platform(request) if next(looks) else away(request)
    assert shell("status", ID, "--watch") == Exit.DONE
    assert shell.err.count("Connection refused); waiting for it") == 2
    assert shell.err.count("the platform answers again") == 2


def test_a_platform_that_stays_away_ends_the_watch(shell):
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused", request=request)

    shell.platform = away
    assert shell("status", ID, "--watch") == Exit.UNREACHABLE
    assert 30 <= shell.clock.monotonic_seconds() < 40
    assert "the onboarding is safe" in shell.err
    assert "atelier status ID --watch" in shell.err


def test_an_onboarding_that_ended_long_ago_says_how(shell, photos):
    shell.platform.known = True
    shell.platform.looks = [FAILED]
    assert shell("onboard", str(photos), "--user", "ada") == Exit.NO_MODEL
    assert "07.jpg: the same as 02.jpg" in shell.out
    shell.platform.looks = [onboarding(*ALL, version=VERSION)]
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert "Draw with it: atelier generate" in shell.out


def test_a_failed_onboarding_says_why_and_what_to_do(shell, photos):
    shell.platform.looks = [QUEUED, FAILED]
    assert shell("onboard", str(photos), "--user", "ada", "--watch") == Exit.NO_MODEL
    assert "07.jpg: the same as 02.jpg" in shell.out
    assert "Replace the photos that are named and onboard the folder again." in shell.out


@pytest.mark.parametrize("end", ["failed", "cancelled", "erased"])
def test_status_of_an_onboarding_without_a_model_is_1(shell, end):
    shell.platform.looks = [onboarding(*TRAINING, (end, 9))]
    assert shell("status", ID) == Exit.NO_MODEL
    assert end in shell.out


def test_status_of_one_that_is_under_way_is_0(shell):
    shell.platform.looks = [onboarding(*TRAINING, progress=HALF)]
    assert shell("status", ID) == Exit.DONE
    assert "125/250" in shell.out


def test_status_lists_onboardings(shell, golden: Golden):
    shell.clock.advance(3 * 86_400)
    shell.platform.items = [
        onboarding(*TRAINING),
        onboarding(("queued", 0), user_id="grace", waiting_for="an instance of ml.g5.2xlarge"),
        FAILED,
        onboarding(*ALL, version=VERSION),
    ]
    assert shell("status") == Exit.DONE
    golden("list.txt", shell.out)


def test_a_list_of_nothing_says_how_to_begin(shell):
    assert shell("status") == Exit.DONE
    assert "atelier onboard DIR --user U" in shell.out


def test_watching_the_list_ends_when_nothing_is_under_way(shell):
    shell.platform.items = [onboarding(*ALL, version=VERSION)]
    assert shell("status", "--watch") == Exit.DONE
    assert shell("status", "--watch", "--json") == Exit.DONE
    assert [len(d["items"]) for d in shell.documents()] == [1]


def test_cancel_says_that_it_is_cancelled(shell):
    shell.platform.looks = [onboarding(*TRAINING, ("cancelled", 5))]
    assert shell("cancel", ID) == Exit.DONE
    assert shell.out == f"Onboarding {ID} of ada/me is cancelled.\n"


def test_redrive_says_that_it_goes_on(shell):
    shell.platform.looks = [onboarding(*TRAINING)]
    assert shell("redrive", ID) == Exit.DONE
    assert shell.out.startswith(f"Onboarding {ID} of ada/me goes on from where it stood")
    assert f"POST /v1/onboardings/{ID}/redrive" in shell.platform.asked


def test_retry_says_which_attempt_begins_and_how_to_follow_it(shell):
    shell.platform.looks = [{**onboarding(*TRAINING), "attempt": 2}]
    assert shell("retry", ID) == Exit.DONE
    assert "is tried once more: attempt 2 is training" in shell.out
    assert f"atelier status {ID} --watch" in shell.out
    assert f"POST /v1/onboardings/{ID}/retry" in shell.platform.asked


def test_onboarding_what_was_cancelled_says_that_another_attempt_begins(shell, photos):
    shell.platform.looks = [{**onboarding(("queued", 0)), "attempt": 2}]
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert "asked for before, without a model: attempt 2 begins" in shell.out


def test_cancelling_what_has_ended_says_how(shell):
    shell.platform.looks = [onboarding(*ALL, version=VERSION)]
    assert shell("cancel", ID) == Exit.DONE
    assert "had ended before, as ready" in shell.out


def test_an_onboarding_that_was_cancelled_says_so_once(shell):
    failure = {"error": "Cancelled", "message": "request r was cancelled", "do": "Go.", "facts": {}}
    shell.platform.looks = [onboarding(("queued", 0), ("cancelled", 1), failure=failure)]
    assert shell("status", ID) == Exit.NO_MODEL
    assert shell.out.endswith(f"ada/me was cancelled.\n→ Try it once more: atelier retry {ID}\n")


@pytest.mark.parametrize("command", ["status", "cancel", "redrive", "why"])
def test_an_id_that_is_cut_too_short_is_told_how_much_is_enough(shell, command):
    assert shell(command, "raaaa") == Exit.NOT_FOUND
    assert "'raaaa' is too short: an id may be cut to its first 6 characters" in shell.err
    assert shell.platform.asked == []


def test_the_last_line_of_a_refusal_is_the_requests_id(shell):
    body = {"code": "InvalidRequest", "detail": "no", "do": "Do.", "request_id": "q1"}
    for words in ([], ["--json"]):
        shell.platform.refusals[f"GET /v1/onboardings/{ID}"] = [httpx.Response(400, json=body)]
        assert shell("status", ID, *words) == Exit.REFUSED
        told = shell.documents()[-1]["error"]["request_id"] if words else shell.err.split()[-1]
        assert told == "q1"


def test_an_onboarding_that_is_not_there_is_3(shell):
    route = f"GET /v1/onboardings/{ID}"
    shell.platform.refusals[route] = [problem(404, "NotFound", f"no onboarding {ID!r}")]
    assert shell("status", ID) == Exit.NOT_FOUND
    assert shell.err == (
        f"atelier: no onboarding {ID!r}\n  → `atelier status` lists the onboardings.\n"
    )


def test_whatever_is_typed_as_an_id_stays_one_part_of_the_path(shell):
    assert shell("status", "../models?x=1#y") == Exit.NOT_FOUND
    assert shell.platform.asked == ["GET /v1/onboardings/../models?x=1#y"]


def test_a_model_that_exists_already_is_answered_with_the_commands_own_option(shell, photos):
    refusal = problem(409, "AlreadyExists", "model me exists")
    shell.platform.refusals["POST /v1/onboardings"] = [refusal]
    assert shell("onboard", str(photos), "--user", "ada") == Exit.REFUSED
    assert "→ --new-version makes its next version." in shell.err


def test_images_of_other_kinds_are_named_as_skipped(shell, photos):
    (photos / "IMG.HEIC").write_bytes(b"x")
    assert shell("onboard", str(photos), "--user", "ada") == Exit.DONE
    assert shell.err == "IMG.HEIC is skipped: convert it to JPEG or PNG first\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "My Dog"), "model name 'My Dog'"),
        (("--prompt", ""), "the prompt is empty"),
        (("--watch", "--out", "01.jpg"), "01.jpg is a file; name a folder"),
    ],
)
def test_words_that_do_not_fit_are_refused_before_uploading(shell, photos, words, said):
    words = [str(photos / word) if word == "01.jpg" else word for word in words]
    assert shell("onboard", str(photos), "--user", "ada", *words) == Exit.REFUSED
    assert said in shell.err
    assert shell.platform.asked == []


def test_captions_without_the_trigger_word_are_told_of(shell, photos):
    captions = {"01.jpg": "a photo of zorp dog", "02.jpg": "a dog", "03.jpg": "zorpish"}
    (photos / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
    assert shell("onboard", str(photos), "--user", "ada", "--trigger", "zorp") == Exit.DONE
    assert shell.err.startswith("2 of 3 captions without the trigger word zorp: ")
    shell("onboard", str(photos), "--user", "ada", "--trigger", "o")
    assert shell.err.startswith("3 of 3 captions")
    shell("onboard", str(photos), "--user", "ada")
    assert shell.err == ""


def test_a_list_of_nothing_names_the_user_that_was_asked_for(shell):
    shell("status", "--user", "nobody")
    assert shell.out.startswith("No onboardings of nobody yet.")
    shell("models", "--user", "nobody")
    assert shell.out.startswith("No models of nobody yet.")


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_of_a_list_is_wider_than_the_terminal(width):
    items = [FAILED, onboarding(*ALL, version=VERSION)]
    lines = tables.onboardings(items, now=ManualClock().now(), width=width)
    assert max(map(len, lines)) <= width
    assert lines[1].endswith("…")


def test_the_start_of_an_id_stands_for_the_whole(shell):
    shell.platform.items = [QUEUED, onboarding(id="r" + "b" * 26)]
    assert shell("status", ID[:6], "--json") == Exit.DONE
    assert shell.documents() == [QUEUED]
    shell.platform.looks = [onboarding(*TRAINING, ("cancelled", 5))]
    assert shell("cancel", ID[:9]) == Exit.DONE
    assert f"POST /v1/onboardings/{ID}/cancel" in shell.platform.asked


def test_a_start_that_several_ids_share_is_refused(shell):
    shell.platform.page = 1
    shell.platform.items = [QUEUED, onboarding(id=ID[:-1] + "b")]
    assert shell("cancel", ID[:6]) == Exit.REFUSED
    assert "starts the ids of 2 onboardings" in shell.err
    assert not any("cancel" in route for route in shell.platform.asked)


def test_a_start_of_less_than_six_characters_is_no_id(shell):
    shell.platform.items = [QUEUED]
    assert shell("status", ID[:5]) == Exit.NOT_FOUND
