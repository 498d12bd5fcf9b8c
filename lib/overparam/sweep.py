"""Run a function over a grid of parameters and seeds: on one core, on all, or on a cluster."""

import ctypes
import functools
import inspect
import itertools
import json
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter

import numpy as np

from overparam import _check


def sweep(
    function: Callable, grid: dict[str, Sequence], seeds: Sequence[int], *,
    store: str | Path | None = None, version: str | None = None, retry: bool = False,
    limit: float | None = None, n_jobs: int | None = None, progress: bool = True,
):
    """Call `function` for every combination of parameters and every seed.

    Each finished cell is stored at once, so that a run that is killed goes on where it was. A
    cell that raises, exits or takes too long is recorded with its error, and the rest goes on.
    Workers use one BLAS thread each, because more threads than cores only wait for each other.

    Parameters
    ----------
    function : callable
        Called as ``function(rng=..., **parameters)`` with a fresh generator made from the seed;
        returns a number or a dict of numbers and strings. For several processes it must be
        importable (or a closure that cloudpickle understands).
    grid : dict of str to sequence
        The values of each parameter: numbers, strings, booleans or None.
    seeds : sequence of int
        A cell's generator depends on its seed alone: cells with equal seeds see equal numbers.
    store : path, optional
        A file of one JSON line for each cell. If it is there, its cells are not computed again.
    version : str, optional
        What the stored results belong to. By default it is made from the function's source, its
        defaults and closure, and from the functions and constants of its own module that it
        names; what it calls elsewhere does not count. Give a text of your own to decide yourself.
    retry : bool
        Whether to compute stored cells again that ended with an error.
    limit : float, optional
        Seconds for a cell. What runs inside of one call of compiled code is stopped after it.
    n_jobs : int, optional
        Number of processes, as in joblib: -1 for all cores; by default what
        `joblib.parallel_config` says, else 1. On a dask cluster::

            client = dask.distributed.Client("tcp://scheduler:8786")
            with joblib.parallel_config(backend="dask"): table = sweep(...)

    progress : bool
        Show a progress bar.

    Returns
    -------
    pandas.DataFrame
        One row for each cell, in the order of the grid and then of the seeds: the parameters,
        `seed`, what the function returned, `seconds`, and `error` (empty where there was none).
        A result with the name of one of these columns is found under ``result_NAME``.

    Raises
    ------
    ValueError
        For an empty grid, values that JSON cannot hold, a store that belongs to another function
        or another version of it, or one that is damaged (with path and line).
    RuntimeError
        If a worker process died. What was finished is stored; the same call goes on from there.

    Examples
    --------
    >>> from overparam.sweep import sweep
    >>> def power(rng, base, exponent):
    ...     return base**exponent
    >>> table = sweep(power, {"base": [2, 3], "exponent": [2]}, [0], progress=False)
    >>> print(table[["base", "exponent", "seed", "value"]].to_string(index=False))
     base  exponent  seed  value
        2         2     0      4
        3         2     0      9
    """
    cells = _cells(grid, seeds)
    limit = None if limit is None else _check.number("limit", limit, 0, strict=True)
    header = {"function": _name(function), "version": version or _version(function)}
    done = {} if store is None else _stored(Path(store), header)
    missing = [c for c in cells if _key(c) not in done or (retry and done[_key(c)]["error"])]
    if missing:  # a store that is whole is only read
        for record in _results(function, missing, limit, n_jobs, progress, len(cells)):
            done[_key(record)] = record
            if store is not None:
                _append(store, record)
    return _table([done[_key(cell)] for cell in cells])


def _name(function):
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _version(function):
    """Return a hash of what a function does, as far as its own module says."""
    from joblib import hash as digest
    from joblib.func_inspect import get_func_code

    seen, texts, home = set(), [], _name(function).rpartition(".")[0]

    def add(value):
        if isinstance(value, functools.partial):
            add([value.func, value.args, value.keywords])
        elif isinstance(value, dict):
            add([*value.items()])
        elif isinstance(value, (list, tuple)):
            for part in value:
                add(part)
        elif inspect.ismethod(value):
            add([value.__func__, vars(value.__self__)])
        elif inspect.isfunction(value):
            if value not in seen and home.startswith(value.__module__):
                seen.add(value)
                names = inspect.getclosurevars(value)
                texts.append(get_func_code(value)[0])
                add([value.__defaults__, value.__kwdefaults__, names.nonlocals, names.globals])
        elif not (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)):
            add(value.__call__) if callable(value) else texts.append(digest(value))

    add(function)
    return digest(texts)


def _cells(grid, seeds):
    if not isinstance(grid, dict) or not grid or not all(map(len, [seeds, *grid.values()])):
        raise ValueError(f"grid and seeds must name at least one value each, got {grid!r:.80}")
    if {"rng", "seed", "seconds", "error"} & set(grid):
        raise ValueError("grid must not name a parameter rng, seed, seconds or error")
    *axes, seeds = *grid.values(), [_check.count("seeds", seed, 0) for seed in seeds]
    cells = [
        {"parameters": dict(zip(grid, values, strict=True)), "seed": seed}
        for *values, seed in itertools.product(*axes, seeds)
    ]
    if len({_key(cell) for cell in cells}) < len(cells):
        raise ValueError("grid or seeds name a cell twice")
    return cells


def _key(cell):
    return _json([cell["parameters"], cell["seed"]], sort_keys=True)


def _plain(part):
    """Return a number of numpy's as Python's, for JSON."""
    if not isinstance(part, np.generic):
        raise ValueError(f"grid and results must be numbers, texts or None, got {part!r:.60}")
    return part.item()


_json = functools.partial(json.dumps, default=_plain, ensure_ascii=False)


def _results(function, cells, limit, n_jobs, progress, total):
    """Yield the record of each cell as soon as it is finished."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError
    from tqdm import tqdm

    # One cell a batch: a batch is reported, and so stored, only when all of it is finished.
    pool = Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")
    records = pool(delayed(_run_cell)(function, cell, limit) for cell in cells)
    try:
        yield from tqdm(records, total=total, initial=total - len(cells), disable=not progress)
    except TerminatedWorkerError as error:
        advice = "what was finished is stored: call again, with fewer jobs if memory was short"
        raise RuntimeError(f"a worker process died; {advice}") from error


def _run_cell(function, cell, limit=None):
    """Return the record of one cell: what the function returned, or how it failed."""
    from threadpoolctl import threadpool_limits

    begin, result, error = perf_counter(), {}, ""
    if "MALLOC_TRIM_THRESHOLD_" in os.environ and hasattr(ctypes.pythonapi, "mallopt"):
        # By it dask's nanny makes malloc give back all that is freed, at a third of the speed.
        for option, size in ((-1, 2**27), (-3, 2**25)):  # from when on to trim, and to map
            ctypes.pythonapi.mallopt(option, size)
    try:
        with threadpool_limits(1, "blas"), _time_limit(limit) if limit else nullcontext():
            returned = function(rng=np.random.default_rng(cell["seed"]), **cell["parameters"])
        returned = returned if isinstance(returned, dict) else {"value": returned}
        if not all(isinstance(name, str) for name in returned):
            raise ValueError("the names of results must be texts")
        result = json.loads(_json(returned))  # as it will be read from a store
    except (Exception, SystemExit) as problem:  # recorded, whatever it is: the others go on
        error = f"{type(problem).__name__}: {problem}"
    except _TimeUp:
        error = f"TimeoutError: took more than {limit:g} s"
    return cell | {"result": result, "seconds": round(perf_counter() - begin, 4), "error": error}


class _TimeUp(BaseException):
    """Raised inside a cell that takes too long; no ``except Exception`` of its own holds it."""


@contextmanager
def _time_limit(seconds):
    strike = ctypes.pythonapi.PyThreadState_SetAsyncExc
    aim = ctypes.c_ulong(threading.get_ident()), ctypes.py_object(_TimeUp)
    timer = threading.Timer(seconds, strike, aim)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a strike that was on its way lands here


def _stored(path, header):
    """Return the finished cells of a store by their key, without a torn last line."""
    *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    fields, records = ("parameters", "seed", "result", "seconds", "error"), []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records.append({name: record[name] for name in (fields if number > 1 else header)})
        except (ValueError, LookupError, TypeError):
            damaged = f"store {path}, line {number} is damaged: {line[:60]!r}"
            raise ValueError(f"{damaged}. Remove it, or the file if it is the first") from None
    found, *records = records or [header]
    if found != header:
        held, own = (f"{h['function']}, version {h['version']}" for h in (found, header))
        raise ValueError(
            f"store {path} holds results of {held}, not of {own}; name another file, or give "
            "version if the results are the same"
        )
    if torn:  # the run was killed in the middle of a line
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    if not lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, header)
    return {_key(record): record for record in records}


def _append(store, record):
    """Write a record to the end of a store; it is on the disk when this returns."""
    with open(store, "ab", buffering=0) as file:
        file.write(_json(record).encode() + b"\n")
        os.fsync(file.fileno())


def _table(records):
    import pandas as pd

    frame = pd.DataFrame(records)
    cells = pd.DataFrame([*frame["parameters"]]).assign(seed=frame["seed"])
    results, ends = pd.DataFrame([*frame["result"]]), frame[["seconds", "error"]]
    taken = {name: f"result_{name}" for name in [*cells, *ends]}
    return pd.concat([cells, results.rename(columns=taken), ends], axis=1)
