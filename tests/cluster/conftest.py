"""Three servers for all tests of a module that leave them as they were."""

from collections.abc import Iterator

import pytest

from relay.cluster.natswire import Wire

from .engines import Engines


@pytest.fixture(scope="package")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with Engines(tmp_path_factory.mktemp("engines")) as engines:
        yield engines


@pytest.fixture
def wire(engines: Engines) -> Iterator[Wire]:
    wire = engines.wire()
    yield wire
    wire.close()
