"""The book as built: links, labels, alternative text, and the parts of a chapter."""

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup, NavigableString, Tag

ROOT = Path(__file__).resolve().parents[1]
SITE = (ROOT / "_build" / "html").resolve()
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
    if latest.stat().st_mtime > (SITE / "data" / "search.js").stat().st_mtime:
        pytest.fail(f"{latest.relative_to(ROOT)} is newer than the built book: run make book")


@cache
def text_of(stem):
    return (SITE / f"{stem}.html").read_text(encoding="utf-8")


@cache
def soup(stem):
    return BeautifulSoup(text_of(stem), "html.parser")


@cache
def article(stem):
    return soup(stem).select_one("article.bd-article")


@cache
def places(stem):
    """The ids on a page, which other pages may link to."""
    return set(re.findall(r'\sid="([^"]+)"', text_of(stem)))


def text_without(stem, query):
    """A page's text without that of the elements of a query."""
    left_out = {id(element) for element in article(stem).select(query)}

    def texts(element):
        for child in element.children:
            if isinstance(child, Tag):
                yield from texts(child) if id(child) not in left_out else ()
            elif type(child) is NavigableString:
                yield child

    return "".join(texts(article(stem)))


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


def test_the_root_is_a_page_that_leads_to_the_first_one():
    refresh = soup("index").select_one('meta[http-equiv="Refresh" i]')
    assert refresh["content"].endswith(f"url={pages()[0]}.html")
    assert soup("index").select_one("h1, p").find("a")["href"] == f"{pages()[0]}.html"


def broken(stem, link):
    """Say why a link inside the site leads nowhere, or return nothing."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    here = SITE / f"{stem}.html"
    target = (here.parent / unquote(parts.path)).resolve() if parts.path else here
    if not target.is_file():
        return f"{link}: no such file"
    page, name = str(target.relative_to(SITE).with_suffix("")), unquote(parts.fragment)
    if name and target.suffix == ".html" and name not in places(page):
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
    return text_without(stem, "pre, code, script, style, .math")


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
    """What is wrong with the alternative text of an image (that of a card is its title)."""
    if image.find_parent(class_="chapter-card"):
        return None
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
    pictures = article_.select("img:not(.chapter-card img)")
    none([image for image in pictures if not image.find_parent("figure")])
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


def explorers(stem):
    """What each explorer of a page holds: its element and its data."""
    found = article(stem).select(".explorer:not(.live)")
    return [(e, json.loads(e.script.string)) for e in found]


def test_explorer_frames_differ_and_say_what_they_show(page):
    for element, data in explorers(page):
        frames = ["><".join(data["parts"][part] for part in frame) for frame in data["frames"]]
        assert len(set(frames)) == len(frames) == len(set(data["alt"])), element.img["alt"]
        none(alt for alt in data["alt"] if len(alt) < 20)
        assert element.img["alt"] == data["alt"][data["first"]]
        assert len(str(element)) <= 520_000


def test_chapter_says_what_is_needed(chapter):
    start = text_without(chapter, "details")[:3000]
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


STATEMENTS = {"theorem", "proposition", "lemma", "corollary"}


def test_statements_have_proofs_or_say_that_they_are_cited(chapter):
    """The proof may come after examples, but before the next statement."""
    lacking, waiting = [], None
    for box in article(chapter).select("div.proof"):
        if "proof-text" in box["class"]:
            waiting = None
        elif STATEMENTS & set(box["class"]):
            lacking += [waiting] if waiting else []
            cited = "cited" in box.select_one(".admonition-title").get_text()
            waiting = None if cited else box["id"]
    none([*lacking, waiting] if waiting else lacking)


def test_statements_and_exercises_have_links_to_themselves(chapter):
    boxes = article(chapter).select("div.proof[id]:not(.proof-text), div.exercise[id]")
    assert boxes
    place = '.admonition-title a.headerlink[href="#{}"]'
    none(box["id"] for box in boxes if not box.select_one(place.format(box["id"])))


def test_chapter_cites(chapter):
    heading = next(h for h in article(chapter).select("h2") if "Further reading" in h.get_text())
    links = {a["href"].partition("#")[0] for a in heading.parent.select("a[href]")}
    assert "references.html" in links


def test_chapter_has_an_explorer(chapter):
    found = explorers(chapter)
    assert found, "no explorer"
    for element, data in found:
        assert 12 <= len(data["frames"]) <= 40, f"{len(data['frames'])} frames"
        assert element.find_parent("figure").figcaption


# The site as a whole


def addresses():
    """The book's two addresses, from the one place where they stand."""
    record = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return record["url"], record["repository-code"]


def test_every_mention_of_an_address_is_the_one_of_the_citation():
    site, repository = addresses()
    owner, name = repository.rsplit("/", 2)[1:]
    known = {f"{owner}/{name}", site.split("//")[1].strip("/")}
    pattern = re.compile(
        r"(?:github\.com/|mybinder\.org/v2/gh/)([\w-]+/[\w-]+)|([\w-]+\.github\.io/[\w-]+)"
    )
    files = [ROOT / "README.md", *(ROOT / "book").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    files += [*(ROOT / "book" / "assignments").glob("*.*"), ROOT / "lib" / "pyproject.toml"]
    strange = set()
    for path in files:
        for match in pattern.findall(path.read_text(encoding="utf-8")):
            address = next(filter(None, match))
            if "overparam" in address or "gradient-flow" in address:
                strange |= {f"{path.name}: {address}"} if address not in known else set()
    none(sorted(strange))


def test_page_says_what_it_is(page):
    head = soup(page).head
    site, _ = addresses()
    assert head.select_one('link[rel="canonical"]')["href"] == f"{site}{page}.html"
    assert head.select_one('link[rel="icon"]')
    for name in ("og:title", "og:description", "og:image", "og:url"):
        assert head.select_one(f'meta[property="{name}"]')["content"].strip(), name
    names = [meta["name"] for meta in head.select('meta[name^="citation_"]')]
    assert {"citation_title", "citation_author", "citation_publication_date"} <= set(names)
    assert re.search(r"Version \d+\.\d+", soup(page).select_one(".extra_footer").get_text())


def test_social_cards_are_there(page):
    address = soup(page).head.select_one('meta[property="og:image"]')["content"]
    site, _ = addresses()
    assert (SITE / address.removeprefix(site)).is_file()


def test_sitemap_names_every_page():
    text = (SITE / "sitemap.xml").read_text(encoding="utf-8")
    site, _ = addresses()
    none(page for page in pages() if f"<loc>{site}{page}.html</loc>" not in text)


def test_pages_that_are_no_chapters():
    assert "no such page" in soup("404").h1.get_text()
    assert soup("search").select_one("#find-form input[type=search]")
    for name in ("genindex", "prf-prf"):
        assert not (SITE / f"{name}.html").exists()


def test_page_loads_nothing_from_elsewhere(page):
    text = text_of(page)
    head = text.partition("</head>")[0]
    none(re.findall(r'<script[^>]*src="https?:[^"]*"|<link[^>]*stylesheet[^>]*https?:[^>]*', text))
    scripts = re.findall(r"<script(?![^>]*\b(?:defer|data-cfasync|type=))[^>]*src=", head)
    assert not scripts, "a script in the head that keeps the page waiting"


def test_statements_are_all_in_the_index():
    listed = {a["href"] for a in article("book/statements").select("li a")}
    there = {
        f"{chapter.removeprefix('book/')}.html#{box['id']}"
        for chapter in chapters()
        for box in article(chapter).select("div.proof[id], div.exercise[id]")
        if "proof-text" not in box["class"]
    }
    assert len(there) > 100
    none(sorted(there - listed))


def test_glossary_terms_lead_to_chapters():
    terms = article("book/glossary").select("dl.glossary dt")
    assert len(terms) >= 30
    links = {a["href"].partition("#")[0] for a in article("book/glossary").select("dd a[href]")}
    assert len(links & {f"{chapter.removeprefix('book/')}.html" for chapter in chapters()}) >= 10


def test_first_page_shows_every_chapter_with_picture_and_question():
    cards = {a["href"]: a for a in article(pages()[0]).select("a.chapter-card")}
    names = [chapter.removeprefix("book/") for chapter in chapters()]
    assert list(cards) == [f"{name}.html" for name in names]
    none(address for address, card in cards.items() if not card.select_one("img[src]"))
    none(
        address
        for address, card in cards.items()
        if len(card.select_one(".chapter-question").get_text()) < 20
    )


def test_citation_can_be_copied():
    block = article(pages()[0]).select_one(".highlight-bibtex pre")
    assert re.match(r"@misc\{\w+,\s+title", block.get_text())
