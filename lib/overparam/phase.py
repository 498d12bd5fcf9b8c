"""When does completion succeed? A sweep over depths and numbers of observations.

The command ``python -m overparam.phase`` computes the stored results anew, on all cores, and
goes on where it was if it is stopped.
"""

from pathlib import Path

import numpy as np

from overparam import completion, losses, networks
from overparam.sweep import sweep

GRID = {"depth": [1, 2, 3, 4], "n_observed": [450, 650, 800, 1000, 1300, 1800, 2500, 3200]}
SEEDS = range(5)
SCALE = 1e-4  # the size s of the start in the tables of the completion chapter
VERSION = "1"  # of the stored results: a new one when `cell` computes something else
STORED = Path(__file__).parent / "data" / "phase.jsonl"


def cell(rng, depth, n_observed, size=60, rank=3, goal=1e-5):
    """Complete one random matrix and say how well it went.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the matrix, the observed positions and the start, in this order: cells with one
        seed and one number of observations complete the same matrix.
    depth, n_observed : int
        The number of layers, 1 for the control, and of observed entries.
    size, rank : int
        The truth is size × size of this rank, with entries of root mean square one.
    goal : float
        Training loss at which the flow stops.

    Returns
    -------
    dict
        `error`, the mean square over all entries; `effective_rank`; `reason` why the flow ended.
    """
    truth = completion.random_low_rank((size, size), rank, rng)
    rows, cols = completion.random_positions(truth.shape, n_observed, rng)
    problem = (rows, cols, truth[rows, cols], truth.shape)
    if depth == 1:
        path = one_layer(problem, rng, goal)
    else:
        path = completion.complete(*problem, depth, SCALE, rng, goal=goal, rtol=1e-6)
    found = networks.product(path.final)
    return {
        "error_all": float(f"{completion.reconstruction_error(found, truth):.4g}"),
        "effective_rank": round(float(completion.effective_rank(found)), 3),
        "reason": path.reason,
    }


def one_layer(problem, rng, goal):
    """Return the flow of a single layer, the control: it moves the observed entries only."""
    loss = losses.completion(*problem)
    start = networks.gaussian(problem[3], SCALE / np.sqrt(min(problem[3])), rng)
    limit = np.log(loss.value(start[0]) / goal) / loss.pl_constant + 1
    return networks.layer_flow(
        loss, start, [limit], stop=lambda layers: loss.value(layers[0]) - goal
    )


def stored():
    """Return the stored results as the table of `sweep`, which computes a cell only if missing."""
    return sweep(cell, GRID, SEEDS, store=STORED, version=VERSION, progress=False)


if __name__ == "__main__":
    from overparam import phase  # so that the store names the module, not __main__

    print(sweep(phase.cell, GRID, SEEDS, store=STORED, version=VERSION, n_jobs=-1).to_string())
