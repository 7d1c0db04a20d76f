"""Options of a quantization: the accuracy budget, the people it is measured on, the rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slimpose.runtime.machine import check_threads


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRequest:
    """How to quantize a model, and how much accuracy may be lost.

    Attributes:
        calibration: Folder of the annotated images. Use the originals: images that were compressed
            again cost accuracy.
        annotations: COCO file of the people in them; with keypoints for a pose model.
        max_ap_loss: The accuracy budget, in points of AP.
        precision: int8, or fp16 (half the size, for accelerators that compute it). bf16 needs no
            file: OpenVINO derives it from the fp32 file at run time.
        calibration_people: Approximate number of people that ranges are calibrated on; whole images
            are taken.
        people: Approximate number of people, in other images, that the loss is measured on.
        scheme: How values become 8 bits. affine is for CPUs: zero points, one weight scale per
            channel. symmetric is for TensorRT. power-of-two is what Xilinx's DPU computes (XINT8):
            one scale per tensor, output maps included.
        deconvolutions: int8 quantizes them too. They always are, except in the affine scheme, where
            only OpenVINO would gain: ONNX Runtime computes them in float on a CPU anyway, so that
            rounding costs time and accuracy.
        qat: If rounding alone exceeds the budget, fine-tune the weights before layers go back to
            float (quantization-aware training): on the calibration people (1000 or more are
            recommended), without labels; needs PyTorch.
        qat_steps: Fine-tuning steps of 8 images each; about two per second on two cores.
        sensitivity: Measure how sensitive each layer is, even if none has to go back to float.
        threads: CPU threads; the runtime's choice by default.

    Raises:
        ValueError: If a value is out of range, or options contradict each other.
    """

    calibration: Path
    annotations: Path
    max_ap_loss: float = 0.5
    precision: Literal["int8", "fp16", "bf16"] = "int8"
    calibration_people: int = 200
    people: int = 1000
    scheme: Literal["affine", "symmetric", "power-of-two"] = "affine"
    deconvolutions: Literal["float", "int8"] | None = None
    qat: bool = False
    qat_steps: int = 400
    sensitivity: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.precision == "bf16":
            raise ValueError(
                "bf16 needs no file of its own: OpenVINO derives it from the fp32 file at run time;"
                " expected --backend openvino --precision bf16 where the model is used"
            )
        if not (math.isfinite(self.max_ap_loss) and self.max_ap_loss >= 0):
            raise ValueError(
                f"--max-ap-loss is {self.max_ap_loss:g}; expected points of AP, 0 or more, "
                "such as 0.5"
            )
        for name in ("calibration_people", "people", "qat_steps"):
            if getattr(self, name) < 1:
                option = f"--{name.replace('_', '-')}"
                raise ValueError(f"{option} is {getattr(self, name)}; expected 1 or more")
        check_threads(self.threads)
        if self.precision == "fp16" and (
            self.deconvolutions or self.sensitivity or self.qat or self.scheme != "affine"
        ):
            raise ValueError(
                "--scheme, --deconvolutions, --qat and --sensitivity apply to int8; expected none "
                "of them with --precision fp16"
            )
        if self.scheme != "affine" and self.deconvolutions == "float":
            raise ValueError(
                f"the {self.scheme} scheme is for hardware that computes deconvolutions in int8; "
                "expected --deconvolutions int8, or the affine scheme"
            )

    @property
    def rounds_deconvolutions(self) -> bool:
        """Whether transposed convolutions are quantized too."""
        return self.deconvolutions == "int8" or self.scheme != "affine"

    @property
    def fine_tuning_steps(self) -> int:
        """Steps of quantization-aware fine-tuning; 0 for none."""
        return self.qat_steps if self.qat else 0
