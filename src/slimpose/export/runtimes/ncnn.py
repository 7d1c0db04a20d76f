"""NCNN: FILE.ncnn.param, FILE.ncnn.bin and FILE.ncnn.json, pixels to heatmaps, through its own converter, pnnx."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slimpose.arrays import Crops
from slimpose.export.onnx import metadata_for
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.ncnn import SUFFIX, weights_path

_INSTALL = 'pip install "slimpose[ncnn]"'


class _ChannelsFirst(nn.Module):
    """The network for float pixels (n, 3, H, W): NCNN's own way to hold a picture."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(pixels.permute(0, 2, 3, 1))


def write(
    source: LoadedNetwork,
    out: Path,
    *,
    name: str,
    card: Mapping[str, Any],
    precision: str,
    pictures: Crops,  # noqa: ARG001
) -> list[Path]:
    """Write the three files; the first returned is the one to open.

    Raises:
        ValueError: If the converter is not installed or fails, or the name does not end as NCNN's
            do.
    """
    if not out.name.endswith(SUFFIX):
        raise ValueError(f"--out is {out.name}; expected a name that ends in {SUFFIX}")
    try:
        import pnnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"the converter to NCNN, pnnx, is not installed: {_INSTALL}") from error
    size = source.spec.size
    folder = out.parent / "pnnx"
    folder.mkdir()
    weights, story = weights_path(out)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_ChannelsFirst(source.net).eval(), torch.zeros(1, 3, *size))
        torch.jit.save(traced, folder / "net.pt")  # pyright: ignore[reportArgumentType] - trace is typed as its first return
    said = subprocess.run(
        [
            str(pnnx.EXEC_PATH),
            str(folder / "net.pt"),
            f"inputshape=[1,3,{size.height},{size.width}]",
            f"fp16={int(precision == 'fp16')}",
            f"ncnnparam={out}",
            f"ncnnbin={weights}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if said.returncode or not (out.is_file() and weights.is_file()):
        last = (said.stderr or said.stdout).strip().splitlines()[-1:]
        raise ValueError(
            f"pnnx could not convert the network (exit code {said.returncode}): {' '.join(last)}"
        )
    metadata = {
        **metadata_for(source, name=name, card=dict(card)),
        "precision": precision,
    }
    story.write_text(json.dumps(metadata), encoding="utf-8")
    return [out, weights, story]
