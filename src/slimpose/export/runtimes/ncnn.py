"""NCNN files, from pixels to heatmaps, by NCNN's converter, pnnx.

They are FILE.ncnn.param (the graph), FILE.ncnn.bin (weights) and FILE.ncnn.json (metadata).
"""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from slimpose.export.onnx import FileOptions, metadata_for
from slimpose.network.weights import LoadedNetwork
from slimpose.runtime.backends.ncnn import SUFFIX, companion_paths

_INSTALL = "pip install ncnn pnnx"


class _ChannelsFirst(nn.Module):
    """The network for float pixels (n, 3, H, W), NCNN's layout of an image."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        return self.net(pixels.permute(0, 2, 3, 1))


def write(source: LoadedNetwork, out: Path, options: FileOptions) -> list[Path]:
    """Write the three files; the first returned is the one to open.

    Raises:
        ValueError: If the converter is not installed or fails, or the name does not end in
            .ncnn.param.
    """
    if not out.name.endswith(SUFFIX):
        raise ValueError(f"--out is {out.name}; expected a name that ends in {SUFFIX}")
    try:
        import pnnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(f"the converter to NCNN, pnnx, is not installed: {_INSTALL}") from error
    size = source.spec.size
    out = out.absolute()  # pnnx runs in another folder
    folder = out.parent / "pnnx"
    folder.mkdir()
    weights, metadata_file = companion_paths(out)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(_ChannelsFirst(source.net).eval(), torch.zeros(1, 3, *size))
        torch.jit.save(traced, folder / "net.pt")  # pyright: ignore[reportArgumentType] - trace is typed as its first return
    done = subprocess.run(
        [
            str(pnnx.EXEC_PATH),
            str(folder / "net.pt"),
            f"inputshape=[1,3,{size.height},{size.width}]",
            f"fp16={int(options.precision == 'fp16')}",
            f"ncnnparam={out}",
            f"ncnnbin={weights}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not (out.is_file() and weights.is_file()):
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ValueError(
            f"pnnx could not convert the network (exit code {done.returncode}): {' '.join(last)}"
        )
    metadata = metadata_for(source, name=options.name, card=options.card)
    metadata["precision"] = options.precision
    metadata_file.write_text(json.dumps(metadata), encoding="utf-8")
    return [out, weights, metadata_file]
