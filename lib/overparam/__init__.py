"""Gradient flow in overparametrized models: the library behind the lecture notes.

One module for each chapter over a small core (`flow`, `losses`, `networks`). The other modules
are imported when they are first used, so that `import overparam` stays fast.
"""

from importlib import import_module

from overparam import flow, losses, networks
from overparam.flow import Trajectory, gradient_descent, gradient_flow

_ON_DEMAND = [
    "acceleration",
    "approximation",
    "completion",
    "conservation",
    "course",
    "descent",
    "figures",
    "kernel",
    "lazy",
    "minnorm",
    "particles",
    "phase",
    "preconditioner",
    "rates",
    "regimes",
    "riccati",
    "scalar",
    "sensing",
    "sweep",
    "tensors",
]

__all__ = [
    "Trajectory",
    "flow",
    "gradient_descent",
    "gradient_flow",
    "losses",
    "networks",
    *_ON_DEMAND,
]


def __getattr__(name):
    if name in _ON_DEMAND:
        return import_module(f"overparam.{name}")
    raise AttributeError(f"module 'overparam' has no attribute {name!r}")
