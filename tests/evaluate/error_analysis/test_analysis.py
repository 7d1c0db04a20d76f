"""Error analysis: planted errors get their kind, and the gain of fixing them is exact."""

from __future__ import annotations

import numpy as np
import pytest

from posed_people import JOINTS, ONE, OTHER, at, distance_px, moved, person, pose, truth
from slimpose.evaluate.error_analysis.analysis import ErrorAnalysis, analyze
from slimpose.evaluate.error_analysis.findings import findings, short_table


def kinds(analysis: ErrorAnalysis) -> dict[str, int]:
    return {kind: count for kind, count in analysis.kinds.items() if count}


def gains(analysis: ErrorAnalysis) -> dict[str, float]:
    return {row.name: row.gain for row in analysis.oracles}


def test_perfect_poses_have_no_errors() -> None:
    result = analyze(truth(ONE, OTHER), [pose(ONE), pose(OTHER)])
    assert kinds(result) == {"good": 34}
    assert result.precision.ap == pytest.approx(1.0)
    assert set(gains(result).values()) == {0.0}
    assert findings(result) == ["Nothing is lost: every labeled joint is good."]
    precisions = [row.precision for row in result.joints]
    assert all(one is not None and one.ap == pytest.approx(1.0) for one in precisions)


@pytest.mark.parametrize(
    ("joint", "point", "kind"),
    [
        ("nose", at(ONE, "nose", distance_px("nose", 0.86)), "good"),  # just over 0.85
        ("nose", at(ONE, "nose", distance_px("nose", 0.84)), "jitter"),  # just under 0.85
        ("left_wrist", at(ONE, "left_wrist", 0, distance_px("left_wrist", 0.51)), "jitter"),
        # near no other joint
        ("left_wrist", at(ONE, "left_wrist", 0, distance_px("left_wrist", 0.49)), "miss"),
        ("left_wrist", at(ONE, "right_wrist", distance_px("left_wrist", 0.6)), "inversion"),
        # too far from the mirrored joint
        ("left_wrist", at(ONE, "right_wrist", distance_px("left_wrist", 0.4)), "miss"),
        ("left_wrist", at(OTHER, "left_wrist"), "swap"),  # the same joint of another person
        ("left_wrist", at(OTHER, "right_wrist"), "swap"),  # its mirrored joint
        ("left_wrist", at(OTHER, "nose"), "miss"),  # another joint of another person
        ("left_wrist", at(ONE, "left_knee"), "miss"),  # a joint that is not the mirrored one
        ("nose", at(ONE, "left_eye"), "miss"),  # the nose has no mirrored joint
    ],
)
def test_planted_error_gets_its_kind(joint: str, point: np.ndarray, kind: str) -> None:
    result = analyze(truth(ONE, OTHER), [pose(moved(ONE, **{joint: point})), pose(OTHER)])
    assert kinds(result) == ({"good": 34} if kind == "good" else {"good": 33, kind: 1})
    row = result.joints[JOINTS[joint]]
    assert row.kinds[kind] == (1.0 if kind == "good" else 0.5)
    assert row.labeled == 2


def test_nearer_joint_decides_between_inversion_and_swap() -> None:
    near = person(100)
    # its left wrist on the right wrist of ONE
    near[:, :2] += at(ONE, "right_wrist") - at(ONE, "left_wrist")
    near[JOINTS["left_wrist"], :2] += [6.0, 0]
    for shift, kind in ((0.0, "inversion"), (6.0, "swap")):
        wrong = moved(ONE, left_wrist=at(ONE, "right_wrist", shift))
        result = analyze(truth(ONE, near), [pose(wrong), pose(near, score=0.8)])
        assert result.joints[JOINTS["left_wrist"]].kinds[kind] == 0.5


def test_unlabeled_joints_have_no_kind_and_cause_no_inversion() -> None:
    partly_labeled = ONE.copy()
    partly_labeled[JOINTS["right_wrist"], 2] = 0
    predicted = moved(ONE, left_wrist=at(ONE, "right_wrist"), right_wrist=(0, 0))
    result = analyze(truth(partly_labeled), [pose(predicted)])
    assert kinds(result) == {"good": 15, "miss": 1}
    assert result.joints[JOINTS["right_wrist"]].labeled == 0
    assert result.joints[JOINTS["right_wrist"]].precision is None


@pytest.mark.parametrize("wrong", [1, 3, 8])
def test_gain_of_an_oracle_is_exact(wrong: int) -> None:
    """With m of 17 joints correct OKS is m/17; AP is the share of the thresholds up to that."""
    bad = ONE.copy()
    bad[:wrong, :2] += [0, 5000]
    result = analyze(truth(ONE), [pose(bad)])
    before = sum(threshold <= (17 - wrong) / 17 for threshold in np.linspace(0.5, 0.95, 10)) / 10
    assert result.precision.ap == pytest.approx(before)
    assert gains(result)["miss"] == pytest.approx(1 - before)
    assert gains(result)["jitter"] == 0
    assert sum(row.gain for row in result.joints[wrong:]) == 0


def test_each_kind_is_fixed_alone_and_all_together() -> None:
    """3 missed and 4 inverted of 17: OKS 10/17 passes 2 thresholds, 13/17 6, 14/17 7, 17/17 all."""
    pairs = ("left_wrist", "right_wrist"), ("left_ankle", "right_ankle")
    points = {a: at(ONE, b) for pair in pairs for a, b in (pair, pair[::-1])}
    points |= dict.fromkeys(("nose", "left_hip", "left_knee"), (0.0, 3000.0))
    result = analyze(truth(ONE), [pose(moved(ONE, **points))])
    assert kinds(result) == {"good": 10, "inversion": 4, "miss": 3}
    assert {row.name: row.fixed_ap for row in result.oracles} == pytest.approx(
        {
            "jitter": 0.2,
            "inversion": 0.7,
            "swap": 0.2,
            "miss": 0.6,
            "all of these": 1.0,
            "hidden joints": 0.2,
            "people not found": 0.2,
            "false positives": 0.2,
            "scoring": 0.2,
        }
    )


def test_fixing_hidden_joints_leaves_visible_joints_unchanged() -> None:
    half = ONE.copy()
    half[:8, 2] = 1
    bad = ONE.copy()
    bad[4:12, :2] += [0, 5000]  # 4 hidden, 4 visible: 9/17 passes 1 threshold, 13/17 passes 6
    result = analyze(truth(half), [pose(bad)])
    hidden = next(row for row in result.oracles if row.name == "hidden joints")
    assert (hidden.count, hidden.total) == (4, 8)
    assert (result.precision.ap, hidden.fixed_ap) == pytest.approx((0.1, 0.6))
    eye, ear = result.joints[JOINTS["left_eye"]], result.joints[JOINTS["right_ear"]]
    assert (eye.pck_hidden, eye.pck_visible, ear.pck_hidden) == (1.0, None, 0.0)


def test_people_without_a_pose_are_not_found() -> None:
    result = analyze(truth(ONE, OTHER), [pose(ONE)])
    assert kinds(result) == {"good": 17, "not found": 17}
    assert result.precision.ap == pytest.approx(51 / 101)  # recalls 0, 0.01, ..., 0.50 of 101
    assert gains(result)["people not found"] == pytest.approx(50 / 101)
    assert gains(result)["all of these"] == 0
    assert result.worst[0].person_id == 12
    assert not result.worst[0].is_matched


def test_false_positive_of_the_highest_score_halves_the_precision() -> None:
    """One true pose and one false pose above it: precision 1/2 at every recall."""
    result = analyze(truth(ONE), [pose(ONE, score=0.5), pose(person(2500), score=0.9)])
    assert result.precision.ap == pytest.approx(0.5)
    assert gains(result)["false positives"] == pytest.approx(0.5)
    assert gains(result)["scoring"] == pytest.approx(0.5)
    false = next(row for row in result.oracles if row.name == "false positives")
    assert (false.count, false.total) == (1, 2)


def test_skeleton_without_left_and_right_has_no_inversions() -> None:
    file = truth(ONE, joints=[f"point {number}" for number in range(17)])
    result = analyze(file, [pose(moved(ONE, left_wrist=at(ONE, "right_wrist")))])
    assert result.kinds["miss"] == 1
    assert "inversion" not in gains(result)
    assert "inversion" not in short_table(result)


def test_worst_people_are_sorted_by_joints_lost() -> None:
    people = [person(100 + 400 * number) for number in range(3)]
    records = []
    for number, one in enumerate(people):
        bad = one.copy()
        bad[: 2 * number, :2] += [0, 700]
        records.append(pose(bad))
    result = analyze(truth(*people), records)
    assert [one.person_id for one in result.worst] == [13, 12, 11]
    assert [one.joints_lost for one in result.worst] == pytest.approx([4.0, 2.0, 0.0])


def test_crowds_and_people_without_labels_do_not_count() -> None:
    unlabeled = person(2000)
    unlabeled[:, 2] = 0
    result = analyze(
        truth(ONE, OTHER, unlabeled, crowds=[1]), [pose(ONE), pose(OTHER), pose(unlabeled)]
    )
    assert kinds(result) == {"good": 17}
    assert (result.precision.people, result.precision.ap) == (1, pytest.approx(1.0))


def test_file_without_labels_is_rejected() -> None:
    unlabeled = person(100)
    unlabeled[:, 2] = 0
    with pytest.raises(ValueError, match=r"truth\.json: no person has a labeled joint"):
        analyze(truth(unlabeled), [])
