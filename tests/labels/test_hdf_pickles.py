"""HDF5 files of DeepLabCut are read without running code that was put into them."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pandas
import pytest

from slimpose.labels.interchange.hdf_pickles import refuse_code_in_pickles


class Code:
    """Its pickle makes a folder when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[object, ...]:
        return Path.mkdir, (self.made,)


def labels(path: Path, kind: str) -> Path:
    columns = pandas.MultiIndex.from_product(
        [["me"], ["nose", "größe"], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    rows = pandas.MultiIndex.from_tuples([("labeled-data", "clip", "img1.png")])
    table = pandas.DataFrame(np.ones((1, 4)), index=rows, columns=columns)
    if kind == "table":
        table.index = pandas.Index(["labeled-data/clip/img1.png"])
    table.to_hdf(path, key="df_with_missing", format=kind)  # pyright: ignore[reportArgumentType]
    return path


@pytest.mark.parametrize("kind", ["fixed", "table"])
def test_files_of_pandas_are_accepted(tmp_path: Path, kind: str) -> None:
    refuse_code_in_pickles(labels(tmp_path / "labels.h5", kind))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["attribute", "rows"])
def test_code_is_refused(tmp_path: Path, place: str, protocol: int) -> None:
    path, made = labels(tmp_path / "labels.h5", "fixed"), tmp_path / "made"
    code = pickle.dumps(Code(made), protocol=protocol)
    with h5py.File(path, "a") as file:
        if place == "attribute":
            file["df_with_missing"].attrs["info"] = np.bytes_(code)
        else:
            rows = file.create_dataset(
                "df_with_missing/objects", (1,), h5py.vlen_dtype(np.dtype("uint8"))
            )
            rows[0] = np.frombuffer(code, np.uint8)
    with pytest.raises(ValueError, match="would run code that is in the file"):
        refuse_code_in_pickles(path)
    assert not made.exists()


def test_reading_labels_runs_no_code(tmp_path: Path) -> None:
    from slimpose.labels.interchange.kinds import read_labels

    folder = tmp_path / "labeled-data" / "clip"
    folder.mkdir(parents=True)
    path, made = labels(folder / "CollectedData_me.h5", "fixed"), tmp_path / "made"
    with h5py.File(path, "a") as file:
        for key in ("info", "pandas_type", "encoding"):
            file["df_with_missing"].attrs[key] = np.bytes_(pickle.dumps(Code(made), protocol=0))
    with pytest.raises(ValueError, match="would run code"):
        read_labels(path)
    assert not made.exists()
