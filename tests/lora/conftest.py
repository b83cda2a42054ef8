"""One random base model for all tests of a session, and single-threaded arithmetic."""

from pathlib import Path

import pytest
import torch

from atelier.lora.network import Network
from tests.lora.networks import network, save_pipeline


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base"))


@pytest.fixture
def base(base_folder: Path) -> Network:
    return network(base_folder)
