"""``slimpose bulk`` and ``PosePredictor`` on Ray: one embedded Ray for all tests here."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import ray
import ray.data

import slimpose
from bulk_archive import (
    BROKEN,
    SOURCES,
    check_equals_predict,
    model_options,
    rows_of,
    write_archive,
    write_slow_walk,
)
from run_cli import write_dot
from run_main import run_main
from slimpose.bulk.engine import RayEngine
from slimpose.bulk.settings import BulkSettings
from slimpose.ray import PosePredictor

CPUS = 4  # logical: up to four workers, whatever the machine has


@pytest.fixture(scope="module")
def embedded_ray() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    ray.init(
        num_cpus=CPUS,
        include_dashboard=False,
        object_store_memory=100 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    sys.stdout, sys.stderr = before
    yield
    ray.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> BulkSettings:
    return write_archive(tmp_path)


def bulk(tmp_path: Path, settings: BulkSettings, *options: object) -> int:
    place = ("--out", tmp_path / "out", "--piece", settings.piece_s)
    return run_main("bulk", tmp_path / "in", *place, *model_options(settings), *options)


@pytest.mark.usefixtures("embedded_ray")
def test_bulk_equals_predict_and_goes_on(
    tmp_path: Path, settings: BulkSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bulk(tmp_path, settings, "--workers", 2) == 2
    printed = capsys.readouterr()
    assert "5 inputs, 101 frames" in printed.out
    assert "2 workers" in printed.out
    assert "2 of 7 inputs failed:" in printed.out
    assert "  empty.jpg: the file is empty (0 bytes)" in printed.out
    check_equals_predict(tmp_path, settings, tmp_path / "out")
    before = rows_of(tmp_path / "out")
    capsys.readouterr()
    for name in BROKEN:
        (tmp_path / "in" / name).unlink()
    assert bulk(tmp_path, settings) == 0
    assert "5 of 5 inputs are done already" in capsys.readouterr().out
    assert rows_of(tmp_path / "out") == before


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_ray")
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_results_do_not_depend_on_the_number_of_workers(
    tmp_path: Path, settings: BulkSettings, workers: int
) -> None:
    assert bulk(tmp_path, settings, "--workers", workers) == 2
    check_equals_predict(tmp_path, settings, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_ray")
def test_pieces_at_once_on_several_workers(tmp_path: Path, settings: BulkSettings) -> None:
    write_slow_walk(tmp_path / "in" / "a.avi", 80)
    options = ("--workers", 2, "--piece", 2, "--overlap", 1.5)
    assert run_main(
        "bulk", tmp_path / "in", "--out", tmp_path / "out", *model_options(settings), *options
    )
    found = rows_of(tmp_path / "out")
    assert set(found.values()) == {1}
    assert {source for source, *_ in found} == set(SOURCES)
    assert len({frame for source, frame, _ in found if source == "a.avi"}) > 75


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_ray")
def test_predictor_takes_arrays_bytes_and_paths(tmp_path: Path, settings: BulkSettings) -> None:
    files = [write_dot(str(tmp_path / f"d{number}.png"), x=30 + 20 * number) for number in range(3)]
    cv2.imwrite(str(tmp_path / "d9.png"), np.zeros((96, 96, 3), np.uint8))  # no one
    options: dict[str, Any] = {"model": settings.model, "detector": settings.detector}
    pipeline = slimpose.load(settings.model, settings.detector, threads=1)
    folder = [*map(str, files), str(tmp_path / "d9.png")]
    for dataset, column in (
        (ray.data.read_images(folder, include_paths=True, mode="RGB"), "image"),
        (ray.data.read_binary_files(folder, include_paths=True), "bytes"),
        (ray.data.from_items([{"path": one, "file": one} for one in folder]), "file"),
    ):
        found = dataset.map_batches(
            PosePredictor,
            fn_constructor_args=(column,),
            fn_constructor_kwargs=options,
            compute=ray.data.ActorPoolStrategy(size=1),
            batch_size=2,
        )
        rows = sorted(found.iter_rows(), key=lambda row: row["path"])
        assert [row["path"] for row in rows] == folder[:3]
        for row, file in zip(rows, files, strict=True):
            expected = pipeline(file)
            np.testing.assert_allclose(
                np.array(row["keypoints"].tolist())[:, :2], expected.points_image[0], atol=1e-3
            )


def test_no_usage_statistics_are_sent() -> None:
    usage = importlib.import_module("ray._common.usage.usage_lib")
    assert RayEngine(workers=1).workers == 1
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not usage.usage_stats_enabled()
