"""Falsify formulas, one at a time, and list what nothing notices.

    python tests/mutations.py page scalar [--most 60]     the check cells of a chapter's notebook
    python tests/mutations.py lib scalar [--most 60]      a module, against its test file
    python tests/mutations.py page all | lib all          every chapter

A mutation doubles a constant, raises an exponent by one, turns a sign, an inequality or an index.
In a page it is made in one cell; the cells before it ran as they stand, and it is noticed if this
cell or a later one of the page raises or prints something else than what is committed. In the
library it is noticed if the module's test file (or its doctests) fails.

Sample sizes, seeds, grids, tolerances and drawings are left alone: they state nothing. What
survives for a good reason stands in ``mutations_explained.txt``, one line each:
``kind chapter | the line of code as mutated | the reason``.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXPLAINED = Path(__file__).with_name("mutations_explained.txt")
# Calls whose numbers are sizes, seeds, grids or looks.
NO_STATEMENT = {
    *("default_rng", "standard_normal", "normal", "uniform", "integers", "random", "choice"),
    *("permutation", "linspace", "arange", "logspace", "geomspace", "range", "zeros", "ones"),
    *("eye", "full", "round", "print", "glue", "symbols", "Symbol", "plot", "semilogy", "loglog"),
    *("set", "legend", "subplots", "panels", "seed", "table", "explorer", "reference_slope"),
    *("bar", "text", "axhline", "axvline", "annotate", "quiver", "set_ylim", "set_xlim"),
    *("isclose", "allclose", "assert_allclose"),
}
HEAVY = ("hypothesis", "matplotlib.pyplot", "scipy.integrate", "scipy.optimize", "scipy.stats")
SECONDS = 60  # for the rest of a page after a mutation


# The mutations of a piece of code


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield (line as mutated, whole source as mutated) for every mutation of `source`."""
    tree = ast.parse(source)
    places = list(_places(tree))
    for number in range(len(places)):
        changed = copy.deepcopy(tree)
        node, change = list(_places(changed))[number]
        line = node.lineno
        change()
        statement = _statement(changed, line)
        yield " ".join(ast.unparse(statement).split("\n")[0].split()), ast.unparse(changed)


def _statement(tree: ast.AST, line: int) -> ast.stmt:
    """Return the smallest statement that holds the line."""
    holds = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return min(holds, key=lambda node: (node.end_lineno or node.lineno) - node.lineno)


def _places(node: ast.AST) -> Iterator[tuple[ast.expr, Callable[[], None]]]:
    """Yield (node, function that changes it in place) in a fixed order."""
    if isinstance(node, ast.Call):
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if name in NO_STATEMENT:
            # The compared things of allclose state something; its tolerances do not.
            if "close" in name:
                for argument in node.args[:2]:
                    yield from _places(argument)
            return
    if isinstance(node, (ast.keyword, ast.JoinedStr, ast.arguments, ast.Slice)):
        return
    if isinstance(node, ast.BinOp):
        turned = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        if type(node.op) in turned and not _is_text(node):
            yield node, lambda: setattr(node, "op", turned[type(node.op)]())
        if isinstance(node.op, ast.Pow) and _is_number(node.right):
            yield node, lambda: setattr(node.right, "value", node.right.value + 1)
        for side in (node.left, node.right):
            if _is_number(side) and isinstance(node.op, (ast.Mult, ast.Div)) and _counts(side):
                yield node, lambda side=side: setattr(side, "value", 2 * side.value)
    if (
        isinstance(node, ast.UnaryOp)
        and isinstance(node.op, ast.USub)
        and not _is_number(node.operand)
    ):
        yield node, lambda: setattr(node, "op", ast.UAdd())
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        flipped = {
            ast.LtE: ast.Gt,
            ast.Lt: ast.GtE,
            ast.GtE: ast.Lt,
            ast.Gt: ast.LtE,
            ast.Eq: ast.NotEq,
            ast.NotEq: ast.Eq,
        }
        if type(node.ops[0]) in flipped:
            yield node, lambda: node.ops.__setitem__(0, flipped[type(node.ops[0])]())
    if isinstance(node, ast.Subscript) and _is_number(node.slice) and node.slice.value >= 0:
        yield node, lambda: setattr(node.slice, "value", node.slice.value + 1)
    for child in ast.iter_child_nodes(node):
        yield from _places(child)


def _is_number(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, (int, float))
        and not isinstance(node.value, bool)
    )


def _counts(node: ast.Constant) -> bool:
    return abs(node.value) > 1e-3  # else a tolerance, or a zero, which cannot be doubled


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


# Pages


def page_survivors(chapter: str, most: int, rng: random.Random) -> tuple[int, list[str]]:
    """Return (number of mutations tried, those that no cell of the page noticed)."""
    path = ROOT / "book" / f"{chapter}.ipynb"
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    chosen = []
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if "assert" in source:
            chosen += [(number, *mutant) for mutant in mutants(source)]
    if len(chosen) > most:
        chosen = sorted(rng.sample(chosen, most), key=lambda one: one[0])
    os.environ["MPLBACKEND"] = "agg"
    os.chdir(path.parent)
    space: dict = {"__name__": "__main__", "get_ipython": None, "display": print}
    survived = []
    for number, cell in enumerate(cells):
        for _, line, source in [one for one in chosen if one[0] == number]:
            if not _noticed(cells, number, source, space):
                survived.append(line)
        _run("".join(cell["source"]), space)
    return len(chosen), survived


def _noticed(cells: list[dict], number: int, source: str, space: dict) -> bool:
    """Run the mutated cell and those after it in a child; tell whether anything complained."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    try:
        if not _same(_run(source, space), cells[number]):
            os._exit(1)
        for cell in cells[number + 1 :]:
            if not _same(_run("".join(cell["source"]), space), cell):
                os._exit(1)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _run(source: str, space: dict) -> tuple[str, str | None]:
    """Run a cell, without showing figures; return what it printed, and the table it ends with."""
    import matplotlib.pyplot as plt

    heard, value, tree = io.StringIO(), None, ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(tree, "<cell>", "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
    plt.close("all")
    ours = type(value).__module__.startswith("overparam")
    return heard.getvalue(), repr(value) if ours else None


def _same(ran: tuple[str, str | None], cell: dict) -> bool:
    """Tell whether a cell printed, and ended with, what is committed."""
    printed, table = ran
    streams = [out for out in cell["outputs"] if out["output_type"] == "stream"]
    results = [out for out in cell["outputs"] if out["output_type"] == "execute_result"]
    if printed != "".join("".join(out["text"]) for out in streams):
        return False
    return table is None or table == "".join("".join(out["data"]["text/plain"]) for out in results)


# The library


def library_survivors(chapter: str, most: int, rng: random.Random) -> tuple[int, list[str]]:
    """Return (number of mutations tried, those that the module's tests did not notice)."""
    module = ROOT / "lib" / "overparam" / f"{chapter}.py"
    chosen = list(mutants(module.read_text()))
    if len(chosen) > most:
        chosen = rng.sample(chosen, most)
    for name in HEAVY:
        importlib.import_module(name)  # once, before the forks
    survived = []
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "lib"
        shutil.copytree(ROOT / "lib", copied)
        file, notes = copied / "overparam" / f"{chapter}.py", Path(folder) / "reached.json"
        sound = ast.unparse(ast.parse(module.read_text()))  # the mutants' own lines
        file.write_text(sound)
        if _tests_fail(file, _Watch(file, notes)):
            raise SystemExit(f"lib {chapter}: its tests fail on the module as it stands")
        reached = json.loads(notes.read_text())
        for line, source in chosen:
            file.write_text(source)
            pairs = zip(sound.splitlines(), source.splitlines(), strict=True)
            at = next(number for number, (one, other) in enumerate(pairs, 1) if one != other)
            if not _tests_fail(file, _Order(reached, at)):
                survived.append(line)
    return len(chosen), survived


class _Watch:
    """Note for every test the seconds it takes and the lines of the module that it runs."""

    def __init__(self, file: Path, notes: Path):
        self.file, self.notes, self.reached = str(file), notes, {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        lines, start = set(), time.perf_counter()

        def step(frame, event, _):
            lines.add(frame.f_lineno)
            return step

        sys.settrace(lambda frame, *_: step if frame.f_code.co_filename == self.file else None)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            self.reached[item.nodeid] = time.perf_counter() - start, sorted(lines)

    def pytest_sessionfinish(self):
        self.notes.write_text(json.dumps(self.reached))


class _Order:
    """Run first the tests that run the mutated line, the quickest before the others.

    A test that takes thrice the seconds it took, and eight more, is ended: it fails.
    """

    def __init__(self, reached: dict, line: int):
        self.reached, self.line = reached, line

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        def key(item):
            seconds, lines = self.reached.get(item.nodeid, (0.0, []))
            return self.line not in lines, seconds

        items.sort(key=key)

    def pytest_runtest_logstart(self, nodeid):
        seconds, _ = self.reached.get(nodeid, (0.0, []))
        signal.setitimer(signal.ITIMER_PROF, 8 + 3 * seconds)  # of this process, at any load


def _tests_fail(file: Path, plugin: object) -> bool:
    """Run the tests of a module, as it stands in `file`, in a child; a hang is a failure."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(1200)
        os.chdir(ROOT)
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        copied = file.parents[1]
        os.environ["PYTHONPATH"] = str(copied)
        sys.dont_write_bytecode = True
        for name in [name for name in sys.modules if name.split(".")[0] == "overparam"]:
            del sys.modules[name]
        # pyproject's own "pythonpath" would put the library as it is before the mutated one
        command = ["-x", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={copied}"]
        tests = ROOT / "tests" / f"test_{file.name.lstrip('_')}"
        command += ["--doctest-modules", str(file), str(tests)]
        os._exit(int(pytest.main(command, plugins=[plugin])))
    except BaseException:
        os._exit(1)


# The command


def explained() -> set[tuple[str, str]]:
    """Return (kind and chapter, line) of the survivors that have their reason."""
    if not EXPLAINED.exists():
        return set()
    rows = [row.split(" | ") for row in EXPLAINED.read_text().splitlines() if " | " in row]
    return {(row[0].strip(), row[1].strip()) for row in rows}


def main() -> int:
    """Run the command line; return 1 if a mutation survives unexplained."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kind", choices=["page", "lib"])
    parser.add_argument("chapter")
    parser.add_argument("--most", type=int, default=60, help="mutations drawn of a chapter")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chapters = [options.chapter]
    if options.chapter == "all":
        tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
        chapters = sorted(
            path.stem for path in (ROOT / "book").glob("*.ipynb") if path.stem in tests
        )
    reasons, bad = explained(), 0
    for chapter in chapters:
        rng = random.Random(f"{options.seed} {chapter}")
        if options.chapter == "all":  # a process for each: a page leaves much behind
            command = [sys.executable, __file__, options.kind, chapter, "--most", str(options.most)]
            bad += subprocess.run([*command, "--seed", str(options.seed)]).returncode != 0
            continue
        survivors = page_survivors if options.kind == "page" else library_survivors
        tried, survived = survivors(chapter, options.most, rng)
        new = [line for line in survived if (f"{options.kind} {chapter}", line) not in reasons]
        counts = f"{tried} tried, {len(survived)} survived, {len(new)} unexplained"
        print(f"{options.kind} {chapter}: {counts}")
        for line in new:
            print(f"    {line}")
        bad += bool(new)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
