"""A net of the family as an ONNX file before it is trained: its layers are what it will have."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import torch

from slimpose.export.onnx import output_names
from slimpose.formats.files import write_bytes
from slimpose.network.dark import PoseDecoder
from slimpose.network.pose_net import PoseNet
from slimpose.network.spec import NetSpec
from slimpose.runtime.session import FORMAT

_OPSET = 18


def untrained(spec: NetSpec) -> onnx.ModelProto:
    """Return the graph of a pose net with its decoding, weights random, batch 1."""
    module = PoseDecoder(PoseNet(spec)).eval()
    crops = torch.zeros(1, *spec.size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module,
            (crops,),
            dynamo=True,
            opset_version=_OPSET,
            input_names=["crops"],
            output_names=list(output_names("pose")),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for key, value in (("slimpose", FORMAT), ("task", "pose"), ("net", spec.to_json())):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    return model


def write_untrained(spec: NetSpec, out: Path) -> None:
    """Write that graph."""
    write_bytes(out, untrained(spec).SerializeToString())
