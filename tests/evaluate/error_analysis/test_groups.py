"""AP of groups of people: everyone is in the right group, and each group is evaluated alone."""

from __future__ import annotations

import numpy as np
import pytest

from posed_people import ONE, OTHER, person, pose, truth
from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, analyze

BORDER = "Truncated by the image border"


def ap_by_group(result: ErrorAnalysis, name: str) -> dict[str, float]:
    grouping = next(one for one in result.groupings if one.name == name)
    return {row.name: row.precision.ap for row in grouping.rows if row.precision is not None}


def test_groups_are_evaluated_separately() -> None:
    """One person is correct; the smaller one has 13 of 17 joints correct: 6 of 10 thresholds."""
    bad = OTHER.copy()
    bad[:4, :2] += [0, 500]
    result = analyze(
        truth(ONE, OTHER, areas=(10_000.0, 3_600.0)), [pose(ONE), pose(bad, score=0.95)]
    )
    assert ap_by_group(result, "Size") == pytest.approx({"48 to 64": 0.6, "96 to 128": 1.0})
    assert ap_by_group(result, "Crowding") == pytest.approx({"none": result.precision.ap})
    assert ap_by_group(result, BORDER) == pytest.approx({"no": result.precision.ap})
    sizes = next(one for one in result.groupings if one.name == "Size")
    lost = {row.name: row.lost_share for row in sizes.rows if row.lost_share > 1e-9}
    assert lost == pytest.approx({"48 to 64": 1.0})


@pytest.mark.parametrize(
    ("people", "grouping", "expected"),
    [
        # 181x241 boxes, 90 px apart: IoU 91/271
        ((person(100), person(190)), "Crowding", {"0.3 to 0.5"}),
        ((person(100), person(280)), "Crowding", {"under 0.1"}),
        ((person(1), person(1000)), BORDER, {"no", "yes"}),
        ((person(3818), person(1000)), BORDER, {"no", "yes"}),
        ((person(100, visibility=1), person(1000)), "Hidden joints", {"none", "half and more"}),
        ((person(100), person(1000)), "Labeled joints", {"more"}),
    ],
)
def test_people_are_assigned_to_their_group(
    people: tuple[np.ndarray, ...], grouping: str, expected: set[str]
) -> None:
    result = analyze(truth(*people), [pose(one) for one in people])
    assert ap_by_group(result, grouping) == pytest.approx(dict.fromkeys(expected, 1.0))
