"""How long a reader on a slow line waits for the first formula of a page as built."""

import gzip
import mimetypes
import shutil
import sys
import threading
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

sys.path.append(str(Path(__file__).resolve().parents[1] / "book" / "_tools"))
from publish import BROWSERS, SITE  # noqa: E402  (the book's own tool, which prints it)

CHAPTERS = ("scalar", "rates", "completion", "edge")
PACKED = {".woff", ".woff2", ".png"}
# "Slow 4G": 1.6 Mbit/s down, 0.75 up, 150 ms, nothing in the cache, as on a phone.
LINE = {"offline": False, "latency": 150, "downloadThroughput": 2e5, "uploadThroughput": 9.4e4}
# Seconds since the address was asked for, when the first formula of the text has been drawn.
WATCH = """new MutationObserver((_, watch) => {
    if (!document.querySelector('.bd-article mjx-container')) return;
    watch.disconnect();
    requestAnimationFrame(() => { window.firstFormula = performance.now() / 1000; });
}).observe(document, {childList: true, subtree: true});"""


@cache
def packed(path):
    """Return a file as a server sends it."""
    data = path.read_bytes()
    return data if path.suffix in PACKED else gzip.compress(data, 6)


class Server(BaseHTTPRequestHandler):
    """The site, compressed, on connections that stay open."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = SITE / unquote(urlsplit(self.path).path).lstrip("/")
        found = path.is_file()
        data = packed(path) if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", mimetypes.guess_type(path.name)[0] or "text/plain")
        self.send_header("Content-Length", str(len(data)))
        if found and path.suffix not in PACKED:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def rows(repeats=3):
    """Return the rows of some chapters, measured with all cores, as a reader has them."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None or not (SITE / "index.html").is_file():
        print("no Chromium, or no book (make book): pages are skipped")
        return
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for chapter in CHAPTERS:
            address = f"http://127.0.0.1:{server.server_port}/book/{chapter}.html"
            times = [first_formula(browser, address) for _ in range(repeats)]
            how = "slow 4G (1.6 Mbit/s, 150 ms), empty cache, 390 px, all cores"
            yield f"{chapter}: seconds to the first formula", times, "at most 4", how
    finally:
        server.shutdown()


def first_formula(browser, address):
    """Open a page in a new browser on the slow line; return the time of its first formula."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=flags)
        page = window.new_page(viewport={"width": 390, "height": 844})
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", LINE)
        page.add_init_script(WATCH)
        page.goto(address, wait_until="commit", timeout=120_000)
        page.wait_for_function("() => window.firstFormula", timeout=120_000)
        seconds = page.evaluate("window.firstFormula")
        window.close()
    return seconds
