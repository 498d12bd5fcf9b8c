"""The explorer and the import of the library."""

import re
import subprocess
import sys
from urllib.parse import unquote
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from overparam import figures


def draw(power, shift=0.0):
    _, ax = plt.subplots()
    ax.plot([0, 1, 2], np.array([0, 1, 2]) ** power + shift)


def frames(widget):
    if hasattr(widget, "value") and isinstance(widget.value, str) and "<img" in widget.value:
        return [widget.value]
    return [frame for child in getattr(widget, "children", ()) for frame in frames(child)]


def test_one_slider_has_one_frame_a_position_and_the_frames_differ():
    widget = figures.explorer(draw, "A curve of power {power}", power=[1, 2, 3])
    images = frames(widget)
    assert len(images) == len(set(images)) == 3
    assert 'alt="A curve of power 2"' in images[1] and 'class="explorer-frame"' in images[1]
    svg = unquote(re.search(r'src="data:image/svg\+xml,([^"]+)"', images[0])[1])
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("viewBox")
    assert "scale(0.015625)" in svg  # the size of the letters' outlines, as matplotlib writes it


def test_two_sliders_nest_and_each_moves_its_own_stack():
    widget = figures.explorer(
        draw, lambda power, shift: f"Power {power}, shift {shift}", power=[1, 2], shift=[0, 1, 2]
    )
    first, second, outer = widget.children
    assert len(frames(widget)) == 6 and len(outer.children) == 2
    assert [s.description for s in (first, second)] == ["power", "shift"]
    assert all(len(inner.children) == 3 for inner in outer.children)
    assert "Power 2, shift 1" in frames(outer.children[1])[1]


def test_sliders_are_linked_on_the_readers_side():
    import ipywidgets

    before = (
        set(ipywidgets.Widget._instances) if hasattr(ipywidgets.Widget, "_instances") else set()
    )
    widget = figures.explorer(draw, "A curve of power {power}", power=[1, 2, 3])
    links = [
        w
        for key, w in ipywidgets.widgets.widget._instances.items()
        if key not in before and type(w).__name__ == "Link"
    ]
    targets = [(link.source[0], link.target[0]) for link in links]
    assert (widget.children[0], widget.children[1]) in targets


def test_frames_leave_no_open_figures_and_are_the_same_each_time():
    plt.close("all")
    figures.style()
    once = frames(figures.explorer(draw, "A curve of power {power}", power=[1, 2]))
    again = frames(figures.explorer(draw, "A curve of power {power}", power=[1, 2]))
    assert once == again and plt.get_fignums() == []


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


def test_importing_the_library_imports_nothing_heavy():
    heavy = "sympy matplotlib ipywidgets IPython pandas sklearn cvxpy scipy.stats torch dask joblib"
    code = f"import sys, overparam; print([m for m in {heavy.split()} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_modules_import_only_what_is_below_them():
    """Core modules know nothing of chapters."""
    from pathlib import Path

    import overparam

    folder = Path(overparam.__file__).parent
    core = {"_check", "flow", "losses", "networks"}
    for name in core:
        source = (folder / f"{name}.py").read_text()
        imported = set(re.findall(r"^from overparam import (.+)$", source, re.M))
        names = {n.strip() for line in imported for n in line.split(",")}
        assert names <= core, name
