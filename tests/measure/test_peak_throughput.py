import numpy as np
import onnx
import pytest

from slimpose.measure import peak_throughput
from slimpose.measure.peak_throughput import SIDE


@pytest.mark.parametrize(
    ("precision", "operator", "left_type", "right_type"),
    [("fp32", "MatMul", np.float32, np.float32), ("int8", "MatMulInteger", np.uint8, np.int8)],
)
def test_the_graphs_multiply_matrices(
    precision: str, operator: str, left_type: type, right_type: type
) -> None:
    path = peak_throughput.Path(peak_throughput.__file__).with_name(f"matmul_{precision}.onnx")
    model = onnx.load(path, load_external_data=False)
    assert [node.op_type for node in model.graph.node] == [operator]
    rng = np.random.default_rng(1)
    left, right = (rng.integers(0, 100, (SIDE, SIDE)) for _ in range(2))
    session = peak_throughput.open_product(precision, right.astype(right_type), 1)
    (product,) = session.run(None, {"a": left.astype(left_type)})
    np.testing.assert_array_equal(product, left @ right)


def test_peak_is_measured_in_both_precisions() -> None:
    peaks = peak_throughput.peak_gmac_per_s(1, rounds=3)
    assert peaks.keys() == {"fp32", "int8"}
    assert all(gmac > 0.01 for gmac in peaks.values())
