r"""Two weights for one number: the loss :math:`\mathcal L(u,v)=f(uv)`.

Letters as in the chapter "Two weights for one number": x = uv is the product,
:math:`\lambda_0=u^2-v^2` the imbalance (`imbalance`), y the target,
:math:`S=\sqrt{\lambda_0^2+4y^2}` and :math:`R_0=\sqrt{\lambda_0^2+4x_0^2}`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from overparam import _check


def closed_form(
    t: ArrayLike, y: ArrayLike, x0: ArrayLike, imbalance: ArrayLike
) -> NDArray[np.float64]:
    r"""Return x(t) = u(t)v(t) for the gradient flow of :math:`\tfrac12(y-uv)^2`.

    The solution :math:`x=y+(x_0-y)/(1+I)` of :math:`\dot x=(y-x)\sqrt{\lambda_0^2+4x^2}`, where
    :math:`I(t)=R_0\sinh(St)/S+(\lambda_0^2+4x_0y)(\cosh(St)-1)/S^2`, for every y, x0 and
    imbalance: starts that end in the saddle, and y = 0, included.

    Parameters
    ----------
    t : array_like
        Times, not negative.
    y, x0, imbalance : array_like
        Target, start of the product, :math:`u_0^2-v_0^2`. All four broadcast.

    Returns
    -------
    ndarray
        x(t), of the common shape. Time is in units of 1/y: closed_form(t/s, s y, s x0,
        s imbalance) is s closed_form(t, y, x0, imbalance).

    Raises
    ------
    ValueError
        If an argument is not finite or a time is negative.

    Notes
    -----
    Theorem "Closed form" of the chapter; another form of it stands in Mallada 2023,
    "Convergence Rate of Overparametrized GF".

    Examples
    --------
    >>> [round(float(x), 4) for x in closed_form([0.0, 1.0, 4.0], y=1.0, x0=0.0, imbalance=1.0)]
    [0.0, 0.7378, 0.9996]
    """
    t, y = _check.not_negative("t", t), _check.finite_array("y", y)
    x0, imbalance = _check.finite_array("x0", x0), _check.finite_array("imbalance", imbalance)
    # In units of the largest of the three nothing overflows, however large or small they are.
    unit = np.maximum(np.maximum(np.abs(y), np.abs(x0)), np.abs(imbalance))
    unit = np.where(unit > 0, unit, 1.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        growth = _growth(np.minimum(unit * t, 1e300), y / unit, x0 / unit, imbalance / unit)
        x = x0 / (1 + growth) + y / (1 + 1 / growth)
        # Balanced and of the wrong sign the two terms cancel; their sum is known (the saddle).
        into_saddle = (imbalance == 0) & (np.sign(x0) * np.sign(y) < 0)
        return np.where(into_saddle, x0 * np.exp(-2 * np.abs(y) * t) / (1 + growth), x)


def _growth(t, y, x0, imbalance):
    r"""Return I(t), by which the error has shrunk: :math:`y-x=(y-x_0)/(1+I)`.

    With the angle :math:`\phi` between :math:`(\lambda_0,2x_0)` and :math:`(\lambda_0,2y)`,
    :math:`I=\frac{R_0}S[\cos^2\frac\phi2(e^{St}-1)+\sin^2\frac\phi2(1-e^{-St})]`: a sum of
    positive numbers. The first is kept as a logarithm, since the cosine may be tiny and e^St huge.
    """
    start, end = np.hypot(imbalance, 2 * x0), np.hypot(imbalance, 2 * y)
    cross, dot = np.abs(2 * imbalance * (y - x0)), imbalance**2 + 4 * x0 * y
    # cos(phi/2) from pi - phi, which keeps its digits where phi is close to pi.
    first = np.log(start) + 2 * np.log(np.sin(np.arctan2(cross, -dot) / 2)) + end * t
    second = start * np.sin(np.arctan2(cross, dot) / 2) ** 2
    growth = (np.exp(first) + second) * -np.expm1(-end * t) / end
    return np.where(end > 0, growth, start * t)


def margin(y: ArrayLike, x0: ArrayLike, condition: float = 1.0) -> NDArray[np.float64]:
    r"""Return :math:`[\,|y|-\sqrt{K/\mu}\,|y-x_0|\,]_+`, below which :math:`|uv|` never falls.

    Parameters
    ----------
    y, x0 : array_like
        Minimizer of f and start of the product; they broadcast.
    condition : float
        The condition number :math:`K/\mu\ge1` of f. For scalars 1 is enough, because uv moves
        monotonically; matrices need the true one.

    Returns
    -------
    ndarray
        In the units of y.

    Raises
    ------
    ValueError
        If an argument is not finite or `condition` is less than 1.

    Notes
    -----
    Mallada 2023, "Margin"; Mallada 2022, "Margin".

    Examples
    --------
    >>> float(margin(y=2.0, x0=1.5)), float(margin(y=2.0, x0=-1.0))
    (1.5, 0.0)
    """
    y, x0 = _check.finite_array("y", y), _check.finite_array("x0", x0)
    condition = _check.number("condition", condition, 1)
    return np.maximum(np.abs(y) - np.sqrt(condition) * np.abs(y - x0), 0.0)


def rate_bound(
    imbalance: ArrayLike, margin: ArrayLike, pl_constant: float = 2.0
) -> NDArray[np.float64]:
    r"""Return :math:`\gamma\sqrt{\lambda_0^2+4\,\mathrm{margin}^2}`, a rate of decay of the loss.

    :math:`\mathcal L(t)-\mathcal L^*\le e^{-rt}(\mathcal L(0)-\mathcal L^*)` with this r. The
    error :math:`|x-y|` of the squared loss decays at half of it.

    Parameters
    ----------
    imbalance, margin : array_like
        :math:`\lambda_0` and the `margin` of the start; they broadcast.
    pl_constant : float
        :math:`\gamma` of f: 2 for :math:`\tfrac12(y-x)^2`, 4 without the ½, and
        :math:`2\mu` for a :math:`\mu`-strongly convex f.

    Returns
    -------
    ndarray
        A rate, in units of 1/t.

    Raises
    ------
    ValueError
        If an argument is not finite, `margin` is negative or `pl_constant` is not positive.

    Notes
    -----
    Mallada 2022, "Scalar dynamics"; the theorem on imbalance and margin of the chapter.

    Examples
    --------
    >>> float(rate_bound(imbalance=3.0, margin=2.0))
    10.0
    """
    imbalance = _check.finite_array("imbalance", imbalance)
    margin = _check.not_negative("margin", margin)
    pl_constant = _check.number("pl_constant", pl_constant, 0, strict=True)
    return pl_constant * np.hypot(imbalance, 2 * margin)


def weights_from(
    product: ArrayLike, imbalance: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return (u, v) with uv = `product` and :math:`u^2-v^2` = `imbalance`.

    Parameters
    ----------
    product, imbalance : array_like
        They broadcast.

    Returns
    -------
    u, v : ndarray
        The pair with :math:`u\ge0`, and :math:`v\ge0` if the product is zero; (-u, -v) is the
        other one, and for product zero so are the two pairs with one sign changed.

    Raises
    ------
    ValueError
        If an argument is not finite.

    Examples
    --------
    >>> u, v = weights_from(product=2.0, imbalance=3.0)
    >>> float(u), float(v)
    (2.0, 1.0)
    """
    x = _check.finite_array("product", product)
    imbalance = _check.finite_array("imbalance", imbalance)
    # The larger weight is a root of a sum; the other is the product over it: nothing cancels.
    # With the ½ inside hypot, numbers up to the largest are taken.
    larger = np.sqrt(np.abs(imbalance) / 2 + np.hypot(imbalance / 2, x))
    smaller = x / np.where(larger > 0, larger, 1.0)
    u = np.where(imbalance >= 0, larger, np.abs(smaller))
    v = np.where(imbalance >= 0, smaller, np.copysign(larger, x + 0.0))
    return u, v
