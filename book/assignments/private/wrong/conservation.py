"""Typical wrong answers: part → (label, code of the answer cell, words of the message)."""

# What a student gets nearly right: the solution of Q' = YQ + QY - c Q² with Z = exp(a t Y) U0.
NEARLY = """
def nearly(t, Y, U0, c=2.0, a=1.0):
    values, P = np.linalg.eigh(Y)
    values = np.where(np.abs(values) < 1e-12, 1e-9, a * values)
    R = P.T @ U0
    Z = P @ (np.exp(t * values)[:, None] * R)
    integral = np.expm1(2 * t * values) / (2 * values)
    return Z @ np.linalg.solve(np.eye(U0.shape[1]) + c * R.T @ (integral[:, None] * R), Z.T)
"""
FLOW = """
grid = np.linspace(0, 16, 1601)
path = networks.layer_flow(losses.squared_distance(part.Y), [part.U0, part.V0.T], grid)
goal = np.linalg.svd(part.Y, compute_uv=False)[:3]
curves = np.linalg.svd(path.states[0] @ path.states[1], compute_uv=False)[:, :3]
factor = np.linalg.svd(path.states[0], compute_uv=False)[:, :3]
"""
GIVEN = {"3": NEARLY, "4": FLOW}

WRONG = {
    "1": [
        ("conserved", "relative_imbalance = sp.Integer(1)", "without weight decay it would be so"),
        (
            "decay of the weights",
            "relative_imbalance = sp.exp(-part.speed * part.decay * t)",
            "what does U'U do?",
        ),
        (
            "speed forgotten",
            "relative_imbalance = sp.exp(-2 * part.decay * t)",
            "where does the speed enter?",
        ),
        (
            "squared norm",
            "relative_imbalance = sp.exp(-4 * part.speed * part.decay * t)",
            "is it the squared norm?",
        ),
        (
            "sign",
            "relative_imbalance = sp.exp(2 * part.speed * part.decay * t)",
            "look at the sign in the exponent",
        ),
        (
            "first order in t",
            "relative_imbalance = 1 - 2 * part.speed * part.decay * t",
            "your expression is",
        ),
        (
            "symbols instead of numbers",
            "relative_imbalance = sp.exp(-2 * sp.Symbol('s') * sp.Symbol('rho') * t)",
            "holds the symbol",
        ),
    ],
    "2": [
        (
            "with the ½",
            "sigma = part.y / (1 + (part.y / part.start - 1) * sp.exp(-2 * part.y * t))",
            "there is no ½ in this loss",
        ),
        (
            "exponent twice too large",
            "sigma = part.y / (1 + (part.y / part.start - 1) * sp.exp(-8 * part.y * t))",
            "the exponent is twice too large",
        ),
        (
            "growth without an end",
            "sigma = part.start * sp.exp(4 * part.y * t)",
            "where does the growth end?",
        ),
        (
            "relaxation",
            "sigma = part.y - (part.y - part.start) * sp.exp(-4 * part.y * t)",
            "is the beginning slow or fast?",
        ),
        (
            "one weight",
            "sigma = part.y - (part.y - part.start) * sp.exp(-2 * t)",
            "one weight alone would move like that",
        ),
        (
            "a factor",
            "sigma = sp.sqrt(part.y / (1 + (part.y / part.start - 1) * sp.exp(-4 * part.y * t)))",
            "one of the two factors, or their product?",
        ),
        (
            "sign in the denominator",
            "sigma = part.y / (1 - (part.y / part.start - 1) * sp.exp(-4 * part.y * t))",
            "your expression is",
        ),
    ],
    "3": [
        (
            "factor of the quadratic term",
            "def symmetric_solution(t, Y, U0):\n    return nearly(t, Y, U0, c=1.0)",
            "which factor does the quadratic term",
        ),
        (
            "inverse of Y",
            "def symmetric_solution(t, Y, U0):\n"
            "    Z = scipy.linalg.expm(t * Y) @ U0\n"
            "    grown = np.linalg.inv(Y) @ (scipy.linalg.expm(2 * t * Y) - np.eye(len(Y)))\n"
            "    return Z @ np.linalg.inv(np.eye(U0.shape[1]) + U0.T @ grown @ U0) @ Z.T",
            "your function raises LinAlgError for a singular Y",
        ),
        (
            "division by an eigenvalue",
            "def symmetric_solution(t, Y, U0):\n"
            "    values, P = np.linalg.eigh(Y)\n"
            "    R = P.T @ U0\n"
            "    Z = P @ (np.exp(t * values)[:, None] * R)\n"
            "    with np.errstate(all='ignore'):\n"
            "        grown = np.where(values == 0, np.nan, np.expm1(2 * t * values) / values)\n"
            "    gram = np.eye(U0.shape[1]) + R.T @ (grown[:, None] * R)\n"
            "    return Z @ np.linalg.inv(gram) @ Z.T",
            "for a singular Y",
        ),
        (
            "only the growth",
            "def symmetric_solution(t, Y, U0):\n"
            "    Z = scipy.linalg.expm(t * Y) @ U0\n"
            "    return Z @ Z.T",
            "the growth must end",
        ),
        (
            "the limit",
            "def symmetric_solution(t, Y, U0):\n"
            "    U = gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, 60.0).final\n"
            "    return U @ U.T",
            "that is the limit for large t",
        ),
        (
            "U instead of Q",
            "def symmetric_solution(t, Y, U0):\n"
            "    return gradient_flow(lambda U: (U @ U.T - Y) @ U, U0, t + 1e-9).final",
            "returns an array of shape (3, 2) for an invertible Y",
        ),
        (
            "needs an invertible start",
            "def symmetric_solution(t, Y, U0):\n"
            "    if t == 0:\n"
            "        raise ZeroDivisionError\n"
            "    return nearly(t, Y, U0)",
            "raises ZeroDivisionError at t = 0",
        ),
        (
            "the exponent",
            "def symmetric_solution(t, Y, U0):\n    return nearly(2 * t, Y, U0)",
            "look at the exponents",
        ),
    ],
    "4": [
        (
            "singular values of U",
            "half_times = grid[np.argmax(factor >= goal / 2, axis=0)]",
            "are those the singular values of U, or of the product?",
        ),
        (
            "smallest first",
            "half_times = grid[np.argmax(curves >= goal / 2, axis=0)][::-1]",
            "the largest first?",
        ),
        (
            "nearly the whole target",
            "half_times = grid[np.argmax(curves >= 0.99 * goal, axis=0)]",
            "is it half of the target that you waited for?",
        ),
        (
            "from mode to mode",
            "half_times = np.diff(grid[np.argmax(curves >= goal / 2, axis=0)], prepend=0.0)",
            "not from mode to mode",
        ),
        (
            "half of the largest for all",
            "half_times = grid[np.argmax(curves >= goal[0] / 2, axis=0)]",
            "your array of times is off by",
        ),
        (
            "the formula for a spectral start",
            "half_times = np.log(1e6 * goal) / (2 * goal)",
            "your array of times is off by",
        ),
        ("one number", "half_times = 2.0", "an array of shape (3,) is asked for"),
        ("four of them", "half_times = np.arange(4.0)", "yours has the shape (4,)"),
    ],
}
