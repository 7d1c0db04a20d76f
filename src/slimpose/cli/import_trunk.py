"""``slimpose import-trunk``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.network.family import family_spec
from slimpose.skeleton import COCO17

if TYPE_CHECKING:
    from torch import Tensor


def import_trunk(
    file: Path,
    /,
    out: Path,
    net: str = "mnv2",
) -> int:
    """Convert a published ONNX graph, such as MoveNet or PP-TinyPose, to initial training weights.

    Of MoveNet it is the encoder, of PP-TinyPose and PicoDet-S the whole network.

    Args:
        file: The ONNX graph.
        out: The safetensors file to write, for slimpose train --start.
        net: mnv2 for the encoder of MoveNet Lightning, mnv2-wide for Thunder's, hr for PP-TinyPose,
            pyramid for PicoDet-S with people as its only class.
    """
    if not file.is_file():
        raise FileNotFoundError(f"no file {file}")
    check_output_paths({"--out": out}, {}, [file])
    check_suffix("--out", out, ".safetensors")
    from slimpose.network.weights import save_checkpoint

    origin = f"{file.name} sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    if net in _WHOLE_NETWORKS:
        part, (tensors, metadata) = net, _WHOLE_NETWORKS[net](file, origin)
    else:
        part, (tensors, metadata) = family_spec(net).encoder, _trunk(file, net, origin)
    save_checkpoint(out, tensors, metadata)
    print(f"{out}: {len(tensors)} tensors of {part} from {file.name}")
    return 0


def _trunk(file: Path, net: str, origin: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return MoveNet's trunk as weights of a network's encoder, and their metadata."""
    from slimpose.network.encoder import Encoder
    from slimpose.network.published import movenet

    spec = family_spec(net)
    encoder = Encoder(spec)
    movenet.import_trunk(file, encoder)
    return encoder.state_dict(), {"trunk": spec.encoder, "folded": "1", "origin": origin}


def _tinypose(file: Path, origin: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return PP-TinyPose as weights of the high-resolution network, and their metadata."""
    from slimpose.network.high_resolution import HighResolutionNet
    from slimpose.network.published.tinypose import ALIGNMENT, TINYPOSE, import_tinypose

    network = HighResolutionNet(TINYPOSE, ALIGNMENT)
    import_tinypose(file, network)
    return network.state_dict(), {
        "task": "pose",
        "net": TINYPOSE.to_json(),
        "alignment": ALIGNMENT,
        "skeleton": COCO17.to_json(),
        "start": f"PP-TinyPose, {origin}",
    }


def _picodet(file: Path, origin: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return PicoDet-S as weights of the pyramid detector, and their metadata."""
    from slimpose.network.published.picodet import import_picodet
    from slimpose.network.pyramid_detector import PYRAMID, PyramidDetector

    network = PyramidDetector(PYRAMID)
    import_picodet(file, network)
    metadata = {"task": "detect", "net": PYRAMID.to_json(), "start": f"PicoDet-S, {origin}"}
    return network.state_dict(), metadata


_WHOLE_NETWORKS = {"hr": _tinypose, "pyramid": _picodet}
"""Networks of which not only the trunk is published, by the name that --net takes."""
