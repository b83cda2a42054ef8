"""The platform's home folder: what a crash at any moment leaves there does no harm."""

from __future__ import annotations

import stat

from infra.local.platform import lay_out_base_models, read_or_make_secret


def test_the_secret_is_made_once_and_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "secret"
    secret = read_or_make_secret(path)
    assert len(secret) == 32
    assert read_or_make_secret(path) == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_half_a_secret_that_a_crash_left_is_never_used(tmp_path):
    path = tmp_path / "secret"
    path.with_name("secret.new").write_bytes(b"half")
    assert len(read_or_make_secret(path)) == 32
    assert [p.name for p in tmp_path.iterdir()] == ["secret"]


def test_base_models_of_the_repository_are_laid_out_by_id_and_again(tmp_path):
    for _ in range(2):
        assert lay_out_base_models(tmp_path / "base-models") == ("tiny",)
    assert (tmp_path / "base-models/tiny/model_index.json").is_file()


def test_a_base_model_that_the_operator_put_there_counts_too(tmp_path):
    (tmp_path / "base-models/sd15").mkdir(parents=True)
    assert lay_out_base_models(tmp_path / "base-models") == ("tiny", "sd15")
