"""``slimpose import-weights``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from slimpose.arrays import Size
from slimpose.cli.output_paths import check_output_paths, check_suffix
from slimpose.skeleton import COCO17, OPENPOSE18


def import_weights(
    file: Path,
    /,
    net: str,
    out: Path,
    size: str | None = None,
    alignment: Literal["multiples", "corners"] | None = None,
    color_order: Literal["rgb", "bgr"] | None = None,
) -> int:
    """Convert a published COCO checkpoint (.pth) to weights to evaluate, export or train from.

    Args:
        file: The checkpoint, in the layout of the paper's repository or of mmpose.
        net: Its network: hrnet-w32, hrnet-w48, simplebaseline-r50, -r101, -r152, or
            lightweight-openpose.
        out: The safetensors file to write.
        size: Input HEIGHTxWIDTH it was trained at (default: that of the paper).
        alignment: corners if it was trained with UDP, as mmpose's files with udp in the name
            (default: that of the paper).
        color_order: Channel order it was trained with (default: that of its layout).
    """
    check_output_paths({"--out": out}, {}, [file])
    check_suffix("--out", out, ".safetensors")
    from slimpose.compare.published_weights import PUBLISHED, convert_weights, read_checkpoint
    from slimpose.network.build import build, spec_named
    from slimpose.network.weights import load_into, save_checkpoint

    spec = spec_named(net, size=Size.parse(size) if size is not None else None)
    tensors = convert_weights(read_checkpoint(file), net, path=file, color_order=color_order)
    load_into(build(spec), tensors, path=file)
    published = PUBLISHED[net]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    metadata = {
        "task": published.task,
        "net": spec.to_json(),
        "alignment": alignment or published.alignment,
        "skeleton": (OPENPOSE18 if published.task == "bottom-up" else COCO17).to_json(),
        "start": f"published weights {file.name} sha256 {digest}",
    }
    save_checkpoint(out, tensors, metadata)
    print(
        f"{out}: {len(tensors)} tensors of {net} from {file.name}, cells at {metadata['alignment']}"
    )
    return 0
