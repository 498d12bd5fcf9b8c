r"""A teacher and its students: two-layer ReLU networks trained by descent from several scales.

The experiment of the chapter "Lazy training" (after Chizat, Oyallon and Bach 2019, figure 1).
``python -m overparam.students`` computes the table in ``data/lazy_students.csv`` afresh.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from overparam import _check

STORED = Path(__file__).parent / "data" / "lazy_students.csv"
# Sizes of the stored table.
LARGE = {"d": 100, "m": 50, "n_train": 1000, "n_steps": 4000, "step": 0.2}
LARGE_SCALES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Classroom:
    """Data from a teacher network, and the weights with which the students start.

    `X`, `y`, `X_test`, `y_test` are inputs (one a row) and outputs; `a` (m, d) and `b` (m,) the
    weights at scale one, the second half a copy of the first with b reversed (doubling trick).
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    a: np.ndarray
    b: np.ndarray


def classroom(d, m, n_train, rng, n_teacher=3, n_test=1000):
    r"""Return a `Classroom`: a sum of `n_teacher` ReLU neurons to be learnt by `m` of them.

    Inputs are uniform on the sphere of radius :math:`\sqrt d`, the teacher's weights unit vectors,
    its output divided by its standard deviation. Students have weights of variance 1/d and 1/m,
    doubled, so that their first output is zero.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import students
    >>> room = students.classroom(5, 4, 20, np.random.default_rng(0))
    >>> room.X.shape, room.a.shape
    ((20, 5), (4, 5))
    """
    d, m, n_teacher = (
        _check.count(*pair) for pair in [("d", d), ("m", m), ("n_teacher", n_teacher)]
    )
    n_train, n_test = _check.count("n_train", n_train), _check.count("n_test", n_test, 2)
    _check.generator("rng", rng)
    if m % 2:
        raise ValueError(f"m must be even, because half of the neurons mirror the rest; got {m}")

    def on_sphere(count):
        Z = rng.standard_normal((count, d))
        return Z / np.linalg.norm(Z, axis=1, keepdims=True)

    X, X_test = np.sqrt(d) * on_sphere(n_train), np.sqrt(d) * on_sphere(n_test)
    teacher = on_sphere(n_teacher)
    y, y_test = (np.maximum(Z @ teacher.T, 0).sum(axis=1) for Z in (X, X_test))
    half = rng.standard_normal((m // 2, d)) / np.sqrt(d)
    signs = rng.standard_normal(m // 2) / np.sqrt(m)
    a, b = np.concatenate([half, half]), np.concatenate([signs, -signs])
    return Classroom(X, y / y_test.std(), X_test, y_test / y_test.std(), a, b)


def trained(room, scales, n_steps, step):
    r"""Train ReLU students from weights of several scales by gradient **descent**.

    Each runs `n_steps` steps of length :math:`\text{step}/(1+\tau^2)` on
    :math:`\frac1{2n}\|h-y\|^2` from the weights :math:`\tau(a,b)`. By homogeneity that is output
    scale :math:`\alpha=\tau^2`. All scales move together in one stack of weights.

    Parameters
    ----------
    room : Classroom
    scales : vector of positive numbers
    n_steps : int
    step : float

    Returns
    -------
    train_error, test_error, moved : ndarrays, one entry a scale
        Half the mean squared errors, and :math:`\|w-w_0\|/\|w_0\|`.

    Raises
    ------
    ValueError
        If a scale is not positive, or the step is so long that the numbers blow up.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import students
    >>> room = students.classroom(5, 4, 20, np.random.default_rng(0))
    >>> errors, _, moved = students.trained(room, [0.1, 10.0], 500, 0.2)
    >>> print(f"{moved[0]:.0f} {moved[1]:.2f}")
    9 0.02
    """
    scales = np.atleast_1d(_check.finite_array("scales", scales))
    if np.any(scales <= 0):
        raise ValueError(f"scales must be positive, got {scales.min():g}")
    n_steps, step = _check.count("n_steps", n_steps), _check.number("step", step, 0, strict=True)
    (m, d), count, n = room.a.shape, len(scales), len(room.y)
    a0 = (scales[:, None, None] * room.a).reshape(count * m, d)
    b0 = scales[:, None] * room.b
    a, b, steps = a0.copy(), b0.copy(), step / (1 + scales**2)

    def outputs(X):
        active = np.maximum(X @ a.T, 0).reshape(len(X), count, m)
        return active, (active * b).sum(axis=2)

    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(n_steps):
            active, h = outputs(room.X)
            r = (h - room.y[:, None]) * (steps / n)
            pull = (active > 0) * (r[:, :, None] * b)
            a, b = (
                a - pull.reshape(n, -1).T @ room.X,
                b - np.einsum("nsm,ns->sm", active, r),
            )
        errors = [
            0.5 * np.mean((outputs(X)[1] - y[:, None]) ** 2, axis=0)
            for X, y in ((room.X, room.y), (room.X_test, room.y_test))
        ]
    if not np.all(np.isfinite(errors)):
        raise ValueError(f"step = {step:g} is too long: descent diverged; take a shorter one")
    squares = ((a - a0) ** 2).reshape(count, -1).sum(axis=1) + ((b - b0) ** 2).sum(axis=1)
    return *errors, np.sqrt(squares / (scales**2 * (np.sum(room.a**2) + np.sum(room.b**2))))


def linearized(room, n_steps, step):
    r"""Return (train error, test error) of the linearized student, the limit of large scale.

    `n_steps` of kernel gradient descent with the tangent kernel at the start, summed in closed form
    with its eigenvectors. The limit of `trained` for :math:`\tau\to\infty`.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import students
    >>> room = students.classroom(5, 4, 20, np.random.default_rng(0))
    >>> train_error, test_error = students.linearized(room, 500, 0.2)
    >>> bool(train_error < test_error)
    True
    """
    n_steps, step = _check.count("n_steps", n_steps), _check.number("step", step, 0, strict=True)

    def kernel(X, Z):
        zx, zz = X @ room.a.T, Z @ room.a.T
        gates = ((zx > 0) * room.b**2) @ (zz > 0).T
        return gates * (X @ Z.T) + np.maximum(zx, 0) @ np.maximum(zz, 0).T

    values, vectors = np.linalg.eigh(kernel(room.X, room.X))
    shrink = 1 - step * values / len(room.y)
    if shrink.min() < -1:
        raise ValueError(f"step = {step:g} is too long: descent diverges; take a shorter one")
    # sum over k < n_steps of shrink^k, which is n_steps where the kernel vanishes
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(1 - shrink > 1e-12, (1 - shrink**n_steps) / (1 - shrink), n_steps)
    coefficients = vectors @ (total * (vectors.T @ room.y)) * step / len(room.y)
    return tuple(
        0.5 * np.mean((kernel(X, room.X) @ coefficients - y) ** 2)
        for X, y in ((room.X, room.y), (room.X_test, room.y_test))
    )


def large(seed, scales=LARGE_SCALES):
    """Return rows (seed, scale, train error, test error, moved) at the larger size.

    The last row, with scale infinity, is the linearized student.

    Examples
    --------
    >>> from overparam import students
    >>> students.large(0, [1.0])  # doctest: +SKIP
    """
    size = LARGE
    room = classroom(size["d"], size["m"], size["n_train"], np.random.default_rng(seed))
    columns = trained(room, scales, size["n_steps"], size["step"])
    rows = [(seed, *row) for row in zip(scales, *columns, strict=True)]
    return [*rows, (seed, np.inf, *linearized(room, size["n_steps"], size["step"]), 0.0)]


def stored():
    """Return the stored table as an array with columns seed, scale, train, test, moved.

    Examples
    --------
    >>> import numpy as np
    >>> from overparam import students
    >>> room = students.classroom(5, 4, 20, np.random.default_rng(0))
    >>> students.stored().shape
    (24, 5)
    """
    return np.loadtxt(STORED, delimiter=",", skiprows=1)


def main():
    """Compute the stored table afresh: about a minute for three seeds.

    Examples
    --------
    >>> from overparam import students
    >>> students.main()  # doctest: +SKIP
    """
    with STORED.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["seed", "scale", "train_error", "test_error", "moved"])
        for seed in range(3):
            for row in large(seed):
                table.writerow([f"{number:.6g}" for number in row])


if __name__ == "__main__":
    main()
