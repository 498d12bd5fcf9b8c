"""A local Sphinx extension: the chapters as cards, each with its first figure and its question.

``<div class="cards-of" data-part="Warm-up"></div>`` on the first page becomes the cards of a part
of the table of contents, so that a new chapter has its card as soon as it is built. A card's
picture is the figure without letters and legend, which nobody could read at that size, drawn to
half a pixel.
"""

from __future__ import annotations

import re
from html import unescape
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import yaml
from finder import ARTICLE
from sphinx.application import Sphinx

ASKED = re.compile(r'<div class="cards-of" data-part="([^"]+)">')
HEADING = re.compile(r"<h1>(.*?)(?:<a class=\"headerlink|</h1>)", re.S)
FIGURE = re.compile(r'<figure\b.*?<img\b[^>]*\bsrc="([^"]+)"', re.S)
QUESTION = re.compile(r"<strong>([^<]*(?:<(?!/strong>)[^<]*)*\?)</strong>")
PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.S)


SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def thumbnail(svg: str) -> str:
    """Return a figure that matplotlib drew without letters and legend, with coordinates rounded."""
    tree = ElementTree.fromstring(svg)
    for parent in list(tree.iter()):
        for child in list(parent):
            if (
                child.get("id", "").startswith(("text_", "legend_"))
                or child.tag == f"{{{SVG}}}metadata"
            ):
                parent.remove(child)
    for path in tree.iter(f"{{{SVG}}}path"):
        digits = 0 if len(path.get("d", "")) > 400 else 1  # marks are small, curves long
        path.set("d", rounded(path.get("d", ""), digits))
    return ElementTree.tostring(tree, encoding="unicode")


def rounded(path: str, digits: int) -> str:
    """Return a path with rounded coordinates, without points that then repeat the one before."""
    short = re.sub(r"-?\d+\.\d+(?:e-?\d+)?", lambda m: f"{float(m[0]):.{digits}f}", path)
    steps = (step.strip() for step in re.findall(r"[A-Zz][^A-Zz]*", short))
    return " ".join(step for step, _ in groupby(steps))


def picture(out: Path, page: str, address: str) -> str:
    """Write the picture of a chapter's card; return its address as seen from the first page."""
    source = (out / page).parent / address
    if source.suffix != ".svg":
        return address
    name = f"card-{page.removeprefix('book/').replace('/', '-')}.svg"
    (out / "_images" / name).write_text(thumbnail(source.read_text(encoding="utf-8")), "utf-8")
    return f"../_images/{name}"


def card(out: Path, page: str, html: str) -> str:
    """Return the card of a chapter."""
    title = HEADING.search(html)[1]
    asked = QUESTION.search(html) or PARAGRAPH.search(html)
    text = re.sub(r"</?(?:a|em|strong)\b[^>]*>", "", asked[1]) if asked else ""
    figure = FIGURE.search(html)
    # A page of a folder shows its pictures by the same address as the first page does.
    image = f'<img alt="" loading="lazy" src="{picture(out, page, figure[1])}" />' if figure else ""
    return (
        f'<a class="chapter-card" href="{page.removeprefix("book/")}.html">'
        f'<span class="chapter-picture">{image}</span>'
        f'<span class="chapter-title">{title}</span>'
        f'<span class="chapter-question">{text}</span></a>'
    )


def fill(app: Sphinx, error: Exception | None) -> None:
    """Put the cards on the first page, once all pages are there."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    toc = yaml.safe_load((Path(app.srcdir) / "_toc.yml").read_text(encoding="utf-8"))
    parts = {part["caption"]: part["chapters"] for part in toc["parts"]}

    def cards(match: re.Match) -> str:
        found = []
        for chapter in parts.get(unescape(match[1]), []):
            path = out / f"{chapter['file']}.html"
            if path.is_file():
                html = ARTICLE.search(path.read_text(encoding="utf-8"))[1]
                found.append(card(out, chapter["file"], html))
        return match[0] + "".join(found)

    path = out / f"{toc['root']}.html"
    path.write_text(ASKED.sub(cards, path.read_text(encoding="utf-8")), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("build-finished", fill, priority=850)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
