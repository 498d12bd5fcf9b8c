"""Gradient flow in overparametrized models: the library behind the lecture notes.

One module for each chapter over a small core (`flow`, `losses`, `networks`). The other modules
are imported when they are first used, so that `import overparam` stays fast.
"""

from importlib import import_module
from pkgutil import iter_modules

from overparam.flow import Trajectory, gradient_descent, gradient_flow

__version__ = "0.1.0"

# Found by their names, so that a new chapter's module needs no entry here.
_MODULES = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]

__all__ = ["Trajectory", "gradient_descent", "gradient_flow", *_MODULES]


def __dir__():
    return sorted({*globals(), *__all__})


def __getattr__(name):
    if name in _MODULES:
        return import_module(f"overparam.{name}")
    raise AttributeError(f"module 'overparam' has no attribute {name!r}")
