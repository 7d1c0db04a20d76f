"""HDF5 files of PyTables hold pickles: those that could run code are refused before it reads them.

PyTables unpickles attributes that look like pickles, and the rows of arrays of Python objects.
pandas stores names of columns so. Reference: PyTables' documentation of AttributeSet.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

_ALLOWED = {
    ("_codecs", "encode"),
    ("builtins", "complex"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("datetime", "date"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *(
        (module, name)
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name in ("_reconstruct", "scalar")
    ),
}
"""What pickles of plain values refer to, by module and name."""


class _CodeError(Exception):
    """A pickle refers to something that is no plain value."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _CodeError(f"{module}.{name}")
        return super().find_class(module, name)


def refuse_code_in_pickles(path: Path) -> None:
    """Check that all pickles in an HDF5 file hold plain values.

    Raises:
        OSError: If it is no HDF5 file.
        ValueError: If a pickle refers to anything else, which unpickling would import or call.
    """
    import h5py

    def check(name: str, item: Any) -> None:
        values = [item.attrs[key] for key in item.attrs]
        if isinstance(item, h5py.Dataset) and h5py.check_vlen_dtype(item.dtype) is not None:
            values += list(item[...].ravel())
        for value in values:
            try:
                _PlainUnpickler(io.BytesIO(_bytes(value))).load()
            except _CodeError as error:
                raise ValueError(
                    f"{path}: a pickle at {name or '/'} refers to {error}; expected plain values "
                    "(reading it would run code that is in the file)"
                ) from error
            except Exception:  # noqa: BLE001 - not a pickle
                continue

    with h5py.File(path) as file:
        check("", file)
        file.visititems(check)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else np.asarray(value).tobytes()
