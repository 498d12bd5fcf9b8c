"""The built pages in a browser: formulas, explorers, themes, phones, paper, search, accessibility.

Every page is opened once per worker; the tests then look at it on a desktop, in the dark, on a
phone and on paper. The site stands alone: any request to elsewhere is refused and reported.
"""

import gzip
import io
import json
import mimetypes
import os
import re
import shutil
from collections import Counter
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
def weight(path):
    """Bytes of a file as a server sends it: compressed, unless it is so already."""
    data = path.read_bytes()
    return len(data if path.suffix in {".woff", ".woff2", ".png"} else gzip.compress(data, 6))


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
        does not hold) and `files` (what was sent).
    """
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(15_000)
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
        route.fulfill(body=file.read_bytes(), content_type=kind)

    context.route("**/*", answer)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type in {"error", "warning"} else None)
    page.goto(ADDRESS + path, wait_until="domcontentloaded")
    page.wait_for_function("() => window.MathJax?.startup?.promise")
    page.evaluate("async () => { await MathJax.startup.promise; await document.fonts.ready }")
    page.wait_for_timeout(120)  # explorer.js looks 50 ms after the last change
    return SimpleNamespace(
        page=page, errors=errors, elsewhere=elsewhere, files=files, first=list(files)
    )


# The module scope makes pytest run all tests of one page in a row.
@pytest.fixture(scope="module", params=pages())
def visit(request, browser):
    visit = open_page(browser, f"{request.param}.html")
    yield visit
    visit.page.context.close()


@pytest.fixture
def opened(browser):
    """A function that opens a page, closed at the end of the test."""
    visits = []

    def opens(path, outside="refused"):
        visits.append(open_page(browser, path, outside))
        return visits[-1]

    yield opens
    for visit in visits:
        visit.page.context.close()


def show(page, size=DESKTOP, scheme="light", media="screen"):
    """Set the window, the theme and the medium, as a reader does in the system's settings."""
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, media=media)
    page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=scheme)
    page.wait_for_timeout(200)
    return page


def none(found):
    """Fail with one line for each thing that was found."""
    found = list(found)
    assert not found, "\n".join(found)


# Each page


def test_asks_for_little_and_for_nothing_elsewhere(visit):
    none([*visit.errors, *visit.elsewhere])
    page = visit.page
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_load_state("networkidle")
    files = [*dict.fromkeys(visit.files)]
    cold = sum(map(weight, files)) / 1000
    warm = sum(weight(file) for file in files if not SHARED.search(file.as_posix())) / 1000
    assert len(visit.first) <= REQUESTS, [file.name for file in visit.first]
    # The first page shows a picture of every chapter.
    most = 450 if page.url.endswith("/book/index.html") else WARM
    assert cold <= COLD and warm <= most, f"{cold:.0f} kB cold, {warm:.0f} kB warm"
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


def position(explorer):
    """The picture that an explorer shows, after the browser has drawn it."""
    image = explorer.locator("img.explorer-frame")
    assert image.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 0
    return image.get_attribute("src"), image.get_attribute("alt")


def test_explorers_follow_their_sliders(visit):
    page = show(visit.page)
    for explorer in page.locator(".explorer:not(.live)").all():
        first = position(explorer)
        sliders = explorer.get_by_role("slider").all()
        starts = [slider.input_value() for slider in sliders]
        for slider in sliders:
            values = json.loads(slider.get_attribute("data-values"))
            slider.press("Home")
            seen = []
            for number, value in enumerate(values):
                if number:
                    slider.press("ArrowRight")
                assert slider.get_attribute("aria-valuetext") == value
                assert value in slider.locator("xpath=..").inner_text()
                seen.append(position(explorer))
            assert len(set(seen)) == len(seen), "two positions show the same picture"
            slider.evaluate(
                "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')) }",
                starts[sliders.index(slider)],
            )
        assert position(explorer)[1] == first[1]
        assert explorer.locator("xpath=ancestor::figure//figcaption").count() == 1


# What axe would look at over and over: the insides of formulas, which are MathJax's own, and code,
# of which each class of letters is left once.
SLIM = """() => {
    document.querySelectorAll('mjx-container > *').forEach(e => e.remove());
    const seen = new Set();
    for (const span of document.querySelectorAll('.bd-article pre span')) {
        if (!span.children.length && seen.has(span.className)) span.remove();
        seen.add(span.className);
    }
}"""


def violations(page, rules=None):
    """Accessibility faults that axe-core finds, one line for each element."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate((MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate(
        """async options => (await axe.run(
            document, {resultTypes: ['violations'], ...options})).violations""",
        {"runOnly": {"type": "rule", "values": rules}} if rules else {},
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

    pixels = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB")).reshape(-1, 3)
    background = luminance(Counter(map(tuple, pixels[::3].tolist())).most_common(1)[0][0])
    marks = luminance(pixels[::3])
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
    """Size in points of the smallest text that matplotlib drew, None without text.

    Letters are outlines of size 100 that each text scales by its own size over 100; an exponent
    has seven tenths of it and does not count.
    """
    sizes = {100 * float(size) for size in re.findall(r"scale\(([\d.]+) -[\d.]+\)", svg)}
    letters = [s for s in sizes if not any(abs(s - 0.7 * other) < 0.1 for other in sizes)]
    return min(letters) if letters else None


def source(image):
    """The text of an SVG picture, empty for a picture of another kind."""
    address = image.evaluate("image => image.src")
    if address.startswith("data:image/svg+xml,"):
        return unquote(address.partition(",")[2])
    path = SITE / unquote(urlsplit(address).path).lstrip("/")
    return path.read_text(encoding="utf-8") if path.suffix == ".svg" else ""


def test_whole_on_a_phone(visit):
    page = show(visit.page, PHONE)
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    page.wait_for_timeout(150)
    faults = page.evaluate(CUT)
    if page.evaluate("() => document.documentElement.scrollWidth") > PHONE["width"]:
        faults.append("the page scrolls sideways")
    for image in page.locator(".bd-article figure img:visible").all():
        points = smallest_type(source(image))
        scale = image.evaluate("image => image.getBoundingClientRect().width / image.naturalWidth")
        if points is not None and points * 4 / 3 * scale < 9.95:
            height = points * 4 / 3 * scale
            faults.append(f"letters {height:.1f} px high: {image.get_attribute('alt')}")
    for slider in page.locator("input[type=range]:visible").all():
        box = slider.bounding_box()
        if box["height"] < 44 or box["width"] < 120:
            faults.append(f"a slider of {box['width']:.0f} x {box['height']:.0f} px")
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


# The last of a page's tests, since it takes the insides of formulas away.
def test_accessible_in_both_themes(visit):
    page = show(visit.page)
    page.evaluate(SLIM)
    faults = violations(page)
    page = show(page, PHONE, scheme="dark")
    none(faults + violations(page, ["color-contrast", "scrollable-region-focusable"]))


# The site as a whole


def test_formulas_figures_and_search_when_nothing_elsewhere_answers(opened):
    visit = opened("book/scalar.html", outside="silent")
    assert visit.page.locator("mjx-container").count() > 50
    assert visit.page.locator("figure img").first.evaluate("image => image.naturalWidth") > 0
    visit = opened("search.html?q=imbalance", outside="silent")
    visit.page.wait_for_selector("#search-results a")
    none([*visit.errors, *visit.elsewhere])


def test_mathjax_is_the_published_one(tools):
    for path in (ROOT / "book" / "_vendor" / "mathjax").rglob("*.*"):
        name = path.relative_to(ROOT / "book" / "_vendor")
        original = MODULES / "mathjax" / "es5" / name.relative_to("mathjax")
        assert path.read_bytes() == original.read_bytes(), name


# What a reader looks for, and the heading or statement that must come first or second: the page,
# and words of the title.
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
        "async q => (await bookSearch(q)).slice(0, 2).map(e => [e.page, e.title, e.kind])", query
    )
    good = [
        title
        for where, title, kind in found
        if words.lower() in title.lower()
        and (where.endswith(f"/{page}") or kind == "term" or not page)
    ]
    assert good, found


def test_search_shows_numbers_names_and_prose(opened):
    page = opened("search.html?q=Gronwall").page
    page.wait_for_selector("#search-results a")
    first = page.locator("#search-results li").first
    assert re.search(r"Lemma \d+\.\d+", first.locator("a").inner_text())
    assert "thm" not in first.inner_text() and "\\" not in first.inner_text()
    href = first.locator("a").get_attribute("href")
    assert href.endswith("book/scalar.html#lem-gronwall")
    page.fill("#find-input", "minimum norm")
    page.wait_for_function(
        "() => document.querySelector('#search-results a').textContent.match(/minimum/i)"
    )


def test_search_dialog_answers_while_one_types(opened):
    page = opened("book/scalar.html").page
    page.keyboard.press("Control+k")
    page.keyboard.type("imbalance")
    link = page.wait_for_selector("#pst-search-dialog .find-results a")
    assert "book/" in link.get_attribute("href")


def test_links_show_what_they_lead_to(opened):
    page = opened("book/scalar.html").page
    inside = page.locator('.bd-article a.reference.internal[href^="#lem-gronwall"]').first
    inside.hover()
    preview = page.wait_for_selector(".preview.shown")
    assert "Grönwall" in preview.inner_text()
    page.keyboard.press("Escape")
    assert page.locator(".preview").count() == 0
    citation = page.locator('.bd-article a.reference.internal[href^="references.html#"]').first
    citation.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert re.search(r"\d{4}", page.wait_for_selector(".preview.shown").inner_text())


def test_every_statement_has_a_link_to_itself(opened):
    page = opened("book/scalar.html").page
    missing = page.evaluate(
        """() => [...document.querySelectorAll('div.proof[id], div.exercise[id]')]
            .filter(e => !e.querySelector(`.admonition-title a.headerlink[href="#${e.id}"]`))
            .map(e => e.id)"""
    )
    none(missing)


def test_the_keyboard_moves_explorers_and_opens_solutions(opened):
    page = opened("book/scalar.html").page
    page.locator("h2", has_text="Exercises").evaluate("e => e.scrollIntoView()")
    page.locator(".solution .toggle-button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".solution section").first.is_visible()
    slider = page.get_by_role("slider").first
    slider.focus()
    before = slider.input_value()
    page.keyboard.press("ArrowRight")
    assert slider.input_value() != before


def test_live_explorers_compute_what_the_library_does(opened):
    """The product, the weights and the orbit, to a millionth."""
    from overparam import edge, scalar

    page = opened("book/scalar.html").page
    rng = np.random.default_rng(0)
    starts = rng.uniform(-2.2, 2.2, (40, 2)).tolist()
    times = rng.uniform(0, 8, 40).tolist()
    got = page.evaluate(
        "([s, t]) => s.map(([u, v], i) => bookLive.flow(t[i], 1, u, v))", [starts, times]
    )
    for (u, v), t, weights in zip(starts, times, got, strict=True):
        x = scalar.closed_form(t, 1.0, u * v, u * u - v * v)
        wanted = scalar.weights_from(x, u * u - v * v)
        sign = np.sign(weights[0] / wanted[0])
        assert np.allclose(weights, sign * np.array(wanted), atol=1e-6)
        kept = 0 if abs(u) >= abs(v) else 1
        assert np.sign(weights[kept]) == np.sign([u, v][kept])
    modes = page.evaluate("() => [0, 1, 4, 9].map(t => bookLive.product(t, 3, 1e-6, 0.5))")
    assert np.allclose(modes, scalar.closed_form([0, 1, 4, 9], 3.0, 1e-6, 0.5), atol=1e-6)
    got = page.evaluate("s => s.map(([u, v]) => bookLive.descend(u, v, 1, 0.6, 30).at(-1))", starts)
    for (u, v), end in zip(starts, got, strict=True):
        wanted = edge.descend(u, v, 1.0, 0.6, 30)
        if np.hypot(*end) < 1e6:  # the page stops where an orbit runs away
            assert np.allclose(end, wanted, atol=1e-6)
        else:
            assert not np.hypot(*wanted) < 1e6
    got = page.evaluate("s => s.map(([u, v]) => bookLive.ellipse(u, v, 1, 0.6))", starts)
    assert np.allclose(got, [edge.ellipse(u, v, 1.0, 0.6) for u, v in starts], atol=1e-6)


def live_pages():
    return [p for p in pages() if "figures.live(" in notebook_text(p)]


def notebook_text(stem):
    path = ROOT / f"{stem}.ipynb"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


@pytest.mark.parametrize("stem", live_pages())
def test_live_explorers_can_be_dragged(opened, stem):
    page = opened(f"{stem}.html").page
    live = page.locator(".explorer.live").first
    live.scroll_into_view_if_needed()
    said = live.locator(".live-readout").inner_text()
    box = live.locator("svg").bounding_box()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.up()
    assert live.locator(".live-readout").inner_text() != said
    said = live.locator(".live-readout").inner_text()
    live.get_by_role("slider").first.press("ArrowRight")
    assert live.locator(".live-readout").inner_text() != said
    assert not live.locator("img").is_visible()
