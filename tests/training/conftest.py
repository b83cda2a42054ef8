"""One random base model for all tests of a session, and a house for each test."""

from pathlib import Path

import pytest

from tests.lora.networks import save_pipeline
from tests.training.house import House, one_thread


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    one_thread()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base"))


@pytest.fixture
def house(tmp_path: Path, base_folder: Path) -> House:
    return House(tmp_path, base_folder)
