"""Gradient flow in overparametrized models: the library behind the lecture notes.

One module for each chapter over a small core (`flow`, `losses`, `networks`). The other modules
are imported when they are first used, so that `import overparam` stays fast.
"""

from importlib import import_module
from pkgutil import iter_modules

from overparam import flow, losses, networks
from overparam.flow import Trajectory, gradient_descent, gradient_flow

__version__ = "0.1.0"

# Found by their names, so that a new chapter's module needs no entry here.
_ON_DEMAND = sorted(
    module.name
    for module in iter_modules(__path__)
    if not module.name.startswith("_") and module.name not in {"flow", "losses", "networks"}
)

__all__ = [
    "Trajectory",
    "flow",
    "gradient_descent",
    "gradient_flow",
    "losses",
    "networks",
    *_ON_DEMAND,
]


def __dir__():
    return sorted({*globals(), *__all__})


def __getattr__(name):
    if name in _ON_DEMAND:
        return import_module(f"overparam.{name}")
    raise AttributeError(f"module 'overparam' has no attribute {name!r}")
