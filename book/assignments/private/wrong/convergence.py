"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

FLOW = """
end = networks.layer_flow(losses.squared_distance(part.Y), [part.U0, part.V0.T], 200.0).final
squares = lambda A: np.linalg.svd(A, compute_uv=False) ** 2
"""
RACE = """
def count(depth, step, goal=part.goal, slope_factor=1.0, limit=5000):
    w, a = part.start, np.sqrt(np.linalg.norm(part.start))
    v = w / a
    for k in range(limit):
        value = np.sum((w - part.y) ** 4) / 4
        if value <= goal or value > 1e12:
            return k if value <= goal else np.inf
        slope = slope_factor * (w - part.y) ** 3
        if depth == 1:
            w = w - step * slope
        else:
            a, v = a - step * slope @ v, v - step * slope * a
            w = v * a
    return np.inf

def counts(**options):
    return np.array([[count(d, s, **options) for s in part.steps] for d in (1, 2)])
"""
GIVEN = {"2": FLOW, "4": RACE}

WRONG = {
    "1": [
        (
            "sign",
            "velocity = part.depth * x ** (2 - sp.Rational(2, part.depth))"
            " * (x - part.y) ** (part.power - 1)",
            "is -1.00 times the correct one: the flow goes against the gradient",
        ),
        (
            "one layer's motion only",
            "velocity = -(x ** (2 - sp.Rational(2, part.depth)))"
            " * (x - part.y) ** (part.power - 1)",
            "how many layers move?",
        ),
        (
            "others not squared",
            "velocity = -part.depth * x ** (1 - sp.Rational(1, part.depth))"
            " * (x - part.y) ** (part.power - 1)",
            "each layer enters twice",
        ),
        (
            "the square's gradient",
            "velocity = -part.depth * x ** (2 - sp.Rational(2, part.depth)) * (x - part.y)",
            "which power has this loss?",
        ),
        (
            "factor of the loss",
            "velocity = -part.power * part.depth * x ** (2 - sp.Rational(2, part.depth))"
            " * (x - part.y) ** (part.power - 1)",
            "look at the factor before the loss",
        ),
        ("one weight", "velocity = -((x - part.y) ** (part.power - 1))", "of one weight"),
        (
            "all layers in each product",
            "velocity = -part.depth * x**2 * (x - part.y) ** (part.power - 1)",
            "one layer is missing in each product of the others",
        ),
    ],
    "2": [
        (
            "rate of the error",
            "late_rate = rates.smallest_eigenvalue(end)",
            "is 0.50 times the correct one: is it the rate of the error or of the loss?",
        ),
        (
            "at the start",
            "late_rate = 2 * rates.smallest_eigenvalue([part.U0, part.V0.T])",
            "is it taken at the start?",
        ),
        (
            "fastest direction",
            "late_rate = 2 * np.linalg.eigvalsh(rates.operator(end)).max()",
            "is it the fastest direction?",
        ),
        ("one factor", "late_rate = 2 * squares(end[0])[-1]", "both factors move"),
        (
            "PL constant without ½",
            "late_rate = 4 * rates.smallest_eigenvalue(end)",
            "is 2.00 times the correct one: which constant",
        ),
        ("negative", "late_rate = -2 * rates.smallest_eigenvalue(end)", "is that of exp(-r t)"),
        ("text", "late_rate = 'fast'", "one number is asked for"),
    ],
    "3": [
        (
            "half of it",
            "def largest_step(weights):\n"
            "    return 1 / np.linalg.eigvalsh(rates.operator(weights)).max()",
            "is 0.50 times the correct one: is it the step of the fastest decrease",
        ),
        (
            "smallest eigenvalue",
            "def largest_step(weights):\n"
            "    return 2 / np.linalg.eigvalsh(rates.operator(weights)).min()",
            "which eigenvalue of the second derivative counts?",
        ),
        (
            "loss of the product",
            "def largest_step(weights):\n    return 2.0",
            "that is the largest step for the loss of the product",
        ),
        (
            "norm of the product",
            "def largest_step(weights):\n"
            "    return 2 / np.linalg.norm(networks.product(weights), 2) ** 2",
            "which matrix has the largest curvature in it?",
        ),
        (
            "sum of norms",
            "def largest_step(weights):\n"
            "    total = 0\n"
            "    for l in range(len(weights)):\n"
            "        before = np.eye(len(weights[0]))\n"
            "        for W in weights[:l]:\n"
            "            before = before @ W\n"
            "        after = np.eye(weights[l].shape[1])\n"
            "        for W in weights[l + 1 :]:\n"
            "            after = after @ W\n"
            "        total += np.linalg.norm(before, 2) ** 2 * np.linalg.norm(after, 2) ** 2\n"
            "    return 2 / total",
            "is only a bound",
        ),
        (
            "two layers only",
            "def largest_step(weights):\n"
            "    U, W = weights\n"
            "    return 2 / (np.linalg.norm(U, 2) ** 2 + np.linalg.norm(W, 2) ** 2)",
            "your function raises ValueError for three layers",
        ),
        (
            "trace",
            "def largest_step(weights):\n    return 2 / np.trace(rates.operator(weights))",
            "is it the trace or the largest eigenvalue?",
        ),
    ],
    "4": [
        ("order", "iterations = counts().min(axis=1)[::-1]", "depth 1 first and depth 2 second?"),
        (
            "one step for both",
            "c = counts()\niterations = c[:, c[1].argmin()]",
            "each depth may take its own best step",
        ),
        (
            "smallest step",
            "iterations = np.array([count(d, part.steps[0], limit=20000) for d in (1, 2)])",
            "that is with the smallest step",
        ),
        (
            "loss without its ¼",
            "iterations = counts(goal=part.goal / 4).min(axis=1)",
            "look at the factor before the loss",
        ),
        (
            "gradient with the 4",
            "iterations = counts(slope_factor=4.0).min(axis=1)",
            "look at the factor before the loss",
        ),
        ("the ratio", "iterations = 3.0", "an array of shape (2,) is asked for"),
        ("made up", "iterations = np.array([1000, 10])", "your number of iterations for depth 1"),
        ("infinite", "iterations = np.array([np.inf, 10])", "NaN or infinite"),
    ],
}
