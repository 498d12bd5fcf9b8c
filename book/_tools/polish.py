"""A local Sphinx extension: small repairs of a page's text when it is written.

Statements, examples and exercises get a link to themselves; a formula keeps the punctuation that
follows it on its line; the head of a proof can be styled; ids that the extensions give to every
box go, as an id may stand once on a page; links may name a page and a label on it; and the
reference of the library says nothing twice.
"""

from __future__ import annotations

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

STATEMENT = re.compile(
    r'(<div class="[^"]*\b(?:proof \w+|exercise)\b[^"]*" id="([^"]+)">\s*'
    r'<p class="admonition-title">)(.*?)(</p>)',
    re.S,
)
PERMALINK = '{0}{2}<a class="headerlink" href="#{1}" title="Link to this {3}">#</a>{4}'
FORMULA = re.compile(
    r"(\(?<span class=\"math[^>]*>\\\([^<]*\\\)</span>)((?:[.,;:!?)\]’”%]|’s|-[a-z]+)+)"
)
SAME_ID = re.compile(r' id="(?:proof|exercise|solution|[a-z]+)-content"')
PROOF = re.compile(r'<div class="proof admonition" id="proof">\s*<p>Proof\.')
PROOF_HEAD = '<div class="proof proof-text admonition">\n<p><em class="proof-head">Proof.</em>'
INPUT = re.compile(r'<summary aria-label="Toggle hidden content">')


def polished(body: str) -> str:
    """Return the HTML of a page's text, repaired."""

    def linked(match: re.Match) -> str:
        before, name, title, after = match.groups()
        kind = "exercise" if "exercise" in before else "statement"
        return PERMALINK.format(before, name, title, kind, after)

    body = STATEMENT.sub(linked, body)
    body = FORMULA.sub(r'<span class="together">\1\2</span>', body)
    body = PROOF.sub(PROOF_HEAD, SAME_ID.sub("", body))
    return INPUT.sub("<summary>", body)


def polish(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Repair a page before its template is filled."""
    if "body" in context and app.builder.format == "html":
        context["body"] = polished(context["body"])


def know_labels(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Let MyST find labels behind a page's name (``errata.md#err-c09``), not only headings."""
    domain = env.get_domain("std")
    for name, (page, anchor, *title) in {**domain.anonlabels, **domain.labels}.items():
        slugs = env.metadata[page].setdefault("myst_slugs", {})
        slugs.setdefault(name, (0, anchor, title[0] if title else name))
    return []


def without_aliases(app: Sphinx, what: str, name: str, item: object, skip: bool, _: object) -> bool:
    """Leave out of the reference what Python says of a named tuple's fields: the class says it."""
    return skip or str(item.__doc__).startswith("Alias for field number")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("autodoc-skip-member", without_aliases)
    app.connect("env-updated", know_labels)
    app.connect("html-page-context", polish, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
