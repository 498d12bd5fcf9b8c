"""The book as built: links, labels, alternative text, and the parts of a chapter."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
# Other files than these do not change a page.
SOURCES = ("*.md", "*.ipynb", "*.bib", "*.yml", "assignments/*.*", "_static/*", "_tools/*.py")
# sphinx-proof and sphinx-exercise give these to every proof and to every box's inside.
REPEATED = {"proof", "proof-content", "exercise-content", "solution-content"}


def toc():
    return yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))


def pages():
    """Stems of all pages in the table of contents, such as book/scalar."""
    contents = toc()
    chapters = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *chapters]


def chapters():
    """Stems of the numbered chapters: the notebooks outside the back matter."""
    return [
        chapter["file"]
        for part in toc()["parts"]
        if part.get("numbered", True)
        for chapter in part["chapters"]
    ]


def newest(paths):
    return max(paths, key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="session", autouse=True)
def built():
    """Refuse to judge a site that is not there or older than what it is made from."""
    missing = [stem for stem in pages() if not (SITE / f"{stem}.html").is_file()]
    if missing:
        pytest.fail(f"not built: {', '.join(missing)}: run make book")
    sources = [path for pattern in SOURCES for path in (ROOT / "book").glob(pattern)]
    sources += [*(ROOT / "lib").rglob("*.py"), ROOT / "_config.yml", ROOT / "_toc.yml"]
    latest = newest(sources)
    if latest.stat().st_mtime > newest(SITE.glob("*.js")).stat().st_mtime:
        pytest.fail(f"{latest.relative_to(ROOT)} is newer than the built book: run make book")


@cache
def soup(stem):
    return BeautifulSoup((SITE / f"{stem}.html").read_text(encoding="utf-8"), "html.parser")


def article(stem):
    return soup(stem).select_one("article.bd-article")


def none(found):
    """Fail with one line for each thing that was found."""
    found = [str(thing) for thing in found]
    assert not found, "\n".join(found)


@pytest.fixture(params=pages())
def page(request):
    return request.param


@pytest.fixture(params=chapters())
def chapter(request):
    return request.param


def test_every_notebook_is_in_the_table_of_contents():
    there = {f"book/{path.stem}" for path in (ROOT / "book").glob("*.ipynb")}
    none(sorted(there - set(pages())))


def test_home_leads_to_the_first_page():
    refresh = soup("index").select_one('meta[http-equiv="Refresh" i]')
    assert refresh["content"].endswith(f"url={pages()[0]}.html")


def broken(stem, link):
    """Say why a link inside the site leads nowhere, or return nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    here = SITE / f"{stem}.html"
    target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
    if not target.is_file():
        return f"{link}: no such file"
    if parts.fragment and target.suffix == ".html":
        found = soup(str(target.relative_to(SITE).with_suffix("")))
        if not found.find(id=unquote(parts.fragment)):
            return f"{link}: no such place"
    return None


def test_internal_links_resolve(page):
    links = {a["href"] for a in soup(page).select("a[href]") if a["href"] not in ("#", "")}
    links |= {element["src"] for element in soup(page).select("img[src], script[src]")}
    links |= {element["href"] for element in soup(page).select("link[href]")}
    links = {link for link in links if not link.startswith(("data:", "javascript:"))}
    none(filter(None, (broken(page, link) for link in sorted(links))))


def test_cross_references_resolve(page):
    """A reference that Sphinx could not resolve stays as text of class xref without a link."""
    lost = [x for x in article(page).select(".xref") if not (x.find_parent("a") or x.name == "a")]
    none(lost)


def plain_text(stem):
    """The page's text without code and without formulas."""
    copy = BeautifulSoup(str(article(stem)), "html.parser")
    for element in copy.select("pre, code, script, style, .math"):
        element.extract()
    return copy.get_text()


def test_no_raw_markup_is_left(page):
    marks = r"\$\$|\$[^$\n]+\$|\\[(\[)\]]|\\[a-zA-Z]{2,}|```|:::|\{[a-z:]+\}`|^\s*:\w+:"
    none(re.findall(rf".{{0,30}}(?:{marks}).{{0,30}}", plain_text(page), re.MULTILINE))


def test_ids_are_unique(page):
    count = Counter(element["id"] for element in soup(page).select("[id]"))
    none({name for name, n in count.items() if n > 1} - REPEATED)


def test_headings_are_in_order(page):
    levels = [int(heading.name[1]) for heading in article(page).select("h1, h2, h3, h4, h5, h6")]
    assert levels.count(1) == 1 and levels[0] == 1
    none([f"h{a} then h{b}" for a, b in zip(levels, levels[1:], strict=False) if b > a + 1])


def test_title_is_the_heading(page):
    heading = article(page).h1.get_text().removesuffix("#")
    title, _, book = soup(page).title.get_text().partition(" — ")
    # Formulas are written otherwise in a title than in a heading.
    assert title.split()[:3] == heading.split()[:3]
    assert book == "Gradient Flow in Overparametrized Models"


def alt_faults(image):
    """What is wrong with the alternative text of an image."""
    alt = image.get("alt", "").strip()
    if len(alt) < 20:
        return f"alternative text too short: {alt!r} for {image.get('src', '')[:60]}"
    if re.search(r"\.(svg|png|jpe?g)$|_images/", alt) or Path(image["src"]).stem in alt:
        return f"alternative text is a file name: {alt}"
    return None


def test_images_have_alternative_text(page):
    none(filter(None, map(alt_faults, article(page).select("img"))))


def test_figures_have_captions(page):
    article_ = article(page)
    none([image for image in article_.select("img") if not image.find_parent("figure")])
    captions = [
        figure.select_one("figcaption .caption-text") for figure in article_.select("figure")
    ]
    none(
        [
            f"figure {n} has no caption"
            for n, caption in enumerate(captions, 1)
            if not caption or len(caption.get_text().strip()) < 20
        ]
    )


def frames(stem):
    """The pictures of the explorers, from the widgets' state that the page carries."""
    script = soup(stem).select_one('script[type$="widget-state+json"]')
    models = [] if script is None else json.loads(script.string)["state"].values()
    texts = [model["state"]["value"] for model in models if model["model_name"] == "HTMLModel"]
    return [BeautifulSoup(text, "html.parser").img for text in texts if "explorer-frame" in text]


def test_explorer_frames_differ_and_say_what_they_show(page):
    pictures = frames(page)
    none(filter(None, map(alt_faults, pictures)))
    for attribute in ("alt", "src"):
        count = Counter(picture[attribute] for picture in pictures)
        none(
            f"{n} frames have the same {attribute}: {text[:100]}"
            for text, n in count.items()
            if n > 1
        )


def test_chapter_says_what_is_needed(chapter):
    start = article(chapter).get_text()[:3000]
    assert article(chapter).select_one(".admonition.objectives li"), "no objectives"
    assert re.search(r"You need|Prerequisites", start), "no prerequisites"
    assert re.search(r"Run time", start), "no run time"


@pytest.mark.parametrize("heading", ["When it fails", "Exercises", "Summary", "Further reading"])
def test_chapter_has_its_sections(chapter, heading):
    found = [h2 for h2 in article(chapter).select("h2") if heading in h2.get_text()]
    assert len(found) == 1, f"no section {heading}"
    assert len(found[0].parent.get_text()) > len(found[0].get_text()) + 50, "empty section"


def test_chapter_has_exercises_with_hidden_solutions(chapter):
    exercises = {box["id"] for box in article(chapter).select("div.exercise")}
    assert len(exercises) >= 5
    solutions = article(chapter).select("div.solution")
    none([s for s in solutions if "dropdown" not in s["class"]])
    solved = {s.select_one(".admonition-title a")["href"].lstrip("#") for s in solutions}
    none(sorted(exercises - solved))
    none([s.get_text()[:40] for s in solutions if len(s.section.get_text().strip()) < 20])


def test_chapter_cites(chapter):
    heading = next(h for h in article(chapter).select("h2") if "Further reading" in h.get_text())
    links = {a["href"].partition("#")[0] for a in heading.parent.select("a[href]")}
    assert "references.html" in links


def test_chapter_has_an_explorer(chapter):
    assert article(chapter).select('script[type$="widget-view+json"]')
    assert len(frames(chapter)) > 4
