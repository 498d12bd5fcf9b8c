"""The explorer and the import of the library."""

import io
import json
import re
import subprocess
import sys
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup

from overparam import figures


def draw(power, shift=0.0):
    _, ax = plt.subplots()
    ax.plot([0, 1, 2], np.array([0, 1, 2]) ** power + shift)


def shown(explorer):
    """The explorer's HTML, and what its script reads."""
    page = BeautifulSoup(explorer._repr_mimebundle_()["text/html"], "html.parser")
    return page, json.loads(page.script.string)


def frames(explorer):
    """The frames as the page's script puts them together."""
    data = shown(explorer)[1]
    return ["><".join(data["parts"][part] for part in frame) for frame in data["frames"]]


def test_one_slider_has_one_frame_a_position_and_the_frames_differ():
    explorer = figures.explorer(
        draw, "A curve of power {power}", start={"power": 2}, power=[1, 2, 3]
    )
    page, data = shown(explorer)
    images = frames(explorer)
    assert images == explorer.frames and len(set(images)) == 3
    assert data["alt"] == [f"A curve of power {power}" for power in (1, 2, 3)]
    assert page.img["alt"] == data["alt"][1] and data["first"] == 1
    assert unquote(page.img["src"].removeprefix("data:image/svg+xml,")) == images[1]
    root = ElementTree.fromstring(images[0])
    assert root.tag.endswith("svg") and root.get("viewBox")
    assert "scale(0.015625)" in images[0]  # the size of the letters' outlines, as matplotlib has it


def test_two_sliders_have_words_and_a_frame_for_each_pair():
    explorer = figures.explorer(
        draw,
        lambda power, shift: f"Power {power}, shift {shift}",
        start={"shift": -1},
        labels={"shift": "upward shift"},
        power=[1, 2],
        shift=[0, 1, -1],
    )
    page, data = shown(explorer)
    names = [slider["aria-label"] for slider in page.select("input[type=range]")]
    values = [json.loads(slider["data-values"]) for slider in page.select("input")]
    assert names == ["power", "upward shift"]
    assert values == [["1", "2"], ["0", "1", "−1"]]
    assert [slider["aria-valuetext"] for slider in page.select("input")] == ["1", "−1"]
    assert data["alt"][data["first"]] == "Power 1, shift -1"
    assert len(frames(explorer)) == 6 and data["alt"][4] == "Power 2, shift 1"


def test_the_widget_of_a_live_kernel_shows_the_same():
    import ipywidgets

    before = set(ipywidgets.widgets.widget._instances)
    explorer = figures.explorer(draw, "A curve of power {power}", start={"power": 3}, power=[2, 3])
    widget = explorer.widget()
    slider, stack = widget.children
    made = [w for key, w in ipywidgets.widgets.widget._instances.items() if key not in before]
    links = [(w.source[0], w.target[0]) for w in made if type(w).__name__ == "Link"]
    assert (slider, stack) in links and slider.index == stack.selected_index == 1
    assert 'alt="A curve of power 2"' in stack.children[0].value
    assert explorer._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]


def test_frames_leave_no_open_figures_and_are_the_same_each_time():
    plt.close("all")
    figures.style()
    once = frames(figures.explorer(draw, "A curve of power {power}", power=[1, 2]))
    again = frames(figures.explorer(draw, "A curve of power {power}", power=[1, 2]))
    assert once == again and plt.get_fignums() == []


def test_streamlines_run_down_the_gradient(monkeypatch):
    """And as fast: along the first axis once, along the second three times its distance."""
    ax = plt.figure().gca()
    monkeypatch.setattr(ax, "streamplot", lambda *drawn, **look: ax.quiver(*drawn))
    figures.phase_portrait(ax, lambda w: np.array([w[0], 3 * w[1]]), 2.0)
    (arrows,) = ax.collections
    assert arrows.XY.min() == -2 and arrows.XY.max() == 2
    assert np.array_equal(np.column_stack([arrows.U, arrows.V]), -arrows.XY * [1, 3])
    plt.close()


def test_a_table_is_html_with_a_caption_and_aligned_text():
    table = figures.table(
        "Rates & bounds.",
        {"start": ["a<b", "$x^2$"], "rate": ["1.5", "12.0"], "steps": [3, 1000]},
    )
    assert repr(table).splitlines() == [
        "Rates & bounds.",
        "start  rate  steps",
        "a<b     1.5      3",
        "$x^2$  12.0   1000",
    ]
    root = ElementTree.fromstring(table._repr_html_())
    assert root.get("class") == "house"
    assert [child.tag for child in root] == ["caption", "thead", "tbody"]
    assert root[0].text == "Rates & bounds."
    assert [[c.text for c in row] for row in root.iter("tr")] == [
        ["start", "rate", "steps"],
        ["a<b", "1.5", "3"],
        ["$x^2$", "12.0", "1000"],
    ]
    assert all(head.get("scope") == "col" for head in root.iter("th"))
    assert [c.get("class") for c in root.find("tbody")[0]] == [None, "number", "number"]


def test_numbers_are_aligned_on_the_right_in_every_way_they_are_written():
    for cell in ["−1.2", "3 × 10⁻⁴", "2/3", "97 %", "< 1e-8", "–", "≤ 5", "1:2", "0.5 ± 0.1", ""]:
        text = repr(figures.table("c", {"heading of it": ["1", cell]})).splitlines()
        assert text[2] == "1".rjust(13), cell
    for cell in ["7 of 9 runs", "never", "depth 3"]:
        assert repr(figures.table("c", {"heading of it": ["1", cell]})).splitlines()[2] == "1"


@pytest.mark.parametrize(
    "columns, message",
    [
        ({}, "dict of lists"),
        ([["a"]], "dict of lists"),
        ({"a": []}, "not empty"),
        ({"a": ["1"], "b": ["1", "2"]}, "equally long"),
        ({"a": [0.1]}, "format it first"),
        ({"a": [True]}, "format it first"),
    ],
)
def test_a_bad_table_is_named(columns, message):
    with pytest.raises(ValueError, match=message):
        figures.table("caption", columns)


def test_bad_input_is_named():
    for values in ({}, {"power": []}, {"a": [1], "b": [1], "c": [1]}):
        with pytest.raises(ValueError, match="explorer takes"):
            figures.explorer(draw, "nothing", **values)
    with pytest.raises(ValueError, match="start must be one of the positions"):
        figures.explorer(draw, "nothing", start={"power": 9}, power=[1, 2])
    with pytest.raises(ValueError, match="start or labels name {'shift'}"):
        figures.explorer(draw, "nothing", labels={"shift": "up"}, power=[1, 2])


def test_an_explorer_that_is_too_heavy_says_so():
    def heavy(power):
        _, ax = plt.subplots()
        ax.plot(np.random.default_rng(power).standard_normal(6000), "o")

    with pytest.raises(ValueError, match="weighs"):
        figures.explorer(heavy, "Noise {power}", power=[1, 2]).html()


def test_importing_the_library_imports_nothing_heavy():
    heavy = "sympy matplotlib ipywidgets IPython pandas sklearn cvxpy scipy.stats torch dask joblib"
    code = f"import sys, overparam; print([m for m in {heavy.split()} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_frames_with_the_same_labels_share_their_layout_and_show_the_same():
    """Each frame looks as it does when it is drawn alone; a wider label gets its own place."""

    def draw(top):
        fig, ax = plt.subplots()
        ax.plot([0, 1], [0, top / 2])
        ax.set(xlabel="$t$", ylabel="$x$", ylim=(0, 1 if top < 5 else 1e7))

    figures.style()
    together = figures.explorer(draw, "a line to {top}", top=[1, 2, 9]).frames
    alone = [figures.explorer(draw, "a line to {top}", top=[top]).frames[0] for top in (1, 2, 9)]
    for first, second in zip(together, alone, strict=True):
        numbers = [re.findall(r"-?\d+\.?\d*", text) for text in (first, second)]
        np.testing.assert_allclose(*(np.array(n, dtype=float) for n in numbers), atol=0.02)
    assert len(set(together)) == 3


def test_a_formula_is_parsed_once_for_all_pictures():
    figures.style()
    parse = mpl.mathtext.MathTextParser._parse_cached
    for _ in range(2):
        fig, ax = plt.subplots()
        ax.set(xlabel=r"$\alpha^{17}$")
        misses = parse.cache_info().misses
        fig.savefig(io.BytesIO(), format="svg")
        plt.close(fig)
    assert parse.cache_info().misses == misses
