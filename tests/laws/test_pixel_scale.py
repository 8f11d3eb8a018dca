"""Moments move between pixel scales by m' = k m + b, λ' = k² λ, and a wrong scale is found out."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from experiments.data import load_images
from gaussian_score.moments import Moments
from gaussian_score.pixel_scale import (
    PixelScaleWarning,
    check_scale,
    conversion,
    fits,
    rescaled,
)
from gaussian_score.streaming import stream

EPS = float(np.finfo(np.float64).eps)
DIGITS = load_images("digits").pixels.reshape(-1, 64)  # in [-1, 1]
ON = {"[-1,1]": DIGITS, "[0,1]": (DIGITS + 1) / 2, "0..255": (DIGITS + 1) * 127.5}
MOMENTS = {scale: stream(rows) for scale, rows in ON.items()}


@pytest.mark.parametrize("source", ON)
@pytest.mark.parametrize("target", ON)
def test_rescaled_moments_are_those_of_rescaled_data(source: str, target: str) -> None:
    found, goal = rescaled(MOMENTS[source], source, target), MOMENTS[target]
    k, _ = conversion(source, target)
    np.testing.assert_allclose(found.mean, goal.mean, rtol=1e-13, atol=1e-13 * abs(k) * 255)
    # both covariances carry rounding of 64 products in units of their own largest entry
    atol = 1e-13 * float(goal.eigenvalues[0])
    np.testing.assert_allclose(found.covariance(), goal.covariance(), rtol=0, atol=atol)
    np.testing.assert_allclose(found.eigenvalues, k * k * MOMENTS[source].eigenvalues)


def test_from_zero_one_the_variances_quadruple_and_the_floor_with_them() -> None:
    eye = np.eye(3)
    found = rescaled(Moments(eye[0], eye[1, :1], eye[:, :1], 0.5), "[0,1]", "[-1,1]")  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.mean, (1, -1, -1))
    assert found.eigenvalues[0] == 0
    assert found.floor == 2
    assert found.provenance["scale"] == "[-1,1]"


def test_the_provenance_is_held_to() -> None:
    once = rescaled(MOMENTS["[0,1]"], "[0,1]", "[-1,1]")
    with pytest.raises(ValueError, match=r"source is '\[0,1\]'; '\[-1,1\]', as the provenance"):
        rescaled(once, "[0,1]", "[-1,1]")
    with pytest.raises(ValueError, match=r"scale is '\[0, 1\]'; .* are allowed"):
        rescaled(MOMENTS["[0,1]"], "[0, 1]", "[-1,1]")


@pytest.mark.parametrize("stated", ON)
@pytest.mark.parametrize("true", ON)
def test_moments_on_another_scale_than_the_data_are_refused(stated: str, true: str) -> None:
    for other in (ON[true], ON[true][::17], MOMENTS[true], ON[true].reshape(-1, 8, 8)):
        if stated == true:
            check_scale(MOMENTS[stated], other)
            continue
        with pytest.raises(ValueError, match="is missing") as caught:
            check_scale(MOMENTS[stated], other)
        assert f"source={stated!r}, target={true!r}" in str(caught.value)
        assert "\n" not in str(caught.value)


RIGHT = MOMENTS["[-1,1]"]
HALF_DONE = {
    "variances not converted": (replace(RIGHT, eigenvalues=RIGHT.eigenvalues / 4), "factor 4"),
    "by 2 in place of 4": (replace(RIGHT, eigenvalues=RIGHT.eigenvalues / 2), "factor 2"),
    "twice": (replace(RIGHT, eigenvalues=RIGHT.eigenvalues * 4), "factor 0.25"),
    "mean not converted": (replace(RIGHT, mean=MOMENTS["[0,1]"].mean), r"x' = 2 x -1"),
    "eigenvalues only by 2, no mean": (
        replace(MOMENTS["[0,1]"], eigenvalues=2 * MOMENTS["[0,1]"].eigenvalues),
        "eigenvalues miss 2",
    ),
}


@pytest.mark.parametrize("case", HALF_DONE)
def test_half_done_conversions_are_found(case: str) -> None:
    wrong, reason = HALF_DONE[case]
    for other in (DIGITS, RIGHT):
        with pytest.raises(ValueError, match=reason):
            check_scale(wrong, other)


def test_other_data_of_the_same_scale_pass() -> None:
    """Parts, few samples, one class alone, paler pictures: other moments, the same scale."""
    zeros = DIGITS[load_digits(return_X_y=True)[1] == 0]
    assert stream(zeros).trace < 0.7 * RIGHT.trace  # nearer to a factor 2 than to none
    for rows in (DIGITS[:300], DIGITS[1000:1040], DIGITS[5:8], zeros, 0.8 * DIGITS):
        check_scale(RIGHT, rows)
    line = Moments.from_covariance((0.5,), ((1.0,),))
    rng = np.random.default_rng(0)
    for n in (2, 5, 20):
        for _ in range(200):  # five standard errors are not reached in 600 draws
            check_scale(line, rng.normal(size=(n, 1)) + 0.5)
    check_scale(Moments.from_covariance((0.5,), ((0.0,),)), np.ones((3, 1)))


@pytest.mark.parametrize("scale", ON)
def test_a_named_scale_is_one_the_moments_can_be_on(scale: str) -> None:
    assert fits(MOMENTS[scale], scale)
    bare = replace(MOMENTS[scale], provenance={})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_scale(bare, scale)
    wrong = {"[-1,1]": "[0,1]", "0..255": "[-1,1]"}.get(scale)
    if wrong:
        assert not fits(MOMENTS[scale], wrong)
        with pytest.raises(
            ValueError, match=f"no law on .*target='{wrong[:1]}".replace("[", "\\[")
        ):
            check_scale(bare, wrong)


def test_moments_that_fit_a_smaller_scale_are_warned_about() -> None:
    bare = replace(MOMENTS["[0,1]"], provenance={})
    with pytest.warns(PixelScaleWarning, match=r"fit '\[0,1\]' as well as '\[-1,1\]'"):
        check_scale(bare, "[-1,1]")
    check_scale(replace(bare, provenance={"scale": "[-1,1]"}), "[-1,1]")
    with pytest.raises(ValueError, match="as their provenance says"):
        check_scale(replace(bare, provenance={"scale": "[0,1]"}), "[-1,1]")


def test_moments_that_fit_no_scale() -> None:
    with pytest.raises(ValueError, match="they fit no pixel scale"):
        check_scale(Moments.from_covariance((-3.0,), ((1.0,),)), "[-1,1]")


def test_two_point_laws_are_the_edge_of_what_fits() -> None:
    """Half black, half white has the largest variance that a scale allows."""
    edge = Moments.from_covariance((0.0, 0.0), np.ones((2, 2)))
    assert fits(edge, "[-1,1]")
    assert not fits(replace(edge, eigenvalues=edge.eigenvalues * (1 + 1e-9)), "[-1,1]")


def test_data_that_cannot_be_compared() -> None:
    for other in (DIGITS[:1], DIGITS[:, :5], DIGITS[0]):
        with pytest.raises(ValueError, match="two or more of \\(64,\\)"):
            check_scale(RIGHT, other)
    rows = DIGITS.copy()
    rows[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"other\[7, 3\] is nan"):
        check_scale(RIGHT, rows)
