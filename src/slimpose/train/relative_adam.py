"""Adam whose steps are relative to the magnitude of each row of a weight, for folded batch norm."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

_LEAST_MAGNITUDE = 1e-3
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class RelativeAdam(torch.optim.Optimizer):
    """Adam with a learning rate per output channel: ``lr`` times the channel's root mean square.

    Where batch norm is folded into convolutions, the weights of one layer's channels differ by
    orders of magnitude: a step that suits the large ones destroys the small ones. A bias has one
    magnitude for all channels. Magnitudes are those of the weights at the first step.

    Source:
        Kingma and Ba, "Adam", ICLR 2015; Loshchilov and Hutter, "Decoupled Weight Decay
        Regularization", ICLR 2019; Shazeer and Stern, "Adafactor", ICML 2018, section 8 (steps
        relative to the weights, there per tensor).
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": 0.0})

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Do one step with the parameters' gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group["lr"], group["weight_decay"])
        return loss

    def _update(self, parameter: nn.Parameter, rate: float, weight_decay: float) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
            state["magnitude"] = row_magnitude(parameter)
        state["step"] += 1
        count = float(state["step"])
        first, second = _BETAS
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(_EPSILON)
        parameter.mul_(1 - rate * weight_decay)
        change = state["exp_avg"] / spread * state["magnitude"]
        parameter.sub_(change, alpha=rate / (1 - first**count))


def row_magnitude(parameter: Tensor) -> Tensor:
    """Return the root mean square of each row of a weight, of a vector as a whole.

    It broadcasts to the parameter's shape.
    """
    squares = parameter.detach().square()
    axes = tuple(range(1 if parameter.ndim > 1 else 0, parameter.ndim))
    return squares.mean(axes, keepdim=True).sqrt().clamp_min(_LEAST_MAGNITUDE)
