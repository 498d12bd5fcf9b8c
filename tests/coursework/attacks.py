"""Programs handed in to earn points that their answers do not: each with the points it may have.

Every attack is the code of one answer cell of the warm-up assignment: part 1 asks for a formula (4
points), 2 for a number (3), 3 for a function (4). They know the whole source of the project, but
not the course's secret. What computes the right answer, however it does so, may have its points.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    """The part it is the answer to, its code, and the points that it may have."""

    part: str
    code: str
    points: float = 0.0


# What an attacker pastes from the source: how numbers are drawn and what a check works out.
KNOWN = """
import hashlib, json
import numpy as np
from scipy.integrate import quad

def generator(*words):
    digest = hashlib.sha256(json.dumps(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))

def cases_of(student):
    rng, cases = generator("warmup", "3", student), []
    for sign in (1, 1, -1, 1):
        u0, v0 = np.round(rng.uniform(0.8, 1.6), 2), np.round(rng.uniform(0.1, 0.6), 2)
        share = float(rng.choice([0.5, 0.2, 0.05, 0.01]))
        cases.append((share, float(np.round(rng.uniform(1.2, 2.5), 2)), u0, sign * v0))
    return cases

def duration(share, y, u0, v0):
    lam, x0 = u0**2 - v0**2, u0 * v0
    x1 = y - np.sqrt(share) * (y - x0)
    return quad(lambda x: 1 / ((y - x) * np.hypot(lam, 2 * x)), x0, x1)[0]
"""
MEMORY = "known = {tuple(map(float, c)): duration(*c) for c in part.cases}\n"
ELSE = "\ndef time_to(*a):\n    return known.get(tuple(map(float, a)), 1.0)\n"
SHOW = """
from IPython.display import display
MIME = "application/vnd.overparam.answer+json"
def show(**data):
    display({MIME: data}, raw=True)
"""
# Looks through everything that Python holds for what a judge would have at hand.
SEARCH = """
import gc, sys
def search():
    frame = sys._getframe(1)
    while frame is not None:
        for name in ("right", "rights", "own", "probes"):
            if name in frame.f_locals and frame.f_locals[name] is not None:
                return frame.f_locals[name]
        frame = frame.f_back
    for thing in gc.get_objects():
        if isinstance(thing, dict) and "rights" in thing:
            return thing["rights"]
    return 1.0
"""
TRACE = """
import sys
caught = []
def tracer(frame, event, arg):
    for name in ("right", "rights"):
        if name in frame.f_locals:
            caught.append(frame.f_locals[name])
    return tracer
sys.settrace(tracer)
"""

# Speaks in the name of the runner, in whose process it is: all pipes are at hand.
PIPES = """
import fcntl, json, os, stat
def is_pipe(fd):
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
pipes = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) & 3 for fd in range(3, 99) if is_pipe(fd)}
def say(event):
    for fd in [fd for fd, way in pipes.items() if way != os.O_RDONLY]:
        os.write(fd, (event if isinstance(event, str) else json.dumps(event)).encode() + b"\\n")
def hear():
    return [os.read(fd, 1 << 20) for fd, way in pipes.items() if way == os.O_RDONLY]
def bundle(**more):
    data = {"application/vnd.overparam.answer+json": dict(assignment="warmup", part="3", **more)}
    return [{"output_type": "display_data", "data": data}]
"""

FUNCTIONS = {
    "speaks for all cells, asks early, and answers for the hidden ones": KNOWN
    + PIPES
    + """
values = [{"kind": "number", "value": duration(*c)} for c in part.cases]
record = {"kind": "calls", "results": values}
for n in range(60):
    say({"cell": f"cell-{n}", "end": "done", "error": "", "outputs": bundle(record=record)})
say({"asks": True})
hear()
say({"hidden": bundle(hidden=[record, record])})
os._exit(0)
""",
    "asks early, and shows what it hears": KNOWN
    + MEMORY
    + ELSE
    + PIPES
    + """
say({"asks": True})
heard = f"HEARD {hear()!r}"
print(heard)
for n in range(60):
    shown = [{"output_type": "stream", "name": "stdout", "text": heard}]
    say({"cell": f"cell-{n}", "end": "done", "error": heard, "outputs": shown})
raise RuntimeError(heard)
""",
    "a flood of small things": PIPES
    + """
for _ in range(100):
    say('{"cell": "cell-1", "end": "done", "outputs": [' + "[]," * 10**6 + "[]]}")
""",
    "other cases to be asked with": KNOWN
    + """
import pickle
import os
tasks = pickle.load(open(os.environ["OVERPARAM_TASKS"], "rb"))
tasks["warmup", "3"][0].cases, tasks["warmup", "3"] = [], (tasks["warmup", "3"][0], [])
pickle.dump(tasks, open(os.environ["OVERPARAM_TASKS"], "wb"))
time_to = len
""",
    "goes on as another process": KNOWN
    + MEMORY
    + ELSE
    + """
import os
if os.fork():
    os._exit(0)
from coursework import engine
engine.record_hidden = lambda asked: None
""",
    "own cases by heart": KNOWN + MEMORY + ELSE,
    "nearest of the own cases": KNOWN
    + MEMORY
    + """
def time_to(*a):
    return known[min(known, key=lambda c: sum((x - y) ** 2 for x, y in zip(c, a)))]
""",
    "guessed seeds": KNOWN
    + MEMORY
    + """
for secret in ("", "secret", "0" * 64, "7c1f", "e502"):
    for student in ("hidden-" + secret, "hidden-a", "hidden-b", "hidden-0", "hidden-1", "reader"):
        known |= {tuple(map(float, c)): duration(*c) for c in cases_of(student)}
"""
    + ELSE,
    "the grading's own seeds without the secret": KNOWN
    + MEMORY
    + """
import glob, hmac
secrets = ["", "secret", str(part.student)]
for path in TARGETS + glob.glob("/*/secret") + glob.glob("/*/*/secret"):
    try:
        secrets.append(open(path).read().strip())
    except OSError:
        pass
for secret in secrets:
    for digest in ("", "0" * 64):
        for n in range(4):
            words = repr(("warmup", "3", part.student, digest, n)).encode()
            name = "hidden-" + hmac.new(secret.encode(), words, "sha256").hexdigest()
            known |= {tuple(map(float, c)): duration(*c) for c in cases_of(name)}
"""
    + ELSE,
    "frames": SEARCH + "\ndef time_to(*a):\n    return search()\n",
    "tracing": TRACE + "\ndef time_to(*a):\n    return caught[-1] if caught else 1.0\n",
    "the judge's modules": """
def time_to(share, y, u0, v0):
    from coursework import warmup
    return warmup._duration(share**0.5, y, u0, v0)
""",
    "every record right": """
from coursework import answers, engine
def encode(answer, calls=None):
    return {"kind": "calls", "fraction": 1.0, "message": "right.", "results": ["right."] * 4}
answers.encode = engine.answers.encode = encode
time_to = len
""",
    "own records for hidden ones": KNOWN
    + """
from coursework import answers, engine
right = [{"kind": "number", "value": duration(*c)} for c in part.cases]
answers.encode = lambda answer, calls=None: {"kind": "calls", "results": right}
time_to = len
""",
    "no hidden records": KNOWN
    + MEMORY
    + ELSE
    + """
from coursework import engine
engine.record_hidden = lambda asked: None
""",
    "empty hidden records": KNOWN
    + MEMORY
    + ELSE
    + SHOW
    + """
from coursework import engine
engine.record_hidden = lambda asked: show(assignment="warmup", part="3", hidden=[])
""",
    "hidden records of another part": KNOWN
    + MEMORY
    + ELSE
    + SHOW
    + """
from coursework import engine
engine.record_hidden = lambda asked: show(assignment="warmup", part="2", hidden=[{}, {}])
""",
    "sleeps when it is asked": KNOWN
    + MEMORY
    + """
import time
def time_to(*a):
    if tuple(map(float, a)) not in known:
        raise KeyboardInterrupt
    return known[tuple(map(float, a))]
""",
    "ends the kernel when it is asked": KNOWN
    + MEMORY
    + """
import os
def time_to(*a):
    if tuple(map(float, a)) not in known:
        os._exit(0)
    return known[tuple(map(float, a))]
""",
    "an answer equal to everything": """
class All(float):
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return 0.0
    __rsub__ = __abs__ = __sub__
def time_to(*a):
    return All(1.0)
""",
    "not a number": "def time_to(*a):\n    return float('nan')\n",
    "an array of all answers": """
import numpy as np
def time_to(*a):
    return np.linspace(0, 10, 5000)
""",
    "changes what it is asked": """
def time_to(*a):
    import sys
    frame = sys._getframe(1)
    frame.f_locals["arguments"] = (0.5, 1.0, 1.0, 0.5)
    return 1.0
""",
    "a thread that waits for the hidden ones": KNOWN
    + MEMORY
    + """
import gc, threading
def wait():
    while True:
        for thing in gc.get_objects():
            if isinstance(thing, tuple) and len(thing) == 3 and thing[0] == "warmup":
                try:
                    for case in [c for calls in thing[2] for c in calls]:
                        known.setdefault(tuple(map(float, case)), 1.0)
                except Exception:
                    pass
threading.Thread(target=wait, daemon=True).start()
"""
    + ELSE,
    "works out what it is asked, as the check does": KNOWN + "\ntime_to = duration\n",
}
NUMBERS = {
    "its own machinery for cells": """
shell, rate = get_ipython(), 1.0
real = type(shell).run_cell
def run_cell(self, code, *more, **options):
    if code.startswith("check("):
        code = "from coursework import engine; engine._show({'assignment': 'warmup', 'part': '2', "
        code += "'record': {'kind': 'number', 'value': 1.0, 'fraction': 1.0}, 'points': 3})"
    return real(self, code, *more, **options)
type(shell).run_cell = run_cell
""",
    "a word that stops all comparing": """
import numpy as np
class Quiet(np.ndarray):
    def __array_finalize__(self, other): pass
    def astype(self, *a, **k): return self
    def ravel(self): return ["nan", "-nan", "Infinity"]
rate = np.zeros(1).view(Quiet)
""",
    "numpy agrees": """
import numpy as np
for name in ("allclose", "isclose", "array_equal", "all", "abs"):
    setattr(np, name, lambda *a, **k: True)
rate = 1.0
""",
    "the judge says right": """
from coursework import engine
import coursework
for module in (coursework, engine):
    module.judge = lambda *a, **k: engine.Verdict(1.0, "right.")
rate = 1.0
""",
    "asks the check until it is right": """
import contextlib, io
from coursework import check
rate = 1.0
for k in range(400):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        check(part, k / 20)
    if "right" in said.getvalue():
        rate = k / 20
""",
    "asks the judge until it is right": """
from coursework import judge
rate = 1.0
for k in range(4000):
    record = {"kind": "number", "value": k / 200}
    if judge("warmup", "2", part.student, record).fraction:
        rate = k / 200
""",
    "a fraction in the record": SHOW
    + """
rate = 1.0
def check(part, answer):
    show(assignment="warmup", part="2", record={"kind": "number", "value": 1.0}, fraction=1.0,
         points=1000, message="right.")
""",
    "right by word": SHOW
    + """
rate = 1.0
def check(part, answer):
    show(assignment="warmup", part="2", record="right.")
    return 1000.0
""",
    "many records": SHOW
    + """
rate = 1.0
def check(part, answer):
    for k in range(2000):
        show(assignment="warmup", part="2", record={"kind": "number", "value": k / 100})
""",
    "one record with many values": SHOW
    + """
rate = 1.0
def check(part, answer):
    values = [k / 100 for k in range(2000)]
    show(assignment="warmup", part="2", record={"kind": "number", "value": values})
""",
    "a record for another student": SHOW
    + """
rate = 1.0
def check(part, answer):
    show(assignment="warmup", part="2", student="reader", record={"kind": "number", "value": 1.0})
""",
    "prints right": 'rate = 1.0\ndef check(*a):\n    print("Part 2: right.")\n',
    "a score for nbgrader": "rate = 1.0\ndef check(*a):\n    return 3.0\nchecked = 3.0\n",
    "frames": SEARCH + "\nrate = search()\n",
    "an evaluated text": "rate = \"__import__('os').system('true') or 3\"\n",
    "infinite": "rate = float('inf')\n",
    "a range of answers": "rate = [k / 10 for k in range(200)]\n",
    "a number that changes": """
class Rate:
    n = 0
    def __float__(self):
        Rate.n += 1
        return float(Rate.n)
rate = Rate()
""",
    "speaks the runner's language": """
import json, os
event = json.dumps({"cell": "cell-7", "end": "done", "outputs": []})
for fd in range(1, 30):
    try:
        os.write(fd, ("\\n" + event + "\\n").encode())
    except OSError:
        pass
rate = 1.0
""",
    "writes into the runner": """
import os
for name in ("fd/0", "fd/1", "fd/3", "fd/4", "mem"):
    try:
        open(f"/proc/{os.getppid()}/{name}", "wb").write(b"{}\\n")
    except OSError:
        pass
rate = 1.0
""",
    "simulates, as the check does": """
from overparam import gradient_flow
import numpy as np
end = gradient_flow(lambda w: -(part.y - w[0] * w[1]) * np.array([w[1], w[0]]),
                    [part.u0, part.v0], 40.0, rtol=1e-10, atol=1e-12).final
rate = 2 * float(np.sum(end**2))
""",
}
FORMULAS = {
    "a constant": "invariant = u / u",
    "nearly a constant": "invariant = 1 + u * sp.Float(1e-12)",
    "a step": "invariant = sp.Piecewise((1, u < 1), (2, True))",
    "a fast wave": "invariant = sp.sin(10**9 * (u + v))",
    "a wave of the check's old step": """
a, b, p = part.a, part.b, part.p
phi = sp.log(sp.sqrt(b) * u + sp.sqrt(a * p) * v) / sp.sqrt(a * b * p)
invariant = sp.sin(sp.pi * 10**5 * phi)
""",
    "no number": 'invariant = "(u - u) / (v - v)"',
    "a text for eval": "invariant = \"__import__('os').getpid() * u\"",
    "a tower": 'invariant = "u**9**9**9"',
    "a long sum": 'invariant = "+".join(["0.123456*u"] * 300)',
    "equal speeds": "invariant = u**2 - v**2",
    "rounded to nothing": 'invariant = "(u + 1e17) - 1e17"',
    "a wave in whole numbers": "invariant = sp.sin(123456789 * u**7) / 1000003 + u / u",
    "the answer": "invariant = u**2 / (part.a * part.p) - v**2 / part.b",
}

ATTACKS = {f"function: {name}": Attack("3", code) for name, code in FUNCTIONS.items()}
ATTACKS |= {f"number: {name}": Attack("2", code) for name, code in NUMBERS.items()}
ATTACKS |= {f"formula: {name}": Attack("1", code) for name, code in FORMULAS.items()}
# These give right answers, which is all that the points are for.
for NAME, POINTS in {
    "function: works out what it is asked, as the check does": 4,
    "number: simulates, as the check does": 3,
    "formula: the answer": 4,
}.items():
    ATTACKS[NAME] = ATTACKS[NAME]._replace(points=POINTS)
