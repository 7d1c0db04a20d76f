"""``slimpose bulk`` on a cluster of two nodes in this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from bulk_archive import check_equals_predict, model_options, write_archive
from run_main import run_main

STORE = {"object_store_memory": 100 << 20, "include_dashboard": False}


@pytest.mark.slow
def test_two_nodes_give_what_predict_gives(tmp_path: Path) -> None:
    """Each node has one CPU, so that two workers need both."""
    settings = write_archive(tmp_path)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **STORE})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=STORE["object_store_memory"])
        cluster.wait_for_nodes()
        arguments = ["--out", tmp_path / "out", "--piece", 2, "--workers", 2]
        arguments += ["--address", cluster.address, *model_options(settings)]
        assert run_main("bulk", tmp_path / "in", *arguments) == 2
        assert not ray.is_initialized()
    finally:
        cluster.shutdown()
    check_equals_predict(tmp_path, settings, tmp_path / "out")
