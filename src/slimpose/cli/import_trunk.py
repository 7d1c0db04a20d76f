"""``slimpose import-trunk``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import tyro

from slimpose.cli.output_paths import check_output_paths
from slimpose.network.encoder import Encoder
from slimpose.network.family import family_spec
from slimpose.network.high_resolution import HighResolutionNet
from slimpose.network.published.movenet import import_trunk as load_trunk
from slimpose.network.published.tinypose import ALIGNMENT, TINYPOSE, import_tinypose
from slimpose.network.weights import save_checkpoint
from slimpose.skeleton import COCO17


def import_trunk(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    /,
    out: Path,
    net: str = "mnv2",
) -> int:
    """Convert a published ONNX graph, such as MoveNet or PP-TinyPose, to initial training weights.

    Of MoveNet it is the encoder, of PP-TinyPose the whole network.

    Args:
        file: The ONNX graph.
        out: The safetensors file to write, for slimpose train --start.
        net: mnv2 for the encoder of MoveNet Lightning, mnv2-wide for Thunder's, hr for PP-TinyPose.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    check_output_paths({"--out": out}, {}, [file])
    origin = f"{file.name} sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    if net == "hr":
        return _import_tinypose(file, out, origin)
    spec = family_spec(net)
    encoder = Encoder(spec)
    load_trunk(file, encoder)
    metadata = {"trunk": spec.encoder, "folded": "1", "origin": origin}
    save_checkpoint(out, encoder.state_dict(), metadata)
    print(f"{out}: {len(encoder.state_dict())} tensors of {spec.encoder} from {file.name}")
    return 0


def _import_tinypose(file: Path, out: Path, origin: str) -> int:
    """Write PP-TinyPose as weights of the high-resolution network."""
    network = HighResolutionNet(TINYPOSE, ALIGNMENT)
    import_tinypose(file, network)
    metadata = {
        "task": "pose",
        "net": TINYPOSE.to_json(),
        "alignment": ALIGNMENT,
        "skeleton": COCO17.to_json(),
        "start": f"PP-TinyPose, {origin}",
    }
    save_checkpoint(out, network.state_dict(), metadata)
    print(f"{out}: PP-TinyPose as a network of this family, from {file.name}")
    return 0
