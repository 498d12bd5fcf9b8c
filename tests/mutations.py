"""Falsify formulas, one at a time, and list what nothing notices.

    python tests/mutations.py page scalar [--most 60]     the check cells of a chapter's notebook
    python tests/mutations.py lib scalar [--most 60]      a module, against its test file
    python tests/mutations.py page all | lib all          every chapter

A mutation doubles a constant, raises an exponent by one, turns a sign, an inequality or an index.
In a page it is made in one cell; the cells before it ran as they stand, and it is noticed if this
cell, or a later one that uses what this one makes, raises, or prints, glues or tabulates something
else than what is committed. Every cell draws the random numbers that it draws in the sound page. In
the library it is noticed if the module's test file (or its doctests) fails.

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
# Methods that change what they are called on.
CHANGING = {"append", "extend", "insert", "update", "add", "setdefault", "pop", "sort", "fill"}
SECONDS = 30  # of processor time, for a mutated cell and what follows from it


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
    before = []  # each cell: the names it finds, and where its random numbers start
    for cell in cells:
        before.append((dict(space), _random_states(space)))
        _run("".join(cell["source"]), space)
    for number in sorted({one[0] for one in chosen}):
        if _noticed(cells, number, "".join(cells[number]["source"]), space, before):
            raise RuntimeError(
                f"{chapter}, code cell {number}: is not as committed before mutation"
            )
    survived = [
        line
        for number, line, source in chosen
        if not _noticed(cells, number, source, space, before)
    ]
    return len(chosen), survived


def _random_states(space: dict) -> list:
    return [(value, value.bit_generator.state) for value in space.values() if _is_random(value)]


def _is_random(value: object) -> bool:
    return type(value).__name__ == "Generator"


def _noticed(cells: list[dict], number: int, source: str, space: dict, before: list) -> bool:
    """Run the mutated cell and those that use it in a child; tell whether anything complained."""

    def complains() -> bool:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        for at, changed in _dependent(cells, number):
            made = {name: space[name] for name in changed if name in space}
            made = {name: it for name, it in made.items() if not _is_random(it)}
            names, states = before[at]
            space.clear()  # the same dictionary: it is what the page's functions look into
            space.update(names | made)
            for generator, state in states:
                generator.bit_generator.state = state
            code = source if at == number else "".join(cells[at]["source"])
            if not _same(_run(code, space), cells[at]):
                return True
        return False

    return _in_child(complains, 20 * SECONDS)


def _in_child(complains: Callable[[], bool], seconds: int) -> bool:
    """Call a function in a child; tell whether it said so, raised, or did not end in time."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
        os._exit(int(complains()))
    except BaseException:
        os._exit(1)


def _dependent(cells: list[dict], number: int) -> Iterator[tuple[int, set[str]]]:
    """Yield the cell, and each later one that uses what it changed, with the names changed so far.

    A random generator is no such name: its state is put back before every cell.
    """
    trees = [ast.parse("".join(cell["source"])) for cell in cells]
    changed: set[str] = set()
    functions: dict[str, set[str]] = {}
    for at, tree in enumerate(trees):
        names = _Names()
        names.visit(tree)
        functions |= names.functions
        needed, ahead = set(), set(names.needed)
        while ahead:  # what the functions need that it calls, it needs
            name = ahead.pop()
            needed.add(name)
            ahead |= functions.get(name, set()) - needed
        if at == number or (at > number and needed & changed):
            yield at, set(changed)
            changed |= (names.bound | names.altered) - {"rng"}
        else:
            changed -= names.bound


class _Names(ast.NodeVisitor):
    """The names that code needs from before it, binds, or alters in place, as it is executed."""

    def __init__(self) -> None:
        self.needed: set[str] = set()
        self.bound: set[str] = set()
        self.altered: set[str] = set()
        self.functions: dict[str, set[str]] = {}  # what each of them needs

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bound.add(node.id)
        elif node.id not in self.bound:
            self.needed.add(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        for part in (node.value, *node.targets):
            self.visit(part)
        if isinstance(node.value, ast.Lambda) and isinstance(node.targets[0], ast.Name):
            self.functions[node.targets[0].id] = self._inside(node.value).needed

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self.visit_Name(ast.Name(node.target.id, ast.Load()))
        for part in (node.target, node.value):
            self.visit(part)

    def visit_For(self, node: ast.For) -> None:
        for part in (node.iter, node.target, *node.body, *node.orelse):
            self.visit(part)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.value, ast.Name) and (
            isinstance(node.ctx, ast.Store) or node.attr in CHANGING
        ):
            self.altered.add(node.value.id)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Store):
            self.altered.add(node.value.id)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        inner = self._inside(node)
        self.functions[node.name] = inner.needed
        self.bound.add(node.name)

    def _inside(self, node: ast.AST) -> _Names:
        """Visit what has names of its own: a function, a comprehension."""
        inner = _Names()
        for part in ast.walk(node):
            if isinstance(part, ast.arg):
                inner.bound.add(part.arg)
        for generator in getattr(node, "generators", []):
            for part in (generator.iter, generator.target, *generator.ifs):
                inner.visit(part)
        for part in ast.iter_child_nodes(node):
            if not isinstance(part, ast.comprehension):
                inner.visit(part)
        self.needed |= inner.needed - self.bound
        self.altered |= inner.altered - inner.bound
        return inner

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _inside


def _run(source: str, space: dict) -> tuple[str, str | None]:
    """Run a cell, without figures; return what it printed and glued, and the table it ends with."""
    import matplotlib.pyplot as plt

    if "import glue" in source:
        import myst_nb

        myst_nb.glue = lambda name, shown, display=True: print(f"{name}: {shown!r}")
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
    results = [out for out in cell["outputs"] if out["output_type"] == "execute_result"]
    kept = ""
    for out in cell["outputs"]:
        if out["output_type"] == "stream":
            kept += "".join(out["text"])
        elif "scrapbook" in out.get("metadata", {}):  # glued
            shown = "".join(out["data"]["application/papermill.record/text/plain"])
            kept += f"{out['metadata']['scrapbook']['name']}: {shown}\n"
    if sorted(printed.splitlines()) != sorted(kept.splitlines()):
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

    def fail() -> bool:
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
        return pytest.main(command, plugins=[plugin]) != 0

    return _in_child(fail, 1200)


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
