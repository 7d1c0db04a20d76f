"""``slimpose import-trunk``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import tyro

from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.network.encoder import Encoder
from slimpose.network.family import family_spec
from slimpose.network.trunk import import_trunk as load_trunk
from slimpose.network.weights import save_checkpoint


def import_trunk(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    /,
    out: Path,
    net: str = "mnv2",
) -> int:
    """Convert the encoder of a published ONNX graph, such as MoveNet, to initial training weights.

    Args:
        file: The ONNX graph.
        out: The safetensors file to write, for slimpose train --start.
        net: Network with that encoder: mnv2 for MoveNet Lightning, mnv2-wide for Thunder.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    check_output_paths({"--out": out}, {}, [file])
    check_suffix("--out", out, ".safetensors")
    spec = family_spec(net)
    encoder = Encoder(spec)
    load_trunk(file, encoder)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    metadata = {"trunk": spec.encoder, "folded": "1", "origin": f"{file.name} sha256 {digest}"}
    save_checkpoint(out, encoder.state_dict(), metadata)
    print(f"{out}: {len(encoder.state_dict())} tensors of {spec.encoder} from {file.name}")
    return 0
