"""Left and right by the usual spellings of names."""

from __future__ import annotations

import pytest

from slimpose.joint_names import mirror_pairs
from slimpose.skeleton import COCO17, OPENPOSE18


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"),
        ("eye_left", "eye_right"),
        ("Left_Eye", "Right_Eye"),
        ("LEFT_EYE", "RIGHT_EYE"),
        ("left eye", "right eye"),
        ("left-eye", "right-eye"),
        ("leftEye", "rightEye"),
        ("eyeRight", "eyeLeft"),  # in any order
        ("lefteye", "righteye"),
        ("l_eye", "r_eye"),
        ("L eye", "R eye"),
        ("eye.L", "eye.R"),
        ("eye_l", "eye_r"),
        ("LEye", "REye"),
        ("EyeL", "EyeR"),
        ("leye", "reye"),
        ("LEYE", "REYE"),
        ("hoof_fl", "hoof_fr"),
        ("rf_paw", "lf_paw"),
        ("l_eye", "right_eye"),  # two spellings
        ("left", "right"),
        ("L", "R"),
        ("lft_eye", "rgt_eye"),
        ("vasen_silmä", "oikea_silmä"),
        ("ochi stânga", "ochi dreapta"),
        ("mata_kiri", "mata_kanan"),
        ("αριστερό_μάτι", "δεξί_μάτι"),
        ("עין_שמאל", "עין_ימין"),
        ("العين_اليسرى", "العين_اليمنى"),
        ("levé oko", "pravé oko"),
        ("前左足", "前右足"),
        ("眼左", "眼右"),
        ("hidari_me", "migi_me"),
        ("बायां कंधा", "दायां कंधा"),
        ("ตาซ้าย", "ตาขวา"),
        ("ojo_izdo", "ojo_dcho"),
        ("Pfote_vl", "Pfote_vr"),
        ("wheel_lr", "wheel_rr"),
        ("port_wing", "starboard_wing"),
        ("眼睛左", "眼睛右"),
        ("ひだり目", "みぎ目"),
        ("VL", "VR"),  # vorn
        ("AVG", "AVD"),  # avant
        ("глаз_л", "глаз_п"),
        ("oculus_sinister", "oculus_dexter"),
        ("port_bow", "starboard_bow"),
        ("oreja_izq", "oreja_dcha"),
    ],
)
def test_pair_is_found_in_any_usual_spelling(left: str, right: str) -> None:
    pairs = mirror_pairs((left, "nose", right))
    assert pairs.partners == (2, 1, 0)
    assert set(pairs.sides) == {"left", "right", None}
    assert pairs.unpaired == ()


@pytest.mark.parametrize(
    "names",
    [
        ("0", "1"),
        ("nose", "lip", "tail", "rear"),  # they only begin or end with l or r
        ("a", "b", "l", "r"),  # letters in alphabetical names
        ("left_right", "nose"),
    ],
)
def test_names_without_sides_have_no_partner(names: tuple[str, ...]) -> None:
    pairs = mirror_pairs(names)
    assert pairs.partners == tuple(range(len(names)))
    assert pairs.unpaired == ()


@pytest.mark.parametrize(
    ("names", "unpaired"),
    [
        (("left_hand", "neck"), ("left_hand",)),
        (("l_hand", "r_foot"), ("l_hand", "r_foot")),
        (("LeftHand", "RightFoot", "LeftFoot"), ("LeftHand",)),
        (("left_eye", "eye_left", "right_eye"), ("left_eye", "eye_left", "right_eye")),
        (("前左足", "首"), ("前左足",)),
        (("oreja_izq", "nariz"), ("oreja_izq",)),
        (("hoof_fl", "hoof_hr"), ("hoof_fl", "hoof_hr")),  # codes of both sides
        (("ohr_li", "auge_re", "nase"), ("ohr_li", "auge_re")),
        # A short word or code is a side where others use it so.
        (("oeil_g", "oeil_d", "genou_g"), ("genou_g",)),
        (("fl", "fr", "hl", "hind_right"), ("hl", "hind_right")),
        (("eyeleft", "eyeright", "earleft", "ear"), ("earleft",)),
        (("leye", "reye", "lip", "tail"), ()),
    ],
)
def test_sided_name_without_a_partner_is_named(
    names: tuple[str, ...], unpaired: tuple[str, ...]
) -> None:
    assert mirror_pairs(names).unpaired == unpaired


@pytest.mark.parametrize(
    "names",
    [
        ("lf", "rf", "lr", "rr"),  # r: rear
        ("fl", "fr", "rl", "rr"),
        ("ul", "ur", "ll", "lr"),  # l: lower
        ("vl", "vr", "hl", "hr"),
        ("avg", "avd", "arg", "ard"),
        ("前左足", "前右足", "後左足", "後右足"),
        ("wingL", "wingR", "legL1", "legR1"),
    ],
)
def test_all_corners_are_paired(names: tuple[str, ...]) -> None:
    pairs = mirror_pairs(names)
    assert pairs.partners == (1, 0, 3, 2)
    assert pairs.unpaired == ()


@pytest.mark.parametrize("joints", [COCO17.joints, OPENPOSE18.joints])
@pytest.mark.parametrize(
    "rename",
    [
        lambda side, rest: f"{rest}_{side}",
        lambda side, rest: f"{side[0].upper()}{rest.capitalize()}",
        lambda side, rest: f"{rest}.{side[0]}",
        lambda side, rest: f"{side[0]}{rest}",
    ],
)
def test_renamed_people_have_the_same_pairs_and_plain_names(
    joints: tuple[str, ...], rename: object
) -> None:
    assert callable(rename)
    renamed = tuple(
        rename(*joint.split("_")) if "_" in joint else joint.upper() for joint in joints
    )
    assert mirror_pairs(renamed).partners == mirror_pairs(joints).partners
    assert mirror_pairs(renamed).plain_names == joints


@pytest.mark.parametrize(
    ("names", "partners", "plain"),
    [
        (("01_nose", "02_left_eye", "03_right_eye"), (0, 2, 1), ("nose", "left_eye", "right_eye")),
        (("l_eye_1", "r_eye_2"), (1, 0), ("left_eye", "right_eye")),
        (("kp_0", "kp_1"), (0, 1), ("kp_0", "kp_1")),
        # Numbers that are not running count: the second finger of a hand is not the first.
        (("left_1", "left_2", "right_1"), (2, 1, 0), ("left_1", "left_2", "right_1")),
    ],
)
def test_running_numbers_do_not_count(
    names: tuple[str, ...], partners: tuple[int, ...], plain: tuple[str, ...]
) -> None:
    pairs = mirror_pairs(names)
    assert (pairs.partners, pairs.plain_names) == (partners, plain)


def test_given_pairs_replace_those_of_the_names() -> None:
    names = ("left_a", "right_a", "b", "c")
    assert mirror_pairs(names, (("b", "c"),)).partners == (0, 1, 3, 2)
    assert mirror_pairs(names, ()).partners == (0, 1, 2, 3)
    assert mirror_pairs(("left_a",), ()).unpaired == ()
