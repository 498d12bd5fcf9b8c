"""No function has hidden units: rescale the data, and the answer rescales.

Every public function of the library is in this test by itself. The examples of all docstrings are
run, and the calls they make are recorded, those inside of the library as well. For each call the
test *finds* how arguments and results scale together: it moves every argument a little and solves
for the exponents p and q with f(c^p x) = c^q f(x) near c = 1. Where there are such exponents the
same must hold for c = 10⁻¹² and 10¹². A tolerance with units is invisible near c = 1, and shows
there.

So a new function is tested as soon as its docstring has an example (`test_library.py` asks for
one). `EXCEPTIONS` holds those whose units cannot be seen from their example, with the reason.
"""

import contextlib
import copy
import dataclasses
import doctest
import functools
import importlib
import inspect
import io
import pkgutil
import time

import numpy as np
import pytest

import overparam
from overparam.flow import Trajectory

EXCEPTIONS = {
    "acceleration.plain_iterations": "R is a ratio of at least one",
    "acceleration.plain_lower_bound": "R is a ratio of at least one",
    "completion.nuclear_norm_minimizer": "its norm is certified, its entries to the gap's root",
    "neurons.descend": "the states of its example hardly depend on the step, which has a unit",
    "regimes.log_rich_threshold": "the smaller of two terms; its example sees one",
    "edge.descend": "beyond 1e100 everything is infinite (tests/test_edge.py scales it below)",
    "saddles.clock": "alpha is a pure number below one",
    "saddles.dual_flow": "alpha is a pure number below one",
}
# Functions of which no scaling is found: counts, makers of data and of starts, pure numbers; flows
# that end at a goal or take long; some of which the points near the example say too little. A new
# function is judged, or somebody thinks of its units and adds it here.
NO_SCALING = {
    "acceleration": (
        "diabetes",
        "jump",
        "layer_jump",
        "race",
        "rounding_counts",
        "sensor_array",
        "sensor_like",
        "two_targets",
    ),
    "approximation": (
        "check_sigmoidal",
        "fixed_basis_bound",
        "fourier_basis_error",
        "gaussian",
        "gaussian_constant",
        "lattice_count",
    ),
    "choice": ("decay_flow", "label_noise_lasso"),
    "completion": (
        "complete",
        "random_low_rank",
        "random_positions",
        "stored_tables",
        "table_cell",
        "table_problem",
    ),
    "conservation": ("count", "count_momentum", "deep_count"),
    "descent": ("margin_probability", "proved_rate", "unbalanced_flow_rate"),
    "edge": ("boundary_exponent", "ellipse", "planar_step", "two_cycle"),
    "lazy": ("classroom", "doubled", "gaps", "linearize", "relative_changes", "trained"),
    "minnorm": ("random_start",),
    "neurons": ("final_angle",),
    "particles": ("duality_gap", "energy", "fourier", "particle_descent", "particle_flow", "ring"),
    "preconditioner": ("end_to_end_flow",),
    "rates": ("measured_rates",),
    "regimes": ("distance_penalty", "h", "h_inverse", "q"),
    "riccati": ("homogeneous_start",),
    "saddles": ("average",),
    "sensing": ("commuting_limit", "sensing_flow"),
    "steps": ("descent_rate",),
    "tensors": ("complete", "cp", "factor_flow", "shared_indices", "train", "tree"),
    "unequal": ("limit",),
}
# Arguments that are numbers without units, whatever the result does when they move.
UNITLESS = {"rtol", "tolerance", "tol", "p", "power", "share", "depth", "goal", "limit"}
NO_UNITS = {"activations", "explorers", "figures", "phase", "sweep"}
MODULES = [m.name for m in pkgutil.iter_modules(overparam.__path__) if not m.name.startswith("_")]
SLOW = 0.05  # seconds of processor time: slower calls are left out
AT_MOST = 2  # calls of each function
NUDGE = 0.01  # of an argument's logarithm
EXTREMES = (1e-12, 1e12)


def public(module):
    """Return the functions that a module defines for others, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and value.__module__ == module.__name__
    }


def recorded(name):
    """Run the examples of a module; return the calls of public functions that they make."""
    module = importlib.import_module(f"overparam.{name}")
    calls = {}
    modules = [importlib.import_module(f"overparam.{other}") for other in MODULES]
    everywhere = [
        (m, key, value)
        for m in [overparam, *modules]
        for key, value in vars(m).items()
        if inspect.isfunction(value) and value.__module__.startswith("overparam.")
    ]
    originals = [(m, key, f) for m, key, f in everywhere if not f.__name__.startswith("_")]

    def record(function, key):
        @functools.wraps(function)
        def wrapper(*args, **options):
            try:
                before = copy.deepcopy((args, options))
            except Exception:  # a closure over something that cannot be copied
                return function(*args, **options)
            begin = time.process_time()
            result = function(*args, **options)
            known = calls.setdefault(key, [])
            if time.process_time() - begin < SLOW and len(known) < AT_MOST:
                known.append((function, *before))
            return result

        return wrapper

    for m, key, function in originals:
        home = function.__module__.removeprefix("overparam.")
        setattr(m, key, record(function, f"{home}.{function.__name__}"))
    try:
        runner = doctest.DocTestRunner(verbose=False)
        for test in doctest.DocTestFinder().find(module):
            with contextlib.redirect_stdout(io.StringIO()):
                runner.run(test, clear_globs=False)
    finally:
        for m, key, function in originals:
            setattr(m, key, function)
    return {key: found for key, found in calls.items() if key.startswith(f"{name}.")}


def leaves(value, path=""):
    """Yield (path, array) for the numbers with a fractional type in nested arguments or results."""
    if isinstance(value, (float, np.floating)) or (
        isinstance(value, np.ndarray) and value.dtype.kind == "f"
    ):
        yield path, np.asarray(value, dtype=float)
    elif isinstance(value, Trajectory):
        yield from leaves([value.t[-1], value.final], path)
    elif getattr(value, "_recipe", None):
        yield from leaves(value._recipe[1], path + ".recipe")
        yield from leaves((value.pl_constant,), f"{path}.constant")
    elif isinstance(value, (list, tuple)):
        if (
            value
            and all(isinstance(v, (int, float)) for v in value)
            and any(isinstance(v, float) for v in value)
        ):
            yield path, np.array(value, dtype=float)
        else:
            for index, part in enumerate(value):
                yield from leaves(part, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in UNITLESS:
                yield from leaves(part, f"{path}[{key!r}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{path}.{field.name}")


def scaled(value, factors, path=""):
    """Return arguments with each leaf multiplied by the factor of its path."""
    if path in factors:
        product = np.asarray(value, dtype=float) * factors[path]
        return product if isinstance(value, np.ndarray) else product.tolist()
    if getattr(value, "_recipe", None):
        make, args = value._recipe
        return make(*scaled(args, factors, path + ".recipe"))
    if isinstance(value, (list, tuple)):
        parts = [scaled(part, factors, f"{path}[{i}]") for i, part in enumerate(value)]
        return getattr(value, "_make", type(value))(parts)  # named tuples too
    if isinstance(value, dict):
        return {key: scaled(part, factors, f"{path}[{key!r}]") for key, part in value.items()}
    return copy.deepcopy(value)


def arguments(function, args, options):
    """Return a call's arguments by name, without those that are plain numbers of no unit."""
    bound = inspect.signature(function).bind(*args, **options)
    return dict(bound.arguments), bound


def result_leaves(function, values, kinds):
    args, options = [], {}
    for name, value in values.items():
        if isinstance(value, np.random.Generator):
            value = copy.deepcopy(value)  # every call draws the same
        if kinds[name] == inspect.Parameter.VAR_POSITIONAL:
            args.extend(value)
        elif kinds[name] == inspect.Parameter.VAR_KEYWORD:
            options.update(value)
        elif kinds[name] == inspect.Parameter.KEYWORD_ONLY:
            options[name] = value
        else:
            args.append(value)
    with np.errstate(all="ignore"):
        return [array for _, array in leaves(function(*args, **options))]


def exponents(function, values, kinds):
    """Return the scalings of a call as pairs: a power for each argument, one for each result.

    Euler's relations Σ pᵢ ∂f/∂log xᵢ = q f are solved at the call's arguments and at two other
    points, because a formula of few results obeys more of them at a single point.
    """
    paths = [p for p, array in leaves(values) if np.any(array) and ".constant" not in p]
    base = result_leaves(function, values, kinds)
    rng, rows = np.random.default_rng(0), []
    for point in range(3):
        factors = {path: np.exp(rng.uniform(-0.5, 0.5) * (point > 0)) for path in paths}
        try:
            rows += relations(function, values, kinds, paths, factors)
        except Exception:  # not defined there
            if point == 0:
                return paths, base, []
    system = np.concatenate([np.zeros((1, len(paths) + len(base))), *rows])
    seen = np.abs(system).max(axis=0) > 1e-6
    if not seen[: len(paths)].any():  # such as a ratio or a rank: all arguments in one unit
        return paths, base, [(np.ones(len(paths)), np.zeros(len(base)))]
    for path, visible in zip(paths, seen, strict=False):
        # What matters far away but not here, as one side of a maximum, has unknown units.
        if not visible and not all(
            same(base, result_leaves(function, scaled(values, {path: c}), kinds)) for c in EXTREMES
        ):
            return paths, base, []
    found = []
    for vector in null_space(system[:, seen], int(seen[: len(paths)].sum())):
        full = np.zeros(len(seen))
        full[seen] = vector
        found.append((full[: len(paths)], full[len(paths) :]))
    return paths, base, found


def relations(function, values, kinds, paths, factors):
    """Return Euler's relations at one point: a row for each number in the results."""
    base = result_leaves(function, scaled(values, factors), kinds)
    slopes = []
    for path in paths:
        up, down = (
            result_leaves(
                function, scaled(values, factors | {path: factors[path] * np.exp(move)}), kinds
            )
            for move in (NUDGE, -NUDGE)
        )
        slopes.append([(u - d) / (2 * NUDGE) for u, d in zip(up, down, strict=True)])
    rows = []
    for k, result in enumerate(base):
        there = np.isfinite(np.sum([result, *(slope[k] for slope in slopes)], axis=0))
        size = largest(result[there])
        if size:
            block = np.zeros((there.sum(), len(paths) + len(base)))
            for i in range(len(paths)):
                block[:, i] = slopes[i][k][there] / size
            block[:, len(paths) + k] = -result[there] / size
            rows.append(block)
    return rows


def largest(array):
    """Return the largest finite magnitude."""
    return np.abs(array[np.isfinite(array)]).max(initial=0)


def same(first, second):
    return len(first) == len(second) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-9 * largest(a))
        for a, b in zip(first, second, strict=True)
    )


def null_space(system, n_arguments, small=2e-3):
    """Return a basis of the null space with simple fractions for entries."""
    if not n_arguments or not np.isfinite(system).all():
        return []
    triangle = np.linalg.qr(system, mode="r")  # far fewer rows, the same null space
    singular, right = np.linalg.svd(triangle, full_matrices=True)[1:]
    rank = np.sum(singular > small * max(1.0, singular[0]))
    basis = right[rank:]
    for row in range(len(basis)):  # reduced echelon form
        column = np.argmax(np.abs(basis[row, :n_arguments]))
        if abs(basis[row, column]) < 1e-3:
            return []
        basis[row] /= basis[row, column]
        for other in range(len(basis)):
            if other != row:
                basis[other] -= basis[other, column] * basis[row]
    rounded = np.round(basis * 12) / 12
    return [
        row for row, exact in zip(rounded, basis, strict=True) if np.abs(row - exact).max() < 0.03
    ]


def agree(function, values, kinds, paths, base, powers, c, rtol):
    """Return the largest relative miss of the scaled results, or what was raised."""
    p, q = powers
    factors = {path: c**power for path, power in zip(paths, p, strict=True) if power}
    try:
        got = result_leaves(function, scaled(values, factors), kinds)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if [g.shape for g in got] != [b.shape for b in base]:
        return "results of other shapes"
    worst = 0.0
    for b, g, power in zip(base, got, q, strict=True):
        there = np.isfinite(b) & np.isfinite(g)
        alone = np.abs(np.where(np.isfinite(b), b, g)[~there])
        if np.any(alone < 1e100):  # what overflows at one scale is large at the other
            return "results that are finite at one scale only"
        size = largest(b)
        if size:  # np.maximum keeps a NaN, max may not
            worst = np.maximum(worst, np.abs(g[there] / c**power - b[there]).max() / size)
    return None if worst <= rtol else f"results off by {worst:.1e} of their size"


@pytest.mark.parametrize("name", sorted(set(MODULES) - NO_UNITS))
def test_rescaled_data_give_rescaled_answers(name):
    failures, judged, module = [], set(), importlib.import_module(f"overparam.{name}")
    for key, calls in recorded(name).items():
        if not calls:  # each of them takes long
            judged.add(key)
        if key in EXCEPTIONS:
            continue
        for function, args, options in calls:
            values, bound = arguments(function, args, options)
            kinds = {n: p.kind for n, p in bound.signature.parameters.items()}
            try:
                with np.errstate(all="ignore"):
                    paths, base, found = exponents(function, values, kinds)
            except Exception:  # an argument that must stay as it is, such as a label ±1
                continue
            for powers in found:
                if not np.any(powers[0]):
                    continue
                near = [
                    agree(function, values, kinds, paths, base, powers, c, 1e-8) for c in (0.5, 2.0)
                ]
                if any(near):
                    continue  # no scaling of this function
                judged.add(key)
                for c in EXTREMES:
                    problem = agree(function, values, kinds, paths, base, powers, c, 1e-6)
                    if problem and len(found) > 1 and problem.startswith("ValueError"):
                        continue  # of several scalings one may leave where the function is defined
                    if problem:
                        shown = {
                            path: round(p, 3) for path, p in zip(paths, powers[0], strict=True)
                        }
                        failures.append(
                            f"{key}, arguments times c^p, p = {shown}, c = {c:g}: {problem}"
                        )
    assert not failures, "\n".join(failures)
    passed_over = {key for key in public(module) if f"{name}.{key}" not in judged | set(EXCEPTIONS)}
    assert passed_over <= set(NO_SCALING.get(name, ())), "no scaling is found: see NO_SCALING"


def find(function, *args, **options):
    values, bound = arguments(function, args, options)
    kinds = {n: p.kind for n, p in bound.signature.parameters.items()}
    paths, base, found = exponents(function, values, kinds)
    return function, values, kinds, paths, base, found


def test_the_search_finds_units_and_hidden_tolerances():
    """It works: on a function without units, and on the same with an absolute tolerance."""

    def half_life(rate, matrix):
        return np.log(2) / (rate * np.linalg.norm(matrix))

    def with_units(rate, matrix):
        return np.log(2) / (rate * np.linalg.norm(matrix) + 1e-9)

    for function, whole in [(half_life, True), (with_units, False)]:
        *call, found = find(function, 0.3, np.array([[1.0, 2.0], [0.5, 3.0]]))
        assert len(found) == 2  # each argument has a unit of its own
        assert all(agree(*call, powers, 2.0, 1e-5) is None for powers in found)
        problems = [agree(*call, powers, c, 1e-5) for powers in found for c in EXTREMES]
        assert whole == (not any(problems))
    assert not find(lambda x: np.sin(x) + x**3, 0.7)[-1]
    for least in (0, 1e-9):  # a share without units, and one with a floor that has one
        *call, found = find(lambda x, least=least: x[x > least] / x.max(), np.array([1.0, 2.0]))
        assert (agree(*call, found[0], 1e-12, 1e-5) is None) == (least == 0)


def test_the_examples_reach_most_functions_with_units():
    """Flows and losses of the core are among them."""
    for name in ("flow", "losses", "networks"):
        module = importlib.import_module(f"overparam.{name}")
        assert set(recorded(name)) == {f"{name}.{key}" for key in public(module)}
    for name in ("scalar.closed_form", "rates.deep_scalar_bound"):
        function, args, options = recorded(name.partition(".")[0])[name][0]
        assert find(function, *args, **options)[-1], name
