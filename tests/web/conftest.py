"""The exported folder behind a static server, for the tests of its page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slimpose.runtime.models import shipped
from slimpose.web.browser_runtime import runtime_files
from slimpose.web.folder import write_folder
from static_server import static_server


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The exported folder behind a static server."""
    folder = tmp_path_factory.mktemp("web") / "site"
    models = shipped()
    write_folder(folder, [models["hr"], models["mnv2"]], models["detector"], runtime_files())
    with static_server(folder) as url:
        yield url
