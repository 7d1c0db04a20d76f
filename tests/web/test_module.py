"""The browser module: built from its source, with the rules and the results of Python."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slimpose.web import browser_runtime
from slimpose.web.folder import PAGE
from web_fixtures import write_fixtures
from web_tools import WEB, needs_node, node_modules, run

pytestmark = needs_node
MAX_MODULE_BYTES = 60_000


@pytest.fixture(scope="module", autouse=True)
def packages() -> Path:
    return node_modules()


def test_module_computes_what_python_does(tmp_path: Path) -> None:
    write_fixtures(tmp_path)
    output = run("npm", "test", FIXTURES=str(tmp_path))
    assert "\n# fail 0\n" in output


def test_types_are_right() -> None:
    run("npm", "run", "check")


def test_shipped_files_are_built_from_this_source(tmp_path: Path) -> None:
    run("node", "build.mjs", str(tmp_path))
    built = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert built == {file.name: file.read_bytes() for file in PAGE.iterdir()}


def test_shipped_files_are_small() -> None:
    assert (PAGE / "slimpose.js").stat().st_size < MAX_MODULE_BYTES
    assert sum(file.stat().st_size for file in PAGE.iterdir()) < MAX_MODULE_BYTES


def test_package_names_the_version_of_onnxruntime_web_that_is_bundled() -> None:
    package = json.loads((WEB / "package.json").read_text())
    assert package["peerDependencies"] == {"onnxruntime-web": browser_runtime.VERSION}
    assert package["devDependencies"]["onnxruntime-common"] == browser_runtime.VERSION
