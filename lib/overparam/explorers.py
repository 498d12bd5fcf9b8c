"""Explorers: pictures that follow a slider, on a page without a kernel as well as in JupyterLab.

Chapters call them by `figures.explorer`; what moves them on a page is book/_static/explorer.js.
"""

import html
import io
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import matplotlib.pyplot as plt
from matplotlib.backends.backend_svg import FigureCanvasSVG

LIVE = ("scalar", "riccati", "edge")  # those of book/_static/live.js
LIMIT = 500_000  # characters that one explorer may add to a page


class Explorer:
    """Frames drawn beforehand, one for each position of one or two sliders.

    A page shows `text/html`: the first picture, native sliders, and the other frames as data.
    A live notebook prefers the widget, which shows the same.
    """

    def __init__(self, frames, descriptions, sliders):
        self.frames = frames  # SVG texts; the last slider runs fastest
        self.descriptions = descriptions
        self.sliders = sliders
        self.first = 0
        for slider in sliders:
            self.first = self.first * len(slider.values) + slider.start

    def __repr__(self) -> str:
        ranges = ", ".join(f"{s.name} {s.values[0]} to {s.values[-1]}" for s in self.sliders)
        return f"Explorer of {len(self.frames)} frames: {ranges}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        try:
            view = self.widget()._repr_mimebundle_()
        except ImportError:  # a page does not need the widgets
            view = {}
        return {**view, "text/plain": repr(self), "text/html": self.html()}

    def html(self) -> str:
        """Return the explorer as HTML; without the script it is its first picture."""
        parts: dict[str, int] = {}  # what frames have in common is kept once
        rows = [
            [parts.setdefault(part, len(parts)) for part in frame.split("><")]
            for frame in self.frames
        ]
        data = {"first": self.first, "alt": self.descriptions, "parts": list(parts), "frames": rows}
        packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
        text = (
            '<div class="explorer">'
            f'<div class="explorer-sliders">{"".join(s.html() for s in self.sliders)}</div>'
            f"{self._image(self.first)}"
            f'<script type="application/json">{packed}</script></div>'
        )
        if len(text) > LIMIT:
            raise ValueError(
                f"the explorer weighs {len(text) // 1000} kB, more than {LIMIT // 1000}: draw "
                "fewer points a curve or fewer frames, or rasterize filled plots"
            )
        return text

    def widget(self):
        """Return the explorer as a widget for a live kernel."""
        import ipywidgets

        frames = [ipywidgets.HTML(self._image(i)) for i in range(len(self.frames))]
        sliders = [slider.widget() for slider in self.sliders]
        for slider, row in zip(reversed(self.sliders), reversed(sliders), strict=True):
            inner = len(slider.values)
            frames = [
                _stack(frames[i : i + inner], row, slider.start)
                for i in range(0, len(frames), inner)
            ]
        return ipywidgets.VBox([*sliders, *frames])

    def _image(self, index: int) -> str:
        return _image(self.frames[index], self.descriptions[index])


class Slider:
    """One slider: its name in words, the texts of its positions with their unit, its start."""

    def __init__(self, name: str, label: str, values: Sequence[Any], start: Any):
        words, unit = re.fullmatch(r"(.*?)(?: \(([^()]*)\))?", label).groups()
        unit = f" {unit}" if unit else ""
        self.name = words
        texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
        self.values = [text.replace("-", "−") + unit for text in texts]
        if start is not None and start not in values:
            raise ValueError(f"start of {name} must be one of its positions {values!r:.80}")
        self.start = 0 if start is None else list(values).index(start)

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

    def widget(self):
        """Return the slider as a widget."""
        import ipywidgets

        return ipywidgets.SelectionSlider(
            options=[(text, index) for index, text in enumerate(self.values)],
            value=self.start,
            description=self.name,
            style={"description_width": "initial"},
            layout={"width": "100%", "max_width": "32rem"},
        )


def explorer(
    draw: Callable[..., Any],
    alt: str | Callable[..., str],
    start: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **positions: Sequence[Any],
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
        The words before each slider, as `"step size"` or, with a unit, `"time (s)"`; by default
        the keyword with spaces for underscores.
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
    if not positions or len(positions) > 2 or any(len(p) == 0 for p in positions.values()):
        raise ValueError(
            f"explorer takes one or two lists of slider positions, got {positions!r:.80}"
        )
    start, labels = start or {}, labels or {}
    for argument, given in (("start", start), ("labels", labels)):
        if unknown := sorted(set(given) - set(positions)):
            raise ValueError(f"{argument} names {unknown[0]!r}, which is no slider: {[*positions]}")
    sliders = [
        Slider(name, labels.get(name, name.replace("_", " ")), values, start.get(name))
        for name, values in positions.items()
    ]
    settings = [
        dict(zip(positions, setting, strict=True))
        for setting in itertools.product(*positions.values())
    ]
    describe, layouts = alt if callable(alt) else alt.format, {}
    return Explorer(
        [_frame(draw, setting, layouts) for setting in settings],
        [describe(**setting) for setting in settings],
        sliders,
    )


class Live:
    """A picture that the page's script draws and the reader drags; a still one elsewhere."""

    def __init__(self, name, still, alt):
        self.name, self.still, self.alt = name, still, alt

    def __repr__(self) -> str:
        return f"Live explorer: {self.name}"

    def _repr_html_(self) -> str:
        image = _image(self.still, self.alt)
        return f'<div class="explorer live" data-live="{self.name}">{image}</div>'


def live(name: str, draw: Callable[[], Any], alt: str) -> Live:
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
    return Live(name, _frame(draw, {}, {}), alt)


def _image(svg, alt):
    address = quote(svg, safe=" /:;,=<>()'!*+?@")
    alt = html.escape(alt)
    return f'<img class="explorer-frame" alt="{alt}" src="data:image/svg+xml,{address}">'


def _stack(children, slider, start):
    import ipywidgets

    stack = ipywidgets.Stack(children=children, selected_index=start)
    ipywidgets.jslink((slider, "index"), (stack, "selected_index"))
    return stack


def _frame(draw, setting, layouts):
    """Draw one frame and return it as the text of an SVG image.

    To find the places of the axes takes as long as to draw them: frames whose labels and limits
    are the same share them, in `layouts`.
    """
    before = set(plt.get_fignums())
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
    for number in set(plt.get_fignums()) - before:
        plt.close(number)
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
    svg = re.sub(
        r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>", "", svg, flags=re.S
    )
    # Positions to hundredths of a point; the scale of the letters must stay as it is.
    svg = re.sub(r"(?<!scale\(0)(\.\d\d)\d+", r"\1", svg)
    return re.sub(r"\s+", " ", svg).replace("> <", "><").replace('"', "'").strip()
