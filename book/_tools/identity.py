"""A local Sphinx extension: who the book is, told to readers, to search engines and to citers.

Title, authors, version and addresses stand in CITATION.cff and nowhere else. The version and the
date of the last change go into every page's footer, tags for citation managers into its head, and
``{bibtex}`` shows the entry for a bibliography.
"""

from __future__ import annotations

import datetime
import os
import re
import subprocess
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective


def citation(root: Path) -> dict:
    """Return what CITATION.cff says."""
    return yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))


def authors(record: dict) -> list[str]:
    """Return the authors as "Family, Given", or as the name of a body."""
    return [
        author["name"] if "name" in author else f"{author['family-names']}, {author['given-names']}"
        for author in record["authors"]
    ]


def date(root: Path) -> datetime.date:
    """Return the day of the last change: of the last commit, else today."""
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date()
    command = ["git", "-C", str(root), "log", "-1", "--format=%cs"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    text = run.stdout.strip()
    return datetime.date.fromisoformat(text) if text else datetime.date.today()


def bibtex(record: dict, day: datetime.date) -> str:
    """Return the BibTeX entry of the book."""
    names = " and ".join(name if ", " in name else f"{{{name}}}" for name in authors(record))
    return (
        f"@misc{{overparam,\n"
        f"  title        = {{{record['title']}}},\n"
        f"  author       = {{{names}}},\n"
        f"  year         = {{{day.year}}},\n"
        f"  note         = {{Version {record['version']}, with the library overparam}},\n"
        f"  howpublished = {{\\url{{{record['url']}}}}},\n"
        f"}}"
    )


class Bibtex(SphinxDirective):
    """Show the book's entry for a bibliography."""

    def run(self) -> list[nodes.Node]:
        root = Path(self.env.srcdir)
        text = bibtex(citation(root), date(root))
        return [nodes.literal_block(text, text, language="bibtex")]


class Downloads(SphinxDirective):
    """Show the ways to the PDF, the offline copy, Binder and the repository."""

    def run(self) -> list[nodes.Node]:
        record = citation(Path(self.env.srcdir))
        repository = record["repository-code"]
        binder = repository.replace("https://github.com/", "https://mybinder.org/v2/gh/")
        links = {
            "The book as PDF": f"{record['url']}gradient-flow-book.pdf",
            "To read offline (zip)": f"{record['url']}gradient-flow-book.zip",
            "Run it in Binder": f"{binder}/main?urlpath=lab/tree/book/index.ipynb",
            "Repository": repository,
        }
        line = nodes.paragraph(classes=["downloads"])
        for text, address in links.items():
            line += [nodes.reference("", text, refuri=address), nodes.Text(" ")]
        return [line]


def configure(app: Sphinx, config: Config) -> None:
    """Put addresses, version and date where Sphinx and the theme look for them."""
    root = Path(app.srcdir)
    record = citation(root)
    config.html_baseurl = config.ogp_site_url = record["url"]
    config.version = config.release = str(record["version"])
    day = date(root)
    foot = f"Version {record['version']}, {day.day} {day:%B %Y}. "
    config.html_theme_options = dict(config.html_theme_options)
    config.html_theme_options["repository_url"] = record["repository-code"]
    footer = config.html_theme_options.get("extra_footer", "")
    if "Version" not in footer:
        config.html_theme_options["extra_footer"] = foot + footer


def tags(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Add the tags that citation managers read to a page's head."""
    if doctree is None:
        return
    root = Path(app.srcdir)
    record, day = citation(root), date(root)
    title = re.sub(r"<[^>]+>", "", context.get("title", record["title"]))
    pairs = [
        ("citation_title", title),
        *(("citation_author", name) for name in authors(record)),
        ("citation_publication_date", f"{day:%Y/%m/%d}"),
        ("citation_inbook_title", record["title"]),
        ("citation_public_url", f"{record['url']}{pagename}.html"),
        ("citation_pdf_url", f"{record['url']}gradient-flow-book.pdf"),
        ("citation_language", "en"),
    ]
    lines = [f'<meta name="{name}" content="{escape(value)}" />' for name, value in pairs]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines) + "\n"


ROOT_PAGE = """<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta http-equiv="Refresh" content="0; url={first}.html" />
    <link rel="canonical" href="{url}{first}.html" />
    <title>{title}</title>
  </head>
  <body>
    <h1><a href="{first}.html">{title}</a></h1>
  </body>
</html>
"""


def lead_on(app: Sphinx, error: Exception | None) -> None:
    """Write the root page, and let the page for wrong addresses work at any address."""
    if error or app.builder.name != "html":
        return
    record = citation(Path(app.srcdir))
    page = ROOT_PAGE.format(first=app.config.root_doc, url=record["url"], title=record["title"])
    (Path(app.outdir) / "index.html").write_text(page, encoding="utf-8")
    lost = Path(app.outdir) / "404.html"
    if lost.is_file() and "<base " not in (text := lost.read_text(encoding="utf-8")):
        base = f'<head>\n    <base href="{urlsplit(record["url"]).path}" />'
        lost.write_text(text.replace("<head>", base, 1), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.set_html_assets_policy("always")  # the results of a search have formulas too
    app.add_directive("bibtex", Bibtex)
    app.add_directive("downloads", Downloads)
    app.connect("config-inited", configure, priority=100)
    app.connect("html-page-context", tags)
    app.connect("build-finished", lead_on, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
