"""Make the book's PDF and the zip of its site from the built pages.

    python book/_tools/publish.py pdf    _build/html/gradient-flow-book.pdf, through Chromium
    python book/_tools/publish.py zip    _build/html/gradient-flow-book.zip, to be read offline

The PDF is one document: title page, contents with page numbers, bookmarks, all chapters and the
back matter, with links inside it. The pages of the course are left out: they are to be run.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import yaml
from identity import authors, citation, date

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
NAME = "gradient-flow-book"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LETTERS = {"ell": "ℓ", "alpha": "α", "gamma": "γ", "kappa": "κ"}  # of headings, in bookmarks
LEFT_OUT = {"book/statements", "book/status", "book/library"}
ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.S)
# On paper a formula needs neither its menu nor its copy for screen readers, half of a page's nodes.
ON_PAPER = """<script>MathJax.options = {
  ...MathJax.options, enableMenu: false, enableAssistiveMml: false
}</script>"""
FOOTER = (
    '<div style="font: 8px serif; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)


def parts() -> list[tuple[str, list[str]]]:
    """Return the parts of the book with their pages, without the course."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    found = []
    for part in toc["parts"]:
        pages = [chapter["file"] for chapter in part["chapters"]]
        pages = [page for page in pages if page not in LEFT_OUT and "/assignments/" not in page]
        if pages:
            found.append((part["caption"], pages))
    return found


def anchor(page: str, name: str = "") -> str:
    """Return the name that a place of a page has in the one document."""
    stem = page.removeprefix("book/").replace("/", "-")
    return f"{stem}--{name}" if name else stem


def chapter(page: str, pages: set[str], url: str) -> str:
    """Return a page's text with names and links that hold in the one document."""
    html = ARTICLE.search((SITE / f"{page}.html").read_text(encoding="utf-8"))[1]
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.S)
    html = re.sub(r'<a class="headerlink".*?</a>', "", html, flags=re.S)
    html = html.replace('loading="lazy" ', "")
    folder = posixpath.dirname(page)

    def link(match: re.Match) -> str:
        kind, address = match.groups()
        if re.match(r"[a-z]+:", address):
            return match[0]
        path, _, name = address.partition("#")
        target = posixpath.normpath(posixpath.join(folder, path)) if path else f"{page}.html"
        if kind == "src":
            return f'src="{target}"'
        target = target.removesuffix(".html")
        if target in pages:
            return f'href="#{anchor(target, name)}"'
        return f'href="{url}{target}{".html" if path.endswith(".html") else ""}"'

    html = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{anchor(page, m[1])}"', html)
    html = re.sub(r'\b(href|src)="([^"]*)"', link, html)
    return f'<article class="bd-article chapter" id="{anchor(page)}">{html}</article>'


def title_of(html: str) -> str:
    """Return a chapter's heading, as HTML without tags of links."""
    return re.search(r"<h1>(.*?)</h1>", html, re.S)[1]


def document() -> str:
    """Return the whole book as one page of HTML."""
    record, day = citation(ROOT), date(ROOT)
    pages = {page for _, names in parts() for page in names}
    first = (SITE / f"{parts()[0][1][0]}.html").read_text(encoding="utf-8")
    settings = re.search(r"<script>window\.MathJax.*?</script>", first, re.S)[0]
    body, contents = [], []
    for caption, names in parts():
        contents.append(f'<li class="part">{caption}</li>')
        for page in names:
            html = chapter(page, pages, record["url"])
            body.append(html)
            contents.append(
                f'<li><a href="#{anchor(page)}">{title_of(html)}</a><span class="page"></span></li>'
            )
    names = "; ".join(authors(record))
    return f"""<!DOCTYPE html><html lang="en" data-theme="light" data-mode="light"><head>
<meta charset="utf-8" /><title>{record["title"]}</title>
<link rel="stylesheet" href="_static/book.css" />
{settings}{ON_PAPER}<script defer src="mathjax/tex-chtml.js"></script>
</head><body><main class="bd-main whole-book"><div class="bd-content">
<article class="bd-article title-page"><p class="book-title">{record["title"]}</p>
<p>{names}</p><p>Version {record["version"]}, {day.day} {day:%B %Y}</p>
<p>{record["url"]}</p><p>Text under CC BY 4.0, code under the BSD 3-Clause license.</p></article>
<article class="bd-article contents"><p class="contents-title">Contents</p>
<ol>{"".join(contents)}</ol></article>
{"".join(body)}</div></main></body></html>"""


def make_pdf() -> int:
    """Print the book; return 1 with a message if something that is needed is missing."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        print("No Chromium found, which prints the book: apt install chromium", file=sys.stderr)
        return 1
    try:
        from playwright.sync_api import sync_playwright
        from pypdf import PdfReader
    except ImportError as error:
        print(f"{error}: pip install playwright pypdf (no browser of theirs)", file=sys.stderr)
        return 1
    if not (SITE / "_static" / "book.css").is_file():
        print("The book is not built: run make book", file=sys.stderr)
        return 1
    source, target = SITE / "print.html", SITE / f"{NAME}.pdf"
    source.write_text(document(), encoding="utf-8")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page()
            page.set_default_timeout(600_000)
            page.emulate_media(media="print")
            page.goto(source.as_uri())
            page.wait_for_function("() => window.MathJax?.startup?.promise")
            page.evaluate("() => MathJax.startup.promise.then(() => document.fonts.ready)")
            print_to(page, target)
            numbers = chapter_pages(PdfReader(target))
            page.evaluate(
                """numbers => document.querySelectorAll('.contents .page').forEach(
                    (place, i) => { place.textContent = numbers[i] ?? '' })""",
                numbers,
            )
            print_to(page, target)
            browser.close()
        mend_bookmarks(target, headings(source.read_text(encoding="utf-8")))
    finally:
        source.unlink()
    size = target.stat().st_size / 1e6
    print(f"{target.relative_to(ROOT)}: {len(PdfReader(target).pages)} pages, {size:.1f} MB")
    return 0


def print_to(page, target: Path) -> None:
    """Print with page numbers, and bookmarks made of the headings."""
    page.pdf(
        path=target,
        prefer_css_page_size=True,
        display_header_footer=True,
        header_template="<span></span>",
        footer_template=FOOTER,
        outline=True,
        tagged=True,
        print_background=True,
    )


def chapter_pages(reader) -> list[int]:
    """Return the page numbers of the chapters, which are the bookmarks of the first level."""
    top = [entry for entry in reader.outline if not isinstance(entry, list)]
    return [reader.get_destination_page_number(entry) + 1 for entry in top]


def headings(html: str) -> list[str]:
    """Return the texts of the headings, formulas as plain letters."""
    found = re.findall(r"<h([1-6])\b[^>]*>(.*?)</h\1>", html, re.S)
    texts = [unescape(re.sub(r"<[^>]+>|\\[()]|[{}]", "", text)) for _, text in found]
    return [re.sub(r"\\(\w+?)(?=[\W_]|$)", lambda m: LETTERS.get(m[1], m[1]), t) for t in texts]


def bookmarks(entry) -> Iterator:
    """Yield an entry of a PDF's outline and all after and below it, in the order of the pages."""
    while entry:
        entry = entry.get_object()
        yield entry
        yield from bookmarks(entry.get("/First"))
        entry = entry.get("/Next")


def mend_bookmarks(path: Path, titles: list[str]) -> None:
    """Give bookmarks their headings: Chromium drops formulas and doubles what it moves."""
    from pypdf import PdfWriter
    from pypdf.generic import NameObject, TextStringObject

    writer = PdfWriter(clone_from=path)
    entries = list(bookmarks(writer.root_object["/Outlines"]["/First"]))
    if len(entries) != len(titles):
        print(f"{len(titles)} headings, {len(entries)} bookmarks: these stay", file=sys.stderr)
        return
    for entry, title in zip(entries, titles, strict=True):
        entry[NameObject("/Title")] = TextStringObject(title)
    writer.write(path)


def make_zip() -> int:
    """Pack the site, without the zip itself."""
    target = SITE / f"{NAME}.zip"
    target.unlink(missing_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(SITE.rglob("*")):
            if path.is_file() and path != target:
                archive.write(path, Path(NAME) / path.relative_to(SITE))
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=["pdf", "zip"])
    return {"pdf": make_pdf, "zip": make_zip}[parser.parse_args(arguments).command]()


if __name__ == "__main__":
    sys.exit(main())
