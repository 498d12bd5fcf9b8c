"""Flows of different kinds: the library beside diffrax, torchdiffeq and bare `solve_ivp`.

Every program integrates the same problem to the same end and is given the method and the tolerance
with which it is fastest among those that reach an error, relative to a run at 1e-12: for each of
`GOALS`, since with a handful of steps one more or less of them decides. All are asked for the end.
diffrax is compiled beforehand. The gradients are written by hand as one would write them with
numpy; diffrax has them from `jax.grad`, which it compiles. The diagonal network is followed twice:
to t = 40, where it is still 0.8 % off its limit, and to t = 4000, where 4e-6 are left (without
torchdiffeq, which takes 25 s a run there).
"""

from functools import partial

import numpy as np
from scipy.integrate import solve_ivp
from side import Row, clock, enough, pairs, peer

from overparam import gradient_flow, kernel, losses, networks, regimes, scalar

GOALS = (1e-5, 1e-6, 1e-7, 1e-8)
NEAR = "diagonal network near its limit"


def rows():
    """Return the rows of all problems."""
    result = []
    for name, start, end, gradient, loss, ours in problems():
        result += compare(name, start, end, gradient, loss, ours)
    shares = [row for size in (100, 200) for row in share_of_products(size)]
    return [*result, *without_steps(), *relu_descent(), *shares]


def problems():
    """Yield name, start, end of time, gradient, loss for jax, and the library's call."""
    rng = np.random.default_rng(0)

    def scalar(w):
        residual = 1 - w[0] * w[1]
        return [-residual * w[1], -residual * w[0]]

    start = [np.array(0.3), np.array(-0.1)]
    yield (
        *("scalar, two weights", start, 10.0, scalar),
        lambda w: (1 - w[0] * w[1]) ** 2 / 2,
        lambda rtol, method: gradient_flow(
            lambda w: (w[0] * w[1] - 1) * w[::-1],
            np.array(start),
            [0.0, 10.0],
            rtol=rtol,
            method=method,
        ),
    )
    for name, sizes, end in (
        ("three layers, 5-8-8-4", [5, 8, 8, 4], 20.0),
        ("three layers, 100 × 100", [100] * 4, 2.0),
    ):
        weights = networks.gaussian(sizes, 0.5 / np.sqrt(sizes[1]), rng)
        Y = rng.standard_normal((sizes[0], sizes[-1])) / np.sqrt(sizes[0])

        def layers(w, Y=Y):
            first, second, third = w
            front = first @ second
            back = (front @ third - like(Y, front)) @ third.T
            return [back @ second.T, first.T @ back, front.T @ (front @ third - like(Y, front))]

        loss = losses.squared_distance(Y)
        yield (
            *(name, weights, end, layers),
            lambda w, Y=Y: ((w[0] @ w[1] @ w[2] - Y) ** 2).sum() / 2,
            lambda rtol, method, w=weights, end=end, loss=loss: networks.layer_flow(
                loss, w, [0.0, end], rtol=rtol, method=method
            ),
        )
    A = rng.standard_normal((100, 20, 20)) / 10
    y = np.einsum("kij,ij->k", A, rng.standard_normal((20, 2)) @ rng.standard_normal((2, 20)) / 5)
    flat, weights = A.reshape(100, -1), networks.gaussian([20, 20, 20], 0.05, rng)

    def sensing(w):
        slope = 2 * (like(flat, w[0]) @ (w[0] @ w[1]).reshape(-1) - like(y, w[0]))
        slope = (slope @ like(flat, w[0])).reshape(20, 20)
        return [slope @ w[1].T, w[0].T @ slope]

    loss = losses.sensing(A, y)
    yield (
        *("sensing, two layers 20 × 20", weights, 10.0, sensing),
        lambda w: ((flat @ (w[0] @ w[1]).reshape(-1) - y) ** 2).sum(),
        lambda rtol, method: networks.layer_flow(
            loss, weights, [0.0, 10.0], rtol=rtol, method=method
        ),
    )
    X, y = diagonal_data()
    start = [np.full(200, 1e-3)] * 2

    def diagonal(w):
        pull = 4 * (like(X, w[0]).T @ (like(X, w[0]) @ (w[0] ** 2 - w[1] ** 2) - like(y, w[0])))
        return [pull * w[0], -pull * w[1]]

    for name, end in (("diagonal network", 40.0), (NEAR, 4000.0)):
        yield (
            *(name, start, end, diagonal),
            lambda w: ((X @ (w[0] ** 2 - w[1] ** 2) - y) ** 2).sum(),
            lambda rtol, method, end=end: regimes.weight_flow(
                X, y, 1e-3, [0.0, end], rtol=rtol, method=method
            ),
        )


def like(constant, state):
    """Return the constant as a tensor if the state is one."""
    if isinstance(state, (np.ndarray, np.generic)):
        return constant
    if id(constant) not in TENSORS:
        TENSORS[id(constant)] = constant, peer("torch").from_numpy(constant)
    return TENSORS[id(constant)][1]


TENSORS = {}


def compare(name, start, end, gradient, loss, flow):
    """Return the rows of one problem: each peer's time over ours, at errors that are equal."""

    def ours(*setting):
        return flow(*setting).final

    exact = flat(ours(1e-12, "DOP853"))
    own = fastest(ours, ("DOP853", "auto", "LSODA"), exact)

    def gradients(count):
        return [gradient(start) for _ in range(count)]

    result = []
    for peer_name, call, methods in peers(start, end, gradient, loss):
        if name == NEAR and peer_name == "torchdiffeq":
            continue
        other = fastest(call, methods, exact)
        goals = sorted(own.keys() & other.keys(), reverse=True)
        if not goals:
            print(f"{name}: {peer_name} reaches none of the errors {GOALS}")
            continue
        both = [(own[goal], other[goal]) for goal in goals]
        how = "; ".join(
            f"{goal:.0e}: {mine[1]} {mine[0]:.0e}, {theirs[1]} {theirs[0]:.0e}"
            for goal, (mine, theirs) in zip(goals, both, strict=True)
        )
        line, how = f"{name}: {peer_name} / ours", "error: ours, theirs: " + how
        found = in_turns([(partial(ours, *mine), partial(call, *theirs)) for mine, theirs in both])
        result.append(Row(line, found[0], "at least 1", how, found[1]))
        if "compiled" in peer_name:
            alone = [
                (partial(gradients, flow(*mine).n_evaluations), partial(call, *theirs))
                for mine, theirs in both
            ]
            how = "below 1 nothing that calls Python for each gradient can be faster"
            result.append(Row(f"{line}, its gradients alone", in_turns(alone)[0], "reported", how))
    return result


def in_turns(works):
    """Return the ratios of all pairs (ours, theirs) in one list, and the median time of ours."""
    found = [pairs(ours, theirs, repeats=3, block=enough(ours)) for ours, theirs in works]
    ratios = [ratio for several, _ in found for ratio in several]
    return ratios, float(np.median([seconds for _, seconds in found]))


def flat(state):
    """Return a state as one array."""
    return np.concatenate([np.ravel(part) for part in state])


def fastest(call, methods, exact):
    """Return error → (tolerance, method) with which a program is fastest within that error."""
    found = {}
    for method in methods:
        digits, error = 3.0, np.inf
        while digits < 11 and error > GOALS[-1]:  # a smaller tolerance only takes longer
            work = partial(call, 10.0**-digits, method)
            used, state = clock(work)
            if used < 0.1:
                used = min(used, *(clock(work)[0] for _ in range(2)))
            error = np.linalg.norm(flat(state) - exact) / np.linalg.norm(exact)
            for goal in GOALS:
                if error <= goal and used < found.get(goal, (np.inf,))[0]:
                    found[goal] = used, (10.0**-digits, method)
            digits += 0.25 if used < 1 else 2  # stability limits its steps, whatever is asked
    return {goal: setting for goal, (_, setting) in found.items()}


def peers(start, end, gradient, loss):
    """Yield name, call and methods of what is installed; each call returns the final state."""
    yield "solve_ivp", bare(start, end, gradient), ("RK45", "DOP853", "LSODA")
    if peer("torchdiffeq") and peer("torch"):
        yield "torchdiffeq", torchdiffeq_call(start, end, gradient), ("dopri5", "dopri8")
    if peer("diffrax"):
        methods = "Tsit5", "Dopri8"
        yield "diffrax, compiled", diffrax_call(start, end, loss, methods), methods


def bare(start, end, gradient):
    """Return the call of `solve_ivp` as one writes it."""
    shapes = [part.shape for part in start]
    cuts = np.cumsum([part.size for part in start])[:-1]

    def velocity(_, y):
        state = [p.reshape(s) for p, s in zip(np.split(y, cuts), shapes, strict=True)]
        return -np.concatenate([np.ravel(part) for part in gradient(state)])

    def call(rtol, method):
        options = {"method": method, "rtol": rtol, "atol": rtol / 100}
        y = solve_ivp(velocity, (0, end), flat(start), **options).y[:, -1]
        return np.split(y, cuts)

    return call


def torchdiffeq_call(start, end, gradient):
    """Return the call of torchdiffeq, in double precision and without a graph."""
    import torch
    import torchdiffeq

    torch.set_num_threads(1)
    state = tuple(torch.tensor(np.array(part)) for part in start)
    times = torch.tensor([0.0, end], dtype=torch.float64)

    def velocity(_, w):
        return tuple(-part for part in gradient(w))

    def call(rtol, method):
        with torch.no_grad():
            path = torchdiffeq.odeint(
                velocity, state, times, rtol=rtol, atol=rtol / 100, method=method
            )
        return [part[-1].numpy() for part in path]

    return call


def diffrax_call(start, end, loss, methods):
    """Return the call of diffrax in double precision, compiled for each of the methods."""
    import diffrax
    import jax

    jax.config.update("jax_enable_x64", True)
    field = diffrax.ODETerm(lambda t, w, args: jax.tree.map(lambda g: -g, jax.grad(loss)(w)))

    def compiled(method):
        def run(w, rtol):
            control = diffrax.PIDController(rtol=rtol, atol=rtol / 100)
            solver = getattr(diffrax, method)()
            return diffrax.diffeqsolve(
                *(field, solver, 0.0, end, None, w),
                stepsize_controller=control,
                max_steps=200_000,
                throw=False,  # a tolerance that is too loose for it does not reach the error
            ).ys

        run = jax.jit(run)
        jax.block_until_ready(run(start, 1e-6))
        return run

    runs = {method: compiled(method) for method in methods}
    return lambda rtol, method: [np.asarray(part)[0] for part in runs[method](start, rtol)]


def without_steps():
    """Compare diffrax with what the library has in place of integration: no step at all."""
    if not peer("diffrax"):
        return []
    X, y = diagonal_data()
    formulas = {
        "scalar, two weights": (
            lambda w: w[0] * w[1],
            lambda: scalar.closed_form(10.0, 1.0, -0.03, 0.08),
            "ours scalar.closed_form",
        ),
        NEAR: (
            lambda w: w[0] ** 2 - w[1] ** 2,
            lambda: regimes.flow_limit(X, y, 1e-3),
            "ours regimes.flow_limit",
        ),
    }
    result = []
    for name, start, end, _, loss, flow in problems():
        if name not in formulas:
            continue
        product, ours, how = formulas[name]
        call = diffrax_call(start, end, loss, ["Tsit5"])
        exact = flat(flow(1e-12, "DOP853").final)
        work = partial(call, *fastest(call, ["Tsit5"], exact)[GOALS[-1]])
        limit = ours()
        gap = np.linalg.norm(product(work()) - limit) / np.linalg.norm(limit)
        ratios, seconds = pairs(ours, work, block=enough(ours))
        line = f"{name}: diffrax, compiled / ours without integration"
        how += f", theirs at t = {end:g} with an error of {GOALS[-1]:.0e}"
        result.append(Row(line, ratios, "at least 1", how, seconds, f"they differ by {gap:.0e}"))
    return result


def diagonal_data():
    """Return the sparse regression of the diagonal network."""
    X = np.random.default_rng(1).standard_normal((40, 200)) / np.sqrt(40)
    return X, X[:, :4].sum(axis=1)


def relu_descent(n=200, m=100, d=20, n_steps=500, step=0.1):
    """Compare descent of a ReLU network, which has no flow to integrate, with torch and jax."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal(n)
    start = networks.gaussian([d, m, 1], 1.0, rng)

    def ours():
        return kernel.training_descent(start, X, y, step, n_steps, every=n_steps).final

    result, exact = [], ours()
    for name, call in (
        ("torch", torch_descent(X, y, start, step, n_steps)),
        ("jax, compiled", jax_descent(X, y, start, step, n_steps)),
    ):
        if call is None:
            continue
        gap = np.linalg.norm(flat(call()) - flat(exact)) / np.linalg.norm(flat(exact))
        ratios, seconds = pairs(ours, call)
        how = f"{n_steps} steps, n = {n}, m = {m}, d = {d}, float64"
        line = f"ReLU by descent: {name} / ours"
        result.append(Row(line, ratios, "at least 1", how, seconds, f"they differ by {gap:.0e}"))
    return result


def torch_descent(X, y, start, step, n_steps):
    """Return descent as one writes it with torch, or None without it."""
    torch = peer("torch")
    if torch is None:
        return None
    X, y = torch.tensor(X), torch.tensor(y)

    def call():
        layers = [torch.tensor(layer, requires_grad=True) for layer in start]
        optimizer = torch.optim.SGD(layers, lr=step)
        for _ in range(n_steps):
            optimizer.zero_grad()
            f = (torch.relu(X @ layers[0]) @ layers[1])[:, 0] * layers[1].shape[0] ** -0.5
            (((f - y) ** 2).sum() / (2 * len(y))).backward()
            optimizer.step()
        return [layer.detach().numpy() for layer in layers]

    return call


def jax_descent(X, y, start, step, n_steps):
    """Return descent as one loop that jax compiles, or None without it."""
    jax = peer("jax")
    if jax is None:
        return None
    jax.config.update("jax_enable_x64", True)

    def cost(layers):
        f = (jax.nn.relu(X @ layers[0]) @ layers[1])[:, 0] * layers[1].shape[0] ** -0.5
        return ((f - y) ** 2).sum() / (2 * len(y))

    def move(_, layers):
        return jax.tree.map(lambda w, g: w - step * g, layers, jax.grad(cost)(layers))

    run = jax.jit(lambda layers: jax.lax.fori_loop(0, n_steps, move, layers))
    return lambda: [np.asarray(layer) for layer in run(start)]


def share_of_products(size, end=2.0, repeats=7):
    """Measure how much of a flow is the matrix products that it cannot do without."""
    rng = np.random.default_rng(0)
    weights = networks.gaussian([size] * 4, 0.05, rng)
    loss = losses.squared_distance(rng.standard_normal((size, size)) / 10)
    out = [np.empty((size, size)) for _ in range(2)]
    count = networks.layer_flow(loss, weights, end).n_evaluations

    def products():
        for _ in range(count):
            for _ in range(2):
                for A, B, C in ((0, 1, 0), (1, 2, 1)):
                    np.matmul(weights[A], weights[B], out=out[C])
                np.matmul(weights[0].T, weights[2], out=out[0])

    def gradients():
        for _ in range(count):
            networks.gradients(weights, loss.gradient)

    def flow():
        networks.layer_flow(loss, weights, [0.0, end])

    shares, seconds = pairs(flow, products, repeats)
    costs, _ = pairs(products, gradients, repeats)
    name = f"flow of three layers {size} × {size}"
    how = f"{count} evaluations of six products each"
    return [
        Row(f"{name}: share of matrix products", shares, "at least 0.6", how, seconds),
        Row(f"{name}: gradients / their six products", costs, "reported (1.45 before)", how),
    ]
