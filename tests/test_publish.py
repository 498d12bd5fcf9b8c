"""What is made from the built pages: the one document that is printed, cards, the style sheet."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "book" / "_tools"


def imported(name):
    """Import a module of book/_tools, which is no package."""
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(TOOLS))
    return module


@pytest.fixture(scope="module")
def tool():
    return imported("publish")


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


def test_bookmarks_say_their_headings(tool, tmp_path):
    """Doubled by Chromium, or without its formula: each bookmark is its heading's text again."""
    from pypdf import PdfReader, PdfWriter

    html = (
        '<h1>1. One &amp; all</h1><h2 id="a">1.1. <i>The</i> '
        r'<span class="math">\(\ell_{1}\)</span> norm</h2><h2>2</h2>'
    )
    writer, path = PdfWriter(), tmp_path / "book.pdf"
    writer.add_blank_page(100, 100)
    first = writer.add_outline_item(title="1. One & all1. One & all", page_number=0)
    writer.add_outline_item(title="1.1.  norm", page_number=0, parent=first)
    writer.add_outline_item(title="2", page_number=0)
    writer.write(path)
    tool.mend_bookmarks(path, tool.headings(html))
    top, below, last = PdfReader(path).outline
    assert [top.title, below[0].title, last.title] == ["1. One & all", "1.1. The ℓ_1 norm", "2"]


def test_the_whole_book_is_printed(tool):
    pages = [page for _, names in tool.parts() for page in names]
    assert {"book/scalar", "book/errata", "book/references"} <= set(pages)
    assert not any("assignments" in page for page in pages)


def test_without_chromium_the_message_says_what_to_do(tool, monkeypatch, capsys):
    monkeypatch.setattr(tool, "BROWSERS", ("no-such-browser",))
    assert tool.make_pdf() == 1
    assert "apt install chromium" in capsys.readouterr().err


STYLE = """/* a comment { */ @charset "x"; a { b: c }
.used, .gone > p { content: "}" } .gone { x: y } p:not(.gone):is(.gone, h1) { x: y }
@media print { .gone { x: y } } @media (min-width: 9px) { .used:has(.gone) { x: y } }
@font-face { font-family: "Z" } .sm\\:b { x: y }"""


def test_style_rules_for_what_no_page_has_go():
    assets = imported("assets")
    used = assets.class_names(['<p class="used sm:b">'], ["classList.add('later')"])
    assert {"used", "sm:b", "later"} <= used and "gone" not in used
    kept = "".join(assets.used_rules(STYLE, used)).split("\n")
    assert kept == [
        '@charset "x";a{b: c}',
        '.used{content: "}"}',
        "p:not(.gone):is(.gone, h1){x: y}",
        "@media (min-width: 9px){.used:has(.gone){x: y}",
        "}",
        '@font-face{font-family: "Z"}',
        ".sm\\:b{x: y}",
        "",
    ]


def test_a_card_shows_the_figure_without_letters():
    cards = imported("cards")
    curve = "\n".join(f"L {0.2 * i:.6f} 0.000001" for i in range(40))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg"><metadata>m</metadata>'
        f'<g id="text_1"><path d="M 1 1"/></g><g id="line"><path d="M 0.25 0.5"/>'
        f'<path d="{curve}"/></g></svg>'
    )
    small = cards.thumbnail(svg)
    assert "text_1" not in small and "metadata" not in small
    assert 'd="M 0.2 0.5"' in small
    assert small.count("L ") == 9  # nine whole numbers from 0 to 8
