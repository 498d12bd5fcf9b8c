"""Execute the book's notebooks, two at a time, and keep them in one normal form.

    python book/_tools/notebooks.py run              execute what the cache does not hold
    python book/_tools/notebooks.py write [paths]    execute, normalise and write in place
    python book/_tools/notebooks.py format [paths]   normalise and write, without executing
    python book/_tools/notebooks.py check [paths]    list what is not in the normal form

Outputs live in a jupyter-cache below ``_build``, which the build reads (``house.py`` tells Sphinx
where). jupyter-cache compares only the code in the cells, so the cache's folder carries a hash
of everything else that outputs depend on: the library, the pinned packages and Python's version.

The normal form of a committed notebook: executed in order, text outputs kept (nbval compares
them), images, HTML and widget state left out (the build makes them), and no metadata but what the
book uses. Code cells are of four kinds, told by a tag: code to learn from (no tag), `check`,
`drawing` and `setup`; the last three are folded on the page under one line that says what is there.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

import kernels
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbformat import NotebookNode, ValidationError, v4, validate
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parents[2]
JOBS = 2  # kernels at a time: what the smallest machine of a build service has
CELL_TIMEOUT = 120  # seconds; the same number stands in the Makefile for nbval
NOTEBOOK_METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags", "mystnb", "nbgrader", "deletable", "editable", "jupyter"}
# The kinds of folded cells: how a page folds them, and the line that it shows instead.
HIDES = ("hide-input", "hide-cell", "hide-output")
KINDS = {"check": "hide-input", "drawing": "hide-input", "setup": "hide-cell"}
LABELS = {"check": "Check: ", "drawing": "Code of the ", "setup": "Set-up"}
# Tags of the cells that are made here, for JupyterLab only: how to install the library where the
# notebook stands alone, and the captions of figures.
INSTALL, CAPTION = "install", "caption"
CLOSED = {"outputs_hidden": True, "source_hidden": True}
OPEN_CELLS, OPEN_LINES, OPEN_WIDTH = 12, 8, 78  # what a chapter's code to learn from may be
PRIVATE = "book/assignments/private/source"  # sources of the assignments: no pages
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{4,}")
LOCAL_PATH = re.compile(r"(?<![\w./])/(?:home|root|Users|tmp|usr|opt|var|mnt)/\w|\b[A-Z]:\\")
SOLUTION = re.compile(r"(:{3,}|`{3,})\{solution-start\}")
END_OF_SOLUTION = re.compile(r"(:{3,}|`{3,})\{solution-end\}\s*\1\Z")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


# Which notebooks, and where their outputs are kept


def book_notebooks(root: Path = ROOT) -> list[Path]:
    """Return the notebooks that ``_toc.yml`` names, in its order."""
    documents = parse_toc_yaml(root / "_toc.yml")
    candidates = [root / f"{document.removesuffix('.ipynb')}.ipynb" for document in documents]
    return [path for path in candidates if path.is_file()]


def private_notebooks(root: Path = ROOT) -> list[Path]:
    """Return the source notebooks of the assignments, which are no pages of the book."""
    return sorted((root / PRIVATE).glob("*/*.ipynb"))


def cache_key(root: Path = ROOT) -> str:
    """Return a hash of what outputs depend on besides the cells: library, packages, Python."""
    lib = [root / "lib" / name for name in ("overparam", "coursework")]
    sources = [p for folder in lib for p in folder.rglob("*") if p.is_file()]
    sources = [p for p in sources if "__pycache__" not in p.parts]
    digest = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for path in [*sorted(sources), root / "constraints.txt"]:
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_path(root: Path = ROOT) -> Path:
    """Return the folder of the execution cache for the library and packages as they are now."""
    return root / "_build" / ".jupyter_cache" / cache_key(root)


def read(path: Path) -> NotebookNode:
    """Read a notebook of format 4 as it is, without repairing it.

    Raises
    ------
    ValueError
        If the file is not such a notebook; the message names the file.
    """
    try:
        notebook = v4.reads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
        raise ValueError(f"{path}: not a notebook ({error}); restore it from git") from error
    if notebook.get("nbformat") != 4:
        raise ValueError(f"{path}: not a notebook of format 4; open and save it in JupyterLab")
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the code cells of a notebook, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def cached(cache: JupyterCacheAbstract, notebook: NotebookNode) -> NotebookNode | None:
    """Return the notebook with its outputs from the cache, or None.

    A cell's metadata must agree too: jupyter-cache would hand back the old captions and tags.
    """
    try:
        executed = cache.merge_match_into_notebook(notebook)[1]
    except KeyError:
        return None
    pairs = zip(code_cells(notebook), code_cells(executed), strict=True)
    return executed if all(old.metadata == new.metadata for old, new in pairs) else None


# Execution


def execute(path: Path) -> tuple[NotebookNode, float]:
    """Execute a notebook in its own folder and a new kernel.

    Returns
    -------
    notebook, seconds
        The executed notebook, and how long it took.

    Raises
    ------
    RuntimeError
        If a cell raises, runs out of time or writes to stderr. The message holds the cell's
        source and the traceback or the text.
    """
    notebook = read(path)
    start = time.perf_counter()
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
        store_widget_state=False,  # pages show an explorer's HTML
        # Else every kernel warns on the console that its local connection is not encrypted.
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    try:
        client.execute()
    except CellTimeoutError as error:
        raise RuntimeError(f"a cell took more than {CELL_TIMEOUT} s\n{error}") from error
    except CellExecutionError as error:
        raise RuntimeError(ANSI.sub("", str(error))) from error
    for number, cell in enumerate(code_cells(notebook), 1):
        text = stderr_text(cell)
        if text:
            raise RuntimeError(f"code cell {number} wrote to stderr:\n{cell.source}\n\n{text}")
    return notebook, time.perf_counter() - start


def stderr_text(cell: NotebookNode) -> str:
    """Return what a code cell wrote to stderr."""
    streams = [out for out in cell.outputs if out.output_type == "stream"]
    return "".join(out.text for out in streams if out.name == "stderr")


def fill_cache(
    paths: Iterable[Path], root: Path = ROOT, say: Callable[[str], None] = print
) -> list[str]:
    """Execute the notebooks that the cache does not hold, ``JOBS`` at a time.

    Returns
    -------
    list of str
        One report for each notebook that failed; nothing of those is kept in the cache.
    """
    paths = list(paths)
    cache = get_cache(cache_path(root))
    missing = [path for path in paths if cached(cache, read(path)) is None]
    if not missing:
        say(f"notebooks: {len(paths)} of {len(paths)} unchanged, outputs taken from the cache")
        return []
    say(f"notebooks: executing {len(missing)} of {len(paths)}, {JOBS} at a time")
    prepare_fonts()
    kernels.use()
    failures = []
    started = time.perf_counter()
    with ThreadPoolExecutor(JOBS) as pool:
        futures = {pool.submit(announced, path, root, say): path for path in missing}
        for number, future in enumerate(as_completed(futures), 1):
            path = futures[future]
            name = path.relative_to(root)
            problem = store(cache, path, future)
            elapsed = time.perf_counter() - started
            if problem is None:
                seconds = future.result()[1]
                say(f"  [{number}/{len(missing)}] {name}: {seconds:.1f} s (at {elapsed:.1f} s)")
            else:
                say(f"  [{number}/{len(missing)}] {name}: FAILED (at {elapsed:.1f} s)")
                failures.append(f"{name}: {problem}")
    return failures


def prepare_fonts() -> None:
    """Let matplotlib list the fonts now: it says so on stderr, which would fail a notebook."""
    command = [sys.executable, "-c", "import matplotlib.font_manager"]
    subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


def announced(path: Path, root: Path, say: Callable[[str], None]) -> tuple[NotebookNode, float]:
    """Execute a notebook after saying so."""
    say(f"  running {path.relative_to(root)}")
    return execute(path)


def store(cache: JupyterCacheAbstract, path: Path, future: Future) -> str | None:
    """Put an executed notebook into the cache; return what went wrong, or None.

    The seconds are recorded because the book's status page shows them.
    """
    error = future.exception()
    if error is not None:
        return str(error) if isinstance(error, RuntimeError) else repr(error)
    notebook, seconds = future.result()
    bundle = CacheBundleIn(notebook, str(path), data={"execution_seconds": seconds})
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
    return None


# The normal form


def normal_form(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of an executed notebook in the normal form."""
    cells = [normal_cell(cell) for cell in with_kinds(notebook).cells]
    return NotebookNode(
        nbformat=4,
        nbformat_minor=5,
        metadata=NotebookNode(NOTEBOOK_METADATA),
        cells=cells,
    )


def with_kinds(notebook: NotebookNode) -> NotebookNode:
    """Return a copy whose cells have the metadata of their kinds, and captions of their own.

    JupyterLab and Colab do not show the caption in a figure's metadata, so a markdown cell below
    the figure repeats it; one at the top of a chapter says how to install the library. The page
    leaves these cells out. Cells that hold nothing but a solution are closed in JupyterLab.
    """
    made = {INSTALL, CAPTION}
    old = [c for c in copy.deepcopy(notebook.cells) if not made & set(c.metadata.get("tags", []))]
    give_ids(old)
    cells: list[NotebookNode] = []
    alone = any("from overparam" in c.source for c in old) and not graded(old)
    for cell in old:
        cells.append(cell)
        if alone and len(cells) == 1:
            cells.append(made_cell(INSTALL, INSTALL, install_text()))
        if cell.cell_type == "code":
            fold(cell)
            caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
            if caption:
                name = f"{cell.id[:56]}-caption"
                cells.append(made_cell(name, CAPTION, f"**Figure.** {caption.strip()}"))
    for cell, closed in zip(cells, in_solutions(cells), strict=True):
        cell.metadata.pop("jupyter", None)
        if closed:
            wanted = CLOSED if cell.cell_type == "code" else {"source_hidden": True}
            cell.metadata["jupyter"] = NotebookNode(wanted)
    return NotebookNode({**notebook, "cells": cells})


def give_ids(cells: list[NotebookNode]) -> None:
    """Give cells without an id of their own the first free ones of cell-01, cell-02, …"""
    used = {cell.id for cell in cells if "id" in cell}
    fresh = (name for n in range(1, 10_000) if (name := f"cell-{n:02d}") not in used)
    seen: set[str] = set()
    for cell in cells:
        if cell.get("id") in {None, *seen}:
            cell["id"] = next(fresh)
        seen.add(cell.id)


def fold(cell: NotebookNode) -> None:
    """Give a code cell the tags and the label of its kind, where its author left them out."""
    tags = list(cell.metadata.get("tags", []))
    settings = cell.metadata.get("mystnb", NotebookNode())
    if kind_of(cell) is None and "figure" in settings and "hide-input" in tags:
        tags.insert(0, "drawing")
    kind = next((tag for tag in tags if tag in KINDS), None)
    if kind is None:
        return
    if not set(tags) & set(HIDES):
        tags.insert(tags.index(kind) + 1, KINDS[kind])
    explores = re.search(r"figures\.(explorer|live)\(", cell.source)
    labels = {
        "drawing": "Code of the explorer" if explores else "Code of the figure",
        "setup": "Set-up: imports",
    }
    if kind in labels:
        settings.setdefault("code_prompt_show", labels[kind])
    cell.metadata["tags"] = tags
    cell.metadata["mystnb"] = settings


def kind_of(cell: NotebookNode) -> str | None:
    """Return the kind of a folded code cell, or None for code to learn from."""
    return next((tag for tag in cell.metadata.get("tags", []) if tag in KINDS), None)


def graded(cells: list[NotebookNode]) -> bool:
    """Tell whether the cells are an assignment's, which says itself how to begin."""
    return any("nbgrader" in cell.metadata for cell in cells)


def made_cell(name: str, tag: str, text: str) -> NotebookNode:
    """Return a markdown cell for JupyterLab, which a page leaves out."""
    metadata = NotebookNode(tags=["remove-cell", tag])
    return NotebookNode(id=name, cell_type="markdown", metadata=metadata, source=text)


def install_text() -> str:
    """Return what the reader of a notebook without its repository must do first."""
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    address = f"git+{record['repository-code']}#subdirectory=lib"
    return (
        "*Without the book's repository, install its library first:* "
        f'`%pip install "overparam[figures] @ {address}"`'
    )


def in_solutions(cells: list[NotebookNode]) -> list[bool]:
    """Tell for each cell whether it holds a part of a solution and nothing else."""
    inside, answers = False, []
    for cell in cells:
        text = cell.source.strip() if cell.cell_type == "markdown" else ""
        starts, ends = "{solution-start}" in text, "{solution-end}" in text
        alone = inside
        if starts and not inside:
            alone = SOLUTION.match(text) is not None
        if ends:  # an exercise that follows in the same cell must be seen
            alone = alone and END_OF_SOLUTION.search(text) is not None
            inside = False
        elif starts:
            inside = True
        only = re.match(r"(:{3,}|`{3,})\{solution\} ", text)
        if only and text.endswith(only[1]) and text.count("{solution}") == 1:
            alone = "{exercise}" not in text
        answers.append(alone)
    return answers


def normal_cell(cell: NotebookNode) -> NotebookNode:
    """Return a copy of a cell with the book's metadata and text outputs only."""
    kept = {key: cell.metadata[key] for key in sorted(CELL_METADATA) if key in cell.metadata}
    metadata = {key: value for key, value in kept.items() if value or value is False}
    normal = NotebookNode(
        id=cell.id,
        cell_type=cell.cell_type,
        metadata=NotebookNode(metadata),
        source=cell.source,
    )
    if cell.get("attachments"):
        normal.attachments = cell.attachments
    if cell.cell_type == "code":
        normal.execution_count = cell.get("execution_count")
        normal.outputs = normal_outputs(cell.get("outputs", []))
    return normal


def normal_outputs(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Merge the streams, drop images, HTML and widget views, then outputs with nothing left."""
    normal: list[NotebookNode] = []
    streams: dict[str, NotebookNode] = {}
    for output in outputs:
        output = NotebookNode(output)
        if output.output_type == "stream":
            if output.name in streams:
                streams[output.name].text += output.text
                continue
            streams[output.name] = output
        elif "data" in output:
            data = {kind: value for kind, value in output.data.items() if not is_picture(kind)}
            if not data:
                continue
            output.data = NotebookNode(data)
            # What is left of an image's metadata is its size; glue's metadata has no images.
            kept = {k: v for k, v in output.get("metadata", {}).items() if not is_picture(k)}
            output.metadata = NotebookNode(kept)
        normal.append(output)
    return normal


def is_picture(kind: str) -> bool:
    """Tell whether a MIME type is an image, HTML (glued ones too) or a widget's view."""
    return "image/" in kind or kind.endswith("text/html") or kind == WIDGET_VIEW


def as_text(notebook: NotebookNode) -> str:
    """Return the notebook's file as text: keys sorted, indent 1, one newline at the end."""
    return v4.writes(notebook, indent=1, ensure_ascii=False).rstrip("\n") + "\n"


def problems(path: Path) -> list[str]:
    """Return what keeps a notebook from the normal form, one sentence each."""
    try:
        notebook = read(path)
    except ValueError as error:
        return [str(error)]
    found = [
        *format_problems(notebook),
        *count_problems(notebook),
        *metadata_problems(notebook),
        *output_problems(notebook),
    ]
    if not found and path.read_text(encoding="utf-8") != as_text(normal_form(notebook)):
        found = ["its JSON is not laid out in the normal form"]
    return [f"{path}: {problem}" for problem in found]


def format_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield problems with the format's version, the schema and the cells' ids."""
    if notebook.nbformat_minor != 5:
        yield f"format 4.{notebook.nbformat_minor} instead of 4.5"
        return
    names = [cell.get("id") for cell in notebook.cells]
    if None in names:
        yield f"cell {names.index(None) + 1} has no id"
        return
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        yield f"ids used more than once: {', '.join(repeated)}"
        return
    try:
        validate(notebook)
    except ValidationError as error:
        yield f"not valid: {str(error).splitlines()[0]}"


def count_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield the code cells that were not executed in order (nbval does not check those)."""
    for number, cell in enumerate(code_cells(notebook), 1):
        if not cell.source.strip():
            yield f"code cell {number} is empty: delete it"
        elif cell.get("execution_count") != number:
            yield f"code cell {number} has execution_count {cell.get('execution_count')}"


def metadata_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield metadata that the book does not use."""
    if notebook.metadata != NOTEBOOK_METADATA:
        extra = sorted(set(notebook.metadata) - set(NOTEBOOK_METADATA))
        yield f"notebook metadata is not the book's{': ' if extra else ''}{', '.join(extra)}"
    for number, cell in enumerate(notebook.cells, 1):
        extra = sorted(set(cell.metadata) - CELL_METADATA)
        if extra:
            yield f"cell {number} has metadata: {', '.join(extra)}"


def output_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield outputs that do not belong into a committed notebook."""
    for number, cell in enumerate(code_cells(notebook), 1):
        outputs = cell.get("outputs", [])
        names = [out.name for out in outputs if out.output_type == "stream"]
        if "stderr" in names:
            yield f"code cell {number} wrote to stderr"
        if len(names) > len(set(names)):
            yield f"code cell {number} has streams that are not merged"
        kinds = {kind for out in outputs for kind in out.get("data", {})}
        pictures = sorted(kind for kind in kinds if is_picture(kind))
        if pictures:
            yield f"code cell {number} holds {', '.join(pictures)}"
        text = "\n".join(output_text(out) for out in outputs)
        if ADDRESS.search(text):
            yield f"code cell {number} prints a memory address"
        if LOCAL_PATH.search(text) or str(ROOT) in text:
            yield f"code cell {number} prints a path of this machine"


def kind_problems(notebook: NotebookNode) -> Iterator[str]:
    """Yield what in a chapter's code is not as its reader needs it (see CONTRIBUTING.md).

    Solutions are folded as a whole: their code is held to nothing here but its width.
    """
    solutions = in_solutions(notebook.cells)
    is_code = [cell.cell_type == "code" for cell in notebook.cells]
    n_open = 0
    for cell, solution, code in zip(notebook.cells, solutions, is_code, strict=True):
        if not code:
            continue
        kind = kind_of(cell)
        if kind is not None:
            yield from fold_problems(cell, kind)
            continue
        lines = [line for line in cell.source.splitlines() if line.strip()]
        wide = max(map(len, lines), default=0)
        if wide > OPEN_WIDTH:
            yield f"cell {cell.id} has a line of {wide} characters: at most {OPEN_WIDTH}"
        if solution:
            continue
        n_open += 1
        if re.search(r"^\s*assert\b", cell.source, re.MULTILINE):
            yield f"cell {cell.id} is open and asserts: tag it check, or take the assertion out"
        if set(cell.metadata.get("tags", [])) & set(HIDES):
            yield f"cell {cell.id} is folded but of no kind: tag it check, drawing or setup"
        if len(lines) > OPEN_LINES:
            yield f"cell {cell.id} is open and has {len(lines)} lines: at most {OPEN_LINES}"
    if n_open > OPEN_CELLS:
        yield f"{n_open} cells of code to learn from: at most {OPEN_CELLS}"
    if not is_code.index(True) > 0 or kind_of(notebook.cells[is_code.index(True)]) != "setup":
        yield "the first code cell is not the set-up, below the chapter's question"


def fold_problems(cell: NotebookNode, kind: str) -> Iterator[str]:
    """Yield what is wrong with a folded cell: its label, its assertions, its caption."""
    settings = cell.metadata.get("mystnb", {})
    label = settings.get("code_prompt_show", "")
    if not label.startswith(LABELS[kind]) or len(label) < len(LABELS[kind]) + 3:
        yield f"cell {cell.id} ({kind}) has the label {label!r}: begin with {LABELS[kind]!r}"
    if not set(cell.metadata["tags"]) & set(HIDES):
        yield f"cell {cell.id} ({kind}) is not folded: tag it {KINDS[kind]}"
    if kind == "check" and not re.search(r"\bassert", cell.source):
        yield f"cell {cell.id} is a check and asserts nothing"
    if kind == "drawing":
        figure = settings.get("figure", {})
        if not figure.get("caption") or not figure.get("name"):
            yield f"cell {cell.id} is a drawing without caption and name in mystnb.figure"


def output_text(output: NotebookNode) -> str:
    """Return an output's text, whatever its kind."""
    if output.output_type == "stream":
        return output.text
    if output.output_type == "error":
        return "\n".join([output.evalue, *output.traceback])
    values = [value for kind, value in output.data.items() if not is_picture(kind)]
    return "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values)


# The three commands


def run(paths: list[Path]) -> int:
    """Fill the cache; return 1 and print the reports if a notebook fails."""
    failures = fill_cache(paths)
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    return 1 if failures else 0


def write(paths: list[Path]) -> int:
    """Execute notebooks and write them in the normal form; return 1 if one fails."""
    for path in paths:
        prepare(path)
    if run(paths):
        return 1
    cache = get_cache(cache_path())
    for path in paths:
        text = as_text(normal_form(cached(cache, read(path))))
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            print(f"  wrote {path.relative_to(ROOT)}")
    return check(paths)


def reformat(paths: list[Path]) -> int:
    """Write notebooks in the normal form, with the outputs that they hold; return 0."""
    for path in paths:
        text = as_text(normal_form(read(path)))
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            print(f"  wrote {path.relative_to(ROOT)}")
    return 0


def prepare(path: Path) -> None:
    """Give a notebook the book's kernel and its cells their kinds before it is executed.

    The cache knows a notebook by them.
    """
    notebook = with_kinds(read(path))
    notebook.metadata["kernelspec"] = NOTEBOOK_METADATA["kernelspec"]
    text = as_text(notebook)
    if text != path.read_text(encoding="utf-8"):
        path.write_text(text, encoding="utf-8")


def check(paths: list[Path]) -> int:
    """Print what is not in the normal form; return 1 if anything is not."""
    found = [problem for path in paths for problem in problems(path)]
    for problem in found:
        print(problem.replace(f"{ROOT}{os.sep}", ""), file=sys.stderr)
    if found:
        print("`make notebooks` executes and normalises every notebook.", file=sys.stderr)
    return 1 if found else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=["run", "write", "format", "check"])
    parser.add_argument("paths", nargs="*", type=Path, help="default: all that _toc.yml names")
    options = parser.parse_args(arguments)
    private = [] if options.command == "run" else private_notebooks()
    paths = [path.resolve() for path in options.paths] or [*book_notebooks(), *private]
    for path in paths:
        if not path.is_file() or not path.is_relative_to(ROOT):
            parser.error(f"{path}: no such notebook in this repository")
    commands = {"run": run, "write": write, "format": reformat, "check": check}
    return commands[options.command](paths)


if __name__ == "__main__":
    sys.exit(main())
