"""The library as a whole: what imports what, what is needed, used, documented and said."""

import ast
import doctest
import importlib
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import coursework
import overparam

ROOT = Path(__file__).resolve().parents[1]
LIB = ROOT / "lib"
MODULES = sorted(m.name for m in pkgutil.iter_modules(overparam.__path__))
CORE = {"_check", "activations", "explorers", "figures", "flow", "losses", "networks", "sweep"}
DRAWING = {"explorers", "figures"}  # need the extra "figures"
# In the order of the book: a chapter may use those before it.
TOC = re.findall(r"book/(\w+)", (ROOT / "_toc.yml").read_text())
PROJECT = tomllib.loads((LIB / "pyproject.toml").read_text())["project"]


def imports(path, text=None):
    """Return the modules that a file imports, with the names for `from package import name`.

    Modules of the library are loaded when they are first named: `overparam.flow` imports as well.
    """
    found, package = set(), path.relative_to(LIB).parts
    for node in ast.walk(ast.parse(text or path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: -node.level]] if node.level else []
            base = ".".join([*base, *filter(None, [node.module])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found |= {f"{node.value.id}.{node.attr}"} if node.value.id == "overparam" else set()
    return found


def test_imports_of_every_form_are_seen():
    for text in (
        "import overparam.edge",
        "from overparam import edge",
        "from overparam.edge import descend",
        "from . import edge",
        "def f():\n    from .edge import descend",
        "from overparam.edge import *",
        "import overparam\noverparam.edge.descend(1)",
    ):
        found = imports(LIB / "overparam" / "flow.py", text)
        assert any(name.startswith("overparam.edge") for name in found), text
    assert imports(LIB / "overparam" / "flow.py", "from ..coursework import a") == {"coursework.a"}


def siblings(name):
    """Return the modules of overparam that a module of it imports."""
    used = {
        n.split(".")[1]
        for n in imports(LIB / "overparam" / f"{name}.py")
        if n.startswith("overparam.")
    }
    return used & set(MODULES)


def test_overparam_never_imports_the_course():
    for path in (LIB / "overparam").rglob("*.py"):
        assert not any(n.split(".")[0] == "coursework" for n in imports(path)), path
    assert any(
        n.startswith("overparam") for p in (LIB / "coursework").rglob("*.py") for n in imports(p)
    )


def test_what_students_import_holds_no_grading():
    """Only the command reaches both; what grades a class uses the tasks, never the other way."""
    for path in set((LIB / "coursework").glob("*.py")) - {LIB / "coursework" / "__main__.py"}:
        assert not any(n.startswith("coursework.grading") for n in imports(path)), path


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_knows_nothing_of_chapters(name):
    assert siblings(name) <= CORE


@pytest.mark.parametrize("name", sorted(set(MODULES) - CORE - DRAWING))
def test_a_chapter_uses_only_what_comes_before_it(name):
    before = set(TOC[: TOC.index(name)]) if name in TOC else set(MODULES)
    used = siblings(name) - CORE - {name}
    assert used <= before, f"{name} imports {sorted(used - before)}, which comes later in the book"


def test_modules_are_found_by_their_names():
    assert (
        {m for m in MODULES if not m.startswith("_")}
        <= set(overparam.__all__)
        <= set(dir(overparam))
    )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        overparam.nothing  # noqa: B018


def test_the_version_is_one_and_types_are_declared():
    assert overparam.__version__ == PROJECT["version"]
    assert (LIB / "overparam" / "py.typed").is_file()


# What may be imported without an extra, and with each.
BASE = {"numpy", "scipy", "extensisq"}
EXTRAS = {
    name: {re.match(r"[\w-]+", r)[0] for r in needed}
    for name, needed in PROJECT["optional-dependencies"].items()
}
DISTRIBUTIONS = {
    "IPython": "ipython",
    "sklearn": "scikit-learn",
    "bs4": "beautifulsoup4",
    "matplotlib_inline": "matplotlib",
}


def third_party(path):
    names = {n.split(".")[0] for n in imports(path)} - set(sys.stdlib_module_names)
    return {DISTRIBUTIONS.get(n, n) for n in names} - {"overparam", "coursework"}


def test_each_module_imports_what_its_extra_names():
    """Read from the sources, imports inside of functions too."""
    extra = {"figures": "figures", "explorers": "figures", "sweep": "sweep", "phase": "sweep"}
    extra |= {"acceleration": "data"}
    assert {re.match(r"[\w-]+", r)[0] for r in PROJECT["dependencies"]} == BASE
    for name in MODULES:
        allowed = BASE | EXTRAS.get(extra.get(name), set())
        assert third_party(LIB / "overparam" / f"{name}.py") <= allowed, name
    for path in (LIB / "coursework").rglob("*.py"):
        assert third_party(path) <= BASE | EXTRAS["coursework"], path


def installed(requirements):
    """Return the distributions that pip would install for these, with what they need."""
    found, waiting = {}, [Requirement(r) for r in requirements]
    while waiting:
        wanted = waiting.pop()
        distribution = metadata.distribution(wanted.name)
        key = (canonicalize_name(wanted.name), *sorted(wanted.extras))
        if key not in found:
            found[key] = distribution
            for needed in map(Requirement, distribution.requires or ()):
                extras = ["", *wanted.extras]
                if not needed.marker or any(needed.marker.evaluate({"extra": e}) for e in extras):
                    waiting.append(needed)
    return found.values()


WORK = {
    "": """
for name in PLAIN:
    importlib.import_module(f"overparam.{name}")
""",
    "figures": """
from overparam import figures
figures.style()
draw = lambda power: figures.panels(2)
print(figures.explorer(draw, "Axes {power}", power=[1, 2]).html(), figures.table("c", {"a": ["1"]}))
""",
    "sweep": """
from overparam import phase, sweep
assert len(phase.stored()) > 10
assert list(sweep.sweep(lambda rng, a: a, {"a": [1, 2]}, [0], n_jobs=2)["value"]) == [1, 2]
""",
    "data": """
from overparam import acceleration
assert acceleration.diabetes()
""",
    "coursework": """
import pkgutil, coursework
for module in pkgutil.walk_packages(coursework.__path__, "coursework."):
    module.name.endswith("__main__") or importlib.import_module(module.name)
""",
}


def run_with(needed, code, folder):
    """Run code in an environment of links to what pip would install for these, and nothing else."""
    for distribution in installed(needed):
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(distribution.locate_file(top)).resolve())
    code = f"import importlib, sys\nsys.path[:0] = [{str(folder)!r}, {str(LIB)!r}]\n{code}"
    # Workers of a sweep start with what the variables say; -S keeps this environment away.
    paths = os.environ | {"PYTHONPATH": f"{folder}:{LIB}", "MPLBACKEND": "agg"}
    run = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env=paths, cwd=folder
    )
    assert run.returncode == 0, run.stderr[-900:]


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_an_extra_installs_all_that_is_imported(extra, tmp_path):
    needed = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"].get(extra, ())]
    plain = f"PLAIN = {[m for m in MODULES if m not in DRAWING]!r}"
    run_with(needed, f"{plain}\n{WORK[extra]}", tmp_path)


def test_requirements_install_all_that_pages_import(tmp_path):
    """`make book` installs nothing else: what only tests need is missing there."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    needed = ["overparam", *(line for line in lines if re.match(r"\w", line))]
    wanted, status = set(), ""
    for path in sorted((ROOT / "book").glob("**/*.ipynb")):
        if {"_build", "private"} & set(path.parts):
            continue
        cells = json.loads(path.read_text())["cells"]
        source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        for node in ast.walk(ast.parse(re.sub(r"(?m)^\s*%.*", "", source))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                wanted.add(ast.unparse(node))
        status = source if path.stem == "status" else status
    assert "version(package)" in status
    run_with(needed, "\n".join([*sorted(wanted), status]), tmp_path)


# Where a public name may be used: pages, tests, other functions, the course, benchmarks.
def used_names():
    texts = [
        p.read_text()
        for folder in ("lib", "tests", "benchmarks", "book/_tools")
        for p in (ROOT / folder).rglob("*.py")
    ]
    for path in (ROOT / "book").rglob("*.ipynb"):
        if "_build" not in path.parts:
            cells = json.loads(path.read_text())["cells"]
            texts += ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return re.findall(r"\w+", "\n".join(texts))


def public_functions(name):
    module = importlib.import_module(f"overparam.{name}")
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def test_nothing_public_is_unused():
    """A name that stands only in its own definition, docstring included, is used by nobody."""
    counts, unused = Counter(used_names()), []
    for name in MODULES:
        text = (LIB / "overparam" / f"{name}.py").read_text()
        nodes = {getattr(node, "name", ""): node for node in ast.walk(ast.parse(text))}
        for key in public_functions(name).keys() & nodes.keys():
            own = ast.get_source_segment(text, nodes[key])
            if counts[key] <= len(re.findall(rf"\b{key}\b", own)):
                unused.append(f"{name}.{key}")
    assert not unused


@pytest.mark.parametrize("folder", ["lib/coursework", "benchmarks"])
def test_what_is_called_exists(folder):
    """Neither is run whole by these tests, so a function that went would not be missed."""
    lacking = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text())
        imported = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        names = [a for n in imported if n.module == "overparam" for a in n.names]
        modules = {a.asname or a.name: a.name for a in names}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = modules.get(node.value.id)
                where = (
                    importlib.import_module(f"overparam.{module}") if module in MODULES else None
                )
                if where and not hasattr(where, node.attr):
                    lacking.append(f"{path.name}: {module}.{node.attr}")
    assert not lacking


@pytest.mark.parametrize("name", [m for m in MODULES if not m.startswith("_")])
def test_docstrings_have_examples_and_they_are_true(name):
    module = importlib.import_module(f"overparam.{name}")
    finder, lacking = doctest.DocTestFinder(exclude_empty=False), []
    for test in finder.find(module):
        outcome = doctest.DocTestRunner(verbose=False).run(test)
        assert outcome.failed == 0, test.name
    for key, value in public_functions(name).items():
        if inspect.isfunction(value) and ">>>" not in (value.__doc__ or ""):
            lacking.append(key)
        if inspect.isfunction(value) and len(inspect.signature(value).parameters) > 2:
            assert "Parameters\n" in value.__doc__, key
    assert not lacking


@pytest.mark.parametrize("name", sorted(CORE - {"_check", "explorers"}))
def test_the_core_is_annotated_and_says_its_parameters(name):
    for key, value in public_functions(name).items():
        if not inspect.isfunction(value):
            continue
        parameters = inspect.signature(value).parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                assert parameter.annotation is not parameter.empty, f"{key}({parameter.name})"
        assert len(parameters) < 2 or "Parameters\n" in value.__doc__, key


@pytest.mark.parametrize("name", [m for m in MODULES if not m.startswith("_")])
def test_docstrings_substitute_nothing(name):
    """Bare bars as in |x| are a substitution, whose lack stops the strict build of the book."""
    silent = {"report_level": 5, "file_insertion_enabled": False}
    for key, value in public_functions(name).items():
        text = publish_doctree(inspect.getdoc(value) or "", settings_overrides=silent)
        bad = [node.astext() for node in text.findall(nodes.problematic)]
        assert not [words for words in bad if words.startswith("|")], key


def test_the_reference_page_holds_every_module():
    page = (ROOT / "book" / "library.md").read_text()
    shown = re.findall(r"automodule:: overparam\.(\w+)", page)
    assert sorted(shown) == [name for name in MODULES if not name.startswith("_")]


def test_the_course_imports():
    assert coursework.__doc__
