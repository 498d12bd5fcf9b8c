"""The look of the book's figures and tables, shared drawing, and the explorer."""

import functools
import html
import re
from collections.abc import Callable
from itertools import chain

import matplotlib as mpl
import matplotlib.mathtext
import matplotlib.pyplot as plt
import matplotlib.textpath
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from overparam import _check
from overparam.explorers import Shown, explorer, live  # noqa: F401 the last two for chapters

# Okabe and Ito's colours, told apart with every kind of colour vision; black comes last.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222"]
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = COLOURS
WIDTH = 5.6  # inches: 11 pt type is still 10 px high when a phone shrinks the figure to 390 px


_math_parser = functools.cache(mpl.mathtext.MathTextParser)


def style() -> None:
    """Set the book's matplotlib style; in a notebook, draw as SVG that is the same each time.

    Examples
    --------
    >>> import matplotlib
    >>> from overparam import figures
    >>> figures.style()
    >>> matplotlib.rcParams["font.size"]
    11.0
    """
    plt.style.use("overparam.book")
    mpl.rcParams["axes.prop_cycle"] = mpl.cycler(color=COLOURS)
    mpl.rcParams["figure.figsize"] = (WIDTH, 3.6)
    # Matplotlib parses each formula anew for every picture; one parser for all remembers them.
    mpl.textpath.MathTextParser = _math_parser
    if mpl.get_backend().lower().endswith("inline"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def panels(n_panels: int, height: float = 3.0, **options) -> tuple:
    """Return a figure and `n_panels` axes, one above the other so that phones can show them.

    Parameters
    ----------
    n_panels : int
    height : float
        Of each, in inches.
    **options
        As for `matplotlib.pyplot.subplots`.

    Examples
    --------
    >>> from overparam import figures
    >>> fig, axes = figures.panels(2)
    >>> len(axes), fig.get_size_inches().round(1).tolist()
    (2, [5.6, 6.0])
    """
    return plt.subplots(n_panels, 1, figsize=(WIDTH, height * n_panels), **options)


def phase_portrait(ax: Axes, gradient: Callable, limit: float) -> None:
    """Draw the streamlines of the flow of two weights on the square [-limit, limit]².

    Parameters
    ----------
    ax : Axes
    gradient : callable
        Maps the state (u, v) to the gradient there; it is called once, with all points as an
        array of shape (2, 25, 25).
    limit : float

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from overparam import figures
    >>> ax = plt.figure().gca()
    >>> figures.phase_portrait(ax, lambda w: -(1 - w[0] * w[1]) * w[::-1], 2.0)
    >>> [float(end) for end in ax.get_xlim()]
    [-2.0, 2.0]
    """
    axis = np.linspace(-limit, limit, 25)
    du, dv = gradient(np.array(np.meshgrid(axis, axis)))
    look = {"color": "#b0b0b0", "density": 0.9, "linewidth": 0.6, "arrowsize": 0.7}
    ax.streamplot(axis, axis, -du, -dv, **look)
    ax.set(aspect="equal", xlim=(-limit, limit), ylim=(-limit, limit), xlabel="$u$", ylabel="$v$")


def reference_slope(ax: Axes, x: ArrayLike, slope: float, anchor: tuple, label: str = "") -> None:
    """Draw a dashed line of the given slope on log–log axes.

    Parameters
    ----------
    ax : Axes
    x : array
        Where to draw it.
    slope : float
    anchor : pair of float
        A point of the line.
    label : str, optional

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from overparam import figures
    >>> ax = plt.figure().gca()
    >>> figures.reference_slope(ax, [1.0, 10.0], -2, (1.0, 3.0))
    >>> ax.lines[0].get_ydata().round(3).tolist()
    [3.0, 0.03]
    """
    x = _check.finite_array("x", x)
    ax.plot(x, anchor[1] * (x / anchor[0]) ** slope, "--", color=BLACK, linewidth=1, label=label)


def table(caption: str, columns: dict[str, list[str]]) -> Shown:
    """Return a table of results, to stand last in a cell.

    Parameters
    ----------
    caption : str
        What the table shows, as a sentence.
    columns : dict of str to list of str
        The cells of each column below its heading, formatted as they should be read (whole
        numbers may stay numbers). Columns of numbers are aligned on the right.

    Returns
    -------
    Shown
        As HTML (``<table class="house">`` with a caption) on a page and in JupyterLab, and
        as aligned text elsewhere; formulas between dollar signs are set on the page.

    Raises
    ------
    ValueError
        For no column, columns of different lengths, or a cell that is neither text nor a whole
        number: a float would be printed with all its digits.

    Examples
    --------
    >>> from overparam import figures
    >>> figures.table("Two flows.", {"flow": ["lazy", "rich"], "loss": ["0.10", "12.00"]})
    Two flows.
    flow   loss
    lazy   0.10
    rich  12.00
    """
    if not isinstance(columns, dict) or not columns:
        raise ValueError(f"columns must be a dict of lists of texts, got {columns!r:.80}")
    for cell in chain(*columns.values()):
        if isinstance(cell, bool) or not isinstance(cell, (str, int, np.integer)):
            raise ValueError(f"columns must hold texts, got {cell!r:.40}; format it first (.3f)")
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"columns must be equally long and not empty, got lengths {lengths}")
    texts = [[*map(str, [head, *cells])] for head, cells in columns.items()]
    numeric = re.compile(r"[-+−±≤≥<>≈ ]*\d[-+−±\d.,:/ ×·^e%⁰¹²³⁴⁵⁶⁷⁸⁹⁻]*|[–—-]?")
    sides = [">" if all(map(numeric.fullmatch, cells)) else "<" for _, *cells in texts]
    lines = list(zip(*texts, strict=True))
    return Shown(_aligned(caption, lines, sides), _html_table(caption, lines, sides))


def _aligned(caption, lines, sides):
    """Return a table as text; columns are aligned on the left "<" or on the right ">"."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip(sides, widths, strict=True))
    return "\n".join([caption, *(form.format(*line).rstrip() for line in lines)])


def _html_table(caption, lines, sides):
    marks = [' class="number"' if side == ">" else "" for side in sides]

    def row(line, tag, scope=""):
        pairs = zip(map(html.escape, line), marks, strict=True)
        cells = (f"<{tag}{scope}{mark}>{cell}</{tag}>" for cell, mark in pairs)
        return f"<tr>{''.join(cells)}</tr>"

    head = row(lines[0], "th", ' scope="col"')
    body = "\n".join(row(line, "td") for line in lines[1:])
    return (
        f'<table class="house"><caption>{html.escape(caption)}</caption>\n'
        f"<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table>"
    )
