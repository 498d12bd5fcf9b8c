"""The built pages in a browser: formulas, explorers, themes, phones, paper, search, accessibility.

Every page is opened once, and all its tests run in one process (tests/conftest.py): they look at
it on a desktop, in the dark, on a phone and on paper. The site stands alone: any request to
elsewhere is refused and reported.
"""

import gzip
import io
import json
import mimetypes
import os
import re
import shutil
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
MODULES = ROOT / "tests" / "node_modules"
ADDRESS = "http://book.test/"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
PAPER = {"width": 658, "height": 970}  # the text block of A4 at 96 dots an inch

# The theme's own fault, on the buttons of search and theme: allowed outside a page's text.
THEME_FAULT = "label-content-name-mismatch"
# What one visit may cost: requests before scrolling, kilobytes as a server sends them.
REQUESTS, COLD, WARM = 25, 900, 300
SHARED = re.compile(r"/(?:_static/(?:book\.|fonts/)|mathjax/)")  # cached after the first page


def pages():
    """Stems of all pages in the table of contents, such as book/scalar."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = [toc, *toc.get("parts", [])]
    chapters = [chapter["file"] for part in parts for chapter in part.get("chapters", [])]
    return [toc["root"], *chapters]


def missing_tools():
    """Say what is needed to run these tests and is not there, or return an empty text."""
    if not any(map(shutil.which, BROWSERS)):
        return "no Chromium found (on Debian: apt install chromium)"
    if not (MODULES / "axe-core").is_dir():
        return "no node packages: run npm install in tests"
    return ""


@pytest.fixture(scope="session")
def tools():
    """Skip without browser or node packages; on a continuous-integration machine, fail."""
    reason = missing_tools()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    if not (SITE / "index.html").is_file():
        pytest.fail("the book is not built: run make book")


@pytest.fixture(scope="session")
def browser(tools):
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@cache
def content(path):
    """What is in a file of the site, read once."""
    return path.read_bytes()


@cache
def weight(path):
    """Bytes of a file as a server sends it: compressed, unless it is so already."""
    data = content(path)
    return len(data if path.suffix in {".woff", ".woff2", ".png"} else gzip.compress(data, 6))


# Formulas are drawn, letters are there, and explorer.js has looked at what has changed. A change
# of the window's size is noticed when the next picture is drawn.
SETTLED = """async () => {
    await MathJax.startup.promise;
    await document.fonts.ready;
    const frame = () => new Promise(requestAnimationFrame);
    await frame();
    await frame();
    while (document.documentElement.hasAttribute('data-looking')) await frame();
}"""


def open_page(browser, path, outside="refused"):
    """Open one page of the site and wait until its formulas are drawn.

    Parameters
    ----------
    outside : {"refused", "silent"}
        What becomes of a request to elsewhere: an error at once, or no answer ever.

    Returns
    -------
    SimpleNamespace
        `page`, and the lists `errors` (console and uncaught), `elsewhere` (addresses that the site
        does not hold), `files` (what was sent) and `first` (what was sent before scrolling).
    """
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(60_000)
    errors, elsewhere, files = [], [], []

    def answer(route):
        url = route.request.url
        file = SITE / unquote(urlsplit(url).path).lstrip("/")
        if not url.startswith(ADDRESS) or not file.is_file():
            elsewhere.append(url)
            if outside == "refused":
                route.abort()
            return
        files.append(file)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        route.fulfill(body=content(file), content_type=kind)

    context.route("**/*", answer)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type in {"error", "warning"} else None)
    page.goto(ADDRESS + path, wait_until="domcontentloaded")
    page.wait_for_function("() => window.MathJax?.startup?.promise")
    page.evaluate(SETTLED)
    return SimpleNamespace(
        page=page, errors=errors, elsewhere=elsewhere, files=files, first=list(files)
    )


# The module's scope makes pytest run all tests of one page in a row.
@pytest.fixture(scope="module", params=pages())
def visit(request, browser):
    visit = open_page(browser, f"{request.param}.html")
    yield visit
    visit.page.context.close()


def show(page, size=DESKTOP, scheme="light", media="screen"):
    """Set the window, the theme and the medium, as a reader does in the system's settings."""
    if page.viewport_size != size:
        page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, media=media)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=scheme)
    page.evaluate(SETTLED)
    return page


def none(found):
    """Fail with one line for each thing that was found."""
    found = list(found)
    assert not found, "\n".join(found)


# Each page


def test_asks_for_little_and_for_nothing_elsewhere(visit):
    none([*visit.errors, *visit.elsewhere])
    page = visit.page
    page.evaluate(
        """() => Promise.all([...document.images].map(image => {
            image.loading = 'eager';
            return image.decode().catch(() => {});
        }))"""
    )
    files = [*dict.fromkeys(visit.files)]
    cold = sum(map(weight, files)) / 1000
    warm = sum(weight(file) for file in files if not SHARED.search(file.as_posix())) / 1000
    assert len(visit.first) <= REQUESTS, [file.name for file in visit.first]
    assert cold <= COLD and warm <= WARM, f"{cold:.0f} kB cold, {warm:.0f} kB warm"
    none(visit.elsewhere)


MATH = """() => {
    const all = (query, from = document) => [...from.querySelectorAll(query)];
    const article = document.querySelector('.bd-article').cloneNode(true);
    all('pre, code, script, style, mjx-container', article).forEach(e => e.remove());
    return {
        errors: all('mjx-merror').map(e => e.closest('mjx-container').textContent),
        red: all('mjx-mtext').filter(e => getComputedStyle(e).color === 'rgb(255, 0, 0)')
            .map(e => e.textContent),
        bare: all('.math').filter(e => all('mjx-container', e).length !== 1)
            .map(e => e.textContent),
        text: article.textContent,
    };
}"""


def test_formulas_are_drawn(visit):
    found = show(visit.page).evaluate(MATH)
    none([*found["errors"], *found["red"], *found["bare"]])
    raw = r".{0,20}(?:\\[(\[)\]]|\$\$|\$[^$\n]+\$|\\[a-zA-Z]{3,}).{0,20}"
    none(re.findall(raw, found["text"]))


# All positions of a slider, one after the other: what it says, what stands beside it, the picture's
# address and its text. The slider goes back to where it was.
POSITIONS = """async slider => {
    const image = slider.closest('.explorer').querySelector('img.explorer-frame');
    const start = slider.value;
    const put = async value => {
        slider.value = value;
        slider.dispatchEvent(new Event('input'));
        await image.decode();
    };
    const seen = [];
    for (let value = Number(slider.min); value <= Number(slider.max); value += 1) {
        await put(value);
        seen.push([slider.getAttribute('aria-valuetext'), slider.parentElement.innerText,
            image.naturalWidth > 0 && image.src, image.alt]);
    }
    await put(start);
    return seen;
}"""


def test_explorers_follow_their_sliders(visit):
    page = show(visit.page)
    for explorer in page.locator(".explorer:not(.live)").all():
        image = explorer.locator("img.explorer-frame")
        first = image.get_attribute("alt")
        for slider in explorer.get_by_role("slider").all():
            values = json.loads(slider.get_attribute("data-values"))
            seen = slider.evaluate(POSITIONS)
            assert [said for said, *_ in seen] == values
            none(text for value, text, *_ in seen if value not in text)
            assert len({(picture, alt) for *_, picture, alt in seen}) == len(seen)
            assert all(picture for *_, picture, _ in seen)
            start = slider.input_value()
            slider.press("Home")
            assert slider.get_attribute("aria-valuetext") == values[0]
            slider.press("ArrowRight")
            assert slider.get_attribute("aria-valuetext") == values[1]
            slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }", start)
        assert image.get_attribute("alt") == first
        assert explorer.locator("xpath=ancestor::figure//figcaption").count() == 1


def test_live_explorers_can_be_dragged(visit):
    page = show(visit.page)
    for live in page.locator(".explorer.live").all():
        readout = live.locator(".live-readout")
        said = [readout.inner_text()]
        picture = live.locator(".live-picture")
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
        page.mouse.up()
        said.append(readout.inner_text())
        live.get_by_role("slider").first.press("ArrowRight")
        said.append(readout.inner_text())
        assert said[0] != said[1] != said[2]
        assert not live.locator("img").is_visible()


# What axe would look at over and over: the insides of formulas, which are MathJax's own, and code,
# of which each class of letters is left once where it is shown.
FORMULAS = "() => document.querySelectorAll('mjx-container > *').forEach(e => e.remove())"
CODE = """() => {
    const spans = [...document.querySelectorAll('.bd-article pre span:not(:has(*))')];
    const shown = new Set(spans.filter(e => e.checkVisibility()));
    const seen = new Set();
    for (const span of spans) {
        if (seen.has(span.className)) span.remove();
        if (shown.has(span)) seen.add(span.className);
    }
}"""

# Whether letters stand out depends on the elements they stand in: of what stands in elements of
# the same names, classes and styles, one that is shown is left.
THIN = """() => {
    const article = document.querySelector('.bd-article');
    // All at once, before anything changes, or the page would be laid out for each.
    const shown = new Set([...article.querySelectorAll('*')].filter(e => e.checkVisibility()));
    const seen = new Set();
    const name = e => [e.localName, e.getAttribute('class'), e.getAttribute('style')].join();
    const thin = (parent, path) => {
        for (const child of [...parent.children]) {
            const at = `${path} ${name(child)}`;
            thin(child, at);
            if (child.children.length) continue;
            if (seen.has(at) || !shown.has(child)) child.remove();
            else seen.add(at);
        }
    };
    thin(article, '');
}"""
COLOURS = ["color-contrast", "scrollable-region-focusable"]


def violations(page, rules):
    """Accessibility faults that axe-core finds by these of its options, a line for each element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(
        """async options => (await axe.run(
            document, {resultTypes: ['violations'], ...options})).violations""",
        rules,
    )
    return [
        f"{fault['id']}: {node['target']} {node['html'][:120]}"
        for fault in found
        for node in fault["nodes"]
        if fault["id"] != THEME_FAULT or in_text(page, node["target"][0])
    ]


def in_text(page, query):
    return page.evaluate("query => !!document.querySelector(query).closest('.bd-article')", query)


def luminance(rgb):
    """Relative luminance (WCAG 2) of sRGB values from 0 to 255, along the last axis."""
    c = np.asarray(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def painted(image):
    """Luminance of a picture's background, and the best contrast of its marks against it.

    The background is the commonest colour. The best two in a thousand pixels stand for
    the marks: letters and axes are thin, and single pixels may be accidents.
    """
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB"))
    packed = pixels.reshape(-1, 3)[::3] @ [1 << 16, 1 << 8, 1]
    colours, counts = np.unique(packed, return_counts=True)
    light = luminance(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1))
    background, marks = light[counts.argmax()], np.repeat(light, counts)
    contrast = (np.maximum(marks, background) + 0.05) / (np.minimum(marks, background) + 0.05)
    return background, np.quantile(contrast, 0.998)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_are_readable(visit, scheme):
    """The first picture of a page, since all are drawn and turned over alike."""
    page = show(visit.page, scheme=scheme)
    for image in page.locator(".bd-article figure img:visible").all()[:1]:
        background, contrast = painted(image)
        assert contrast >= 4.5, f"contrast {contrast:.1f}: {image.get_attribute('alt')}"
        assert background < 0.05 if scheme == "dark" else background > 0.8


# What is cut at this width. Boxes that only screen readers meet are one pixel wide.
CUT = """() => {
    const all = query => [...document.querySelectorAll(`.bd-article :is(${query})`)];
    const seen = e => e.offsetParent && e.getBoundingClientRect().width > 1;
    const over = e => e.scrollWidth - e.clientWidth;
    const found = [];
    const width = document.documentElement.clientWidth;
    const say = (kind, e, by) => found.push(`${kind} ${Math.round(by)} px: `
        + (e.querySelector('mjx-assistive-mml') ?? e).textContent.trim().slice(0, 70));
    for (const e of all('pre, .pst-scrollable-table-container, .output'))
        if (seen(e) && over(e) > 1 && !e.querySelector('img, svg')) say('cut', e, over(e));
    for (const e of all('.math'))
        if (seen(e) && e.classList.contains('wide')) say('formula too wide', e, over(e));
    const solid = 'p, li, table, td, div.math mjx-container, img, svg, h1, h2, h3, dt, dd, pre';
    for (const e of all(solid))
        if (seen(e) && !e.closest('mjx-container mjx-container, .math.wide, .preview')) {
            const right = e.getBoundingClientRect().right;
            if (right > width + 1) say('sticks out', e, right - width);
        }
    for (const e of all('.math')) {
        const next = (e.nextSibling ?? e.parentElement.nextSibling);
        if (next?.nodeType !== 3 || !/^[.,;:!?)]/.test(next.data) || !seen(e)) continue;
        const range = document.createRange();
        range.setStart(next, 0);
        range.setEnd(next, 1);
        const [mark] = range.getClientRects();
        const last = [...e.getClientRects()].at(-1);
        if (mark && last && mark.top > last.bottom) say('punctuation alone', e.parentElement, 0);
    }
    return found;
}"""


def smallest_type(svg):
    """Sizes in points of the smallest letters and exponents that matplotlib drew, or infinity.

    Letters are outlines of size 100 that each text scales by its own size over 100; an exponent
    has seven tenths of its letters' size.
    """
    sizes = {100 * float(size) for size in re.findall(r"scale\(([\d.]+) -[\d.]+\)", svg)}
    exponents = {s for s in sizes if any(abs(s - 0.7 * other) < 0.1 for other in sizes)}
    return min(sizes - exponents, default=np.inf), min(exponents, default=np.inf)


def source(address):
    """The text of an SVG picture at an address, empty for a picture of another kind."""
    if address.startswith("data:image/svg+xml,"):
        return unquote(address.partition(",")[2])
    path = SITE / unquote(urlsplit(address).path).lstrip("/")
    return content(path).decode("utf-8") if path.suffix == ".svg" else ""


# Pictures that are shown, with how much smaller they are than drawn; sliders too small for a thumb.
PICTURES = """() => [...document.querySelectorAll('.bd-article figure img')]
    .filter(e => e.offsetParent)
    .map(e => [e.src, e.alt, e.getBoundingClientRect().width / e.naturalWidth])"""
SLIDERS = """() => [...document.querySelectorAll('input[type=range]')]
    .filter(e => e.offsetParent).map(e => e.getBoundingClientRect())
    .filter(box => box.height < 44 || box.width < 120)
    .map(box => `a slider of ${box.width} x ${box.height} px`)"""


def test_whole_on_a_phone(visit):
    page = show(visit.page, PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.evaluate(SETTLED)
    faults = page.evaluate(CUT) + page.evaluate(SLIDERS)
    if page.evaluate("() => document.documentElement.scrollWidth") > PHONE["width"]:
        faults.append("the page scrolls sideways")
    for address, alt, scale in page.evaluate(PICTURES):
        letters, exponents = (size * 4 / 3 * scale for size in smallest_type(source(address)))
        if letters < 9.95 or exponents < 6.95:
            faults.append(f"letters {letters:.1f}, exponents {exponents:.1f} px high: {alt}")
    none(faults)


def test_whole_on_paper(visit):
    page = show(visit.page, PAPER, media="print")
    faults = page.evaluate(CUT)
    shown = page.locator(
        ".bd-sidebar-primary:visible, .headerlink:visible, .explorer-sliders:visible, "
        "details.hide:not([open]):visible, .toggle-button:visible, .copybtn:visible"
    )
    faults += [f"printed: {e.evaluate('e => e.className')}" for e in shown.all()]
    if not page.locator(".bd-article h1:visible").count():
        faults.append("no heading")
    none(faults)


# The last of a page's tests, since it takes formulas and much of the text away.
def test_accessible_in_both_themes(visit):
    visit.page.evaluate(FORMULAS)  # before they are laid out anew
    page = show(visit.page)
    page.evaluate(CODE)
    faults = violations(page, {"rules": {rule: {"enabled": False} for rule in COLOURS}})
    page.evaluate(THIN)
    colours = {"runOnly": {"type": "rule", "values": COLOURS}}
    faults += violations(page, colours)
    none(faults + violations(show(page, PHONE, scheme="dark"), colours))


# The site as a whole


def test_all_of_a_page_works_when_nothing_elsewhere_answers(browser):
    """Formulas, figures, explorers, theme and search."""
    visit = open_page(browser, "book/riccati.html", outside="silent")
    page = visit.page
    assert page.locator("mjx-container").count() > 50
    assert page.locator("figure img").first.evaluate("image => image.naturalWidth") > 0
    explorer = page.locator(".explorer:not(.live)").first
    image = explorer.locator("img.explorer-frame").element_handle()
    before = image.get_attribute("src")
    explorer.get_by_role("slider").first.press("ArrowRight")
    page.wait_for_function("([image, before]) => image.src !== before", arg=[image, before])
    show(page, scheme="dark")
    none([*visit.errors, *visit.elsewhere])
    page.goto(f"{ADDRESS}search.html?q=imbalance")
    page.wait_for_selector("#search-results a")
    none([*visit.errors, *visit.elsewhere])
    page.context.close()


def test_mathjax_is_the_published_one(tools):
    for path in (ROOT / "book" / "_vendor" / "mathjax").rglob("*.*"):
        name = path.relative_to(ROOT / "book" / "_vendor")
        original = MODULES / "mathjax" / "es5" / name.relative_to("mathjax")
        assert path.read_bytes() == original.read_bytes(), name


# What a reader looks for, and the heading or statement that must come first: the page, and words
# of the title.
QUERIES = {
    "matrix completion": ("completion", "completion"),
    "effective rank": ("completion", "effective rank"),
    "neural tangent kernel": ("kernel", "tangent kernel"),
    "minimum norm": ("minnorm", "minimum-norm"),
    "implicit bias": ("", "implicit bias"),
    "Gronwall": ("scalar", "Grönwall"),
    "Grönwall": ("scalar", "Grönwall"),
    "Polyak-Lojasiewicz": ("", "PL"),
    "PL inequality": ("scalar", "PL"),
    "closed form": ("", "closed form"),
    "imbalance": ("", "imbalance"),
    "sparse recovery": ("regimes", ""),
    "Riccati equation": ("riccati", "Riccati"),
    "spectral initialization": ("riccati", "spectral initialization"),
    "lazy training": ("lazy", "lazy"),
    "weight decay": ("sensing", "decay"),
    "nuclear norm": ("", "nuclear"),
    "Schatten": ("", "Schatten"),
    "Barron": ("approximation", ""),
    "tensor": ("tensors", "tensor"),
    "particle": ("particles", "particle"),
    "acceleration": ("acceleration", ""),
    "saddle": ("", "saddle"),
    "preconditioner": ("preconditioner", "preconditioner"),
    "step size": ("", "step"),
    "margin": ("", "margin"),
    "three layers": ("layers", ""),
    "commuting measurements": ("sensing", ""),
    "gradient descent": ("", "descent"),
    "kernel regime": ("", "kernel"),
    "edge of stability": ("edge", "edge"),
    "phase transition": ("phase", ""),
}


@pytest.fixture(scope="module")
def searching(browser):
    visit = open_page(browser, "search.html")
    visit.page.wait_for_function("() => window.bookSearch")
    yield visit
    visit.page.context.close()


@pytest.mark.parametrize("query", QUERIES)
def test_search_brings_the_right_place_first(searching, query):
    page, words = QUERIES[query]
    if page and f"book/{page}" not in pages():
        pytest.skip(f"no chapter {page} yet")
    found = searching.page.evaluate(
        "async q => (await bookSearch(q)).slice(0, 1).map(e => [e.page, e.title, e.kind])", query
    )
    good = [
        title
        for where, title, kind in found
        if words.lower() in title.lower()
        and (where.endswith(f"/{page}") or kind == "term" or not page)
    ]
    assert good, found


def test_search_shows_numbers_names_and_prose(searching):
    page = searching.page
    page.fill("#find-input", "Gronwall")
    first = page.locator("#search-results li").first
    first.get_by_text(re.compile(r"Lemma \d+\.\d+")).wait_for()
    assert "thm" not in first.inner_text() and "\\" not in first.inner_text()
    href = first.locator("a").get_attribute("href")
    assert href.endswith("book/scalar.html#lem-gronwall")
    page.fill("#find-input", "minimum norm")
    page.wait_for_function(
        "() => document.querySelector('#search-results a').textContent.match(/minimum/i)"
    )
    texts = page.evaluate("() => book.search.entries.map(e => e.page + e.text)")
    none(re.findall(r"book/completion.*\d\.\d+\.\d.*", "\n".join(texts)))  # cells of tables, joined


@pytest.fixture(scope="module")
def scalar(browser):
    visit = open_page(browser, "book/scalar.html")
    yield visit.page
    visit.page.context.close()


def test_links_show_what_they_lead_to(scalar):
    inside = scalar.locator('.bd-article a.reference.internal[href^="#lem-gronwall"]').first
    inside.scroll_into_view_if_needed()
    inside.hover()
    preview = scalar.wait_for_selector(".preview.shown")
    assert "Grönwall" in preview.inner_text()
    scalar.keyboard.press("Escape")
    assert scalar.locator(".preview").count() == 0
    scalar.mouse.move(1, 1)
    citation = scalar.locator('.bd-article a.reference.internal[href^="references.html#"]').first
    citation.focus()
    scalar.keyboard.press("Shift+Tab")
    scalar.keyboard.press("Tab")
    assert citation.evaluate("e => e === document.activeElement")
    preview = scalar.wait_for_selector(".preview.shown")
    assert re.search(r"\d{4}", preview.inner_text())
    scalar.mouse.wheel(0, 40)  # the page moves a little: the preview stays with its link
    gap = """() => document.querySelector('.preview').getBoundingClientRect().top
        - document.activeElement.getClientRects()[0].bottom"""
    scalar.wait_for_function(f"() => Math.abs(({gap})()) < 9 || ({gap})() < -40")
    scalar.keyboard.press("Escape")


def test_the_keyboard_moves_explorers_and_opens_solutions(scalar):
    scalar.locator("h2", has_text="Exercises").evaluate("e => e.scrollIntoView()")
    scalar.locator(".solution .toggle-button").first.focus()
    scalar.keyboard.press("Enter")
    assert scalar.locator(".solution section").first.is_visible()
    link = scalar.locator(".proof a.headerlink").first
    link.focus()
    assert link.evaluate("e => e === document.activeElement && getComputedStyle(e).opacity > 0")
    slider = scalar.get_by_role("slider").first
    slider.focus()
    before = slider.input_value()
    scalar.keyboard.press("ArrowRight")
    assert slider.input_value() != before


def test_contents_follow_the_reader(scalar):
    scalar.locator("h2", has_text="The closed form").scroll_into_view_if_needed()
    scalar.mouse.wheel(0, 400)
    assert scalar.wait_for_selector(".page-toc .nav-link.active").inner_text()
    scalar.evaluate("scrollTo(0, 0)")


def test_search_dialog_answers_while_one_types(scalar):
    scalar.keyboard.press("Control+k")
    scalar.keyboard.type("imbalance")
    link = scalar.locator("#pst-search-dialog .find-results a").first
    assert "book/" in link.get_attribute("href")
    link.click(trial=True)  # it can be reached
    link.focus()
    scalar.keyboard.press("Escape")
    assert not link.is_visible()


def test_live_explorers_compute_what_the_library_does(scalar):
    """The product, the weights and the orbit, to a millionth."""
    from overparam import edge
    from overparam.scalar import closed_form, weights_from

    page = scalar
    rng = np.random.default_rng(0)
    starts = rng.uniform(-2.2, 2.2, (40, 2)).tolist()
    times = rng.uniform(0, 8, 40).tolist()
    got = page.evaluate(
        "([s, t]) => s.map(([u, v], i) => bookLive.flow(t[i], 1, u, v))", [starts, times]
    )
    for (u, v), t, weights in zip(starts, times, got, strict=True):
        x = closed_form(t, 1.0, u * v, u * u - v * v)
        wanted = weights_from(x, u * u - v * v)
        sign = np.sign(weights[0] / wanted[0])
        assert np.allclose(weights, sign * np.array(wanted), atol=1e-6)
        kept = 0 if abs(u) >= abs(v) else 1
        assert np.sign(weights[kept]) == np.sign([u, v][kept])
    modes = page.evaluate("() => [0, 1, 4, 9].map(t => bookLive.product(t, 3, 1e-6, 0.5))")
    assert np.allclose(modes, closed_form([0, 1, 4, 9], 3.0, 1e-6, 0.5), atol=1e-6)
    # At the end: from the line u = -v in the saddle, else where the product is one.
    ends = page.evaluate(
        "s => s.map(([u, v]) => bookLive.flow(200, 1, u, v))", [[1.5, -1.5], [2.2, -1.3], [-1, 0.3]]
    )
    assert np.allclose([u * v for u, v in ends], [0, 1, 1], atol=1e-6)
    got = page.evaluate("s => s.map(([u, v]) => bookLive.descend(u, v, 1, 0.6, 30).at(-1))", starts)
    for (u, v), end in zip(starts, got, strict=True):
        wanted = edge.descend(u, v, 1.0, 0.6, 30)
        if np.hypot(*end) < 1e6:  # the page stops where an orbit runs away
            assert np.allclose(end, wanted, atol=1e-6)
        else:
            assert not np.hypot(*wanted) < 1e6
    got = page.evaluate("s => s.map(([u, v]) => bookLive.ellipse(u, v, 1, 0.6))", starts)
    assert np.allclose(got, [edge.ellipse(u, v, 1.0, 0.6) for u, v in starts], atol=1e-6)


def test_three_chapters_have_live_explorers():
    texts = [SITE / f"{stem}.html" for stem in pages()]
    assert sum('data-live="' in content(path).decode() for path in texts) >= 3
