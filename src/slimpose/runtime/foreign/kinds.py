"""The kinds of published models: how each is recognized, fed and decoded, as a table.

Means and deviations are of pixels 0..255, in RGB order. To add a kind, add an entry and, if its
outputs are new, a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from slimpose.arrays import IMAGENET_MEAN, IMAGENET_STD
from slimpose.geometry import CanvasFit, CellAlignment
from slimpose.runtime.foreign import box_decoders, one_stage_decoders, pose_decoders
from slimpose.runtime.foreign.facts import Arrays, Facts
from slimpose.runtime.foreign.signature import Signature
from slimpose.runtime.foreign.skeletons import SKELETONS
from slimpose.tasks import Task

Rgb = tuple[float, float, float]
_IMAGENET: tuple[Rgb, Rgb] = (
    (255 * IMAGENET_MEAN[0], 255 * IMAGENET_MEAN[1], 255 * IMAGENET_MEAN[2]),
    (255 * IMAGENET_STD[0], 255 * IMAGENET_STD[1], 255 * IMAGENET_STD[2]),
)
_RAW: tuple[Rgb, Rgb] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_SHARES: tuple[Rgb, Rgb] = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
_COCO_CLASSES = 80
_ANCHORS = 3
"""Anchors per cell of YOLOv3 to YOLOv7, whose heads are not decoded here."""
_MAX_QUERIES = 1000
"""DETRs have fewer; SSD and other dense heads have more rows, decoded otherwise."""
_KNOWN_JOINTS = {len(skeleton.joints) for skeleton in SKELETONS.values()}

Match = Callable[[Signature], "int | None"]
"""Returns a file's number of joints (0 for detectors); None if its outputs are of other kinds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of model.

    Attributes:
        about: Which models are of this kind.
        task: What it does.
        match: Recognizes the outputs.
        outputs: The outputs in words, for messages.
        decode: Decodes them.
        normalization: Mean and deviation.
        bgr: Whether the network takes BGR.
        fit: How an image fills the input of a detector or one-stage model.
        alignment: Where heatmap cells lie in the crop.
        score_threshold: Default threshold for boxes.
        nms_iou_threshold: Default for NMS; 1 where the file does it itself.
        in_pixels: Whether boxes and points come in pixels of the input; files with normalized ones
            are found by a trial.
        known_joints: Recognized only with a number of joints that published models have, unless
            the file or ``--model-kind`` says it: others look like numbers of classes.
        needs_name: Recognized only if ``--model-kind`` says so: another kind looks the same and is
            more frequent.
    """

    about: str
    task: Task
    match: Match
    outputs: str
    decode: Callable[[Sequence[np.ndarray], Facts], Arrays]
    normalization: tuple[Rgb, Rgb] = field(default=_RAW)
    bgr: bool = False
    fit: CanvasFit = "letterbox"
    alignment: CellAlignment = "multiples"
    score_threshold: float = 0.3
    nms_iou_threshold: float = 0.6
    in_pixels: bool = False
    known_joints: bool = False
    needs_name: bool = False

    def guess(self, file: Signature) -> int | None:
        """Return what ``match`` does, for a file whose kind is not said."""
        joints = None if self.needs_name else self.match(file)
        is_unlikely = self.known_joints and file.export.joints is None
        return None if is_unlikely and joints not in _KNOWN_JOINTS else joints


def _heatmaps(file: Signature) -> int | None:
    if len(file.shapes) != 1 or len(file.shapes[0]) != 4:
        return None
    joints, rows, columns = pose_decoders.maps_shape(file.shapes[0], file.size)
    return joints if pose_decoders.are_cells(rows, columns, file.size) else None


def _simcc(file: Signature) -> int | None:
    if _ranks(file.shapes) != [3, 3]:
        return None
    names, bins = [port.name for port in file.outputs], [shape[2] for shape in file.shapes]
    x, y = (file.shapes[axis] for axis in pose_decoders.simcc_axes(names, bins, file.size))
    same_ratio = x[2] * file.size.height == y[2] * file.size.width
    return x[1] if x[1] == y[1] and same_ratio and x[2] >= file.size.width else None


def _movenet(file: Signature) -> int | None:
    found = any(shape[-2:] == (17, 3) and len(shape) == 4 for shape in file.shapes)
    return 17 if found and file.is_channels_last else None


def _multipose(file: Signature) -> int | None:
    found = any(shape[-2:] == (6, 56) for shape in file.shapes)
    return 17 if found and file.is_channels_last else None


def _ranks(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    return [len(shape) for shape in shapes]


def _one_output(file: Signature) -> tuple[int, int] | None:
    """Return the last two sides of the only output, if it has three."""
    return file.shapes[0][1:] if _ranks(file.shapes) == [3] else None  # pyright: ignore[reportReturnType]


def _cells(file: Signature) -> int:
    return box_decoders.cell_count(file.size, box_decoders.YOLO_STRIDES)


def _yolox(file: Signature) -> int | None:
    shape = None if file.export.task else _one_output(file)
    is_transposed_yolo = shape and shape[1] == 4 + _COCO_CLASSES
    fits = shape and shape[0] == _cells(file) and shape[1] >= 6
    return 0 if fits and not is_transposed_yolo else None


def _nanodet(file: Signature) -> int | None:
    shape = None if file.export.task else _one_output(file)
    if not shape or not box_decoders.nanodet_strides(file.size, shape[0]):
        return None
    # With three levels YOLOX looks the same: only COCO's 80 classes are taken for NanoDet's.
    classes, is_plus = shape[1] - 4 * box_decoders.NANODET_BINS, shape[0] != _cells(file)
    return 0 if classes == _COCO_CLASSES or (is_plus and classes > 0) else None


def _by_cells(file: Signature) -> tuple[int, int] | None:
    """Return the values and cells of a YOLO without NMS; as Ultralytics orders them, or last.

    With the values last, YOLOX looks the same: only numbers of published models are taken.
    """
    shape = _one_output(file)
    if shape is None or shape[1] == _cells(file):
        return shape
    is_known = shape[1] == 4 + _COCO_CLASSES or _joints_of(shape[1] - 5) in _KNOWN_JOINTS
    return (shape[1], shape[0]) if shape[0] == _cells(file) and is_known else None


def _is_list(file: Signature, count: int) -> bool:
    """Whether so many rows are what NMS left, not the cells of a dense head, or its anchors."""
    heads = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
    cells = {box_decoders.cell_count(file.size, strides) for strides in heads}
    return count < _cells(file) and not cells & {count, count / _ANCHORS}


def _yolo(file: Signature) -> int | None:
    shape = _by_cells(file)
    if not shape or file.export.task not in ("", "detect"):
        return None
    classes = shape[0] - 4
    looks_like_pose = not file.export.task and _joints_of(classes - 1) in _KNOWN_JOINTS
    named = len(file.export.classes) or classes
    return 0 if classes == named > 0 and not looks_like_pose else None


def _yolo_pose(file: Signature) -> int | None:
    shape = _by_cells(file)
    if not shape or file.export.task not in ("", "pose"):
        return None
    joints, values = file.export.joints, file.export.values
    if joints is None:
        return _joints_of(shape[0] - 5)
    classes = shape[0] - 4 - values * joints
    return joints if classes == (len(file.export.classes) or classes) > 0 else None


def _yolo_end_to_end(file: Signature) -> int | None:
    shape = _one_output(file)
    is_one = shape and shape[1] == 6 and file.export.task in ("", "detect")
    return 0 if shape and is_one and _is_list(file, shape[0]) else None


def _yolo_pose_end_to_end(file: Signature) -> int | None:
    shape = _one_output(file)
    if not shape or not _is_list(file, shape[0]) or file.export.task not in ("", "pose"):
        return None
    joints = file.export.joints
    if joints is None:
        return _joints_of(shape[1] - 6)
    return joints if shape[1] == 6 + file.export.values * joints else None


def _rt_detr(file: Signature) -> int | None:
    shape = _one_output(file)
    if not shape or not _is_list(file, shape[0]) or file.export.task not in ("", "detect"):
        return None
    classes = len(file.export.classes) or _COCO_CLASSES
    return 0 if shape[1] == 4 + classes and shape[1] != 6 else None


def _joints_of(values: int) -> int | None:
    return values // 3 if values > 0 and values % 3 == 0 else None


def _mmdeploy(file: Signature) -> int | None:
    shapes = file.named("dets", "labels")
    fits = _ranks(shapes) == [3, 2] and len(file.outputs) == 2
    return 0 if fits and shapes[0][2] == 5 else None


def _rtmdet(file: Signature) -> int | None:
    sides = [(-(-file.size.height // s), -(-file.size.width // s)) for s in (8, 16, 32)]
    shapes = sorted(file.shapes, key=lambda shape: -shape[1] if len(shape) == 4 else 0)
    fits = [shape[1:3] for shape in shapes if len(shape) == 4] == sides and len(shapes) == 3
    channels = {shape[-1] for shape in shapes}
    return 0 if fits and len(channels) == 1 and min(channels) >= 5 else None


def _decoded_boxes(file: Signature) -> int | None:
    ports = sorted(file.outputs, key=lambda port: -len(port.shape))
    if _ranks([port.shape for port in ports]) != [3, 2] or "float" not in ports[1].type:
        return None  # integers are labels
    boxes, scores = (port.shape for port in ports)
    return 0 if boxes[2] == 4 and boxes[1] == scores[1] else None


def _detr(file: Signature) -> int | None:
    if _ranks(file.shapes) != [3, 3] or len({shape[1] for shape in file.shapes}) > 1:
        return None
    names = [port.name for port in file.outputs]
    boxes, logits = (file.shapes[index][2] for index in box_decoders.detr_order(names, file.shapes))
    if file.shapes[0][1] > _MAX_QUERIES:
        return None
    return 0 if boxes == 4 and (logits > 4 or set(names) == {"dets", "labels"}) else None


def _rtmo(file: Signature) -> int | None:
    shapes = sorted(file.shapes, key=len)
    fits = _ranks(shapes) == [3, 4] and shapes[0][2] == 5 and shapes[0][1] == shapes[1][1]
    return shapes[1][2] if fits and shapes[1][3] == 3 else None


def _detr_pose(file: Signature) -> int | None:
    shapes = file.named("scores", "keypoints")
    return shapes[1][2] if _ranks(shapes) == [2, 4] and shapes[1][3] in (2, 3) else None


def _detr_pose_raw(file: Signature) -> int | None:
    shapes = file.named("pred_logits", "pred_keypoints")
    return shapes[1][2] // 2 if _ranks(shapes) == [3, 3] and shapes[1][2] % 2 == 0 else None


_HEATMAPS = "heatmaps (n, joints, height, width), a whole part of the input's sides"
_DETS = "dets (n, k, 5) and labels (n, k)"
KINDS: dict[str, Kind] = {
    "heatmaps": Kind(
        about="HRNet, SimpleBaseline, TinyPose and other heatmap networks",
        task="pose", match=_heatmaps, outputs=_HEATMAPS, decode=pose_decoders.heatmaps,
        normalization=_IMAGENET,
    ),
    "vitpose": Kind(
        about="ViTPose and other networks trained with UDP",
        task="pose", match=_heatmaps, outputs=_HEATMAPS, decode=pose_decoders.heatmaps,
        normalization=_IMAGENET, alignment="corners", needs_name=True,
    ),
    "rtmpose": Kind(
        about="RTMPose, RTMW and other SimCC networks",
        task="pose", match=_simcc, outputs="x and y (n, joints, bins)",
        decode=pose_decoders.simcc, normalization=_IMAGENET,
    ),
    "movenet": Kind(
        about="MoveNet SinglePose",
        task="pose", match=_movenet, outputs="(1, 1, 17, 3)", decode=pose_decoders.movenet,
    ),
    "yolox": Kind(
        about="YOLOX", task="detect", match=_yolox, outputs="(n, cells, 5 + classes)",
        decode=box_decoders.yolox, bgr=True,
    ),
    "yolox-nms": Kind(
        about="YOLOX exported by MMDeploy", task="detect", match=_mmdeploy, outputs=_DETS,
        decode=box_decoders.mmdeploy, bgr=True, nms_iou_threshold=1.0, in_pixels=True,
    ),
    "rtmdet": Kind(
        about="RTMDet without its decoding", task="detect", match=_rtmdet,
        outputs="three maps (n, h, w, classes + 4)", decode=box_decoders.rtmdet,
        normalization=_IMAGENET, bgr=True,
    ),
    "rtmdet-nms": Kind(
        about="RTMDet exported by MMDeploy", task="detect", match=_mmdeploy, outputs=_DETS,
        decode=box_decoders.mmdeploy, normalization=_IMAGENET, bgr=True, nms_iou_threshold=1.0,
        in_pixels=True,
    ),
    "nanodet": Kind(
        about="NanoDet and NanoDet-Plus", task="detect", match=_nanodet,
        outputs="(n, cells, classes + 32)", decode=box_decoders.nanodet,
        normalization=_IMAGENET, bgr=True, fit="stretch",
    ),
    "picodet": Kind(
        about="PicoDet with decoded boxes", task="detect", match=_decoded_boxes,
        outputs="boxes (n, k, 4) and scores (n, k)", decode=box_decoders.decoded,
        normalization=_IMAGENET, fit="stretch-cubic", score_threshold=0.4, in_pixels=True,
    ),
    "yolo": Kind(
        about="YOLOv8 to YOLO26 detection without NMS inside", task="detect", match=_yolo,
        outputs="(n, 4 + classes, cells)", decode=box_decoders.yolo, normalization=_SHARES,
        fit="letterbox-center", in_pixels=True,
    ),
    "yolo-nms": Kind(
        about="YOLO detection with NMS inside, YOLO26", task="detect", match=_yolo_end_to_end,
        outputs="(n, k, 6)", decode=box_decoders.yolo_end_to_end, normalization=_SHARES,
        fit="letterbox-center", nms_iou_threshold=1.0, in_pixels=True,
    ),
    "rt-detr": Kind(
        about="RT-DETR exported by Ultralytics", task="detect", match=_rt_detr,
        outputs="(n, k, 4 + classes)", decode=box_decoders.rt_detr, normalization=_SHARES,
        fit="stretch", nms_iou_threshold=1.0,
    ),
    "rf-detr": Kind(
        about="RF-DETR", task="detect", match=_detr, outputs="boxes (n, k, 4), logits (n, k, c)",
        decode=box_decoders.detr, normalization=_IMAGENET, fit="stretch", nms_iou_threshold=1.0,
    ),
    "yolo-pose": Kind(
        about="YOLOv8-pose to YOLO26-pose without NMS inside", task="one-stage", match=_yolo_pose,
        outputs="(n, 5 + 3 joints, cells)", decode=one_stage_decoders.yolo_pose,
        normalization=_SHARES, fit="letterbox-center", in_pixels=True, known_joints=True,
    ),
    "yolo-pose-nms": Kind(
        about="YOLO pose with NMS inside, YOLO26-pose", task="one-stage",
        match=_yolo_pose_end_to_end, outputs="(n, k, 6 + 3 joints)",
        decode=one_stage_decoders.yolo_pose_end_to_end, normalization=_SHARES,
        fit="letterbox-center", nms_iou_threshold=1.0, in_pixels=True, known_joints=True,
    ),
    "rtmo": Kind(
        about="RTMO", task="one-stage", match=_rtmo,
        outputs="dets (n, k, 5) and keypoints (n, k, joints, 3)", decode=one_stage_decoders.rtmo,
        bgr=True, nms_iou_threshold=1.0, in_pixels=True,
    ),
    "detrpose": Kind(
        about="DETRPose, ECPose", task="one-stage", match=_detr_pose,
        outputs="scores (n, k) and keypoints (n, k, joints, 2)",
        decode=one_stage_decoders.detr_pose, normalization=_SHARES, fit="stretch",
        nms_iou_threshold=1.0, in_pixels=True,
    ),
    "detrpose-raw": Kind(
        about="DETRPose, ECPose without their decoding", task="one-stage", match=_detr_pose_raw,
        outputs="pred_logits (n, k, classes) and pred_keypoints (n, k, 2 joints)",
        decode=one_stage_decoders.detr_pose_raw, normalization=_SHARES, fit="stretch",
        nms_iou_threshold=1.0,
    ),
    "movenet-multipose": Kind(
        about="MoveNet MultiPose", task="one-stage", match=_multipose, outputs="(1, 6, 56)",
        decode=one_stage_decoders.multipose, nms_iou_threshold=1.0,
    ),
}  # fmt: skip
