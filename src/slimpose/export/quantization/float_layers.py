"""The search for the fewest layers that have to stay in float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import onnx

from slimpose.export.quantization.rounding import Evaluation, Log, Rounding

MAX_FLOAT_SHARE = 0.5
"""Largest share of layers in float; a file with more of them is hardly an INT8 model."""
_SENSITIVITY_IMAGES = 8
_LISTED = 12


@dataclass(frozen=True, slots=True)
class Candidate:
    """A converted model, the labels of its float layers, and its AP in points."""

    model: onnx.ModelProto
    float_layers: tuple[str, ...]
    ap: float


@dataclass(frozen=True, slots=True)
class FloatLayerSearch:
    """Measures models in which the layers most sensitive to rounding stay in float.

    Layers are ordered by sensitivity when they are first needed; each count of float layers is
    measured once.

    Attributes:
        model: The float model.
        evaluation: Its network, and the images that sensitivity is measured on.
        rounding: How the other layers are rounded.
        ap_of: Measures the AP of a model.
        ap_float: AP of the float model.
        log: Called with each line of progress.
    """

    model: onnx.ModelProto
    evaluation: Evaluation
    rounding: Rounding
    ap_of: Callable[[onnx.ModelProto], float]
    ap_float: float
    log: Log
    _order: list[str] = field(default_factory=list, init=False)
    _candidates: dict[int, Candidate] = field(default_factory=dict, init=False)

    def layers_by_sensitivity(self) -> list[str]:
        """Return the layers, those first whose rounding alone changes the maps most."""
        if not self._order:
            self.log("error of the maps with a single layer rounded, the largest:")
            measured = sensitivities(self.evaluation, self.rounding)
            for layer, error in measured[:_LISTED]:
                self.log(f"  {error:.3%}  {_label(self.model, layer)}")
            self._order.extend(layer for layer, _ in measured)
        return self._order

    def loss(self, count: int) -> float:
        """Return the points of AP lost with the ``count`` most sensitive layers in float."""
        if count not in self._candidates:
            parts = self.evaluation.parts
            in_float = self.layers_by_sensitivity()[:count] if count else []
            rounded = [layer for layer in parts.layers if layer not in in_float]
            model = self.rounding.apply(self.model, parts, rounded)
            labels = tuple(_label(self.model, layer) for layer in in_float)
            ap = self.ap_of(model)
            self._candidates[count] = Candidate(model, labels, ap)
            self.log(f"{count} layers in float: AP {ap:.2f}, {self.ap_float - ap:+.2f} lost")
        return self.ap_float - self._candidates[count].ap

    def fewest(self, *, max_loss: float) -> tuple[Candidate | None, dict[int, float]]:
        """Return the candidate with the fewest float layers, or None, and every loss measured.

        The loss, in points of AP, is at most ``max_loss``.
        """
        most = int(MAX_FLOAT_SHARE * len(self.evaluation.parts.layers))
        count, losses = fewest_float_layers(self.loss, most=most, max_loss=max_loss)
        return (None if count is None else self._candidates[count]), losses


def sensitivities(evaluation: Evaluation, rounding: Rounding) -> list[tuple[str, float]]:
    """Return each layer and the error of the maps when it alone is rounded, largest error first."""
    errors = {
        layer: evaluation.error(
            rounding.apply(evaluation.network, evaluation.parts, [layer]), _SENSITIVITY_IMAGES
        )
        for layer in evaluation.parts.layers
    }
    return sorted(errors.items(), key=lambda entry: -entry[1])


def fewest_float_layers(
    loss_of: Callable[[int], float], *, most: int, max_loss: float
) -> tuple[int | None, dict[int, float]]:
    """Return the smallest count whose loss is at most ``max_loss``, and every loss measured.

    0, 1, 2, 4, ... up to ``most`` are tried until one fits; then the interval below it is bisected.
    That finds the smallest where the loss falls with the count; where it does not quite, the one
    found still fits. The count is None if none fits.

    >>> fewest_float_layers(lambda count: 10.0 - count, most=8, max_loss=4.0)
    (6, {0: 10.0, 1: 9.0, 2: 8.0, 4: 6.0, 8: 2.0, 6: 4.0, 5: 5.0})
    """
    losses: dict[int, float] = {}

    def fits(count: int) -> bool:
        losses[count] = loss_of(count)
        return losses[count] <= max_loss

    too_few, count = -1, 0
    while not fits(count):
        if count >= most:
            return None, losses
        too_few, count = count, min(most, max(1, 2 * count))
    while count - too_few > 1:
        middle = (too_few + count) // 2
        if fits(middle):
            count = middle
        else:
            too_few = middle
    return count, losses


def _label(model: onnx.ModelProto, layer: str) -> str:
    """Return the name of a layer's weights, which shows where it is; a sum has its own name."""
    node = next(node for node in model.graph.node if node.name == layer)
    return node.input[1].removesuffix(".weight") if node.op_type != "Add" else layer
