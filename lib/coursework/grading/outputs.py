"""What a student's code has displayed, made harmless: text and pictures, of limited length."""

import base64
import re

import nbformat

RECORD = "application/vnd.overparam.answer+json"
LONGEST = 10_000  # characters of a cell's text
MOST_PICTURES = 8
LARGEST_PICTURE = 2 << 20  # bytes
LAST_LINES = 30  # of a traceback
BEGIN = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/svg+xml": b"<"}

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b.?")
# All control characters but the line's end and the tabulator, and those that turn text around.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text, longest=LONGEST):
    """Return `text` without control characters, cut to `longest` characters."""
    if not isinstance(text, str):
        return ""
    # Cut first: what is thrown away is not searched.
    cut = text[: 4 * longest]
    cut = _CONTROLS.sub("", _ESCAPES.sub("", cut.replace("\r\n", "\n")))
    if len(cut) > longest or len(text) > 4 * longest:
        return cut[:longest] + "\n… cut here"
    return cut


def one_line(text, longest=120):
    """Return `text` as one line for a table or the screen."""
    line = " ".join(plain(str(text), 4 * longest).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def clean_text(text):
    """Return markdown in which no HTML, link or TeX command can make a browser do anything.

    A page that shows it needs no trust: tags are shown as text, links are taken apart, but for
    those to pictures that are attached to the cell.
    """
    text = _CONTROLS.sub("", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = re.sub(r"\](?=[(\[:])(?!\(attachment:[\w.() -]*\))", "] ", text)
    return re.sub(r"\\(href|require|class|cssId|style|unicode|url)\b", r"\1", text)


def attachments(found):
    """Return the pictures attached to a cell, as nbformat has them."""
    kept = {}
    for name, bundle in list((found or {}).items())[:MOST_PICTURES]:
        pictures = _pictures(bundle) if re.fullmatch(r"[\w.() -]+", str(name)) else {}
        pictures.pop("image/svg+xml", None)
        if pictures:
            kept[name] = pictures
    return kept


def records(outputs):
    """Return the records of answers among a cell's raw outputs."""
    return [data[RECORD] for _, data in _dicts(outputs) if RECORD in data]


def error(outputs):
    """Return the error that ended a cell as one line, or an empty string."""
    for output, _ in _dicts(outputs):
        if output.get("output_type") == "error":
            name, value = one_line(output.get("ename"), 60), one_line(output.get("evalue"))
            return f"{name}: {value}" if value else name or "an error"
    return ""


def clean(outputs, cut=False):
    """Return a cell's outputs as nbformat's, with nothing in them that a page could run.

    Streams, tracebacks and results are kept as text; pictures as pictures. SVG comes as an
    ``<img>`` of ours: a picture there runs no script and fetches nothing.
    """
    kept, left, seen = [], LONGEST, 0
    for output, data in _dicts(outputs):
        pictures = _pictures(data) if seen < MOST_PICTURES else {}
        if pictures:
            seen += 1
            if svg := pictures.pop("image/svg+xml", None):
                pictures = {"text/html": f'<img src="data:image/svg+xml;base64,{svg}">'}
            bundle = pictures | {"text/plain": "picture"}
            kept.append(nbformat.v4.new_output("display_data", bundle))
        elif text := _text(output, data)[: left + 1]:
            text = plain(text, left) if left > 0 else ""
            left -= len(text)
            cut = cut or left <= 0
            kept += [stream(text)] * bool(text)
    return kept + [stream("… more was displayed than is kept")] * cut


def stream(text):
    """Return text as an output."""
    text = text if text.endswith("\n") else text + "\n"
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def _dicts(outputs):
    """Return pairs of an output and its data, of what has the form of one."""
    found = [o for o in outputs if isinstance(o, dict)] if isinstance(outputs, list) else []
    return [(o, o["data"] if isinstance(o.get("data"), dict) else {}) for o in found]


def _text(output, data):
    """Return the text of an output; what is not text is named."""
    if output.get("output_type") == "error":
        lines = output.get("traceback")
        lines = [plain(line, 1000) for line in lines] if isinstance(lines, list) else []
        lines = "\n".join(lines).split("\n")
        lines = lines if len(lines) <= LAST_LINES else ["…", *lines[-LAST_LINES:]]
        return "\n".join(lines) or error([output])
    text = data.get("text/plain", output.get("text"))
    if RECORD in data or not (data or text):
        return ""
    named = f"({one_line(', '.join(map(str, data)), 80)} is not shown)" if data else ""
    return text if isinstance(text, str) else named


def _pictures(bundle):
    """Return the first picture of a bundle: {type: base64 text}, or nothing."""
    for kind, begin in BEGIN.items():
        text = bundle.get(kind) if isinstance(bundle, dict) else None
        text = "".join(map(str, text)) if isinstance(text, list) else text
        if not isinstance(text, str) or len(text) > LARGEST_PICTURE * 4 // 3:
            continue
        try:
            is_svg = kind == "image/svg+xml"
            data = text.strip().encode() if is_svg else base64.b64decode(text, validate=False)
        except ValueError:
            continue
        if data.startswith(begin):
            return {kind: base64.b64encode(data).decode()}
    return {}
