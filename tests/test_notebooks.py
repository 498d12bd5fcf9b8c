"""The committed notebooks: in their normal form, in the book, and readable in JupyterLab."""

from __future__ import annotations

import copy
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(
    p for p in (ROOT / "book").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)


def load_tool():
    """Import book/_tools/notebooks.py, which is in no package."""
    sys.path.append(str(ROOT / "book" / "_tools"))
    return importlib.import_module("notebooks")


tool = load_tool()


def name(path: Path) -> str:
    """Return a notebook's path below the root, for the report."""
    return path.relative_to(ROOT).as_posix()


# Chapters whose cells are not yet of the kinds that CONTRIBUTING.md tells apart; each is taken out
# of this set when it is rewritten.
NOT_YET: set[str] = set()
CHAPTERS = [
    ROOT / f"{chapter['file']}.ipynb"
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    if part.get("numbered", True)
    for chapter in part["chapters"]
]


def known_lack(path: Path) -> None:
    """Expect a test to fail for a chapter that is not rewritten yet."""
    if path in CHAPTERS and path.stem in NOT_YET:
        pytest.xfail("not rewritten yet")


# The notebooks of the book


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_in_the_normal_form(path):
    known_lack(path)
    assert tool.problems(path) == [], "run `make notebooks`"


@pytest.mark.parametrize("path", [p for p in NOTEBOOKS if "private" not in p.parts], ids=name)
def test_notebook_is_in_the_table_of_contents(path):
    assert path in tool.book_notebooks(), f"add {name(path)} to _toc.yml"


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_chapters_code_is_of_the_four_kinds(path):
    known_lack(path)
    assert list(tool.kind_problems(tool.read(path))) == []


def test_chapters_not_yet_rewritten_are_chapters():
    assert {path.stem for path in CHAPTERS} >= NOT_YET


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_uses_no_macro_of_the_book(path):
    """JupyterLab does not know the macros of _config.yml and would show them in red."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    macros = config["sphinx"]["config"]["mathjax3_config"]["tex"]["macros"]
    pattern = re.compile(r"\\(?:" + "|".join(map(re.escape, macros)) + r")(?![A-Za-z])")
    text = "\n".join(c.source for c in tool.read(path).cells if c.cell_type == "markdown")
    assert sorted(set(pattern.findall(text))) == []


# Symbols that keep their meaning through the book: the chapter in which each is said, and a word
# that must stand beside its first use there.
HEADLINE = {
    r"\\gamma(?![a-z])": ("scalar", "with a number"),
    r"\\mathcal L": ("scalar", "f(uv)"),
    r"f\^\*": ("scalar", "infimum"),
    r"\\eta(?![a-z])": ("scalar", "step"),
    r"\\lambda_0": ("scalar", "u^2-v^2"),
    r"K(?=\$)": ("scalar", "lipschitz"),
    r"W_1": ("conservation", "linear network"),
    r"UV\^": ("conservation", "customary sizes"),
    r"D_l": ("conservation", "imbalance"),
    r"\\Lambda": ("conservation", "two factors"),
    r"\\mathcal T": ("rates", "operator"),
    r"P_W": ("preconditioner", "product satisfies"),
    r"\|\\Omega\|": ("completion", "observed positions"),
    r"\\mathcal A": ("sensing", "measurements"),
    r"\\Theta=": ("minnorm", "two linear layers"),
    r"\\kappa": ("lazy", "relative scale"),
    r"\\Theta_\\theta": ("kernel", "tangent kernel"),
}


@pytest.fixture(scope="module")
def prose() -> dict[str, list[str]]:
    """Return the paragraphs of every chapter, in the order of the book."""
    cells = {path.stem: tool.read(path).cells for path in CHAPTERS}
    texts = {
        stem: "\n\n".join(c.source for c in these if c.cell_type == "markdown")
        for stem, these in cells.items()
    }
    return {stem: text.split("\n\n") for stem, text in texts.items()}


@pytest.mark.parametrize("symbol", HEADLINE)
def test_symbols_are_said_where_they_are_first_used(symbol, prose):
    chapter, word = HEADLINE[symbol]
    uses = [(stem, p) for stem, found in prose.items() for p in found if re.search(symbol, p)]
    assert uses[0][0] == chapter and word in uses[0][1].lower(), uses[0]


def test_notation_names_the_chapter_that_first_uses_each_symbol(prose):
    """No statement that an entry refers to stands before it."""
    text = (ROOT / "book" / "notation.md").read_text(encoding="utf-8")
    entries = re.findall(r"^: .*", text.partition("## In the library")[0], re.M)
    order = list(prose)
    where = {
        label: order.index(stem)
        for stem, found in prose.items()
        for label in re.findall(r":label: (\S+)", "\n\n".join(found))
    }
    assert len(entries) > 40
    for entry in entries:
        first = re.search(r"First in \[(\w+)\]\(\1\.ipynb\)", entry)
        assert first, entry
        labels = re.findall(r"\{prf:ref\}`([^`]+)`", entry)
        assert all(where[label] >= order.index(first[1]) for label in labels), entry


# What the check finds


def stream(text: str, channel: str = "stdout") -> dict:
    """Return a stream output."""
    return {"output_type": "stream", "name": channel, "text": text}


def display(**data: str) -> dict:
    """Return a displayed output; ``image_png`` stands for ``image/png``."""
    data = {kind.replace("_", "/", 1): value for kind, value in data.items()}
    return {"output_type": "display_data", "data": data, "metadata": {}}


@pytest.fixture(scope="module")
def normal() -> dict:
    """Return a small notebook in the normal form, as plain JSON data."""
    code = {"cell_type": "code", "metadata": {}}
    cells = [
        {"id": "title", "cell_type": "markdown", "metadata": {}, "source": "# Title\n\nText."},
        {**code, "id": "a", "source": "print(1)", "execution_count": 1, "outputs": [stream("1\n")]},
        {
            **code,
            "id": "b",
            "metadata": {"tags": ["hide-input"], "mystnb": {"image": {"alt": "a line"}}},
            "source": "plt.show()",
            "execution_count": 2,
            "outputs": [display(text_plain="<Figure size 640x480 with 1 Axes>")],
        },
    ]
    return {
        "cells": cells,
        "metadata": copy.deepcopy(tool.NOTEBOOK_METADATA),
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def save(notebook: dict, folder: Path) -> Path:
    """Write a notebook as the tool writes it and return its path."""
    path = folder / "page.ipynb"
    path.write_text(tool.as_text(tool.v4.reads(json.dumps(notebook))), encoding="utf-8")
    return path


def test_check_accepts_the_normal_form(normal, tmp_path):
    assert tool.problems(save(normal, tmp_path)) == []


def replace_outputs(*outputs: dict):
    """Return a function that gives the first code cell these outputs."""

    def change(notebook: dict) -> None:
        notebook["cells"][1]["outputs"] = list(outputs)

    return change


def set_cell(index: int, **fields):
    """Return a function that sets fields of a cell."""
    return lambda notebook: notebook["cells"][index].update(fields)


BREAKAGES = {
    "never executed": (set_cell(1, execution_count=None), "execution_count None"),
    "out of order": (set_cell(1, execution_count=3), "execution_count 3"),
    "an empty cell": (set_cell(1, source="", outputs=[]), "is empty"),
    "stderr": (replace_outputs(stream("careful\n", "stderr")), "stderr"),
    "streams in pieces": (replace_outputs(stream("1\n"), stream("2\n")), "not merged"),
    "a PNG": (replace_outputs(display(image_png="aGk=", text_plain="x")), "image/png"),
    "a JPEG": (replace_outputs(display(image_jpeg="aGk=", text_plain="x")), "image/jpeg"),
    "an SVG": (replace_outputs({**display(), "data": {"image/svg+xml": "<svg/>"}}), "image/svg"),
    "a widget": (replace_outputs({**display(), "data": {tool.WIDGET_VIEW: {}}}), "widget-view"),
    "an address": (replace_outputs(display(text_plain="<f at 0x7f12ab34cd>")), "memory address"),
    "a path": (replace_outputs(stream("saved in /home/me/x.png\n")), "path of this machine"),
    "this folder": (replace_outputs(stream(f"in {ROOT}\n")), "path of this machine"),
    "cell metadata": (set_cell(1, metadata={"collapsed": True}), "metadata: collapsed"),
    "widget state": (lambda nb: nb["metadata"].update(widgets={}), "metadata is not the book's"),
    "another kernel": (
        lambda nb: nb["metadata"]["kernelspec"].update(name="julia"),
        "metadata is not the book's",
    ),
    "no id": (lambda nb: nb["cells"][1].pop("id"), "no id"),
    "an id twice": (set_cell(1, id="b"), "more than once"),
    "an id with a space": (set_cell(1, id="a b"), "not valid"),
    "an older format": (lambda nb: nb.update(nbformat_minor=4), "4.4 instead of 4.5"),
    "format 3": (lambda nb: nb.update(nbformat=3), "format 4"),
    "empty tags": (set_cell(1, metadata={"tags": []}), "not laid out"),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_check_reports(breakage, normal, tmp_path):
    change, message = BREAKAGES[breakage]
    broken = copy.deepcopy(normal)
    change(broken)
    found = tool.problems(save(broken, tmp_path))
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"cells": 3'])
def test_check_reports_a_file_that_is_no_notebook(text, tmp_path):
    path = tmp_path / "page.ipynb"
    path.write_text(text, encoding="utf-8")
    assert "not a notebook" in tool.problems(path)[0]


def test_check_reports_another_layout(normal, tmp_path):
    path = save(normal, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    assert "not laid out" in tool.problems(path)[0]


def test_normal_form_mends_all_that_is_not_execution(normal, tmp_path):
    """What an author's JupyterLab leaves behind goes, and nothing else does."""
    messy = copy.deepcopy(normal)
    messy["metadata"]["widgets"] = {}
    messy["cells"][1]["metadata"] = {"scrolled": True}
    messy["cells"][1]["outputs"] = [stream("1"), stream("\n")]
    messy["cells"][2]["outputs"][0]["data"]["image/png"] = "aGk="
    messy["cells"][2]["outputs"].append(display(image_jpeg="aGk="))
    notebook = tool.normal_form(tool.v4.reads(json.dumps(messy)))
    assert tool.as_text(notebook) == save(normal, tmp_path).read_text(encoding="utf-8")


def test_normal_form_gives_ids_that_stay(normal):
    without = copy.deepcopy(normal)
    for cell in without["cells"]:
        del cell["id"]
    first = tool.normal_form(tool.v4.reads(json.dumps(without)))
    assert [cell.id for cell in first.cells] == ["cell-01", "cell-02", "cell-03"]
    assert tool.as_text(tool.normal_form(first)) == tool.as_text(first)


# Kinds of cells


def code(source: str, *tags: str, **settings) -> dict:
    """Return a code cell with these tags and settings of mystnb."""
    metadata = {"tags": list(tags)} if tags else {}
    if settings:
        metadata["mystnb"] = settings
    cell = {"cell_type": "code", "metadata": metadata, "source": source, "outputs": []}
    return {**cell, "id": "cell", "execution_count": 1}


def markdown(source: str) -> dict:
    """Return a markdown cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def notebook_of(*cells: dict):
    """Return a notebook of a title, a set-up and these cells, in the normal form."""
    setup = code("import numpy as np", "setup")
    raw = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}}
    raw["cells"] = [{**cell, "id": f"c{n}"} for n, cell in enumerate([setup, *cells])]
    raw["cells"].insert(0, {**markdown("# Title"), "id": "title"})
    return tool.normal_form(tool.v4.reads(json.dumps(raw)))


FIGURE = {"figure": {"name": "fig-x", "caption": "What $x$ does."}}


def test_kinds_are_folded_and_labelled():
    cells = notebook_of(
        code("plt.show()", "hide-input", **FIGURE),
        code("figures.explorer(draw, 'a')", "drawing", **FIGURE),
        code("assert 1", "check", "hide-cell", code_prompt_show="Check: one"),
    ).cells
    setup, figure, caption, player, _, check = cells[1:]
    assert setup.metadata.tags == ["setup", "hide-cell"]
    assert setup.metadata.mystnb.code_prompt_show == "Set-up: imports"
    assert figure.metadata.tags == ["drawing", "hide-input"]
    assert figure.metadata.mystnb.code_prompt_show == "Code of the figure"
    assert player.metadata.mystnb.code_prompt_show == "Code of the explorer"
    assert check.metadata.tags == ["check", "hide-cell"]
    assert caption.source == "**Figure.** What $x$ does."
    assert caption.metadata.tags == ["remove-cell", "caption"]


def test_captions_follow_their_figures():
    """A caption's cell is made anew each time, so that there is one truth."""
    once = notebook_of(code("plt.show()", "drawing", **FIGURE))
    once.cells[2].metadata.mystnb.figure.caption = "Something else."
    again = tool.normal_form(once)
    assert [cell.source for cell in again.cells[3:]] == ["**Figure.** Something else."]


def test_a_chapter_says_how_to_install_its_library():
    page = notebook_of(code("from overparam import scalar"))
    assert page.cells[1].metadata.tags == ["remove-cell", "install"]
    assert "pip install" in page.cells[1].source
    assert tool.as_text(tool.normal_form(page)) == tool.as_text(page)


def test_solutions_are_closed_in_jupyterlab():
    start = markdown(":::{solution-start} ex-a\n:class: dropdown\n:::")
    end = markdown(":::{solution-end}\n:::")
    more = markdown(":::{solution-end}\n:::\n\n:::{exercise}\nNext.\n:::")
    cells = notebook_of(
        start, code("1 + 1"), end, start, markdown("Text."), more, code("1 + 1")
    ).cells[2:]
    closed = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells]
    assert closed == [True, True, True, True, True, False, False]
    assert cells[1].metadata.jupyter == tool.CLOSED


FAULTS = {
    "asserts": (code("x = 1\nassert x"), "open and asserts"),
    "long": (code("x = 1\n" * 9), "9 lines"),
    "wide": (code("x = " + "1" * 80), "84 characters"),
    "folded": (code("x = 1", "hide-input"), "of no kind"),
    "no label": (code("assert x", "check"), "label ''"),
    "empty label": (code("assert x", "check", code_prompt_show="Check: "), "label 'Check: '"),
    "no assertion": (code("x = 1", "check", code_prompt_show="Check: nothing"), "asserts nothing"),
    "no caption": (code("plt.show()", "drawing"), "without caption"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_kinds_are_found(fault):
    cell, message = FAULTS[fault]
    found = list(tool.kind_problems(notebook_of(cell)))
    assert len(found) == 1 and message in found[0], found


def test_too_many_open_cells_and_a_page_that_opens_with_code_are_found():
    many = notebook_of(*[code("x = 1")] * 13)
    assert "13 cells" in list(tool.kind_problems(many))[0]
    many.cells = many.cells[1:4]
    assert "first code cell" in list(tool.kind_problems(many))[0]


# Execution and its cache


def small_book(folder: Path, source: str) -> Path:
    """Make a book of one notebook with one code cell, and return the notebook's path."""
    (folder / "lib" / "overparam").mkdir(parents=True)
    (folder / "lib" / "overparam" / "__init__.py").write_text("")
    (folder / "constraints.txt").write_text("numpy==2.4.6\n")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: page\n")
    notebook = tool.v4.new_notebook(cells=[tool.v4.new_code_cell(source)])
    path = folder / "page.ipynb"
    path.write_text(tool.as_text(notebook), encoding="utf-8")
    return path


def fill(folder: Path) -> tuple[list[str], list[str]]:
    """Fill a book's cache; return the failures and what was said."""
    said: list[str] = []
    return tool.fill_cache(tool.book_notebooks(folder), folder, said.append), said


def test_a_notebook_is_executed_once_until_something_changes(tmp_path):
    path = small_book(tmp_path, "print(1)")
    assert "executing 1 of 1" in fill(tmp_path)[1][0]
    assert "unchanged" in fill(tmp_path)[1][0]

    (tmp_path / "lib" / "overparam" / "__init__.py").write_text("x = 1\n")
    assert "executing 1 of 1" in fill(tmp_path)[1][0], "the library changed"

    notebook = tool.read(path)
    notebook.cells[0].metadata["tags"] = ["hide-input"]
    path.write_text(tool.as_text(notebook), encoding="utf-8")
    assert "executing 1 of 1" in fill(tmp_path)[1][0], "a cell's tags changed"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("assert 1 == 2, 'one is not two'", "one is not two"),
        ("import warnings\nwarnings.warn('take care')", "take care"),
        ("import os\nos._exit(1)", "died"),
    ],
    ids=["an exception", "a warning", "a dead kernel"],
)
def test_a_failing_notebook_is_reported_and_not_kept(source, message, tmp_path):
    path = small_book(tmp_path, source)
    (failure,) = fill(tmp_path)[0]
    assert failure.startswith("page.ipynb: ")
    assert message in failure
    cache = tool.get_cache(tool.cache_path(tmp_path))
    assert tool.cached(cache, tool.read(path)) is None


# Kernels that are forked


def printed(source: str, folder: Path) -> str:
    """Execute a notebook of one cell in a forked kernel and return what it prints."""
    tool.kernels.use()
    notebook = tool.v4.new_notebook(cells=[tool.v4.new_code_cell(source)])
    path = folder / "page.ipynb"
    path.write_text(tool.as_text(notebook), encoding="utf-8")
    return tool.execute(path)[0].cells[0].outputs[0]["text"]


def test_a_forked_kernel_is_a_new_one_in_its_own_folder(tmp_path):
    """What a notebook leaves in modules, names and environment the next one does not see."""
    source = (
        "import os, sys, numpy, __main__\n"
        "marked = [hasattr(numpy, 'mark'), hasattr(__main__, 'mark'), 'MARK' in os.environ]\n"
        "numpy.mark = __main__.mark = os.environ['MARK'] = 'mine'\n"
        "print(*marked, os.getcwd(), '' in sys.path, os.getpid())"
    )
    first, second = (printed(source, tmp_path).split() for _ in range(2))
    assert first[:5] == second[:5] == ["False", "False", "False", str(tmp_path), "True"]
    assert first[5] != second[5]


def test_a_forked_kernel_draws_and_starts_processes_as_another(tmp_path):
    source = (
        "import subprocess, sys, matplotlib, matplotlib.pyplot as plt\n"
        "code = subprocess.run([sys.executable, '-c', 'print(6 * 7)'], capture_output=True)\n"
        "print(matplotlib.get_backend(), code.returncode, code.stdout.decode())"
    )
    assert printed(source, tmp_path).lower().split()[-2:] == ["0", "42"]
    assert "inline" in printed(source, tmp_path)
