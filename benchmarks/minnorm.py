"""Wide networks: the flow at width 10 000 through the reduction, against direct integration."""

import numpy as np
from side import Row, pairs

from overparam import losses, minnorm, networks


def rows():
    """Return the rows of the wide flow."""
    return wide_flow()


def wide_flow(width=10_000, end=2.0, repeats=5):
    """Integrate to the same time with the same tolerances, on all weights and reduced."""
    rng = np.random.default_rng(0)
    Phi1 = np.linalg.qr(rng.standard_normal((16, 8)))[0]
    X = rng.standard_normal((30, 8)) @ Phi1.T / np.sqrt(30)
    Y = rng.standard_normal((30, 4))
    U, V = minnorm.random_start((16, 4), width, rng)
    loss = losses.regression(X, Y)

    def direct():
        return networks.product(networks.layer_flow(loss, [U, V.T], end).final)

    def reduced():
        return minnorm.end_to_end(X, Y, U, V, end)

    ratios, seconds = pairs(reduced, direct, repeats)
    difference = np.linalg.norm(direct() - reduced()) / np.linalg.norm(direct())
    name = f"width {width}, 16 × 4, to t = {end:g}"
    errors = f"they differ by {difference:.0e}"
    line = f"{name}: direct / reduced"
    return [Row(line, ratios, "at least 30", "rtol 1e-8", seconds, errors)]
