"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

WRONG = {
    "1": [
        ("conserved for f(uv)", "invariant = u**2 - v**2", "conserves at equal speeds"),
        (
            "multiplied where it divides",
            "invariant = part.a * part.p * u**2 - part.b * v**2",
            "do the speeds and the exponent multiply, or do they divide?",
        ),
        (
            "wrong sign",
            "invariant = u**2 / (part.a * part.p) + v**2 / part.b",
            "look at the sign between its terms",
        ),
        (
            "exponent forgotten",
            "invariant = u**2 / part.a - v**2 / part.b",
            "where does the exponent enter?",
        ),
        (
            "speeds forgotten",
            "invariant = u**2 / part.p - v**2",
            "where do the speeds enter?",
        ),
        ("the product", "invariant = u**part.p * v", "changes along the flow"),
        ("a constant", "invariant = sp.Integer(1)", "is a constant"),
        ("an equation", "invariant = sp.Eq(u**2, v**2)", "is an equation"),
        ("another symbol", "invariant = sp.Symbol('w') ** 2", "holds the symbol w"),
        ("a number where u is 1", "invariant = [1.0, 2.0]", "(a sympy expression) is asked for"),
    ],
    "2": [
        (
            "rate of the error",
            "rate = ((part.u0**2 - part.v0**2) ** 2 + 4 * part.y**2) ** 0.5",
            "your rate is 0.50 times the correct one: is it the rate of the error or of the loss?",
        ),
        (
            "PL constant of the loss without ½",
            "rate = 4 * ((part.u0**2 - part.v0**2) ** 2 + 4 * part.y**2) ** 0.5",
            "is 2.00 times the correct one: which constant",
        ),
        (
            "rate at the start",
            "rate = 2 * (part.u0**2 + part.v0**2)",
            "is it the rate at the start, which is only guaranteed?",
        ),
        (
            "guaranteed rate",
            "from overparam import scalar\n"
            "m = scalar.margin(part.y, part.u0 * part.v0)\n"
            "rate = scalar.rate_bound(part.u0**2 - part.v0**2, m)",
            "which is only guaranteed?",
        ),
        (
            "y² instead of 4y²",
            "rate = 2 * ((part.u0**2 - part.v0**2) ** 2 + part.y**2) ** 0.5",
            "look again at u² + v²",
        ),
        ("no imbalance", "rate = 4 * part.y", "what does the imbalance contribute?"),
        ("a text", "rate = '2.5'", "one number is asked for"),
        ("not a number", "rate = float('nan')", "not finite"),
    ],
    "3": [
        (
            "share of the error",
            "def time_to(share, y, u0, v0):\n"
            "    x0, lam = u0 * v0, u0**2 - v0**2\n"
            "    loss = lambda w: abs(y - w[0] * w[1]) - share * abs(y - x0)\n"
            "    g = lambda w: -(y - w[0] * w[1]) * np.array([w[1], w[0]])\n"
            "    return gradient_flow(g, [u0, v0], 100.0, stop=loss).t[-1]",
            "is it the loss that falls to that share, or the error?",
        ),
        (
            "guaranteed rate",
            "def time_to(share, y, u0, v0):\n"
            "    m = scalar.margin(y, u0 * v0)\n"
            "    return -np.log(share) / scalar.rate_bound(u0**2 - v0**2, m)",
            "upper bound of the time only",
        ),
        (
            "rate at the start",
            "def time_to(share, y, u0, v0):\n    return -np.log(share) / (2 * (u0**2 + v0**2))",
            "does not stay what it is at the start",
        ),
        (
            "rate at the end",
            "def time_to(share, y, u0, v0):\n"
            "    return -np.log(share) / (2 * np.hypot(u0**2 - v0**2, 2 * y))",
            "is not from the start what it is at the end",
        ),
        (
            "only for its own first case",
            "def time_to(share, y, u0, v0):\n    return 0.3",
            "what your function returns",
        ),
        (
            "raises",
            "def time_to(share, y, u0, v0):\n    raise ZeroDivisionError",
            "your function raises ZeroDivisionError for share",
        ),
        ("wrong arguments", "def time_to(share):\n    return share", "raises TypeError"),
        ("all times", "def time_to(share, y, u0, v0):\n    return np.ones(3)", "shape (3,)"),
        ("a number", "time_to = 0.5", "a function is asked for"),
    ],
    "4": [
        (
            "sign",
            "drift_per_step = -DRIFT",
            "is it its absolute value?",
        ),
        (
            "relative",
            "drift_per_step = DRIFT / (part.u0**2 - part.v0**2)",
            "is it the relative drift?",
        ),
        (
            "not divided by the step",
            "drift_per_step = DRIFT * part.steps[-1]",
            "divide by the step",
        ),
        (
            "divided by its square",
            "drift_per_step = DRIFT / part.steps[-1]",
            "by which power of the step do you divide?",
        ),
        ("twice", "drift_per_step = 2 * DRIFT", "is 2.00 times the correct one"),
        ("at the largest step", "drift_per_step = LARGEST", "take smaller ones"),
    ],
}
# Code that the wrong answers of a part may use: what they get nearly right.
GIVEN = {
    "4": """
def _measured(step):
    g = lambda w: -(part.y - w[0] * w[1]) * np.array([w[1], w[0]])
    w = gradient_descent(g, [part.u0, part.v0], step, int(10 / step)).final
    return (part.u0**2 - part.v0**2 - w[0] ** 2 + w[1] ** 2) / step
DRIFT = 2 * _measured(part.steps[-1]) - _measured(part.steps[-2])
LARGEST = _measured(part.steps[0])
""",
}
