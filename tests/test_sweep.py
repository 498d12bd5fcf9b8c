"""Sweeps: every cell once, whatever is killed in between, and never another function's result."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from overparam.sweep import _run_cell, sweep


def cell(rng, a, b):
    """A cell that says what it got, and fails for one pair."""
    if (a, b) == (2.5, "y"):
        raise RuntimeError("this cell fails")
    return {"draw": a * rng.random(), "twice": b * 2}


def number(rng, a):
    return np.float64(a) * rng.random()


def blas_threads(rng, a):
    from threadpoolctl import threadpool_info

    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


GRID = {"a": [1.0, 2.5], "b": ["x", "y"]}


def test_table_has_a_row_for_each_cell_in_order():
    table = sweep(cell, GRID, [3, 4], progress=False)
    assert list(table.columns) == ["a", "b", "seed", "draw", "twice", "seconds", "error"]
    assert list(table["a"]) == [1.0] * 4 + [2.5] * 4 and list(table["seed"]) == [3, 4] * 4
    assert table["draw"][1] == np.random.default_rng(4).random()
    assert list(table["twice"][:3]) == ["xx", "xx", "yy"]


def test_a_cell_that_raises_is_recorded_and_the_rest_goes_on():
    table = sweep(cell, GRID, [0], progress=False)
    assert list(table["error"]) == ["", "", "", "RuntimeError: this cell fails"]
    assert np.isnan(table["draw"][3])


def test_processes_give_the_same_table():
    one = sweep(cell, GRID, [0, 1], progress=False)
    two = sweep(cell, GRID, [0, 1], n_jobs=2, progress=False)
    assert one.drop(columns="seconds").equals(two.drop(columns="seconds"))


def test_a_number_is_a_value():
    table = sweep(number, {"a": [2]}, [5], progress=False)
    assert table["value"][0] == 2 * np.random.default_rng(5).random()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_workers_use_one_blas_thread(n_jobs):
    assert list(
        sweep(blas_threads, {"a": [1, 2]}, [0], n_jobs=n_jobs, progress=False)["value"]
    ) == [1, 1]


def test_finished_cells_are_not_computed_again(tmp_path):
    store = tmp_path / "s.jsonl"
    first = sweep(cell, GRID, [0], store=store, progress=False)
    lines = store.read_text()
    again = sweep(cell, GRID | {"a": [1.0, 2.5, 4.0]}, [0], store=store, progress=False)
    assert store.read_text().startswith(lines)
    assert len(store.read_text().splitlines()) == 1 + 6
    assert first.equals(again[:4])


def test_a_torn_line_is_computed_again(tmp_path):
    store = tmp_path / "s.jsonl"
    whole = sweep(cell, GRID, [0], store=store, progress=False)
    store.write_text(store.read_text()[:-20])
    mended = sweep(cell, GRID, [0], store=store, progress=False)
    assert whole.drop(columns="seconds").equals(mended.drop(columns="seconds"))
    assert len([json.loads(line) for line in store.read_text().splitlines()]) == 5


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """The whole process is killed midway; the next run computes the other cells only."""
    (tmp_path / "slow.py").write_text(
        textwrap.dedent(
            """
            import sys, time
            from pathlib import Path
            from overparam.sweep import sweep

            def slow(rng, a):
                with open(Path(__file__).with_name("calls.txt"), "a") as calls:
                    calls.write(f"{a}\\n")
                time.sleep(0.1)
                return a

            if __name__ == "__main__":
                sweep(slow, {"a": list(range(30))}, [0], store=sys.argv[1], progress=False)
            """
        )
    )
    store = tmp_path / "s.jsonl"
    command = [sys.executable, "slow.py", str(store)]
    run = subprocess.Popen(command, cwd=tmp_path)
    while not store.exists() or len(store.read_text().splitlines()) < 6:
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    finished = {json.loads(line)["parameters"]["a"] for line in store.read_text().splitlines()[1:]}
    assert 5 <= len(finished) < 30
    subprocess.run(command, cwd=tmp_path, check=True)
    records = [json.loads(line) for line in store.read_text().splitlines()[1:]]
    assert sorted(record["parameters"]["a"] for record in records) == list(range(30))
    calls = (tmp_path / "calls.txt").read_text().split()
    assert all(calls.count(str(a)) == 1 for a in finished)


def test_dask_workers_may_die(tmp_path):
    """Two workers, one of them killed midway: every cell comes out, once."""
    import joblib

    distributed = pytest.importorskip("distributed", reason="dask is optional")

    def slow(rng, a):
        time.sleep(0.2)
        return a

    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with cluster, distributed.Client(cluster) as client:
        victim = next(iter(client.run(os.getpid).values()))
        threading.Timer(1.0, os.kill, (victim, signal.SIGKILL)).start()
        with joblib.parallel_config(backend="dask"):
            table = sweep(slow, {"a": list(range(16))}, [0], store=tmp_path / "d", progress=False)
    assert list(table["value"]) == list(range(16)) and not any(table["error"])
    assert len((tmp_path / "d").read_text().splitlines()) == 17
    assert not Path(f"/proc/{victim}").exists()


def test_a_cell_keeps_the_memory_that_dasks_nanny_makes_malloc_give_back():
    """With the nanny's setting each array of 400 kB is mapped anew, and all its pages fault."""
    code = (
        "import resource, numpy as np; from overparam.sweep import sweep\n"
        "def faults(rng):\n"
        "    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(300): np.ones(50_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin\n"
        "print(faults(None), sweep(lambda rng, a: faults(rng), {'a': [0]}, [0], progress=False)"
        ".value[0])"
    )
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    without, within = map(int, done.stdout.split())
    if without < 10_000:
        pytest.skip("another malloc than glibc's")
    assert within < without / 20


def test_a_worker_that_dies_is_reported_and_what_is_finished_is_kept(tmp_path):
    def fatal(rng, a):
        if a == 3:
            time.sleep(0.5)
            os._exit(1)
        return a

    with pytest.raises(RuntimeError, match="worker process died"):
        sweep(fatal, {"a": [0, 1, 2, 3]}, [0], store=tmp_path / "s", n_jobs=2, progress=False)
    assert len((tmp_path / "s").read_text().splitlines()) >= 2


@pytest.mark.parametrize(
    "change, message",
    [
        ({"grid": {}}, "grid and seeds must"),
        ({"grid": {"a": []}}, "grid and seeds must"),
        ({"grid": {"a": [1, 1]}}, "twice"),
        ({"grid": {"seed": [1]}}, "must not name"),
        ({"grid": {"a": [object()]}}, "grid and results must be"),
        ({"seeds": []}, "grid and seeds must"),
        ({"seeds": [0.5]}, "seeds must"),
        ({"seeds": [-1]}, "seeds must"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"grid": {"a": [1]}, "seeds": [0], "progress": False} | change
    with pytest.raises(ValueError, match=message):
        sweep(number, **arguments)


def quick(function, store=None, grid=None, **options):
    return sweep(function, grid or {"a": [1, 2]}, [0], store=store, progress=False, **options)


def test_results_with_the_names_of_columns_are_kept_apart():
    def clash(rng, a):
        return {"seed": 5, "error": "none", "seconds": 9, "a": 7, "value": 1}

    table = quick(clash)
    assert list(table["a"]) == [1, 2] and list(table["seed"]) == [0, 0]
    assert list(table["error"]) == ["", ""] and (table["seconds"] < 9).all()
    for name, value in {"seed": 5, "error": "none", "seconds": 9, "a": 7}.items():
        assert list(table[f"result_{name}"]) == [value, value]


def made(text, **names):
    """Return the function `f` of a module whose source is `text`."""
    exec(text, space := {"__name__": "made", **names})
    return space["f"]


def test_a_store_of_another_function_is_refused(tmp_path):
    store = tmp_path / "s"
    sweep(number, {"a": [1]}, [0], store=store, progress=False)
    for kept in (2, 1):  # whole, and with its first line alone
        store.write_bytes(b"".join(store.read_bytes().splitlines(keepends=True)[:kept]))
        with pytest.raises(ValueError, match="not of"):
            sweep(cell, GRID, [0], store=store, progress=False)


HELPER = (
    "def helper(a):\n    return {}\n\ndef f(rng, a, b={}):\n    return CONSTANT + helper(a) + b\n"
)


def test_a_store_of_another_version_of_the_function_is_refused(tmp_path):
    """A changed body, helper, default, constant, closure, argument or attribute is noticed."""

    def closed(factor):
        return lambda rng, a: factor * a

    class Call:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, rng, a):
            return self.factor * a

        def method(self, rng, a):
            return self.factor * a

    first, others = (
        made(HELPER.format("a", 0), CONSTANT=0),
        [
            made(HELPER.format("2 * a", 0), CONSTANT=0),
            made(HELPER.format("a", 1), CONSTANT=0),
            made(HELPER.format("a", 0), CONSTANT=1),
            made(HELPER.format("a", 0).replace("+ b", "- b"), CONSTANT=0),
        ],
    )
    families = [
        (first, others),
        (closed(1), [closed(2)]),
        (closed(np.ones(3)[0]), [closed(np.ones(2)[0] + 1e-12)]),
        (Call(1), [Call(2)]),
        (Call(1).method, [Call(2).method]),
        (functools.partial(first, b=1), [functools.partial(first, b=2)]),
    ]
    for number_, (function, changed) in enumerate(families):
        store = tmp_path / str(number_)
        table = quick(function, store)
        assert not any(table["error"])
        assert quick(function, store).equals(table)  # read, not computed
        for other in changed:
            with pytest.raises(ValueError, match="version"):
                quick(other, store)


def test_a_version_of_your_own_decides(tmp_path):
    store = tmp_path / "s"
    table = quick(lambda rng, a: a, store, version="1")
    assert quick(lambda rng, a: -a, store, version="1").equals(table)
    with pytest.raises(ValueError, match="version 1, not of .*version 2"):
        quick(lambda rng, a: a, store, version="2")


def test_failed_cells_are_tried_again_on_request(tmp_path):
    store, flag = tmp_path / "s", tmp_path / "flag"

    def sometimes(rng, a):
        if a == 2 and not flag.exists():
            raise OSError("no flag")
        return a

    assert list(quick(sometimes, store)["error"]) == ["", "OSError: no flag"]
    flag.touch()
    assert list(quick(sometimes, store)["error"]) == ["", "OSError: no flag"]
    lines = store.read_text()
    again = quick(sometimes, store, retry=True)
    assert list(again["value"]) == [1, 2] and not any(again["error"])
    assert store.read_text().startswith(lines)
    assert len(store.read_text().splitlines()) == 4  # the cell that was well is not computed again
    assert quick(sometimes, store).equals(again)


def test_exit_in_a_cell_is_recorded():
    def leaves(rng, a):
        sys.exit(f"cell {a}") if a == 1 else quit

    assert list(quick(leaves)["error"])[0] == "SystemExit: cell 1"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_cell_that_takes_too_long_is_recorded(n_jobs):
    def slow(rng, a):
        begin = time.monotonic()
        while a == 2 and time.monotonic() < begin + 60:
            with contextlib.suppress(Exception):  # does not hold it
                time.sleep(0.001)
        return a

    table = quick(slow, limit=0.5, n_jobs=n_jobs)
    assert list(table["error"]) == ["", "TimeoutError: took more than 0.5 s"]
    assert 0.5 <= table["seconds"][1] < 30


def test_a_limit_that_is_kept_leaves_nothing_behind():
    record = _run_cell(lambda rng, a: a, {"parameters": {"a": 1}, "seed": 0}, limit=0.05)
    time.sleep(0.2)
    assert record["result"] == {"value": 1} and threading.active_count() < 20


def test_results_that_a_store_cannot_hold_are_errors():
    for wrong in ({1: 2}, np.ones(2), {"a": object()}):
        assert "results must be" in quick(lambda rng, a, wrong=wrong: wrong)["error"][0]


@pytest.mark.parametrize("cut", [1, 2, 3, 20, 60])
def test_a_store_torn_anywhere_in_its_last_line_goes_on(tmp_path, cut):
    """Also inside of a character of several bytes, or in the first line."""
    store = tmp_path / "s"

    def accents(rng, a):
        return {"text": "ééé"}

    whole = quick(accents, store)
    store.write_bytes(store.read_bytes().rpartition(b"\xa9")[0][: -cut + 1 or None])
    assert quick(accents, store).drop(columns="seconds").equals(whole.drop(columns="seconds"))
    store.write_bytes(store.read_bytes()[:cut])
    assert quick(accents, store).drop(columns="seconds").equals(whole.drop(columns="seconds"))


@pytest.mark.parametrize("damage", [b"garbage", b"{}", b'{"parameters": {"a": 1}}', b"[]", b"\xff"])
@pytest.mark.parametrize("line", [1, 2])
def test_a_damaged_line_is_named(tmp_path, damage, line):
    store = tmp_path / "s"
    quick(number, store)
    lines = store.read_bytes().split(b"\n")
    lines[line - 1] = damage
    store.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=rf"store .*s, line {line} is damaged"):
        quick(number, store)
