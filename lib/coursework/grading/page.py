"""Feedback pages that run nothing: no script, no frame, no address but those of our own text."""

import html
from pathlib import Path

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'"
REMOVED = ("script", "iframe", "frame", "object", "embed", "link", "base", "form", "noscript")
STYLE = """
body { max-width: 60rem; margin: 1rem auto; padding: 0 1rem; font: 15px/1.5 sans-serif;
  color: #222; background: #fff; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.3rem 0; }
img { max-width: 100%; }
.panel, .input_area { border: 1px solid #ccc; border-radius: 4px; padding: 0.4rem 0.8rem;
  margin: 0.6rem 0; }
.panel .input_area { border: none; padding: 0; }
.panel-heading { background: #eef2f6; margin: -0.4rem -0.8rem 0.4rem; padding: 0.3rem 0.8rem; }
.pull-right { float: right; }
.prompt, .anchor-link, .output_prompt { display: none; }
.output_text pre { background: #f7f7f7; padding: 0.3rem 0.5rem; }
.cm-keyword, .k, .kn, .ow { color: #00709e; } .c1 { color: #5d6b5d; } .s1, .s2 { color: #94400a; }
"""


def disarm(path, notes=()):
    """Rewrite nbgrader's page: drop every script and address, and forbid the browser any.

    `notes` are put at the top. The style that nbconvert puts in (half a megabyte a page) is
    replaced by a few lines.
    """
    from bs4 import BeautifulSoup

    path = Path(path)
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    for element in soup.find_all([*REMOVED, "style", "meta"]):
        element.decompose()
    for element in soup.find_all(True):
        for name, value in list(element.attrs.items()):
            if name.startswith("on") or not _harmless(name, str(value)):
                del element[name]
    if soup.head is not None:
        for tag in reversed(_head(soup)):
            soup.head.insert(0, tag)
    if notes and soup.body is not None:
        box = soup.new_tag("div", attrs={"class": "panel"})
        for note in notes:
            line = soup.new_tag("p")
            line.string = f"Note: {note}"
            box.append(line)
        soup.body.insert(0, box)
    path.chmod(0o644)
    path.write_text(str(soup), encoding="utf-8")


def _harmless(name, value):
    """Tell whether an attribute leads nowhere but to the page itself, or is a picture's data."""
    if name in ("href", "xlink:href", "action", "formaction"):
        return value.startswith("#")
    if name in ("src", "srcset", "data", "poster", "background"):
        return name == "src" and value.startswith("data:image/png")
    return name not in ("style", "srcdoc", "http-equiv")


def _head(soup):
    charset = soup.new_tag("meta", charset="utf-8")
    policy = soup.new_tag("meta")
    policy["http-equiv"], policy["content"] = "Content-Security-Policy", POLICY
    style = soup.new_tag("style")
    style.string = STYLE
    return [charset, policy, style]


def write_notice(path, title, lines):
    """Write a page that says why there is nothing else to say."""
    text = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style>'
        f"<title>{html.escape(title)}</title></head><body><h1>{html.escape(title)}</h1>{text}"
        "</body></html>\n",
        encoding="utf-8",
    )
