"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

TANGENT = """
a, b, c = sp.symbols("a b c")
f = b * getattr(sp, part.activation)(a * x) + c * x**2
numbers = {a: part.a, b: part.b, c: part.c}

def products(weights, first=f):
    pairs = [(sp.diff(f, w), sp.diff(f, w).subs(x, z)) for w in weights]
    return sum(p * q for p, q in pairs).subs(numbers)
"""
LINEAR = """
def solve(t, K, k, y, f0, g0):
    values, P = np.linalg.eigh(K)
    values = np.maximum(values, 1e-9)
    return g0 + k @ P @ (-np.expm1(-t * values) / values * (P.T @ (y - f0)))
"""
LAZY = """
J = np.hstack([2 * part.X * part.w0, -2 * part.X * part.w0])
step = np.linalg.pinv(J) @ part.y
"""
SCALE = """
sparse, dense = regimes.minimum_l1(part.X, part.y), regimes.minimum_l2(part.X, part.y)

def crossing(p=1, share=0.5):
    goal = (1 - share) * np.linalg.norm(sparse, p) + share * np.linalg.norm(dense, p)
    def excess(e):
        return np.linalg.norm(regimes.flow_limit(part.X, part.y, 10**e), p) - goal
    return 10 ** brentq(excess, -5, 2)
"""
GIVEN = {"1": TANGENT, "2": LINEAR, "3": LAZY, "4": SCALE}

WRONG = {
    "1": [
        ("c forgotten", "kernel = products([a, b])", "which weight is missing?"),
        ("a forgotten", "kernel = products([b, c])", "which weight is missing?"),
        (
            "product of the predictions",
            "kernel = (f * f.subs(x, z)).subs(numbers)",
            "that is a product of the predictions",
        ),
        (
            "derivative in the input",
            "kernel = (sp.diff(f, x) * sp.diff(f, x).subs(x, z)).subs(numbers)",
            "the derivatives are in the weights, not in the input",
        ),
        (
            "square of the sum",
            "s = sum(sp.diff(f, w) for w in (a, b, c))\nkernel = (s * s.subs(x, z)).subs(numbers)",
            "it is a sum of products, not a product of sums",
        ),
        (
            "one input",
            "kernel = products([a, b, c]).subs(z, x)",
            "A kernel takes two inputs",
        ),
        (
            "numbers not put in",
            "kernel = sum(sp.diff(f, w) * sp.diff(f, w).subs(x, z) for w in (a, b, c))",
            "your formula holds the symbol",
        ),
        (
            "chain rule",
            "kernel = products([b, c]) + products([a]) / (x * z)",
            "the chain rule brings the input",
        ),
    ],
    "2": [
        (
            "start of the data forgotten",
            "def new_prediction(t, K, k, y, f0, g0):\n    return solve(t, K, k, y, 0 * f0, g0)",
            "it is the error y - f0 that is learned",
        ),
        (
            "start of the new input forgotten",
            "def new_prediction(t, K, k, y, f0, g0):\n    return solve(t, K, k, y, f0, 0.0)",
            "where is the prediction g0 at the start?",
        ),
        (
            "loss without its ½",
            "def new_prediction(t, K, k, y, f0, g0):\n    return solve(2 * t, K, k, y, f0, g0)",
            "the loss has its ½: look at the exponent",
        ),
        (
            "the limit",
            "def new_prediction(t, K, k, y, f0, g0):\n"
            "    return g0 + k @ np.linalg.pinv(K, rcond=1e-10) @ (y - f0)",
            "that is the limit for large t",
        ),
        (
            "inverse of K",
            "def new_prediction(t, K, k, y, f0, g0):\n"
            "    if np.linalg.matrix_rank(K) < len(K):\n"
            "        raise np.linalg.LinAlgError\n"
            "    decay = scipy.linalg.expm(-t * K)\n"
            "    return g0 + k @ np.linalg.solve(K, (np.eye(len(K)) - decay) @ (y - f0))",
            "your function raises LinAlgError for a singular K",
        ),
        (
            "the first step",
            "def new_prediction(t, K, k, y, f0, g0):\n    return g0 + t * k @ (y - f0)",
            "that is the first step only",
        ),
        (
            "predictions on the data",
            "def new_prediction(t, K, k, y, f0, g0):\n"
            "    return y + scipy.linalg.expm(-t * K) @ (f0 - y)",
            "returns an array of shape (3,)",
        ),
    ],
    "3": [
        ("squared", "travel = np.sum(step**2)", "is it the squared distance?"),
        (
            "one half of the weights",
            "travel = np.linalg.norm(np.linalg.pinv(J[:, :6]) @ part.y)",
            "both halves of the weights move",
        ),
        (
            "the predictor",
            "travel = np.linalg.norm(np.linalg.pinv(part.X) @ part.y)",
            "the weights that you measure, or the predictor?",
        ),
        (
            "factor 2 of the derivative",
            "travel = 2 * np.linalg.norm(step)",
            "is 2.00 times the correct one",
        ),
        (
            "largest entry",
            "travel = np.abs(step).max()",
            "which norm do you take?",
        ),
        (
            "not multiplied by the scale",
            "travel = np.linalg.norm(step) / 100",
            "did you multiply by the scale?",
        ),
        (
            "scale one",
            "def gradient(w):\n"
            "    e = part.X.T @ (part.X @ (w[:6] ** 2 - w[6:] ** 2) - part.y)\n"
            "    return np.concatenate([2 * w[:6] * e, -2 * w[6:] * e])\n"
            "start = np.concatenate([part.w0, part.w0])\n"
            "travel = np.linalg.norm(gradient_flow(gradient, start, 200.0).final - start)",
            "your travel is",
        ),
    ],
    "4": [
        ("its square", "alpha = crossing() ** 2", "is it alpha or its square?"),
        ("its logarithm", "alpha = np.log10(crossing())", "is"),
        ("the other norm", "alpha = crossing(p=2)", "in which norm do you look for the middle?"),
        ("a quarter", "alpha = crossing(share=0.25)", "is it the middle between the two norms?"),
        ("3 quarters", "alpha = crossing(share=0.75)", "is it the middle between the two norms?"),
        ("negative", "alpha = -crossing()", "is not positive"),
        ("the predictor", "alpha = regimes.flow_limit(part.X, part.y, 0.3)", "one number is asked"),
        ("no answer but a message", "alpha = 'about 0.3'", "one number is asked for"),
    ],
}
