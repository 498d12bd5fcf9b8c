r"""What the flow conserves: the imbalance matrices, and how many numbers that are.

Chapter "What the flow conserves". A *law* is a function of the weights that stays constant along
the gradient flow of every loss of the product.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import orth

from overparam import _check, networks
from overparam.flow import Trajectory


def drift(trajectory: Trajectory) -> NDArray[np.float64]:
    r"""Return how far each imbalance matrix has moved: :math:`\|D_l(t)-D_l(0)\|_F`.

    Parameters
    ----------
    trajectory : flow.Trajectory
        Of a network with at least two layers.

    Returns
    -------
    ndarray, shape (times, L - 1)
        Zero along the exact flow; in the units of the weights squared.

    Raises
    ------
    ValueError
        If the states are not lists of at least two layers.

    Notes
    -----
    Mallada 2022, "To general case"; Cohen 2019, "Balanced Trajectories".

    Examples
    --------
    One step of descent on :math:`\tfrac12(1-uv)^2` from (2, 0), imbalance 4:

    >>> from overparam import losses
    >>> loss = losses.squared_distance([[1.0]])
    >>> path = networks.layer_descent(loss, [np.array([[2.0]]), np.array([[0.0]])], 0.1, 1)
    >>> drift(path).round(4)
    array([[0.  ],
           [0.04]])
    """
    states = getattr(trajectory, "states", None)
    if not isinstance(states, list) or len(states) < 2:
        raise ValueError(
            "trajectory must be that of a network of at least two layers, "
            f"got {type(trajectory).__name__} of {type(states).__name__}; "
            "networks.layer_flow makes one"
        )
    imbalances = [A.mT @ A - B @ B.mT for A, B in pairwise(states)]
    return np.stack([np.linalg.norm(D - D[0], axis=(1, 2)) for D in imbalances], axis=1)


def count(m: int, n: int, k: int) -> int:
    r"""Return the number of independent laws of two layers, :math:`X=UV^\top`.

    :math:`k(k+1)/2` up to width k = N = m + n, and :math:`Nk-N(N-1)/2` beyond: near weights of
    full rank every law is a function of :math:`U^\top U-V^\top V`.

    Parameters
    ----------
    m, n : int
        Rows of U and of V.
    k : int
        Width, the columns of both.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a size is no whole number of at least 1.

    Notes
    -----
    Theorem "All the laws of two layers" of the chapter; Marcotte, Gribonval and Peyré 2023.

    Examples
    --------
    >>> count(1, 1, 1), count(1, 1, 3), count(2, 1, 5)
    (1, 5, 12)
    """
    size, k = _check.count("m", m) + _check.count("n", n), _check.count("k", k)
    return k * (k + 1) // 2 if k <= size else size * k - size * (size - 1) // 2


def count_momentum(m: int, n: int, k: int) -> int:
    r"""Return the number of independent laws of two layers under momentum.

    Of the heavy ball :math:`\ddot w=-\nabla\mathcal L`, as functions of weights and velocities:
    every law is a function of the antisymmetric matrix :math:`R^\top\dot R-\dot R^\top R`,
    R = (U; V), unless m = n = 1, where u + v and u - v have one each. With friction g the same
    matrices are constant after multiplication by :math:`e^{gt}`.

    Parameters
    ----------
    m, n, k : int
        As for `count`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a size is no whole number of at least 1.

    Notes
    -----
    Proposition "The laws of the heavy ball" of the chapter; Marcotte, Gribonval and Peyré 2024.

    Examples
    --------
    >>> [count_momentum(2, 2, k) - count(2, 2, k) for k in (2, 6, 7, 8)]
    [-2, -3, -1, 2]
    """
    size, k = 2 * (_check.count("m", m) + _check.count("n", n)), _check.count("k", k)
    if size == 4:  # twice the count of vectors in the plane, for u + v and for u - v
        return 2 * (2 * k - 3) if k >= 2 else 0
    return k * (k - 1) // 2 if k <= size else size * k - size * (size + 1) // 2


def deep_count(widths: Sequence[int]) -> int:
    r"""Return the number of independent laws of a linear network of any depth.

    A numerical rank, not a proof: the number of weights less the dimension of what can be
    reached from fixed generic weights by following the gradients of entries of the product in
    turn. The directions :math:`\nabla X_{ij}` along such a path are carried to its end by the
    derivative of the flows, and the rank of all of them is counted.

    Parameters
    ----------
    widths : sequence of int
        :math:`h_0,\dots,h_L`, at least three.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If `widths` are not at least three whole numbers of at least 1.

    Notes
    -----
    For two layers it is `count`. With scalar ends there can be more laws than imbalances:

    Examples
    --------
    >>> deep_count([2, 2, 1]), deep_count([1, 2, 2, 1])
    (3, 7)
    """
    widths = [_check.count("widths", h) for h in widths]
    if len(widths) < 3:
        raise ValueError(f"widths must be at least three, got {widths}; say [n, h, m]")
    rng = np.random.default_rng(0)
    point = np.concatenate([W.ravel() for W in networks.gaussian(widths, 1.0, rng)])
    size, ends = np.linalg.norm(point), (widths[0], widths[-1])
    entries = np.eye(ends[0] * ends[1]).reshape(-1, *ends)
    reached, idle = np.zeros((0, point.size)), 0
    while idle < 5 and len(reached) < point.size:
        fields = np.array([_velocity(point, G, widths) for G in entries])
        fields /= np.linalg.norm(fields, axis=1, keepdims=True)
        wider = orth(np.concatenate([reached, fields]).T, rcond=1e-6).T  # less is round-off
        idle = idle + 1 if len(wider) == len(reached) else 0
        G = rng.standard_normal(ends)
        # <G, W> > 0 makes the weights grow, < 0 makes them shrink: stay near the first size.
        grows = np.sum(G * networks.product(_split(point, widths))) > 0
        outside = np.linalg.norm(point) > size
        point, reached = _carried(point, wider, -G if grows == outside else G, widths)
    return point.size - len(reached)


def _split(point, widths):
    """Return the layers of a vector (or of each row of a batch) of all weights."""
    shapes = list(pairwise(widths))
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    parts = np.split(point, ends, axis=-1)
    return [p.reshape(*p.shape[:-1], *s) for p, s in zip(parts, shapes, strict=True)]


def _velocity(point, G, widths):
    """Return the gradient of <G, W_1...W_L> as a vector, or as rows for a batch of points."""
    gradients = networks.gradients(_split(point, widths), lambda _: G)
    return np.concatenate([g.reshape(*point.shape[:-1], -1) for g in gradients], axis=-1)


def _carried(point, tangents, G, widths):
    """Follow <G, W> for a while; return the new point and a basis of the carried tangents.

    The imaginary part of a flow from point + i h tangent is h times the carried tangent.
    """
    tiny, speed = 1e-30, np.linalg.norm(_velocity(point, G, widths))
    batch = np.concatenate([point[None], point + 1j * tiny * tangents])

    def velocity(_, flat):
        return _velocity(flat.reshape(batch.shape), G, widths).ravel()

    time = min(0.3 * np.linalg.norm(point) / speed, 0.7 / np.linalg.norm(G))
    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-14}
    end = solve_ivp(velocity, (0, time), batch.ravel(), **options).y[:, -1].reshape(batch.shape)
    return end[0].real, np.linalg.qr(end[1:].imag.T / tiny)[0].T
