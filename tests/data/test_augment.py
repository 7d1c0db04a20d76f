from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from image_files import find_dot
from slimpose import geometry
from slimpose.arrays import Image, Size
from slimpose.data.augment import (
    Augmentation,
    jitter_color,
    lower_resolution,
    mix_up,
    random_erase,
    sample_affine,
    truncate_image,
)
from slimpose.skeleton import COCO17

CROP = Size(height=96, width=72)
BOX = np.array([40, 30, 100, 130], np.float32)
NO_AUGMENTATION = dataclasses.replace(Augmentation().scaled(0.0), flip=0.0)
HALF_BODY = dataclasses.replace(NO_AUGMENTATION, half_body=1.0)
ERASE = Augmentation(random_erase=1.0)
UPPER = np.isin(COCO17.joints, COCO17.upper_body)


def standing_points() -> np.ndarray:
    """Joints from head to feet inside BOX."""
    points = np.stack([np.linspace(50, 90, 17), np.linspace(35, 125, 17)], axis=1)
    return points.astype(np.float32)


def draw_affine(
    augmentation: Augmentation, seed: int, *, labeled: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    return sample_affine(
        np.random.default_rng(seed),
        augmentation,
        box=BOX,
        points=standing_points(),
        labeled=np.ones(17, bool) if labeled is None else labeled,
        upper_body=UPPER,
        crop_size=CROP,
    )


def noise_image(seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (40, 30, 3)).astype(np.uint8)


# known values


@pytest.mark.parametrize("seed", range(5))
def test_zero_augmentation_is_the_plain_crop(seed: int) -> None:
    affine, is_flipped = draw_affine(NO_AUGMENTATION, seed)
    np.testing.assert_allclose(affine, geometry.crop_affines(BOX[None], CROP)[0], atol=1e-5)
    assert not is_flipped
    image = noise_image(seed)
    np.testing.assert_array_equal(
        jitter_color(np.random.default_rng(seed), NO_AUGMENTATION, image), image
    )
    np.testing.assert_array_equal(
        random_erase(np.random.default_rng(seed), NO_AUGMENTATION, image), image
    )


@pytest.mark.parametrize("seed", range(8))
def test_scaled_to_zero_only_the_flip_is_left(seed: int) -> None:
    weak = Augmentation(flip=0.5).scaled(0.0)
    affine, is_flipped = draw_affine(weak, seed)
    plain = geometry.crop_affines(BOX[None], CROP)[0]
    if is_flipped:
        plain[0] *= -1
        plain[0, 2] += CROP.width - 1
    np.testing.assert_allclose(affine, plain, atol=1e-4)
    image = noise_image(seed)
    np.testing.assert_array_equal(jitter_color(np.random.default_rng(seed), weak, image), image)
    np.testing.assert_array_equal(random_erase(np.random.default_rng(seed), weak, image), image)


def test_scaled_by_one_nothing_changes() -> None:
    assert Augmentation().scaled(1.0) == Augmentation()


def test_flip_maps_the_first_column_to_the_last() -> None:
    always = Augmentation(flip=1.0).scaled(0.0)
    plain, _ = draw_affine(NO_AUGMENTATION, 0)
    flipped, is_flipped = draw_affine(always, 0)
    assert is_flipped
    points = standing_points()[None]
    plain_points = geometry.transform_points(plain[None], points)
    flipped_points = geometry.transform_points(flipped[None], points)
    np.testing.assert_allclose(
        flipped_points[..., 0], CROP.width - 1 - plain_points[..., 0], atol=1e-4
    )
    np.testing.assert_allclose(flipped_points[..., 1], plain_points[..., 1], atol=1e-4)


def test_half_body_crop_contains_its_joints() -> None:
    affine, _ = draw_affine(HALF_BODY, 0)
    whole, _ = draw_affine(NO_AUGMENTATION, 0)
    assert affine[0, 0] > 1.2 * whole[0, 0]
    inside = geometry.transform_points(affine[None], standing_points()[None])[0]
    is_inside = ((inside > -0.5) & (inside < [CROP.width - 0.5, CROP.height - 0.5])).all(axis=1)
    assert is_inside[UPPER].all() or is_inside[~UPPER].all()


def test_half_body_needs_three_labeled_joints() -> None:
    labeled = np.zeros(17, bool)
    labeled[[0, 15]] = True
    affine, _ = draw_affine(HALF_BODY, 0, labeled=labeled)
    np.testing.assert_allclose(affine, draw_affine(NO_AUGMENTATION, 0)[0], atol=1e-5)


def test_grayscale_has_equal_channels() -> None:
    always = dataclasses.replace(NO_AUGMENTATION, grayscale=1.0)
    gray = jitter_color(np.random.default_rng(0), always, noise_image())
    assert (gray[..., :1] == gray).all()


def test_blur_smooths() -> None:
    image = noise_image()
    always = dataclasses.replace(NO_AUGMENTATION, blur=1.0)
    blurred = jitter_color(np.random.default_rng(0), always, image)
    assert blurred.std() < image.std()


@pytest.mark.parametrize("seed", range(6))
def test_erased_area_has_one_color_and_the_input_is_unchanged(seed: int) -> None:
    image = noise_image()
    before = image.copy()
    erased = random_erase(np.random.default_rng(seed), ERASE, image)
    np.testing.assert_array_equal(image, before)
    changed = erased[(erased != image).any(axis=2)]
    assert len(changed)
    assert (changed == changed[0]).all()


# properties


@given(st.integers(0, 10_000), st.integers(40, 99), st.integers(30, 129))
def test_points_follow_the_pixels(seed: int, x: int, y: int) -> None:
    affine, _ = draw_affine(Augmentation(half_body=0.0), seed)
    expected = geometry.transform_points(affine[None], np.array([[[x, y]]], np.float32))[0, 0]
    assume((expected > 9).all() and (expected < [CROP.width - 10, CROP.height - 10]).all())
    image = np.zeros((170, 150, 3), np.uint8)
    cv2.circle(image, (x, y), 3, (255, 255, 255), -1)
    # An edge as soft as a camera's, so that sampling does not move it.
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    crop = cv2.warpAffine(image, affine, (CROP.width, CROP.height), flags=cv2.INTER_LINEAR)
    np.testing.assert_allclose(find_dot(crop), expected, atol=0.2)


@given(st.integers(0, 10_000))
def test_only_a_flip_changes_the_sign_of_the_determinant(seed: int) -> None:
    affine, is_flipped = draw_affine(Augmentation(), seed)
    assert (np.linalg.det(affine[:, :2].astype(np.float64)) < 0) == is_flipped


@given(st.integers(0, 10_000))
def test_affine_keeps_the_aspect_ratio(seed: int) -> None:
    linear = draw_affine(Augmentation(), seed)[0][:, :2].astype(np.float64)
    singular = np.linalg.svd(linear, compute_uv=False)
    assert singular[0] == pytest.approx(singular[1], rel=1e-4)


@given(st.integers(0, 10_000))
def test_scale_is_limited(seed: int) -> None:
    plain = draw_affine(NO_AUGMENTATION, 0)[0]
    linear = draw_affine(Augmentation(half_body=0.0, scale=0.3), seed)[0][:, :2].astype(np.float64)
    assert 0.7 - 1e-4 <= np.sqrt(abs(np.linalg.det(linear))) / plain[0, 0] <= 1.3 + 1e-4


def test_gaussian_scale_and_rotation_are_clipped() -> None:
    # As in SimpleBaseline's, HRNet's and DARK's code: 32 % of the scales lie on the limits,
    # 4.6 % of the angles.
    augmentation = dataclasses.replace(
        NO_AUGMENTATION, scale=0.3, rotation_deg=40.0, rotate=1.0, gaussian=True
    )
    plain = draw_affine(NO_AUGMENTATION, 0)[0][0, 0]
    linear = np.array(
        [draw_affine(augmentation, seed)[0][:, :2] for seed in range(2000)], np.float64
    )
    scales = np.sqrt(np.linalg.det(linear)) / plain
    angles = np.rad2deg(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert scales.min() == pytest.approx(0.7, abs=1e-3)
    assert scales.max() == pytest.approx(1.3, abs=1e-3)
    assert np.mean(np.abs(scales - 1) > 0.2999) == pytest.approx(0.317, abs=0.03)
    assert np.abs(angles).max() == pytest.approx(80, abs=0.1)
    assert np.mean(np.abs(angles) > 79.9) == pytest.approx(0.046, abs=0.015)
    assert np.mean(np.abs(angles) < 40) == pytest.approx(0.683, abs=0.03)


@given(st.integers(0, 10_000))
def test_same_seed_gives_the_same_sample(seed: int) -> None:
    augmentation = Augmentation(grayscale=0.5, blur=0.5, random_erase=0.5)
    image = noise_image()

    def sample() -> Image:
        rng = np.random.default_rng(seed)
        return random_erase(rng, augmentation, jitter_color(rng, augmentation, image))

    np.testing.assert_array_equal(sample(), sample())
    np.testing.assert_array_equal(
        draw_affine(augmentation, seed)[0], draw_affine(augmentation, seed)[0]
    )


@pytest.mark.parametrize("seed", range(20))
def test_pasted_image_covers_only_the_erased_shape(seed: int) -> None:
    image, white = np.zeros((40, 30, 3), np.uint8), np.full((50, 20, 3), 255, np.uint8)
    plain = random_erase(np.random.default_rng(seed), ERASE, image)
    pasted = random_erase(np.random.default_rng(seed), ERASE, image, [white])
    np.testing.assert_array_equal(pasted.any(axis=2), plain.any(axis=2))
    np.testing.assert_array_equal(image, 0)


def test_half_of_the_erased_areas_are_pasted() -> None:
    image, white = np.zeros((40, 30, 3), np.uint8), np.full((40, 30, 3), 255, np.uint8)
    rng = np.random.default_rng(0)
    covered = [random_erase(rng, ERASE, image, [white]) for _ in range(300)]
    assert np.mean(
        [(cover.max() == 255) and cover[cover > 0].min() == 255 for cover in covered]
    ) == pytest.approx(0.5, abs=0.1)


def test_truncation_is_most_frequent_at_the_bottom() -> None:
    rng = np.random.default_rng(0)
    size = Size(160, 140)
    whole = np.array([0, 0, 140, 160], np.float32)
    kept = np.array(
        [truncate_image(rng, Augmentation(truncate=1.0), BOX, size) for _ in range(1000)]
    )
    shares = (kept != whole).mean(axis=0)
    np.testing.assert_allclose(shares, [0.2, 0.1, 0.2, 0.5], atol=0.05)
    assert (np.count_nonzero(kept != whole, axis=1) <= 1).all()
    below = kept[kept[:, 3] != 160, 3]
    assert below.min() >= 30 + 0.34 * 100
    assert below.max() <= 30 + 0.91 * 100
    np.testing.assert_array_equal(truncate_image(rng, Augmentation(), BOX, size), whole)


@given(st.integers(0, 500))
def test_mixup_blends_or_splits(seed: int) -> None:
    black, white = (np.full((CROP.height, CROP.width, 3), level, np.uint8) for level in (0, 255))
    levels = np.unique(mix_up(np.random.default_rng(seed), black, white))
    assert len(levels) == 1 or levels.tolist() == [0, 255]


def test_half_of_the_mixups_are_split() -> None:
    black, white = (np.full((CROP.height, CROP.width, 3), level, np.uint8) for level in (0, 255))
    rng = np.random.default_rng(0)
    mixed = [mix_up(rng, black, white) for _ in range(300)]
    split = [mix for mix in mixed if len(np.unique(mix)) == 2]
    assert 0.4 < len(split) / len(mixed) < 0.6
    assert all(0.1 < mix.mean() / 255 < 0.9 for mix in split)


@pytest.mark.parametrize("seed", range(8))
def test_lower_resolution_keeps_coarse_structure_and_loses_detail(seed: int) -> None:
    fine = np.indices((64, 48)).sum(axis=0) % 2 * 255  # a checkerboard of single pixels
    coarse = np.repeat(np.indices((2, 2)).sum(axis=0) % 2 * 255, 32, axis=0).repeat(24, axis=1)
    image = np.stack([fine, coarse, coarse], axis=2).astype(np.uint8)
    changed = lower_resolution(
        np.random.default_rng(seed), Augmentation(low_resolution=1.0), image
    ).astype(float)
    assert changed.shape == image.shape
    assert changed[..., 0].std() < 0.8 * fine.std()
    assert np.abs(changed[..., 1] - coarse).mean() < 32
    np.testing.assert_array_equal(
        lower_resolution(np.random.default_rng(seed), NO_AUGMENTATION, image), image
    )
