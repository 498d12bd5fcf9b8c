"""A local Sphinx extension: executes the book's notebooks into the cache that the build reads.

``jupyter-book build .`` alone is then as right as ``make book``: nothing is taken from outputs
made with another version of the library.
"""

from __future__ import annotations

import functools
import gc
from pathlib import Path

import pybtex.plugin
from notebooks import JOBS, book_notebooks, cache_path, fill_cache
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)


def use_keyed_cache(app: Sphinx, config: Config) -> None:
    """Point myst-nb to the cache for the library and packages as they are now."""
    config.nb_execution_cache_path = str(cache_path(Path(app.srcdir)))


def execute_missing(app: Sphinx) -> None:
    """Execute the notebooks that are not in the cache, and stop the build if one fails."""
    app.builder.search = False  # Sphinx's index of words: finder.py makes the site's own
    root = Path(app.srcdir)
    failures = fill_cache(book_notebooks(root), root, logger.info)
    if failures:
        raise ExtensionError("\n\n".join(["notebooks failed", *failures]))


def write_side_by_side(app: Sphinx, _: object) -> None:
    """Write the pages in two processes; to read them so, sphinx-proof would have to allow it."""
    app.parallel = JOBS


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    # The trees of the pages live until the end: looking for garbage among them took two fifths
    # of the build and found nothing.
    gc.disable()
    # Looked up anew for each citation, in the lists of everything that is installed.
    pybtex.plugin.find_plugin = functools.cache(pybtex.plugin.find_plugin)
    app.connect("config-inited", use_keyed_cache)
    app.connect("builder-inited", execute_missing)
    app.connect("env-updated", write_side_by_side)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
