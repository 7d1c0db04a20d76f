"""The search for the fewest float layers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slimpose.export.quantization.float_layers import fewest_float_layers


@given(most=st.integers(0, 70), needed=st.integers(0, 80))
def test_the_fewest_float_layers_are_found_if_the_loss_falls_with_the_count(
    most: int, needed: int
) -> None:
    measured: list[int] = []

    def loss(count: int) -> float:
        measured.append(count)
        return 0.0 if count >= needed else 1.0

    found, losses = fewest_float_layers(loss, most=most, max_loss=0.5)
    assert found == (needed if needed <= most else None)
    assert len(measured) == len(set(measured)) == len(losses) <= 15
