"""The one document that is printed: names, links and bookmarks."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "book" / "_tools"


@pytest.fixture(scope="module")
def tool():
    """Import book/_tools/publish.py, which is no package."""
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location("publish", TOOLS / "publish.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(TOOLS))
    return module


PAGE = """<article class="bd-article"><h1>One<a class="headerlink" href="#one">#</a></h1>
<p id="thm-a"><a href="#thm-a">here</a> <a href="two.html#thm-b">there</a> <a href="two.html">it</a>
<a href="status.html">out</a> <a href="https://example.org/x.html#y">web</a></p>
<img loading="lazy" src="../_images/a.svg" /><script>x</script></article>"""


def test_links_hold_in_the_one_document(tool, tmp_path, monkeypatch):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "one.html").write_text(PAGE)
    monkeypatch.setattr(tool, "SITE", tmp_path)
    html = tool.chapter("book/one", {"book/one", "book/two"}, "https://book.test/")
    for wanted in (
        'id="one--thm-a"',
        'href="#one--thm-a"',
        'href="#two--thm-b"',
        'href="#two"',
        'href="https://book.test/book/status.html"',
        'href="https://example.org/x.html#y"',
        'src="_images/a.svg"',
    ):
        assert wanted in html, html
    for unwanted in ("headerlink", "<script", "lazy"):
        assert unwanted not in html


@pytest.mark.parametrize(
    ("title", "once"),
    [
        ("1.1. 1.1. One weightOne weight", "1.1. One weight"),
        ("1.2. Two weights", "1.2. Two weights"),
        ("Bonbon", "Bonbon"),
        ("10. 10. PlayPlay", "10. Play"),
    ],
)
def test_bookmarks_say_their_heading_once(tool, title, once):
    assert tool.mended(title) == once


def test_the_whole_book_is_printed(tool):
    pages = [page for _, names in tool.parts() for page in names]
    assert {"book/scalar", "book/errata", "book/references"} <= set(pages)
    assert not any("assignments" in page for page in pages)


def test_without_chromium_the_message_says_what_to_do(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "BROWSERS", ("no-such-browser",))
    assert tool.make_pdf() == 1
    assert "apt install chromium" in capsys.readouterr().err
