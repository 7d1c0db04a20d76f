from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimpose import geometry
from slimpose.arrays import Boxes, Points, Size

CROP = Size(height=64, width=48)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32)


def points(*rows: tuple[float, float]) -> Points:
    return np.array([rows], np.float32)


any_box = st.tuples(
    st.floats(-300, 4000), st.floats(-300, 4000), st.floats(2, 2000), st.floats(2, 2000)
).map(
    lambda numbers: boxes(
        (numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3])
    )
)
any_size = st.tuples(st.integers(8, 400), st.integers(8, 400)).map(lambda sides: Size(*sides))


# known values


def test_boxes_to_xywh() -> None:
    assert geometry.boxes_to_xywh(boxes((10, 20, 40, 60))).tolist() == [[10, 20, 30, 40]]


def test_box_of_crop_size_is_translated_only_without_padding() -> None:
    # A box of 48x64 centered at (100, 50) fills a 48x64 crop: its center is mapped to between the
    # two middle pixels.
    affine = geometry.crop_affines(boxes((76, 18, 124, 82)), CROP, padding=1.0)
    assert affine[0].tolist() == [[1, 0, 23.5 - 100], [0, 1, 31.5 - 50]]


@pytest.mark.parametrize(
    ("box", "scale"),
    [
        ((0, 0, 48, 64), 1 / 1.25),  # fits exactly: only the padding scales it
        ((0, 0, 96, 64), 0.5 / 1.25),  # too wide: limited by the width
        ((0, 0, 48, 128), 0.5 / 1.25),  # too high: limited by the height
        ((0, 0, 24, 32), 2 / 1.25),  # small people are enlarged
    ],
)
def test_crop_keeps_aspect_ratio_and_contains_the_padded_box(
    box: tuple[float, float, float, float], scale: float
) -> None:
    affine = geometry.crop_affines(boxes(box), CROP)[0]
    assert affine[0, 0] == affine[1, 1] == pytest.approx(scale)
    assert affine[0, 1] == affine[1, 0] == 0


def test_heatmap_cell_maps_to_the_center_of_its_crop_pixels() -> None:
    # Cell 0 of stride 4 covers crop pixels 0, 1, 2, 3, whose center is 1.5; cell 1 covers 4..7.
    assert geometry.heatmap_to_crop(points((0, 0), (1, 1)), 4).tolist() == [
        [[1.5, 1.5], [5.5, 5.5]]
    ]


def test_center_of_the_heatmap_maps_to_the_center_of_the_crop() -> None:
    center = geometry.heatmap_to_crop(points(((48 / 4 - 1) / 2, (64 / 4 - 1) / 2)), 4)
    assert center.tolist() == [[[(48 - 1) / 2, (64 - 1) / 2]]]


@pytest.mark.parametrize(
    ("image_size", "canvas", "corner_of_image", "corner_on_canvas"),
    [
        (
            Size(100, 200),
            Size(100, 100),
            (199.5, 99.5),
            (99.5, 49.5),
        ),  # wide: the bottom half is empty
        (
            Size(200, 100),
            Size(100, 100),
            (99.5, 199.5),
            (49.5, 99.5),
        ),  # high: the right half is empty
        (Size(50, 50), Size(100, 100), (49.5, 49.5), (99.5, 99.5)),  # small: enlarged
    ],
)
def test_letterbox_aligns_the_image_border_with_the_canvas_border(
    image_size: Size,
    canvas: Size,
    corner_of_image: tuple[float, float],
    corner_on_canvas: tuple[float, float],
) -> None:
    # Pixel centers are integers, so the border of an image is at -0.5 and width - 0.5.
    affine = geometry.letterbox_affine(image_size, canvas)
    mapped = geometry.transform_points(affine, points((-0.5, -0.5), corner_of_image))
    np.testing.assert_allclose(mapped, points((-0.5, -0.5), corner_on_canvas), atol=1e-4)


@pytest.mark.parametrize(
    ("a", "b", "iou"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),  # the same box
        ((0, 0, 10, 10), (5, 0, 15, 10), 1 / 3),  # half of each: 50 of 150
        ((0, 0, 10, 10), (2, 2, 7, 7), 0.25),  # one inside the other
        ((0, 0, 10, 10), (10, 0, 20, 10), 0.0),  # touching
        (
            (0, 0, 10, 10),
            (30, 30, 40, 40),
            0.0,
        ),  # apart in x and y: two negative extents are not an area
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),  # no area: no division by zero
    ],
)
def test_iou_of_known_boxes(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float], iou: float
) -> None:
    assert geometry.box_iou(boxes(a), boxes(b))[0, 0] == pytest.approx(iou)


def test_covariance_is_rotated_and_scaled_by_the_map() -> None:
    # A quarter turn and a scale of 2: the variance along x becomes that along y, and all are
    # multiplied by 2 squared.
    rotation = np.array([[[0, -2, 5], [2, 0, 7]]], np.float32)
    covariance = np.array([[[[4, 0], [0, 1]]]], np.float32)
    assert geometry.transform_covariances(rotation, covariance).tolist() == [[[[4, 0], [0, 16]]]]


# the pixel convention is that of OpenCV


def test_affine_agrees_with_opencv_warp() -> None:
    image = np.zeros((80, 90, 3), np.uint8)
    image[30:33, 40:43] = 255  # centered on pixel (41, 31)
    affine = geometry.crop_affines(boxes((20, 10, 62, 66)), CROP, padding=1.0)
    crop = cv2.warpAffine(image, affine[0], (CROP.width, CROP.height)).astype(float)[..., 0]
    y, x = np.mgrid[: CROP.height, : CROP.width]
    centroid = (x * crop).sum() / crop.sum(), (y * crop).sum() / crop.sum()
    np.testing.assert_allclose(
        centroid, geometry.transform_points(affine, points((41, 31)))[0, 0], atol=0.05
    )


def test_letterbox_agrees_with_opencv_resize() -> None:
    image = np.zeros((120, 160), np.float32)
    image[56:64, 100:108] = 1  # centered on (103.5, 59.5)
    shrunk = cv2.resize(image, (40, 30), interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[:30, :40]
    centroid = (x * shrunk).sum() / shrunk.sum(), (y * shrunk).sum() / shrunk.sum()
    mapped = geometry.transform_points(
        geometry.letterbox_affine(Size(120, 160), Size(40, 40)), points((103.5, 59.5))
    )
    np.testing.assert_allclose(mapped[0, 0], centroid, atol=1e-4)


# properties


@given(any_box, any_size)
def test_center_of_every_box_maps_to_the_center_of_its_crop(box: Boxes, size: Size) -> None:
    center = points((float(box[0, 0] + box[0, 2]) / 2, float(box[0, 1] + box[0, 3]) / 2))
    mapped = geometry.transform_points(geometry.crop_affines(box, size), center)
    np.testing.assert_allclose(
        mapped[0, 0], [(size.width - 1) / 2, (size.height - 1) / 2], atol=0.2
    )


@given(any_box, any_size)
def test_every_box_lies_inside_its_crop(box: Boxes, size: Size) -> None:
    corners = geometry.transform_points(geometry.crop_affines(box, size), box.reshape(1, 2, 2))[0]
    extent = corners[1] - corners[0]
    assert (extent <= np.array([size.width, size.height]) / geometry.BOX_PADDING * (1 + 1e-3)).all()
    assert max(extent / [size.width, size.height]) * geometry.BOX_PADDING == pytest.approx(
        1, rel=1e-2
    )


@given(any_box, any_size, st.floats(0, 1), st.floats(0, 1))
def test_point_round_trips_through_the_crop(
    box: Boxes, size: Size, across: float, down: float
) -> None:
    point = points(
        (
            float(box[0, 0] + across * (box[0, 2] - box[0, 0])),
            float(box[0, 1] + down * (box[0, 3] - box[0, 1])),
        )
    )
    affines = geometry.crop_affines(box, size)
    mapped = geometry.transform_points(affines, point)
    back = geometry.transform_points(geometry.invert_affines(affines), mapped)
    extent = float((box[0, 2:] - box[0, :2]).max())
    np.testing.assert_allclose(back, point, atol=1e-2 + 1e-4 * extent)


@given(st.floats(-10, 300), st.floats(-10, 300), st.sampled_from([4, 8, 16]))
def test_point_round_trips_through_the_heatmap(x: float, y: float, stride: int) -> None:
    cells = geometry.crop_to_heatmap(points((x, y)), stride)
    np.testing.assert_allclose(geometry.heatmap_to_crop(cells, stride), points((x, y)), atol=1e-3)


@given(st.floats(0, 11), st.sampled_from([4, 8]))
def test_mirroring_the_heatmap_mirrors_the_crop(cell: float, stride: int) -> None:
    cells = 12
    mirrored_map = geometry.heatmap_to_crop(points((cells - 1 - cell, 0)), stride)[0, 0, 0]
    mirrored_crop = (
        stride * cells - 1 - geometry.heatmap_to_crop(points((cell, 0)), stride)[0, 0, 0]
    )
    assert mirrored_map == pytest.approx(mirrored_crop, abs=1e-3)


@given(any_box, any_box)
def test_iou_is_symmetric_and_between_0_and_1(a: Boxes, b: Boxes) -> None:
    ab, ba = geometry.box_iou(a, b)[0, 0], geometry.box_iou(b, a)[0, 0]
    assert ab == pytest.approx(ba, abs=1e-5)
    assert 0 <= ab <= 1 + 1e-5
    assert geometry.box_iou(a, a)[0, 0] == pytest.approx(1, abs=1e-5)


def test_each_person_is_transformed_by_its_own_map() -> None:
    both = boxes((0, 0, 40, 60), (100, 90, 180, 130))
    joints = np.array([[[1, 2], [3, 4]], [[110, 95], [120, 99]]], np.float32)
    together = geometry.transform_points(geometry.crop_affines(both, CROP), joints)
    for person in range(2):
        alone = geometry.crop_affines(both[person : person + 1], CROP)
        np.testing.assert_array_equal(
            together[person], geometry.transform_points(alone, joints[person : person + 1])[0]
        )


def test_empty_arrays_are_supported() -> None:
    empty = geometry.crop_affines(np.zeros((0, 4), np.float32), CROP)
    assert empty.shape == (0, 2, 3)
    assert geometry.invert_affines(empty).shape == (0, 2, 3)
    assert geometry.transform_points(empty, np.zeros((0, 17, 2), np.float32)).shape == (0, 17, 2)


# errors


@pytest.mark.parametrize(
    "invalid",
    [
        (10, 20, 5, 60),  # x, y, width, height
        (10, 20, 10, 60),  # no width
        (10, 20, 40, 20),  # no height
        (10, 20, float("nan"), 60),
        (10, 20, float("inf"), 60),
    ],
)
def test_box_without_area_is_rejected(invalid: tuple[float, float, float, float]) -> None:
    x1, y1, x2, y2 = invalid
    message = (
        f"box has no area: x1={x1:g} y1={y1:g} x2={x2:g} y2={y2:g}; "
        "expected finite x1 < x2 and y1 < y2 in pixels (is it x, y, width, height?)"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        geometry.crop_affines(boxes((0, 0, 5, 5), invalid), CROP)


def test_resizing_keeps_borders_and_center() -> None:
    affine = geometry.resize_affine(Size(30, 40), Size(15, 10))
    corners = np.array([[[-0.5, -0.5], [39.5, 29.5], [19.5, 14.5]]], np.float32)
    expected = [[[-0.5, -0.5], [9.5, 14.5], [4.5, 7.0]]]
    np.testing.assert_allclose(geometry.transform_points(affine, corners), expected, atol=1e-5)
