"""Moments are a law's mean and covariance, refuse what is none, and come back from their file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussian_score import archive
from gaussian_score.class_moments import ClassMoments, class_moments
from gaussian_score.moments import Moments
from gaussian_score.streaming import Accumulator

EPS = float(np.finfo(np.float64).eps)
HOUSEHOLDER = np.eye(3) - 2 / 9 * np.outer((1, 2, 2), (1, 2, 2))
MEAN = (0.5, -1, 0.25)


def known() -> Moments:
    """λ = 4, 0.25 on two columns, 0.01 across."""
    return Moments(MEAN, (4, 0.25), HOUSEHOLDER[:, :2], 0.01, 50, {"source": "here"})  # type: ignore[arg-type]


def same(a: Moments, b: Moments) -> bool:
    arrays = ("mean", "eigenvalues", "basis")
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for n in arrays) and (
        a.floor,
        a.count,
        a.provenance,
    ) == (b.floor, b.count, b.provenance)


def test_the_covariance_is_basis_and_floor() -> None:
    m = known()
    exact = HOUSEHOLDER @ np.diag((4, 0.25, 0.01)) @ HOUSEHOLDER
    assert (m.dim, m.rank) == (3, 2)
    assert m.trace == pytest.approx(4.26, rel=4 * EPS)
    np.testing.assert_allclose(m.covariance(), exact, atol=8 * EPS)
    # the floor is not added to the eigenvalues
    assert np.abs(replace(m, eigenvalues=m.eigenvalues + 0.01).covariance() - exact).max() > 1e-3


@given(st.integers(1, 6), st.integers(0, 99))
def test_a_covariance_gives_its_eigenbasis(d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, max(1, d - 1)))  # singular for d > 1
    m = Moments.from_covariance(rng.normal(size=d), root @ root.T)
    assert (np.diff(m.eigenvalues) <= 0).all()
    assert (m.eigenvalues >= 0).all()
    # of a symmetric matrix to a few ulps of its norm, times d
    np.testing.assert_allclose(m.covariance(), root @ root.T, atol=20 * d * EPS * m.trace)


def test_a_law_gives_mean_and_total_covariance() -> None:
    w, mu = np.array((0.25, 0.75)), np.array(((0.0, 2), (4, 0)))
    s = np.array((np.eye(2), np.diag((2, 0.5))))
    m = Moments.from_law(w, mu, s)
    np.testing.assert_allclose(m.mean, (3, 0.5), rtol=4 * EPS)
    second = sum(wk * (sk + np.outer(mk, mk)) for wk, mk, sk in zip(w, mu, s, strict=True))
    np.testing.assert_allclose(m.covariance(), second - np.outer(m.mean, m.mean), atol=40 * EPS)
    assert m.count is None


BAD: list[tuple[str, Callable[[], Any]]] = [
    (r"mean\[1\] is nan", lambda: replace(known(), mean=(0, np.nan, 0))),
    ("shapes .*R <= D", lambda: replace(known(), mean=(0, 0))),
    ("shapes", lambda: replace(known(), basis=HOUSEHOLDER)),
    ("shapes", lambda: replace(known(), mean=())),
    ("eigenvalues .*largest first", lambda: replace(known(), eigenvalues=(0.25, 4))),
    ("eigenvalues .*-0.25", lambda: replace(known(), eigenvalues=(4, -0.25))),
    ("basis misses", lambda: replace(known(), basis=HOUSEHOLDER[:, :2] * (1 + 1e-9))),
    ("basis misses", lambda: replace(known(), basis=HOUSEHOLDER[:, [0, 0]])),
    ("floor is -1", lambda: replace(known(), floor=-1)),
    ("floor is nan", lambda: replace(known(), floor=np.nan)),
    (
        "floor is 0.1; 0",
        lambda: replace(known(), basis=HOUSEHOLDER, eigenvalues=(4, 1, 0), floor=0.1),
    ),
    ("count is 0", lambda: replace(known(), count=0)),
    ("dtype complex", lambda: replace(known(), mean=(1j, 0, 0))),
    ("cov has the eigenvalue -1", lambda: Moments.from_covariance((0, 0), np.diag((2, -1)))),
    ("cov differs from its transpose", lambda: Moments.from_covariance((0, 0), ((1, 1), (0, 1)))),
    (r"cov\[0, 1\] is inf", lambda: Moments.from_covariance((0, 0), ((1, np.inf), (0, 1)))),
    (r"\(D,\) and \(D, D\)", lambda: Moments.from_covariance((0, 0), np.eye(3))),
    (r"\(K, D, D\)", lambda: Moments.from_law((1,), ((0, 0),), np.eye(2))),
    ("weights are", lambda: Moments.from_law((0.5,), ((0,),), (((1,),),))),
    (
        r"covs\[1\] has the eigenvalue -3",
        lambda: Moments.from_law((0.5, 0.5), ((0,), (1,)), (((9,),), ((-3,),))),
    ),
]


@pytest.mark.parametrize(("reason", "build"), BAD)
def test_what_is_no_law_is_refused_in_one_line(reason: str, build: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        known().mean[0] = 1


def test_a_file_gives_back_the_same(tmp_path: Path) -> None:
    for m in (known(), replace(known(), count=None, provenance={})):
        m.save(tmp_path / "m.npz")
        assert same(Moments.load(tmp_path / "m.npz"), m)
    assert [f.name for f in tmp_path.iterdir()] == ["m.npz"]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    known().save(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="provenance has no JSON form"):
        replace(known(), provenance={"when": object()}).save(tmp_path / "m.npz")
    assert same(Moments.load(tmp_path / "m.npz"), known())
    assert [f.name for f in tmp_path.iterdir()] == ["m.npz"]
    for place, why in ((tmp_path, "is a folder"), (tmp_path / "no" / "m.npz", "in no folder")):
        with pytest.raises(ValueError, match=why):
            known().save(place)


def npz(**changed: Any) -> bytes:
    """A file of the right form whose CRCs are right, with other members."""
    arrays = {n: np.asarray(getattr(known(), n)) for n in ("mean", "eigenvalues", "basis")}
    arrays |= {"floor": np.array(0.01), "count": np.array(50), "provenance": np.array("{}")}
    file = io.BytesIO()
    left = {k: np.asarray(v) for k, v in (arrays | changed).items() if v is not None}
    np.savez(file, **left)  # type: ignore[arg-type]
    return file.getvalue()


def member(content: bytes) -> bytes:
    """The mean's member is not what numpy writes."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(npz())) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == "mean.npy" else old.read(name))
    return file.getvalue()


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


GOOD = npz()
ARRAY = GOOD.index(b"NUMPY")
HEADER = b"\x93NUMPY\x01\x00v\x00"
DAMAGED = {
    "empty": b"",
    "text": b"these are no moments",
    "a .npy": HEADER + b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }".ljust(118),
    "first half": GOOD[: len(GOOD) // 2],
    "without its last byte": GOOD[:-1],
    "without its first byte": GOOD[1:],
    "a bit of the data": flipped(GOOD, ARRAY + 128),
    "a bit of a header": flipped(GOOD, ARRAY + 12),
    "a bit of the directory": flipped(GOOD, len(GOOD) - 20),
    "no mean": npz(mean=None),
    "no provenance": npz(provenance=None),
    "provenance is no JSON": npz(provenance="{"),
    "provenance is a list": npz(provenance="[]"),
    "provenance is a number": npz(provenance=3.0),
    "NaN in the mean": npz(mean=(0, np.nan, 0)),
    "infinite eigenvalue": npz(eigenvalues=(np.inf, 1)),
    "negative eigenvalue": npz(eigenvalues=(1, -1)),
    "rising eigenvalues": npz(eigenvalues=(1, 2)),
    "mean of another size": npz(mean=np.zeros(4)),
    "mean is a matrix": npz(mean=np.zeros((3, 1))),
    "basis of another rank": npz(basis=HOUSEHOLDER),
    "basis is skew": npz(basis=HOUSEHOLDER[:, :2] + 1e-8),
    "basis is zero": npz(basis=np.zeros((3, 2))),
    "basis of strings": npz(basis=np.full((3, 2), "a")),
    "negative floor": npz(floor=-0.01),
    "floor of two": npz(floor=(0.1, 0.2)),
    "floor is NaN": npz(floor=np.nan),
    "count is zero": npz(count=0),
    "count is a float": npz(count=1.5),
    "a pickle": member(b"\x80\x04."),
    "objects": npz(mean=np.array([None, 1, 2], dtype=object)),
    "a header that claims too much": member(
        HEADER + b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000,), }".ljust(118)
    ),
    "a header that is no dict": member(HEADER + b"[1, 2".ljust(118)),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    file = tmp_path / "m.npz"
    file.write_bytes(DAMAGED[case])
    with pytest.raises(ValueError, match=".") as caught:
        Moments.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_the_undamaged_file_is_read_and_a_missing_one_named(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(GOOD)
    assert same(Moments.load(tmp_path / "m.npz"), replace(known(), provenance={}))
    with pytest.raises(ValueError, match=r"nothing.npz: .*No such file"):
        Moments.load(tmp_path / "nothing.npz")
    with pytest.raises(ValueError, match="cannot be read"):
        Moments.load(tmp_path)


def test_no_changed_bit_passes_unseen(tmp_path: Path, size: int) -> None:
    """What is read from a file with one bit changed is what was written, or an error."""
    file, rng, refused = tmp_path / "m.npz", np.random.default_rng(0), 0
    draws = 300 * size
    for at in rng.integers(0, len(GOOD), draws):
        file.write_bytes(flipped(GOOD, int(at)))
        try:
            assert same(Moments.load(file), replace(known(), provenance={}))
        except ValueError:
            refused += 1
    assert refused > draws / 2  # the rest are dates and other fields that nobody reads


def test_provenance_names_the_versions() -> None:
    found = archive.versions()
    assert found["numpy"] == np.__version__
    assert json.loads(json.dumps(found)) == found


def test_sums_and_classes_come_back_from_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)) + 5, np.arange(60) % 3
    sums = Accumulator.of(x)
    sums.save(tmp_path / "sums.npz")
    again = Accumulator.load(tmp_path / "sums.npz")
    assert np.array_equal(again.merged(sums).scatter, sums.merged(sums).scatter)
    for shared in (False, True):
        classes = class_moments(x, y, shared=shared)
        classes.save(tmp_path / "classes.npz")
        found = ClassMoments.load(tmp_path / "classes.npz")
        assert list(found) == [0, 1, 2]
        assert all(same(found[k], classes[k]) for k in classes)
        assert same(found.pooled, classes.pooled)
    known().save(tmp_path / "m.npz")
    for load in (Accumulator.load, ClassMoments.load):
        with pytest.raises(ValueError, match="it has no"):
            load(tmp_path / "m.npz")
    with pytest.raises(ValueError, match="it has no mean"):
        Moments.load(tmp_path / "sums.npz")
