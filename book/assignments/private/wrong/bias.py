"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

ENDS = """
def ends(stop):
    loss = losses.completion(part.rows, part.cols, part.values, part.shape)
    first = np.zeros(part.shape)
    first[part.rows, part.cols] = part.values
    found = [first]
    for depth in (2, 3):
        path = networks.layer_flow(
            loss, part.layers[depth], 10_000.0, rtol=1e-6, atol=1e-9,
            stop=lambda w: loss.value(networks.product(w)) - stop,
        )
        found.append(networks.product(path.final))
    return found

def ranks(matrices):
    return np.array([completion.effective_rank(W) for W in matrices])
"""
LIMITS = """
least = minnorm.minimum_norm(part.X, part.Y)
limit = minnorm.flow_limit(part.X, part.Y, part.U0, part.V0)
"""
GIVEN = {"3": LIMITS, "4": ENDS}

WRONG = {
    "1": [
        (
            "rank one",
            "entry = part.a * part.b / c",
            "is the matrix of rank one always the one with the least nuclear norm?",
        ),
        ("only the other case", "entry = c", "that is so for small c only"),
        ("zero", "entry = sp.Integer(0)", "that has the least Frobenius norm"),
        ("maximum", "entry = sp.Max(part.a * part.b / c, c)", "which of the two cases holds"),
        (
            "cases exchanged",
            "entry = sp.Piecewise((part.a * part.b / c, c**2 < part.a * part.b), (c, True))",
            "which of the two cases holds",
        ),
        ("sign", "entry = -sp.Min(part.a * part.b / c, c)", "-1.00 times the correct one"),
        ("geometric mean", "entry = sp.sqrt(part.a * part.b)", "does the entry not depend on c?"),
        ("an array", "entry = [1, 2]", "sympy expression"),
    ],
    "2": [
        (
            "P forgotten",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    return w0 + np.linalg.pinv(X) @ (y - X @ w0)",
            "it fits, but where does P enter?",
        ),
        (
            "start forgotten",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    return P @ X.T @ np.linalg.pinv(X @ P @ X.T, rcond=1e-10) @ y",
            "it fits, but where does the start enter?",
        ),
        (
            "least norm",
            "def preconditioned_limit(X, y, w0, P):\n    return np.linalg.pinv(X) @ y",
            "it fits, but where do P and the start enter?",
        ),
        (
            "inverse of P",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    Q = np.linalg.inv(P)\n"
            "    return w0 + Q @ X.T @ np.linalg.pinv(X @ Q @ X.T, rcond=1e-10) @ (y - X @ w0)",
            "is it P or its inverse?",
        ),
        (
            "P at the end",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    return w0 + P @ np.linalg.pinv(X) @ (y - X @ w0)",
            "is no minimizer of the loss",
        ),
        (
            "inverse of a singular matrix",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    if np.linalg.matrix_rank(X @ P @ X.T) < len(X):\n"
            "        raise np.linalg.LinAlgError\n"
            "    return w0 + P @ X.T @ np.linalg.inv(X @ P @ X.T) @ (y - X @ w0)",
            "your function raises LinAlgError for dependent rows of X",
        ),
        (
            "not run to the end",
            "def preconditioned_limit(X, y, w0, P):\n"
            "    return gradient_flow(lambda w: P @ X.T @ (X @ w - y), w0, 1.0).final",
            "is no minimizer of the loss",
        ),
        (
            "the residual",
            "def preconditioned_limit(X, y, w0, P):\n    return y - X @ w0",
            "returns an array of shape",
        ),
    ],
    "3": [
        (
            "not relative",
            "distance = np.linalg.norm(limit - least)",
            "is it relative to the norm of the solution?",
        ),
        (
            "relative to the other",
            "distance = np.linalg.norm(limit - least) / np.linalg.norm(limit)",
            "relative to which of the two?",
        ),
        (
            "difference of norms",
            "distance = np.linalg.norm(limit) / np.linalg.norm(least) - 1",
            "or the difference of the norms?",
        ),
        (
            "at the start",
            "distance = np.linalg.norm(part.U0 @ part.V0.T - least) / np.linalg.norm(least)",
            "is it the distance at the start?",
        ),
        (
            "V taken for fixed",
            "unseen = np.eye(4) - np.linalg.pinv(part.X) @ part.X\n"
            "distance = np.linalg.norm(unseen @ part.U0 @ part.V0.T) / np.linalg.norm(least)",
            "V moves too",
        ),
        (
            "squared",
            "distance = (np.linalg.norm(limit - least) / np.linalg.norm(least)) ** 2",
            "is it the squared distance?",
        ),
        ("zero", "distance = 0.0", "your distance is"),
        ("a matrix", "distance = limit - least", "one number is asked for"),
    ],
    "4": [
        (
            "entropy",
            "effective_ranks = np.log(ranks(ends(1e-6)))",
            "that is the entropy; the effective rank is its exponential",
        ),
        (
            "squares",
            "effective_ranks = ranks([W @ W.T for W in ends(1e-6)])",
            "or of their squares?",
        ),
        (
            "stable rank",
            "effective_ranks = [np.sum(W**2) / np.linalg.norm(W, 2) ** 2 for W in ends(1e-6)]",
            "that is the stable rank",
        ),
        (
            "nuclear norm",
            "effective_ranks = [np.linalg.norm(W, 'nuc') for W in ends(1e-6)]",
            "that is the nuclear norm",
        ),
        ("order", "effective_ranks = ranks(ends(1e-6))[::-1]", "depth 1 first and depth 3 last?"),
        (
            "too early",
            "effective_ranks = ranks(ends(0.5))",
            "was the loss small when you stopped?",
        ),
        (
            "rank of the truth",
            "effective_ranks = np.ones(3)",
            "that is the rank of the matrix that was observed",
        ),
        (
            "numerical rank",
            "effective_ranks = [np.linalg.matrix_rank(W) for W in ends(1e-6)]",
            "your array of effective ranks is",
        ),
        ("two depths", "effective_ranks = ranks(ends(1e-6))[1:]", "yours has the shape (2,)"),
    ],
}
