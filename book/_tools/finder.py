"""A local Sphinx extension: what the search and the previews of links need, as data of the site.

`data/search.js` holds every section, statement, exercise and term with its text; `data/previews/`
holds, for each page, what other pages link to. They are scripts rather than JSON because a page
that is opened from a folder may load scripts only.
"""

from __future__ import annotations

import json
import posixpath
import re
import shutil
from html import escape
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx
from sphinx_external_toc.parsing import parse_toc_yaml

ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.S)
BOXES = (  # kinds of boxes, by their class
    *("theorem", "proposition", "lemma", "corollary", "definition", "example", "remark"),
    *("algorithm", "assumption", "conjecture", "exercise"),
)
ASKED = re.compile(r'<div class="statements-of" data-kind="(\w+)">')
VOID = {"img", "br", "input", "meta", "hr", "wbr", "source", "path"}
BULK = re.compile(r"<(pre|script|style)\b.*?</\1>", re.S)  # three tags of four, and no words
ROWS = re.compile(r'(<table class="house"><caption>.*?</caption>).*?(?=</table>)', re.S)  # results
SILENT = {"summary", "template"}
SILENT_CLASSES = {"headerlink", "toctree-wrapper", "slides", "eqno", "explorer-sliders"}
LINK = re.compile(r'<a class="[^"]*reference internal[^"]*" href="([^"#]+\.html)#([^"]+)"')


class Entries(HTMLParser):
    """Cut a page's text into entries: the page, its sections, boxes and terms."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.page = page
        self.found: list[dict] = []
        self.open: list[tuple[int, dict]] = []  # entries at hand, by the depth of their element
        self.depth = 0
        self.silent: int | None = None  # depth of an element whose text does not count
        self.title: int | None = None  # depth of a title
        self.term: dict | None = None

    def begin(self, kind: str, anchor: str) -> dict:
        """Start an entry at the present element."""
        entry = {"page": self.page, "id": anchor, "kind": kind, "title": "", "text": ""}
        self.found.append(entry)
        self.open.append((self.depth, entry))
        return entry

    def expects_title(self) -> bool:
        """Tell whether the entry at hand has no title yet."""
        return self.title is None and bool(self.open) and not self.open[-1][1]["title"]

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            return
        self.depth += 1
        attributes = dict(attrs)
        classes = (attributes.get("class") or "").split()
        anchor = attributes.get("id") or ""
        if self.silent is None and (tag in SILENT or SILENT_CLASSES & set(classes)):
            self.silent = self.depth
        elif tag == "section" and anchor:
            self.begin("section", anchor)
        elif tag == "div" and anchor and (kind := next((c for c in BOXES if c in classes), None)):
            self.begin(kind, anchor)
        elif tag == "dt" and anchor.startswith("term-"):
            self.begin("term", anchor)
            self.title = self.depth
        elif self.expects_title() and (
            re.fullmatch(r"h[1-6]", tag) or "admonition-title" in classes
        ):
            self.title = self.depth

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if self.silent == self.depth:
            self.silent = None
        if self.title == self.depth:
            self.title = None
        kept_for_definition = tag == "dt"
        while self.open and self.open[-1][0] == self.depth and not kept_for_definition:
            self.open.pop()
        if tag == "dd" and self.open and self.open[-1][1]["kind"] == "term":
            self.open.pop()
        self.depth -= 1

    def handle_data(self, data):
        if self.silent is None and self.open:
            entry = self.open[-1][1]
            entry["text" if self.title is None else "title"] += data


def entries(page: str, html: str) -> list[dict]:
    """Return the entries of a page, with one space between words."""
    parser = Entries(page)
    parser.feed(ROWS.sub(r"\1", BULK.sub("", html)))
    for entry in parser.found:
        for key in ("title", "text"):
            entry[key] = re.sub(r"\s+", " ", entry[key]).strip()
    return [entry for entry in parser.found if entry["title"] or entry["text"]]


def element(html: str, name: str) -> str | None:
    """Return the element of a page that has the id `name`."""
    at = html.find(f' id="{name}"')
    if at < 0:
        return None
    begin = html.rfind("<", 0, at)
    tag, depth = re.match(r"\w+", html[begin + 1 : at])[0], 0
    for mark in re.compile(rf"<(/?){tag}\b[^>]*>").finditer(html, begin):
        depth += -1 if mark[1] else 1
        if depth == 0:
            return html[begin : mark.end()]
    return None


def shown(html: str) -> str:
    """Return an element as a preview shows it: no ids, no scripts, no links to itself."""
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.S)
    html = re.sub(r'<a class="headerlink".*?</a>', "", html, flags=re.S)
    return re.sub(r'\s(?:id|loading)="[^"]*"', "", html)


def articles(out: Path) -> dict[str, str]:
    """Return the text of each page of the book, by its address without `.html`."""
    found = {}
    for path in sorted((out / "book").rglob("*.html")):
        match = ARTICLE.search(path.read_text(encoding="utf-8"))
        if match:
            found[path.relative_to(out).with_suffix("").as_posix()] = match[1]
    return found


def previews(texts: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return, for each page, the elements that other pages link to."""
    wanted: dict[str, set[str]] = {}
    for page, html in texts.items():
        folder = Path(page).parent
        for address, name in LINK.findall(html):
            target = re.sub(r"[^/]+/\.\./", "", (folder / address).as_posix())
            wanted.setdefault(target.removesuffix(".html"), set()).add(name)
    result: dict[str, dict[str, str]] = {}
    for page, names in wanted.items():
        for name in sorted(names):
            html = element(texts.get(page, ""), name)
            if html and not html.startswith(("<section", "<span", "<h")):
                result.setdefault(page, {})[name] = shown(html)
    return result


def script(name: str, value: object) -> str:
    """Return a script that puts a value into `window.book`."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"(window.book ??= {{}})[{json.dumps(name)}] = {data};\n"


def index_of(kind: str, found: list[dict], titles: dict[str, str], page: str) -> str:
    """Return the list of all entries of a kind as HTML, in the book's order, chapter by chapter."""
    lines: list[str] = []
    chapter = ""
    for entry in (e for e in found if e["kind"] == kind):
        if entry["page"] != chapter:
            chapter = entry["page"]
            lines.append(f"</ul>\n<h3>{escape(titles[chapter])}</h3>\n<ul>")
        address = f"{posixpath.relpath(chapter, posixpath.dirname(page))}.html#{entry['id']}"
        number, _, name = escape(entry["title"]).partition(" (")
        name = f" {name.removesuffix(')')}" if name else ""
        name = re.sub(r"\\\(.*?\\\)", r'<span class="math notranslate">\g<0></span>', name)
        lines.append(f'<li><a class="reference internal" href="{address}">{number}</a>{name}</li>')
    return f"<ul>{''.join(lines)}</ul>".replace("<ul></ul>", "")


def fill_indexes(out: Path, found: list[dict], titles: dict[str, str]) -> None:
    """Put the lists of statements where the index of statements asks for them."""
    page = "book/statements"
    path = out / f"{page}.html"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        path.write_text(
            ASKED.sub(lambda m: m[0] + index_of(m[1], found, titles, page), text), encoding="utf-8"
        )


def collect(app: Sphinx, error: Exception | None) -> None:
    """Write the data once all pages are there."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    texts = articles(out)
    order = {
        name: number for number, name in enumerate(parse_toc_yaml(Path(app.srcdir) / "_toc.yml"))
    }
    texts = dict(sorted(texts.items(), key=lambda item: order.get(item[0], len(order))))
    data = out / "data"
    shutil.rmtree(data, ignore_errors=True)
    (data / "previews").mkdir(parents=True)
    found = [entry for page, html in texts.items() for entry in entries(page, html)]
    titles = {e["page"]: e["title"] for e in reversed(found) if e["kind"] == "section"}
    found = [e for e in found if e["page"] != "book/claims" or e["title"]]
    fill_indexes(out, found, titles)
    (data / "search.js").write_text(
        script("search", {"titles": titles, "entries": found}), encoding="utf-8"
    )
    for page, elements in previews(texts).items():
        path = data / "previews" / f"{page.replace('/', '-')}.js"
        path.write_text(script(f"preview:{page}", elements), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", collect, priority=800)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
