"""Explorers: pictures that follow a slider, on a page without a kernel as well as in JupyterLab.

Chapters call them by `figures.explorer`; what moves them on a page is book/_static/explorer.js.
"""

import html
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple
from urllib.parse import quote

import matplotlib.pyplot as plt
from matplotlib.backends.backend_svg import FigureCanvasSVG

LIVE = ("scalar", "riccati", "edge")  # those of book/_static/live.js
LIMIT = 500_000  # characters that one explorer may add to a page


class Shown(NamedTuple):
    """What a cell shows: HTML on a page and in JupyterLab, a text elsewhere."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return self.html


class Explorer(NamedTuple):
    """Frames drawn beforehand, one for each position of one or two sliders.

    A page shows `text/html`: the first picture, native sliders, and the other frames as data.
    A live notebook prefers the widget, which shows the same.
    """

    frames: list  # SVG texts; the last slider runs fastest
    descriptions: list
    sliders: list
    first: int  # the number of the frame to begin with

    def __repr__(self) -> str:
        ranges = ", ".join(f"{s.name} {s.values[0]} to {s.values[-1]}" for s in self.sliders)
        return f"Explorer of {len(self.frames)} frames: {ranges}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        view = self.widget()._repr_mimebundle_()
        return view | {"text/plain": repr(self), "text/html": self.html()}

    def html(self) -> str:
        """Return the explorer as HTML; without the script it is its first picture."""
        parts: dict[str, int] = {}  # what frames have in common is kept once
        rows = [[parts.setdefault(p, len(parts)) for p in svg.split("><")] for svg in self.frames]
        data = {"first": self.first, "alt": self.descriptions, "parts": [*parts], "frames": rows}
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
        text = (
            '<div class="explorer">'
            f'<div class="explorer-sliders">{"".join(s.html() for s in self.sliders)}</div>'
            f"{_image(self.frames[self.first], self.descriptions[self.first])}"
            f'<script type="application/json">{packed}</script></div>'
        )
        if len(text) > LIMIT:
            advice = "draw fewer points a curve or fewer frames, or rasterize filled plots"
            raise ValueError(f"the explorer weighs {len(text)} characters of {LIMIT}: {advice}")
        return text

    def widget(self):
        """Return the explorer as a widget for a live kernel: stacks of pictures, or of stacks."""
        import ipywidgets

        look = {"style": {"description_width": "initial"}, "layout": {"width": "min(100%, 32rem)"}}
        sliders = [
            ipywidgets.SelectionSlider(options=s.values, index=s.start, description=s.name, **look)
            for s in self.sliders
        ]
        shown = [*map(ipywidgets.HTML, map(_image, self.frames, self.descriptions))]
        for slider in reversed(sliders):
            size = len(slider.options)
            rows = [shown[i : i + size] for i in range(0, len(shown), size)]
            shown = [ipywidgets.Stack(row, selected_index=slider.index) for row in rows]
            for stack in shown:
                ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
        return ipywidgets.VBox([*sliders, *shown])


class _Slider(NamedTuple):
    """One slider: its name in words, the texts of its positions, the number of its start."""

    name: str
    values: list
    start: int

    def html(self) -> str:
        """Return a native range input, asleep until the script of the page wakes it."""
        name, value = html.escape(self.name), html.escape(self.values[self.start])
        values = html.escape(json.dumps(self.values, ensure_ascii=False))
        return (
            f'<label><span class="explorer-name">{name}</span>'
            f'<input type="range" min="0" max="{len(self.values) - 1}" value="{self.start}" '
            f'aria-label="{name}" aria-valuetext="{value}" data-values="{values}" disabled>'
            f'<span class="explorer-value" aria-hidden="true">{value}</span></label>'
        )


def explorer(
    draw: Callable[..., Any], alt: str | Callable[..., str], start: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None, **positions: Sequence[Any],
) -> Explorer:
    """Return pictures that follow one or two sliders, drawn beforehand for every position.

    Parameters
    ----------
    draw : callable
        Called with one keyword for each slider; draws a new matplotlib figure.
    alt : str or callable
        What one sees, as a format string or function of the same keywords; says each frame's own.
    start : dict, optional
        The position shown first, by slider; the first of its list by default.
    labels : dict, optional
        The words before each slider; by default the keyword with spaces for underscores.
    **positions : sequence
        The slider's positions, by the name of the keyword: numbers or words.

    Returns
    -------
    Explorer
        Shown by a notebook's cell whose last expression it is.

    Raises
    ------
    ValueError
        If there are no positions or more than two lists of them, if `start` or `labels` names no
        slider or `start` no position, or (when shown) if the frames weigh more than 500 kB.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> def draw(power):
    ...     fig, ax = plt.subplots()
    ...     ax.plot([0, 1, 2], [0, 1, 2**power])
    >>> explorer(draw, "A curve of power {power}", start={"power": 2}, power=[1, 2, 3])
    Explorer of 3 frames: power 1 to 3
    """
    if len(positions) not in (1, 2) or not all(map(len, positions.values())):
        raise ValueError(f"explorer takes one or two lists of positions, got {positions!r:.80}")
    start = {name: values[0] for name, values in positions.items()} | dict(start or {})
    labels = {name: name.replace("_", " ") for name in positions} | dict(labels or {})
    if unknown := {*start, *labels} - {*positions}:
        raise ValueError(f"start or labels name {unknown}, and the sliders are {[*positions]}")
    settings = [dict(zip(positions, s, strict=True)) for s in product(*positions.values())]
    if start not in settings:
        raise ValueError(f"start must be one of the positions, got {start}")
    sliders = []
    for name, values in positions.items():
        texts = [(v if isinstance(v, str) else f"{v:g}").replace("-", "−") for v in values]
        sliders.append(_Slider(labels[name], texts, list(values).index(start[name])))
    describe, layouts = alt if callable(alt) else alt.format, {}
    frames = [_frame(draw, setting, layouts) for setting in settings]
    return Explorer(frames, [describe(**s) for s in settings], sliders, settings.index(start))


def live(name: str, draw: Callable[[], Any], alt: str) -> Shown:
    """Return an explorer that a page computes itself, in book/_static/live.js.

    Parameters
    ----------
    name : {"scalar", "riccati", "edge"}
        Which of them.
    draw : callable
        Draws the still picture that stands for it on paper and in JupyterLab.
    alt : str
        What the still picture shows.

    Raises
    ------
    ValueError
        If there is no live explorer of this name.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> live("scalar", lambda: plt.subplots(), "Nothing but axes")
    Live explorer: scalar
    """
    if name not in LIVE:
        raise ValueError(f"name must be one of {LIVE}, got {name!r}")
    image = _image(_frame(draw, {}, {}), alt)
    text = f"Live explorer: {name}"
    return Shown(text, f'<div class="explorer live" data-live="{name}">{image}</div>')


def _image(svg, alt):
    address = quote(svg, safe=" /:;,=<>()'!*+?@")
    alt = html.escape(alt)
    return f'<img class="explorer-frame" alt="{alt}" src="data:image/svg+xml,{address}">'


def _frame(draw, setting, layouts):
    """Draw one frame and return it as the text of an SVG image.

    To find the places of the axes takes as long as to draw them: frames whose labels and limits
    are the same share them, in `layouts`.
    """
    draw(**setting)
    fig = plt.gcf()
    look = _look(fig)
    if look in layouts:
        fig.set_layout_engine("none")
        for ax, place in zip(fig.axes, layouts[look], strict=True):
            ax.set_position(place)
    buffer = io.StringIO()
    FigureCanvasSVG(fig).print_svg(buffer, metadata={"Date": None})  # savefig draws twice
    layouts[look] = [ax.get_position(original=True) for ax in fig.axes]
    plt.close(fig)
    return _shortened(buffer.getvalue())


def _look(fig):
    """Return all that the places of a figure's axes depend on."""
    parts = [tuple(fig.get_size_inches()), *(text.get_text() for text in fig.texts)]
    for ax in fig.axes:
        titles = (ax.get_title(where).count("\n") for where in ("left", "center", "right"))
        parts += [ax.get_xlabel(), ax.get_ylabel(), bool(ax.get_title()), *titles]
        for axis in (ax.xaxis, ax.yaxis):
            parts += [axis.get_scale(), *axis.get_view_interval()]
        if legend := ax.get_legend():
            parts += [text.get_text() for text in legend.get_texts()]
    return tuple(parts)


def _shortened(svg):
    """Leave out of an SVG what does not show: a page holds some thirty of them."""
    svg = re.sub(r"<(metadata>.*?</metadata|!--.*?--|\?xml.*?\?|!DOCTYPE.*?)>", "", svg, flags=re.S)
    # Positions to hundredths of a point; the scale of the letters must stay as it is.
    svg = re.sub(r"(?<!scale\(0)(\.\d\d)\d+", r"\1", svg)
    return re.sub(r"\s+", " ", svg).replace("> <", "><").replace('"', "'").strip()
