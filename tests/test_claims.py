"""The register of claims: complete, and nothing in it that does not exist."""

import ast
import functools
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html" / "book"
REGISTER = ROOT / "book" / "claims.yml"
LAST = {"A": 18, "B": 16, "C": 20, "D": 45, "E": 10, "F": 61, "G": 30, "H": 38}


def wanted_ids():
    """All ids of the register, in its order."""
    return [f"{group}{n:02d}" for group, last in LAST.items() for n in range(1, last + 1)]


def load_tool():
    path = ROOT / "book" / "_tools" / "claims.py"
    spec = importlib.util.spec_from_file_location("claims", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


claims = load_tool()


@pytest.fixture(scope="module")
def register():
    return claims.load(REGISTER)


@pytest.fixture(scope="module")
def treated(register):
    return [claim for claim in register.claims if claim.treated]


def built_page(stem):
    path = SITE / f"{stem}.html"
    if not path.is_file():
        pytest.fail("the book is not built: run make book")
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_every_claim_is_there_once_and_in_order(register):
    assert [claim.id for claim in register.claims] == wanted_ids()


def test_every_label_is_in_the_built_pages(treated):
    ids = set()
    for path in SITE.rglob("*.html"):
        ids |= set(re.findall(r'<[^>]*\sid="([^"]+)"', path.read_text(encoding="utf-8")))
    labels = {label: claim.id for claim in treated for label in claim.where}
    missing = {label for label in labels if not {label, f"equation-{label}"} & ids}
    assert not missing, {labels[label]: label for label in missing}


def test_every_test_exists(treated):
    missing = [
        f"{claim.id}: {test}" for claim in treated for test in claim.test if not exists(test)
    ]
    assert not missing, "\n".join(missing)


def exists(test):
    """Whether the file named before :: defines the function named after it."""
    name, _, function = test.partition("::")
    return function in functions(ROOT / name)


@functools.cache
def functions(path):
    """The names of the functions of a file, which is parsed once."""
    body = ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else []
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_corrected_claims_are_on_the_errata_page(treated):
    text = built_page("errata").select_one("article").get_text()
    on_page = set(re.findall(r"\b[A-H]\d\d\b", text)) | expand_ranges(text)
    corrected = [claim.id for claim in treated if claim.talk in ("condition", "wrong")]
    assert set(corrected) <= on_page, sorted(set(corrected) - on_page)


def expand_ranges(text):
    """The ids that a range such as A09–A11 stands for."""
    found = re.findall(r"\b([A-H])(\d\d)\s*[–-]\s*\1?(\d\d)\b", text)
    return {f"{group}{n:02d}" for group, a, b in found for n in range(int(a), int(b) + 1)}


def test_register_errata_pages_and_bibliography_agree(register):
    """An erratum has a claim that says so, and the other way; links lead somewhere."""
    book = ROOT / "book"
    text = (book / "errata.md").read_text("utf-8")
    errata = dict(re.findall(r"^\((err-\w+)\)=\n### .*\n\n\*.*\* · (.+)$", text, re.M))
    assert len(errata) == len(re.findall(r"^\(err-", text, re.M))
    assert set(errata) == {claim.errata for claim in register.claims if claim.errata}
    kinds = {"misprint": {"wrong"}, "missing condition": {"condition"}}
    for claim in register.claims:
        assert bool(claim.errata) == (claim.talk in ("condition", "wrong")), claim.id
        if claim.errata and errata[claim.errata] != "imprecise":
            assert {claim.talk} == kinds[errata[claim.errata]], claim.id
    pages = "".join(path.read_text("utf-8") for path in book.glob("*.ipynb"))
    assert set(re.findall(r"errata\.md#(err-\w+)", pages)) <= set(errata)
    assert "Where the talk prints" not in pages
    pages += "".join(path.read_text("utf-8") for path in book.glob("*.md"))
    entries = set(re.findall(r"^@\w+\{(\w+),", (book / "references.bib").read_text("utf-8"), re.M))
    keys = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", pages)
    assert {key.strip() for group in keys for key in group.split(",")} == entries


def test_page_shows_every_claim_and_the_counts(register):
    page = built_page("claims")
    boxes = [box["id"] for box in page.select("div.claim")]
    assert boxes == [claims.anchor(claim.id) for claim in register.claims]
    total = claims.counts(register.claims)
    assert f"{total['treated']} of {total['all']} claims are treated" in page.get_text()
    rows = [[cell.get_text() for cell in row.select("td")] for row in page.select("tbody tr")]
    assert rows[-1][:4] == ["all", *(str(total[key]) for key in ("all", "treated", "open"))]
    assert sum(int(row[1]) for row in rows[:-1]) == total["all"]


def test_counts_add_up(register):
    total = claims.counts(register.claims)
    assert total["treated"] + total["open"] == total["all"] == len(wanted_ids())
    assert sum(total[verdict] for verdict in claims.VERDICTS) == total["all"]


# What each fault does to the first entry, and what the error must say.
FAULTS = {
    "A01: talk must be one of": {"talk": "maybe"},
    "A01: a remark must say why": {"talk": "wrong", "remark": None},
    "A01: a remark must say": {"talk": "cited"},
    "G01: status must be one of": {"id": "G01", "talk": "own"},
    "G02: status must be one of": {"id": "G02", "talk": "own", "status": "believed"},
    "A01: status and talk: own are for": {"status": "proved"},
    "A01: claim is missing": {"claim": None},
    "A01: claim must be a text": {"claim": 3},
    "A01: claim has an odd number": {"claim": "It is $x."},
    "A01: unknown field proof": {"proof": "yes"},
    "A01: where without test": {"where": ["thm-x"]},
    "A01: test without where": {"test": "tests/test_x.py::test_y"},
    "A01: where: theorem-x is no label": {"where": "theorem-x", "test": "tests/test_x.py::test_y"},
    "A01: test: test_y is not of the form": {"where": "thm-x", "test": "test_y"},
    "A01: source 'Somebody 2020' does not begin": {"source": "Somebody 2020"},
    "Z01: id must be the letter": {"id": "Z01"},
    "A02: 2 entries with this id": {"id": "A02"},
}


@pytest.mark.parametrize("message", FAULTS)
def test_broken_register_is_rejected(tmp_path, message):
    data = yaml.safe_load(REGISTER.read_text(encoding="utf-8"))
    first = {"id": "A01", "claim": "Text.", "source": "Mallada 2023, Warm-up", "talk": "right"}
    changed = {**first, **FAULTS[message]}
    data["claims"][0] = {key: value for key, value in changed.items() if value is not None}
    with pytest.raises(claims.RegisterError, match=re.escape(message)):
        claims.load(write(tmp_path, yaml.safe_dump(data)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claims: [", "not readable as YAML"),
        ("sources: {a: b}", "groups is missing"),
        ("- 1", "sources is missing"),
        ("sources: {a: b, a: c}", "line 1: a given twice"),
    ],
)
def test_unreadable_register_is_rejected(tmp_path, text, message):
    with pytest.raises(claims.RegisterError, match=message):
        claims.load(write(tmp_path, text))


def test_group_without_claims_is_rejected(tmp_path):
    data = yaml.safe_load(REGISTER.read_text(encoding="utf-8"))
    data["groups"]["Z"] = {"title": "Nothing", "chapters": []}
    with pytest.raises(claims.RegisterError, match="group Z: no claims"):
        claims.load(write(tmp_path, yaml.safe_dump(data)))


def test_a_claim_after_the_talks_says_what_the_book_does_with_it(register):
    after = [claim for claim in register.claims if claim.id[0] in claims.AFTER]
    assert after and all(claim.status in claims.STATUS for claim in after)
    line = claims._source(claims.Claim("G01", "x", "Somebody", "own", status="measured"))
    assert "*measured*" in line and "**own**" in line
    line = claims._source(claims.Claim("G01", "x", "Somebody", "cited", status="cited"))
    assert line.count("cited") == 1


ENTRY = {
    "id": "A01",
    "claim": "Loss $x^2$ falls.",
    "source": "Talk, Slide",
    "talk": "right",
    "where": ["eq-x", "sec-x"],
    "test": "tests/test_x.py::test_y",
}
CONF = """
extensions = ["myst_parser", "sphinx_proof", "claims"]
myst_enable_extensions = ["dollarmath"]
numfig = True
"""
PAGE = """
(sec-x)=
# Page

$$
x
$$ (eq-x)

See {ref}`claim-a01`.

```{claims-register}
```
"""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, ""),
        ({"where": "thm-nowhere"}, "thm-nowhere"),
        ({"where": "eq-nowhere"}, "equation not found: eq-nowhere"),
        ({"where": "fig-nowhere"}, "undefined label: 'fig-nowhere'"),
        ({"errata": "err-nowhere"}, "undefined label: 'err-nowhere'"),
        ({"talk": "maybe"}, "A01: talk must be one of"),
    ],
)
def test_strict_build_fails_on_what_does_not_exist(tmp_path, change, complaint):
    data = {
        "sources": {"Talk": "A talk"},
        "groups": {"A": {"title": "Group", "chapters": ["index", "later"]}},
        "claims": [{**ENTRY, **change}],
    }
    write(tmp_path, yaml.safe_dump(data))
    (tmp_path / "index.md").write_text(PAGE, encoding="utf-8")
    code, stderr = build(tmp_path)
    assert code == (1 if complaint else 0), stderr
    assert complaint in stderr


def build(folder):
    """Build a folder strictly, as the book is built; return the exit code and the complaints."""
    (folder / "conf.py").write_text(CONF, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, str(folder), str(folder / "built")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "book" / "_tools")},
    )
    return done.returncode, done.stderr


def write(folder, text):
    path = folder / "claims.yml"
    path.write_text(text, encoding="utf-8")
    return path
