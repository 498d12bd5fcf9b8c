"""The register of claims: reading, checking and printing ``claims.yml``.

The register says of every claim of the talks, and of what has been found since, where the book
treats it and which test checks it. The directive ``claims-register`` prints it; its links are
ordinary cross-references, so that a label that does not exist fails a strict
build like any other broken link.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList

VERDICTS = {
    "right": "",
    "condition": "with a condition",
    "wrong": "corrected",
    "cited": "cited",
    "own": "own",
}
STATUS = ("proved", "measured", "cited")  # what the book does with a claim after the talks
AFTER = "GH"  # groups of those claims
ROLES = {
    **dict.fromkeys(("thm", "prop", "lem", "cor", "def", "rem", "ex"), "prf:ref"),
    "eq": "eq",
    "fig": "numref",
    "sec": "ref",
}
REQUIRED = {"id", "claim", "source", "talk"}
OPTIONAL = {"where", "test", "remark", "errata", "status"}

ID = re.compile(r"[A-Z]\d\d")
BOOK = Path(__file__).resolve().parents[1]
EXERCISE = re.compile(r"\{exercise(?:-start)?\}[^:]*?:label: (ex-[A-Za-z0-9-]+)")
LABEL = re.compile(rf"({'|'.join(ROLES)})-[A-Za-z0-9-]+")
TEST = re.compile(r"tests/test_\w+\.py::test_\w+")


class RegisterError(ValueError):
    """The register says something that cannot be right."""


@dataclass(frozen=True)
class Claim:
    """One claim of the talks, or one found after them.

    Attributes
    ----------
    id, claim, source, talk : str
        As described at the head of ``claims.yml``.
    where : tuple of str
        Labels in the book that carry the claim.
    test : tuple of str
        Node ids of the tests that check it.
    remark, errata, status : str
        Empty when there is none.
    """

    id: str
    claim: str
    source: str
    talk: str
    where: tuple = ()
    test: tuple = ()
    remark: str = ""
    errata: str = ""
    status: str = ""

    @property
    def treated(self):
        return bool(self.where and self.test)


@dataclass(frozen=True)
class Register:
    """All claims with the groups and the sources they belong to."""

    sources: dict
    groups: dict
    claims: list

    def group(self, letter):
        """Claims of one group, in the register's order."""
        return [claim for claim in self.claims if claim.id[0] == letter]


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses a key given twice; plain YAML keeps the last."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = [key for key, n in Counter(keys).items() if n > 1]
        if twice:
            line = node.start_mark.line + 1
            raise RegisterError(f"line {line}: {', '.join(map(str, twice))} given twice")
        return super().construct_mapping(node, deep)


def load(path):
    """Read and check a register.

    Parameters
    ----------
    path : path-like
        The YAML file.

    Returns
    -------
    Register

    Raises
    ------
    RegisterError
        With one line for each thing that is wrong.
    """
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise RegisterError(f"not readable as YAML: {error}") from error
    for key in ("sources", "groups", "claims"):
        if not isinstance(data, dict) or not data.get(key):
            raise RegisterError(f"{key} is missing or empty")
    wrong = _problems(data)
    if wrong:
        raise RegisterError("\n".join(wrong))
    claims = [_claim(entry) for entry in data["claims"]]
    return Register(data["sources"], data["groups"], claims)


def _claim(entry):
    fields = {
        key: " ".join(value.split()) for key, value in entry.items() if isinstance(value, str)
    }
    lists = {key: _tuple(entry.get(key)) for key in ("where", "test")}
    return Claim(**{**fields, **lists})


def _tuple(value):
    """A single entry or a list as a tuple."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _problems(data):
    """Everything that is wrong with the raw data, as lines of text."""
    found, seen = [], Counter()
    for number, entry in enumerate(data["claims"], 1):
        if not isinstance(entry, dict):
            found.append(f"entry {number}: not a mapping")
            continue
        name = str(entry.get("id", f"entry {number}"))
        seen[name] += 1
        found += [f"{name}: {text}" for text in _entry_problems(entry, data)]
    found += [f"{name}: {n} entries with this id" for name, n in seen.items() if n > 1]
    empty = set(data["groups"]) - {name[0] for name in seen}
    found += [f"group {letter}: no claims" for letter in sorted(empty)]
    return found


def _entry_problems(entry, data):
    fields = set(entry)
    for name in sorted(REQUIRED - fields):
        yield f"{name} is missing"
    for name in sorted(fields - REQUIRED - OPTIONAL):
        yield f"unknown field {name}"
    for name in sorted(fields - {"where", "test"}):
        if not isinstance(entry[name], str) or not entry[name].strip():
            yield f"{name} must be a text"
            return
    if REQUIRED <= fields:
        yield from _text_problems(entry, data)
    yield from _link_problems(entry)


def _text_problems(entry, data):
    if not ID.fullmatch(entry["id"]) or entry["id"][0] not in data["groups"]:
        yield "id must be the letter of a group and two digits"
    if entry["talk"] not in VERDICTS:
        yield f"talk must be one of {', '.join(VERDICTS)}, not {entry['talk']}"
    elif _needs_remark(entry) and "remark" not in entry:
        yield f"a remark must say why the talk's form is not right ({entry['talk']})"
    yield from _status_problems(entry)
    for part in entry["source"].split("; "):
        if not part.startswith(tuple(f"{name}, " for name in data["sources"])):
            yield f"source {part!r} does not begin with a name from `sources` and a comma"
    for name in ("claim", "remark"):
        if entry.get(name, "").count("$") % 2:
            yield f"{name} has an odd number of $"


def _needs_remark(entry):
    """Whether a remark is due: a form that is not right, or a citation without a status."""
    talk = entry["talk"]
    return talk in ("condition", "wrong") or (talk == "cited" and "status" not in entry)


def _status_problems(entry):
    after = entry["id"][0] in AFTER
    if after and entry.get("status") not in STATUS:
        yield f"status must be one of {', '.join(STATUS)} in the groups {' and '.join(AFTER)}"
    if not after and ("status" in entry or entry["talk"] == "own"):
        yield f"status and talk: own are for the groups {' and '.join(AFTER)}"


def _link_problems(entry):
    where, tests = _tuple(entry.get("where")), _tuple(entry.get("test"))
    if bool(where) != bool(tests):
        yield f"{'where' if where else 'test'} without {'test' if where else 'where'}"
    for label in where:
        if not LABEL.fullmatch(str(label)):
            yield f"where: {label} is no label (one of {', '.join(ROLES)}, then a hyphen)"
    for test in tests:
        if not TEST.fullmatch(str(test)):
            yield f"test: {test} is not of the form tests/test_x.py::test_name"


def anchor(claim_id):
    """Label and HTML id of a claim on the register's page."""
    return f"claim-{claim_id.lower()}"


def counts(claims):
    """Numbers of claims: all, treated, open, and of each verdict."""
    treated = sum(claim.treated for claim in claims)
    verdicts = Counter(claim.talk for claim in claims)
    return {
        "all": len(claims),
        "treated": treated,
        "open": len(claims) - treated,
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
    }


class ClaimsRegister(Directive):
    """Print the register: counts, then the claims group by group.

    The optional argument is the YAML file, relative to the page.
    """

    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = {"class": directives.class_option}

    @property
    def env(self):
        return self.state.document.settings.env

    def run(self):
        relative, path = self.env.relfn2path((self.arguments or ["claims.yml"])[0])
        self.env.note_dependency(relative)
        try:
            register = load(path)
        except (OSError, RegisterError) as error:
            raise self.error(f"{relative}: {error}") from error
        return [
            *self._parse(_summary(register)),
            *(self._group(register, letter) for letter in sorted(register.groups)),
        ]

    def _parse(self, text):
        """Parse MyST text into nodes, as if it stood in the page."""
        holder = nodes.container()
        lines = StringList(text.splitlines(), source=self.env.doc2path(self.env.docname))
        self.state.nested_parse(lines, self.lineno, holder)
        return holder.children

    def _group(self, register, letter):
        group = register.groups[letter]
        title = f"{letter}. {group['title']}"
        section = nodes.section(ids=[f"group-{letter.lower()}"])
        section += nodes.title(title, title)
        section += self._parse(_chapters(group["chapters"], self._is_there))
        for claim in register.group(letter):
            section += self._claim(claim)
        return section

    def _is_there(self, chapter):
        """Whether the book has this chapter already, to link to it."""
        page = f"{self.env.docname.rpartition('/')[0]}/{chapter}".lstrip("/")
        return page in self.env.found_docs

    def _claim(self, claim):
        name = anchor(claim.id)
        box = nodes.container(ids=[name], classes=["claim"])
        # A container has no title, so {ref} would not find it by a docutils name.
        domain = self.env.get_domain("std")
        domain.labels[name] = (self.env.docname, name, claim.id)
        domain.anonlabels[name] = (self.env.docname, name)
        box += self._parse(_entry(claim))
        link = nodes.reference("", claim.id, internal=True, refid=name, classes=["claim-id"])
        box[0].insert(0, [link, nodes.Text(" ")])
        for paragraph in box.children[1:]:
            paragraph["classes"].append("claim-details")
        box["classes"].append("claim-treated" if claim.treated else "claim-open")
        return box


def _summary(register):
    """Sources and counts, as MyST text."""
    rows = [(letter, counts(register.group(letter))) for letter in sorted(register.groups)]
    rows.append(("all", counts(register.claims)))
    keys = ("all", "treated", "open", "condition", "wrong")
    table = [
        "| group | claims | treated | open | with a condition | corrected |",
        "|---|--:|--:|--:|--:|--:|",
        *(f"| {name} | " + " | ".join(str(n[key]) for key in keys) + " |" for name, n in rows),
    ]
    sources = [f"- **{name}**: {' '.join(text.split())}" for name, text in register.sources.items()]
    total = rows[-1][1]
    head = f"{total['treated']} of {total['all']} claims are treated, {total['open']} are open."
    return "\n".join([head, "", *table, "", "The sources:", "", *sources])


def _chapters(stems, exists):
    """The line under a group's heading that names its chapters."""
    links = [f"{{doc}}`{stem}`" if exists(stem) else f"*{stem}*" for stem in stems]
    return f"Chapters: {', '.join(links)}."


def _entry(claim):
    """One claim as two or three paragraphs of MyST text."""
    return "\n\n".join(filter(None, (claim.claim, _source(claim), _where(claim))))


def _source(claim):
    parts = [claim.source]
    if claim.status:
        parts.append(f"*{claim.status}*")
    if VERDICTS[claim.talk] not in ("", claim.status):
        parts.append(f"**{VERDICTS[claim.talk]}**")
    if claim.errata:
        parts.append(f"{{ref}}`errata <{claim.errata}>`")
    if not claim.treated:
        parts.append("open")
    line = " · ".join(parts)
    return f"{line}. {claim.remark}" if claim.remark else line


def _where(claim):
    if not claim.treated:
        return ""
    links = ", ".join(map(_link, claim.where))
    tests = ", ".join(f"`{test}`" for test in claim.test)
    return f"In the book: {links}. Test: {tests}"


@cache
def exercise_labels():
    """Labels of the book's exercises, which begin as those of its examples do."""
    texts = (path.read_text(encoding="utf-8") for path in BOOK.glob("*.ipynb"))
    return {label for text in texts for label in EXERCISE.findall(text)}


def _link(label):
    role = "ref" if label in exercise_labels() else ROLES[label.partition("-")[0]]
    return f"{'equation ' if role == 'eq' else ''}{{{role}}}`{label}`"


def setup(app):
    """Register the directive with Sphinx."""
    app.add_directive("claims-register", ClaimsRegister)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
