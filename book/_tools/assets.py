"""A local Sphinx extension: pages that need no network, in few requests.

When the pages are written, their style sheets become one and their scripts become one, loaded after
the page is read; the theme's icon font is replaced by the few icons that the pages use; live
computing by thebe, which this book does not offer, goes, and so do the theme's style rules for
things that no page has; pictures below the first screen are loaded when they come into view.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

LINK = re.compile(r'<link\b[^>]*\brel="stylesheet"[^>]*>\s*')
PRELOAD = re.compile(r'<link\b[^>]*\brel="preload"[^>]*>\s*')
SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>\s*", re.S)
SOURCE = re.compile(r'\b(?:src|href)="([^"?#]*)[^"]*"')
# Scripts that say something about one page, or must run before it is shown: they stay as they are.
VIEWPORT = re.compile(r'<meta name="viewport"[^>]*>\s*')
STAY = re.compile(r"window\.MathJax|data-cfasync|application/|mathjax/")
# What the pages do not use: icons as a font, thebe, tabs, Sphinx's own search.
DROP = re.compile(
    r"fontawesome\.js|thebe|DOCUMENTATION_OPTIONS\.|design-tabs|searchtools|language_data"
    r"|searchindex|Search\.loadIndex"
)
ICON_RULE = re.compile(r"(?<=[}/])\s*\.fa[a-z0-9-]*[^{}@]*\{[^{}]*\}")
IMPORT = re.compile(r"""@import\s+(?:url\()?["']?([\w./-]+)["']?\)?;""")
ICON_FONT = re.compile(r"@font-face\{[^{}]*Font Awesome[^{}]*\}")
# The theme's script comes later: a reader in the dark should not see the light one first.
THEME = """<script data-cfasync="false">
    (() => {
      const kept = (name) => { try { return localStorage.getItem(name) } catch { return null } };
      const mode = kept("mode") || "auto";
      const dark = matchMedia("(prefers-color-scheme: dark)").matches;
      document.documentElement.dataset.mode = mode;
      document.documentElement.dataset.theme = mode === "auto" ? (dark ? "dark" : "light") : mode;
    })();
  </script>"""
CSS_TOKEN = re.compile(r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]""", re.S)
NESTED = ("@media", "@supports", "@layer", "@container")
NEGATED = re.compile(r":not\((?:[^()]|\([^()]*\))*\)")
CLASS = re.compile(r"\.((?:\\.|[\w-])+)")
OWN = {"house.css", "screens.css"}
# The two themes disagree about the name of a page's contents, which follow the reader.
CONTENTS = ('data-bs-target=".bd-toc-nav"', 'data-bs-target="#pst-page-toc-nav"')
LATER = re.compile(r'<img (?=[^>]*\bsrc="(?!data:))')
UNUSED = {"locales", "scripts", "styles", "vendor"}
DONE = "_static/book.css?v="
ICON_BASE = """
.fa-solid, .fa-brands, .fa-regular, .fas, .fab, .far {
  background: currentColor; display: inline-block; height: 1em; vertical-align: -0.125em;
  mask: var(--icon) center / contain no-repeat; width: 1.125em;
}
"""


def bundle(app: Sphinx, error: Exception | None) -> None:
    """Rewrite all pages of the finished site."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    if not (out / "_static" / "scripts").is_dir():
        return  # nothing was written
    pages = [path for path in out.rglob("*.html") if "_static" not in path.parts]
    texts = {path: path.read_text(encoding="utf-8") for path in pages}
    styles, scripts = assets(out, texts)
    icons = icon_rules(out, texts.values(), scripts)
    names = {
        "css": write(out, "book.css", "\n".join([*styles, icons])),
        "js": write(out, "book.js", ";\n".join(scripts)),
    }
    for path, text in texts.items():
        path.write_text(rewritten(path, text, out, names), encoding="utf-8")
    for path in [*(out / "_static").iterdir()]:
        if path.is_dir() and path.name in UNUSED:
            shutil.rmtree(path)
        elif path.suffix in {".css", ".js"} and path.name not in {"book.css", "book.js"}:
            path.unlink()
    logger.info("pages: one style sheet, one script, %d icons", icons.count("--icon:"))


def assets(out: Path, texts: dict[Path, str]) -> tuple[list[str], list[str]]:
    """Return the style sheets and scripts of all pages, each once, in the order of the pages."""
    styles: dict[str, str] = {}
    settings: dict[str, str] = {}  # short scripts in the pages: the others read what they set
    scripts: dict[str, str] = {}
    for page, text in texts.items():
        if DONE in text:
            continue
        for tag in LINK.findall(text):
            path = local(page, SOURCE.search(tag)[1])
            if path and not DROP.search(tag):
                styles.setdefault(str(path), styled(path, out))
        for attributes, body in SCRIPT.findall(text):
            if STAY.search(attributes + body) or DROP.search(attributes + body):
                continue
            source = SOURCE.search(attributes)
            path = local(page, source[1]) if source else None
            if path:
                scripts.setdefault(str(path), path.read_text(encoding="utf-8"))
            elif not source:
                settings.setdefault(body.strip(), body.strip())
    scripts = {**settings, **scripts}
    bodies = [re.sub(r"//# sourceMapping.*", "", text) for text in scripts.values()]
    used = class_names(texts.values(), bodies)
    return [
        text if Path(name).name in OWN else "".join(used_rules(text, used))
        for name, text in styles.items()
    ], bodies


def class_names(texts: Iterable[str], scripts: list[str]) -> set[str]:
    """Return the classes that pages have, and all words of scripts, which may give some more."""
    used = {name for text in scripts for name in re.findall(r"[\w-]+", text)}
    for text in texts:
        for names in set(re.findall(r'class="([^"]*)"', text)):
            used.update(names.split())
    return used


def used_rules(css: str, used: set[str]) -> Iterator[str]:
    """Yield the rules of a style sheet that can apply to elements of the used classes only."""
    for head, body in rules(css):
        if body is None:
            yield f"{head};"
        elif head.startswith(NESTED):
            if kept := "".join(used_rules(body, used)):
                yield f"{head}{{{kept}}}\n"
        elif head.startswith("@"):
            yield f"{head}{{{body}}}\n"
        elif selectors := [part for part in split_selectors(head) if can_apply(part, used)]:
            yield f"{','.join(selectors)}{{{body}}}\n"


def rules(css: str) -> Iterator[tuple[str, str | None]]:
    """Yield each rule of a style sheet as its head and its body (None for a statement)."""
    head, start, depth = 0, 0, 0
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    for token in CSS_TOKEN.finditer(css):
        mark = token[0]
        if mark == "{":
            depth += 1
            start = token.end() if depth == 1 else start
        elif mark == "}":
            depth -= 1
            if depth == 0:
                yield css[head : start - 1].strip(), css[start : token.start()].strip()
                head = token.end()
        elif mark == ";" and depth == 0:
            yield css[head : token.start()].strip(), None
            head = token.end()


def split_selectors(head: str) -> list[str]:
    """Return the selectors of a rule: what commas outside parentheses separate."""
    return re.findall(r"(?:\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)|[^,(])+", head)


def can_apply(selector: str, used: set[str]) -> bool:
    """Tell whether a page may have what a selector asks for; alternatives in it count as there."""
    plain = re.sub(r":(?:is|where|has)\((?:[^()]|\([^()]*\))*\)", "", NEGATED.sub("", selector))
    return all(name.replace("\\", "") in used for name in CLASS.findall(plain))


def local(page: Path, address: str) -> Path | None:
    """Return the file behind an address in a page, or None for an address elsewhere."""
    path = (page.parent / address).resolve()
    return path if "//" not in address and path.is_file() else None


def styled(path: Path, out: Path) -> str:
    """Return a style sheet without the icon font, with addresses as seen from `_static`."""
    text = path.read_text(encoding="utf-8").removeprefix('@charset "UTF-8";')
    text = ICON_FONT.sub("", re.sub(r"/\*# sourceMapping.*?\*/", "", text))
    while (shorter := ICON_RULE.sub("", text)) != text:
        text = shorter
    text = IMPORT.sub(lambda match: styled((path.parent / match[1]).resolve(), out), text)
    static = out / "_static"

    def moved(match: re.Match) -> str:
        target = (path.parent / match[1]).resolve()
        return f"url({target.relative_to(static.resolve()).as_posix()})"

    return re.sub(r"url\([\"']?(?!data:|#|[a-z]+:)([^\"')]+)[\"']?\)", moved, text)


def icon_rules(out: Path, texts, scripts: list[str]) -> str:
    """Return style rules for the icons that the pages use, drawn from the theme's own file.

    The drawings are Font Awesome's (CC BY 4.0, https://fontawesome.com/license/free).
    """
    library = (out / "_static" / "scripts" / "fontawesome.js").read_text(encoding="utf-8")
    used = {
        name
        for text in (*texts, *scripts)
        for name in re.findall(r"(?<=fa-)[a-z][a-z-]+(?=[\s\"'])", text)
    }
    rules = [ICON_BASE]
    for name in sorted(used):
        entry = re.search(
            rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^\]]*\],"[0-9a-f]+","([^"]+)"', library
        )
        if entry:
            width, height, path = entry.groups()
            svg = (
                f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'>"
                f"<path d='{path}'/></svg>"
            )
            address = quote(svg, safe=" /:;,=()'!*+?@")
            rules.append(f'.fa-{name} {{ --icon: url("data:image/svg+xml,{address}"); }}')
    return "/* Icons: Font Awesome Free, CC BY 4.0 */" + "\n".join(rules)


def write(out: Path, name: str, text: str) -> str:
    """Write a file of `_static`; return its name with the mark of what is in it."""
    (out / "_static" / name).write_text(text, encoding="utf-8")
    return f"{name}?v={hashlib.sha256(text.encode()).hexdigest()[:8]}"


def rewritten(page: Path, text: str, out: Path, names: dict[str, str]) -> str:
    """Return a page that loads the one style sheet and the one script."""

    def script(match: re.Match) -> str:
        return match[0] if kept(page, match[1], match[2]) else ""

    if DONE in text:
        return re.sub(r"book\.(css|js)\?v=\w+", lambda match: names[match[1]], text)
    if "</head>" not in text or "_static/" not in text:
        return text
    static = f"{'../' * (len(page.relative_to(out).parts) - 1)}_static"
    text = PRELOAD.sub("", LINK.sub("", text))
    text = re.sub(r"<script data-cfasync.*?</script>", THEME, text, flags=re.S)
    text = SCRIPT.sub(script, text)
    text = text.replace(*CONTENTS)
    viewport, *rest = VIEWPORT.split(text)
    text = viewport + VIEWPORT.search(text)[0] + "".join(rest)
    head = (
        f'<link rel="stylesheet" href="{static}/{names["css"]}" />\n'
        f'<script defer src="{static}/{names["js"]}"></script>\n'
    )
    text = text.replace("<title>", head + "<title>", 1)
    before, image, after = text.partition("<img ")
    return before + image + LATER.sub('<img loading="lazy" ', after)


def kept(page: Path, attributes: str, body: str) -> bool:
    """Tell whether a script stays where it is: it is not in the common one, and is used."""
    if DROP.search(attributes + body) and "cfasync" not in attributes:
        return False
    return STAY.search(attributes + body) is not None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension; it works on the pages after all others."""
    app.connect("build-finished", bundle, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
