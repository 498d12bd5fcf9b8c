"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

GIVEN = {"1": "q = part.eta * (part.y - u * v) ** (part.power - 1)"}

WRONG = {
    "1": [
        ("wrong sign", "factor = 1 + q**2", "look at the sign"),
        ("another loss", "factor = 1 - part.eta**2 * (part.y - u * v) ** 2", "which power"),
        ("first order", "factor = 1 - q", "by which power of the step"),
        ("1/p forgotten", "factor = 1 - (part.power * q) ** 2", "look at the 1/p"),
        ("conserved", "factor = 1", "the flow conserves it"),
        ("not the factor", "factor = (1 - q**2) * (u**2 - v**2)", "the factor is asked"),
    ],
    "2": [
        (
            "without c",
            "critical = edge.critical_step(part.u0, part.v0, part.y)",
            "what does the factor c do to the step?",
        ),
        ("the minima", "critical = 1 / (part.c * part.y)", "where does your start enter?"),
        (
            "no target",
            "critical = 4 / (part.c * (part.u0**2 + part.v0**2))",
            "where does the target enter the ellipse?",
        ),
        (
            "edge at the start",
            "critical = 2 / (part.c * (part.u0**2 + part.v0**2))",
            "the curvature at the start",
        ),
        (
            "the flow's minimum",
            "critical = 2 / part.c / edge.flow_sharpness([part.u0, part.v0], part.y)",
            "descent need not end where the flow does",
        ),
    ],
    "3": [
        (
            "without c",
            "def stable_step(w, y, c):\n    return 2 / edge.flow_sharpness(w, y)",
            "what does the factor c do to the curvature?",
        ),
        (
            "the curvature",
            "def stable_step(w, y, c):\n    return c * edge.flow_sharpness(w, y)",
            "is it the curvature, or the step?",
        ),
        (
            "half",
            "def stable_step(w, y, c):\n    return 1 / (c * edge.flow_sharpness(w, y))",
            "the fastest decrease",
        ),
        (
            "at the start",
            "def stable_step(w, y, c):\n"
            "    return 2 / (c * sum(np.prod(np.delete(w, l)) ** 2 for l in range(len(w))))",
            "is it at the start, or where the flow ends?",
        ),
        (
            "the flattest",
            "def stable_step(w, y, c):\n"
            "    return 2 / (c * len(w) * abs(y) ** (2 - 2 / len(w)))",
            "the flattest minimum",
        ),
    ],
    "4": [
        (
            "smaller first",
            "products = edge.two_cycle(part.eta * part.y)[0][::-1] * part.y",
            "is the larger one the first?",
        ),
        (
            "shares",
            "products = edge.two_cycle(part.eta * part.y)[0]",
            "is it the product, or its share of y?",
        ),
        ("the minimum", "products = [part.y, part.y]", "the minimum is unstable"),
        (
            "errors",
            "products = part.y - edge.two_cycle(part.eta * part.y)[0] * part.y",
            "is it the error, or the product?",
        ),
    ],
}
