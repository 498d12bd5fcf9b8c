"""Critical points, the flow from a start with a margin, descent, and what fails without it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from overparam import descent, flow, losses, networks, preconditioner, rates

SEEDS = st.integers(0, 2**32 - 1)
DRAWS = 200  # for each bound of the chapter


def random_shape(rng):
    return tuple(int(size) for size in rng.integers(1, 5, 2))


def problem(rng, spread=3.0, lowest=0.05):
    """A target of random shape, a start with a margin, and a depth."""
    (n, m), depth = random_shape(rng), int(rng.integers(2, 5))
    left, _, right = np.linalg.svd(rng.standard_normal((n, m)), full_matrices=False)
    sigma = np.exp(rng.uniform(0, np.log(spread), min(n, m)))
    away = rng.standard_normal((n, m))
    target = left * sigma @ right
    share = rng.uniform(lowest, 0.85) * sigma.min() / np.linalg.norm(away)
    return target, target + share * away, depth


def hidden_widths(rng, least, depth):
    return [int(width) for width in rng.integers(least, least + 3, depth - 1)]


def unbalance(layers, amount, rng):
    """The same product from less balanced layers."""
    layers = [layer.copy() for layer in layers]
    for l in range(len(layers) - 1):
        X = rng.standard_normal((layers[l].shape[1],) * 2)
        values, frame = np.linalg.eigh(X + X.T)
        layers[l] = layers[l] @ (frame * np.exp(amount * values)) @ frame.T
        layers[l + 1] = (frame * np.exp(-amount * values)) @ frame.T @ layers[l + 1]
    return layers


def unbalance_to(layers, allowed, seed, ord):
    """Unbalance as far as allowed, up to a factor of at most about two."""
    for amount in 2.0 ** -np.arange(60):
        moved = unbalance(layers, amount, np.random.default_rng(seed))
        if descent.balancedness(moved, ord) <= allowed:
            return moved
    raise AssertionError("no imbalance is small enough")


def step_of(layers, target, step):
    gradients = networks.gradients(layers, lambda W: W - target)
    return [W - step * G for W, G in zip(layers, gradients, strict=True)]


def loss_of(layers, target):
    return 0.5 * np.sum((networks.product(layers) - target) ** 2)


def norms(layers):
    return [np.linalg.norm(layer, 2) for layer in layers]


# ---- Critical points ------------------------------------------------------------------------


def numerical_hessian(loss, layers, h=1e-5):
    sizes = np.cumsum([0] + [layer.size for layer in layers])

    def gradient(x):
        parts = [
            x[a:b].reshape(layer.shape)
            for a, b, layer in zip(sizes[:-1], sizes[1:], layers, strict=True)
        ]
        return np.concatenate([G.ravel() for G in networks.gradients(parts, loss.gradient)])

    x = np.concatenate([layer.ravel() for layer in layers])
    return np.array([(gradient(x + h * e) - gradient(x - h * e)) / (2 * h) for e in np.eye(x.size)])


@pytest.mark.parametrize("sizes", [[2, 3], [2, 3, 2], [3, 1, 2], [2, 3, 4, 3], [1, 1, 1, 1, 1]])
def test_hessian_is_the_derivative_of_the_gradient(sizes):
    rng = np.random.default_rng(0)
    layers = networks.gaussian(sizes, 1.0, rng)
    W = networks.product(layers)
    loss = losses.squared_distance(rng.standard_normal(W.shape))
    H = descent.hessian(layers, loss.gradient(W))
    assert np.allclose(H, numerical_hessian(loss, layers), atol=1e-7)
    assert np.allclose(H, H.T, rtol=0, atol=1e-12)


@given(SEEDS)
@settings(max_examples=40)
def test_origin_is_strict_for_two_layers_and_flat_for_more(seed):
    rng = np.random.default_rng(seed)
    n, m = random_shape(rng)
    G = rng.standard_normal((n, m))
    for depth in (2, 3, 4):
        sizes = [n, *hidden_widths(rng, 1, depth), m]
        zero = [np.zeros(shape) for shape in zip(sizes[:-1], sizes[1:], strict=True)]
        H = descent.hessian(zero, G)
        if depth == 2:
            assert np.isclose(np.linalg.eigvalsh(H)[0], -np.linalg.norm(G, 2))
        else:
            assert not H.any()


@given(SEEDS)
@settings(max_examples=100)
def test_which_critical_points_have_negative_curvature(seed):
    rng = np.random.default_rng(seed)
    n, m = (int(size) for size in rng.integers(1, 4, 2))
    depth, r = int(rng.integers(2, 5)), min(n, m)
    left, _, right = np.linalg.svd(rng.standard_normal((n, m)), full_matrices=False)
    sigma = np.sort(rng.uniform(0.3, 3.0, r))[::-1]
    target = left * sigma @ right
    S = [s for s in range(r) if rng.random() < 0.5]
    layers = descent.critical_point(target, S, hidden_widths(rng, r + 1, depth), rng)
    G = networks.product(layers) - target
    dropped = [sigma[k] for k in range(r) if k not in S]
    assert np.allclose(networks.product(layers), (left[:, S] * sigma[S]) @ right[S], atol=1e-12)
    assert max(np.abs(g).max() for g in networks.gradients(layers, lambda _: G)) < 1e-11
    assert descent.balancedness(layers) < 1e-11
    if depth == 2:
        expected = -max(dropped, default=0.0)
    else:
        pairs = [sigma[s] ** (1 - 2 / depth) * (sigma[s] - d) for s in S for d in dropped]
        expected = min([0.0, *pairs])
    found = np.linalg.eigvalsh(descent.hessian(layers, G))[0]
    assert abs(found - expected) < 1e-9
    if depth > 2 and S == list(range(len(S))):
        assert found > -1e-9  # a best approximation of its rank: the Hessian misses the way out


def least_curvature(layers, target):
    G = networks.product(layers) - target
    gradients = networks.gradients(layers, lambda _: G)
    assert max(np.abs(g).max() for g in gradients) < 1e-9  # a critical point
    return np.linalg.eigvalsh(descent.hessian(layers, G))[0]


def critical_layers(rng, depth, S, sigma):
    """Critical layers of diag(sigma) with the product of S, far from balanced where they may be.

    The kept modes pass through all layers; one layer in the middle is invertible on the rest.
    """
    size, extra = len(sigma), 2
    layers = []
    for l in range(depth):
        shape = (size if l == 0 else size + extra, size if l == depth - 1 else size + extra)
        layers.append(np.zeros(shape))
        layers[-1][S, S] = sigma[S] ** (1 / depth)
    if depth > 2:
        free = [i for i in range(size + extra) if i not in S]
        layers[1 + rng.integers(depth - 2)][np.ix_(free, free)] = np.diag(
            rng.uniform(0.5, 2, len(free))
        )
    for l in range(depth - 1):  # change the basis of each hidden space
        A = np.eye(size + extra) + 0.2 * rng.standard_normal((size + extra,) * 2)
        layers[l], layers[l + 1] = layers[l] @ A, np.linalg.solve(A, layers[l + 1])
    return layers


@given(SEEDS)
@settings(max_examples=60)
def test_every_critical_point_has_a_product_of_kept_modes(seed):
    rng = np.random.default_rng(seed)
    depth, sigma = int(rng.integers(2, 5)), np.sort(rng.uniform(0.3, 3.0, 3))[::-1]
    S = np.array([s for s in range(3) if rng.random() < 0.5], dtype=int)
    layers = critical_layers(rng, depth, S, sigma)
    target = np.diag(sigma)
    assert np.allclose(networks.product(layers), np.diag(np.isin(range(3), S) * sigma))
    found = least_curvature(layers, target)
    if len(S) < 3 and (depth == 2 or list(S) != list(range(len(S)))):
        assert found < -1e-6  # strict, however unbalanced
    W = networks.product(layers)  # the two equations from which the proof starts
    assert np.allclose(W.T @ W, W.T @ target) and np.allclose(W @ W.T, target @ W.T)


def test_an_unbalanced_saddle_at_the_origin_is_strict():
    layers, target = [np.zeros((2, 2)), np.eye(2), np.zeros((2, 2))], np.diag([3.0, 1.0])
    assert np.isclose(least_curvature(layers, target), -3)
    assert abs(least_curvature([np.zeros((2, 2))] * 3, target)) < 1e-12


def test_diagonal_saddle_away_from_the_origin_is_not_strict():
    root = 3 ** (1 / 3)
    layers, target = [np.diag([root, 0, 0])] * 3, np.diag([3.0, 2.0, 1.0])
    G = networks.product(layers) - target
    assert all(np.abs(g).max() < 1e-12 for g in networks.gradients(layers, lambda _: G))
    assert np.linalg.eigvalsh(descent.hessian(layers, G))[0] > -1e-12
    lower = [layer + 0.1 * np.diag([0, 1.0, 0]) for layer in layers]
    assert loss_of(lower, target) < loss_of(layers, target)


def pull(w):
    return -(1 - w[0] * w[1]) * w[::-1]


def test_strict_saddles_are_avoided_from_almost_every_start_only():
    rng = np.random.default_rng(1)
    for _ in range(40):
        end = flow.gradient_descent(pull, rng.standard_normal(2), 0.1, 1500).final
        assert np.isclose(end.prod(), 1)
    on_the_stable_manifold = flow.gradient_descent(pull, [0.7, -0.7], 0.1, 400).final
    assert np.abs(on_the_stable_manifold).max() < 1e-12
    no_critical_point = flow.gradient_descent(lambda x: -np.exp(-x), 0.0, 1.0, 3000, every=1000)
    assert np.all(np.diff(no_critical_point.states) > 0.3)


# ---- The flow -------------------------------------------------------------------------------


@given(SEEDS)
@settings(max_examples=60)
def test_loss_falls_by_the_squared_gradients_of_the_layers(seed):
    rng = np.random.default_rng(seed)
    target, W, depth = problem(rng)
    layers = networks.balanced(W, hidden_widths(rng, min(W.shape), depth), rng)
    loss = losses.squared_distance(target)
    G = loss.gradient(W)
    fall = np.sum(G * preconditioner.apply(W, G, depth))
    gradients = networks.gradients(layers, loss.gradient)
    assert np.isclose(fall, sum(np.sum(g**2) for g in gradients)) and fall > 0
    h = 1e-6
    moved = [[A - s * h * g for A, g in zip(layers, gradients, strict=True)] for s in (1, -1)]
    slope = (loss_of(moved[0], target) - loss_of(moved[1], target)) / (2 * h)
    assert np.isclose(slope, -fall, rtol=1e-5)


@given(SEEDS)
@settings(max_examples=60)
def test_rank_deficient_point_is_stationary_only_for_gradients_in_the_kernel(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 5, 2)
    rank, depth = int(rng.integers(0, min(n, m))), int(rng.integers(2, 5))
    left = np.linalg.qr(rng.standard_normal((n, n)))[0]
    right = np.linalg.qr(rng.standard_normal((m, m)))[0]
    W = (left[:, :rank] * rng.uniform(0.5, 2, rank)) @ right[:, :rank].T
    layers = networks.balanced(W, hidden_widths(rng, max(rank, 1), depth), rng)
    inside = left[:, rank:] @ rng.standard_normal((n - rank, m - rank)) @ right[:, rank:].T
    assert max(np.abs(g).max() for g in networks.gradients(layers, lambda _: inside)) < 1e-11
    if rank:
        outside = inside + left[:, :1] @ right[:, -1:].T
        assert max(np.abs(g).max() for g in networks.gradients(layers, lambda _: outside)) > 1e-3


@pytest.mark.parametrize(("depth", "rank"), [(2, 1), (2, 2), (3, 1), (3, 2), (4, 1)])
def test_balanced_flow_keeps_the_rank(depth, rank):
    rng = np.random.default_rng(depth + 10 * rank)
    W0 = rng.standard_normal((4, rank)) @ rng.standard_normal((rank, 3))
    layers = networks.balanced(W0 / np.linalg.norm(W0), [4] * (depth - 1), rng)
    loss = losses.squared_distance(rng.standard_normal((4, 3)))
    for weights in networks.layer_flow(
        loss, layers, np.array([0.5, 1.0, 2.0]), rtol=1e-12, atol=1e-14
    ):
        sigma = np.linalg.svd(networks.product(weights), compute_uv=False)
        assert sigma[rank] < 1e-6 < 1e-3 < sigma[rank - 1]


@pytest.mark.parametrize(("depth", "power"), [(3, -3), (4, -2)])
def test_rank_is_lost_only_in_the_limit(depth, power):
    """From the wrong sign b' = -N b^{2-2/N}, b ~ t^{-N/(N-2)}: never zero."""
    layers = networks.balanced(np.diag([1.0, -0.5]), [2] * (depth - 1))
    times = np.array([100.0, 1000.0])
    path = networks.layer_flow(
        losses.squared_distance(np.diag([1.5, 1.0])), layers, times, rtol=1e-10, atol=1e-14
    )
    least = [np.linalg.svd(networks.product(W), compute_uv=False)[-1] for W in path]
    assert abs(np.log10(least[1] / least[0]) - power) < 0.1


def test_unbalanced_flow_can_change_the_rank():
    path = networks.layer_flow(losses.squared_distance([[1.0]]), [[[1.0]], [[0.0]]], 0.5)
    assert networks.product(path.final).item() > 0.3


def network(rng):
    """Any network of random shape, or a balanced one that was unbalanced a little."""
    (n, m), depth = random_shape(rng), int(rng.integers(2, 5))
    if rng.random() < 0.5:
        return networks.gaussian(
            [n, *hidden_widths(rng, 1, depth), m], 10 ** rng.uniform(-1, 1), rng
        )
    W = rng.standard_normal((n, m))
    layers = networks.balanced(W, hidden_widths(rng, min(n, m), depth), rng)
    return unbalance(layers, 10 ** rng.uniform(-7, 0), rng)


def test_layers_are_bounded_by_product_and_imbalance():
    rng = np.random.default_rng(2)
    tightest = 0.0
    for _ in range(DRAWS):
        layers = network(rng)
        imbalance = descent.balancedness(layers, ord=2)
        norm, depth = np.linalg.norm(networks.product(layers), 2), len(layers)
        bound = np.sqrt(norm ** (2 / depth) + 2 * (depth - 1) * imbalance)
        assert max(norms(layers)) <= bound * (1 + 1e-9)
        tightest = max(tightest, max(norms(layers)) / bound)
    assert tightest > 0.999  # balanced layers


def test_operator_is_bounded_below_by_product_and_layers():
    rng, second = np.random.default_rng(3), 0
    for _ in range(DRAWS):
        layers = network(rng)
        W, N = networks.product(layers), len(layers)
        c, M = np.linalg.svd(W, compute_uv=False)[-1], max(norms(layers))
        least = rates.smallest_eigenvalue(layers)
        scale = 1e-12 * N * M ** (2 * N - 2)
        assert least >= (1 + (W.shape[0] == W.shape[1])) * (c / M) ** 2 * (1 - 1e-9) - scale
        if descent.balancedness(layers, ord=2) <= c**2 / (2 * N**3 * M ** (2 * N - 2)):
            second += 1
            assert least >= (1 - 1 / (2 * N)) * c ** (2 - 2 / N) * (1 - 1e-9)
    assert second > 0.15 * DRAWS


@given(SEEDS)
@settings(max_examples=200)
def test_margin_is_the_distance_to_rank_deficient_matrices(seed):
    rng = np.random.default_rng(seed)
    target, W0, _ = problem(rng)
    c, error = descent.deficiency_margin(target, W0), np.linalg.norm(W0 - target)
    left, sigma, right = np.linalg.svd(target, full_matrices=False)
    assert np.isclose(c, sigma[-1] - error) and c > 0
    lowered = sigma.copy()
    for allowed in (0.0, 0.5 * c, 0.99 * c, 1.01 * c):
        lowered[-1] = allowed  # the nearest matrix whose least singular value is this small
        nearest = np.linalg.norm(left * lowered @ right - target)
        assert (nearest > error) == (allowed < c)
        other = rng.standard_normal(target.shape)
        u, s, v = np.linalg.svd(target + rng.uniform(0, 2) * other, full_matrices=False)
        s[-1] = min(s[-1], allowed)
        assert np.linalg.norm(u * s @ v - target) >= nearest * (1 - 1e-9)
    direction = rng.standard_normal(target.shape)
    as_close = target + error * rng.random() * direction / np.linalg.norm(direction)
    assert np.linalg.svd(as_close, compute_uv=False)[-1] >= c * (1 - 1e-9)


def test_a_bottleneck_leaves_no_margin():
    rng = np.random.default_rng(4)
    for _ in range(DRAWS):
        width = int(rng.integers(1, 3))
        sizes = [width + int(rng.integers(1, 3)), width, width + int(rng.integers(1, 3))]
        target = rng.standard_normal((sizes[0], sizes[-1]))
        left, sigma, right = np.linalg.svd(target, full_matrices=False)
        best = (left[:, :width] * sigma[:width]) @ right[:width]
        for W in (networks.product(networks.gaussian(sizes, 1.0, rng)), best):
            assert descent.deficiency_margin(target, W) <= 1e-12


@given(SEEDS)
@settings(max_examples=20)
def test_flow_with_a_margin_converges_at_the_rate(seed):
    rng = np.random.default_rng(seed)
    target, W0, depth = problem(rng)
    layers = networks.balanced(W0, hidden_widths(rng, min(W0.shape), depth), rng)
    rate = descent.flow_rate(descent.deficiency_margin(target, W0), W0.shape, depth)
    if seed % 2:
        layers = unbalance(layers, 0.15, rng)
        imbalance = descent.balancedness(layers, ord=2)
        rate = descent.unbalanced_flow_rate(target, W0, imbalance, depth)
    times = np.linspace(0, min(4 / rate, 5), 6)
    path = networks.layer_flow(losses.squared_distance(target), layers, times)
    values = np.array([loss_of(W, target) for W in path])
    assert np.all(values <= values[0] * np.exp(-rate * times) * (1 + 1e-6) + 1e-14)


def test_flow_rate_is_attained_in_the_limit():
    """A start next to the target, off in the slowest direction: the bound is the rate there."""
    for shape, depth in [((2, 2), 3), ((2, 3), 3), ((3, 1), 4), ((1, 1), 2)]:
        target = np.zeros(shape)
        np.fill_diagonal(target, [1.5, 0.8][: min(shape)])
        W0 = target.copy()
        W0[-1 if shape[0] > shape[1] else min(shape) - 1, -1] += 1e-4
        layers = networks.balanced(W0, [3] * (depth - 1))
        end = networks.layer_flow(
            losses.squared_distance(target), layers, 1.0, rtol=1e-12, atol=1e-15
        ).final
        measured = np.log(loss_of(layers, target) / loss_of(end, target))
        rate = descent.flow_rate(descent.deficiency_margin(target, W0), shape, depth)
        assert rate <= measured <= rate * 1.01


def test_rate_for_any_layers_is_attained_by_two_balanced_ones():
    for shape in [(1, 1), (2, 2), (2, 3), (3, 2)]:
        target = np.eye(*shape)
        W0 = target.copy()
        W0[(-1, 0) if shape[0] > shape[1] else (0, -1)] += 1e-4
        layers = networks.balanced(W0, [2])
        end = networks.layer_flow(
            losses.squared_distance(target), layers, 1.0, rtol=1e-12, atol=1e-15
        ).final
        measured = np.log(loss_of(layers, target) / loss_of(end, target))
        rate = descent.unbalanced_flow_rate(target, W0, 0.0, 2)
        assert rate <= measured <= rate * 1.01


def test_unbalanced_flow_of_three_layers_reaches_the_target():
    rng = np.random.default_rng(5)
    target = np.diag([1.5, 1.0, 0.0])[:2]
    layers = unbalance(networks.balanced(target + 0.3 * np.eye(2, 3), [3, 4], rng), 0.5, rng)
    assert (
        descent.balancedness(layers) > 1
        and descent.deficiency_margin(target, networks.product(layers)) > 0
    )
    end = networks.layer_flow(
        losses.squared_distance(target), layers, 40.0, stop=lambda W: loss_of(W, target) - 1e-12
    ).final
    assert loss_of(end, target) < 2e-12


def test_flow_reaches_the_minimum_of_a_convex_coercive_loss():
    quartic, tried = losses.lp_regression(np.eye(3), [[1.0], [-2.0], [0.5]], 4), 0
    rng, first_rank_deficient = np.random.default_rng(12), quartic.value(np.zeros((3, 1)))
    while tried < 5:
        layers = networks.gaussian([3, 4, 2, 1], 0.7, rng)
        if quartic.value(networks.product(layers)) >= first_rank_deficient:
            continue
        tried += 1
        end = networks.layer_flow(quartic, layers, 1e4).final
        assert quartic.value(networks.product(end)) < 1e-6


def test_without_a_minimum_the_flow_runs_away():
    times = np.array([10.0, 1e3, 1e5])
    path = flow.gradient_flow(lambda w: -np.exp(-w[0] * w[1]) * w[::-1], [0.5, 0.5], times)
    assert np.all(np.diff(path.states.prod(axis=1)) > 3)


# ---- Descent --------------------------------------------------------------------------------


def test_one_step_of_descent():
    rng = np.random.default_rng(6)
    for _ in range(DRAWS):
        layers = network(rng)
        N, M, W = len(layers), max(norms(layers)), networks.product(layers)
        away = rng.standard_normal(W.shape)
        error = rng.random() * M**N
        target = W + error * away / np.linalg.norm(away)
        step = rng.random() / (N * M ** (2 * N - 2))
        after = step_of(layers, target, step)
        least = rates.smallest_eigenvalue(layers)
        bound = (1 - step * least) * error + step**2 * N**2 * M ** (3 * N - 4) * error**2
        assert np.linalg.norm(networks.product(after) - target) <= bound * (1 + 1e-9)
        for new, old in zip(networks.imbalance(after), networks.imbalance(layers), strict=True):
            size = step**2 * M ** (2 * N - 2) * error**2
            assert np.linalg.norm(new - old, 2) <= size * (1 + 1e-6) + 1e-13 * M**2


def decreases(layers, target, step, n_steps):
    values = [loss_of(layers, target)]
    for _ in range(n_steps):
        layers = step_of(layers, target, step)
        values.append(loss_of(layers, target))
    return 1 - np.array(values[1:]) / values[:-1], layers


def test_descent_reaches_the_target_at_the_proved_rate():
    rng = np.random.default_rng(7)
    for seed in range(DRAWS):
        target, W0, N = problem(rng)
        allowed = descent.proved_balancedness(target, W0, N)
        layers = networks.balanced(W0, hidden_widths(rng, min(W0.shape), N), rng)
        if seed % 4 == 0:
            layers = unbalance_to(layers, allowed, seed, 2)
        step = descent.proved_step(target, W0, N)
        found, end = decreases(layers, target, step, 4)
        assert found.min() >= descent.proved_rate(target, W0, N, step) * (1 - 1e-6)
        assert descent.balancedness(end, 2) <= 2 * allowed


def test_descent_has_the_rate_of_balanced_flow():
    rng = np.random.default_rng(8)
    for seed in range(DRAWS):
        target, W0, N = problem(rng, spread=1.5, lowest=0.3)
        c, size = descent.deficiency_margin(target, W0), np.linalg.norm(target)
        layers = networks.balanced(W0, hidden_widths(rng, min(W0.shape), N), rng)
        if seed % 4 == 0:
            layers = unbalance_to(layers, descent.guaranteed_balancedness(c, size, N), seed, "fro")
        step = descent.guaranteed_step(c, size, N)
        rate = descent.guaranteed_rate(c, N, step)
        # The rates go down to 1e-10: round-off in the loss needs an allowance.
        assert decreases(layers, target, step, 2)[0].min() >= rate * (1 - 1e-6) - 1e-14


@pytest.mark.parametrize("N", [2, 3, 4, 6])
def test_proved_numbers_are_within_a_stated_factor(N):
    """Next to the target 1 the true rate is 2(N + 1) times the proved one and the longest step
    4 (1 + 1/N)^(N-1) < 4e times the proved one; both factors are seen."""
    target, W0 = np.array([[1.0]]), np.array([[1.0 + 1e-7]])
    layers = networks.balanced(W0, [1] * (N - 1))
    step = descent.proved_step(target, W0, N)
    short = 1e-3 * step
    found = decreases(layers, target, short, 1)[0][0]
    ratio = found / descent.proved_rate(target, W0, N, short)
    assert ratio == pytest.approx(2 * (N + 1), rel=1e-3)
    longest = 4 * (1 + 1 / N) ** (N - 1)
    for factor in (0.98, 1.02):
        falls = decreases(layers, target, factor * longest * step, 40)[0]
        assert (falls.min() > 0) == (factor < 1)
    # the imbalance that is allowed, against that at which lemma and theorem part: M² is reached
    allowed = descent.proved_balancedness(target, W0, N)
    bound = 1 + 2 * (N - 1) * 2 * allowed
    assert bound == pytest.approx(1 + (N - 1) / N**2, rel=1e-6) and bound <= 1 + 1 / N


def test_proved_step_far_from_the_target_by_hand():
    """c = e0 = ½, B = 3/2, M² = 9/4: M⁴ = 81/16 and c²/(8 · 4 · M⁴ e0) = 1/324."""
    assert descent.proved_step([[1.0]], [[0.5]], 2) == pytest.approx(1 / 324)


def test_rate_of_balanced_flow_is_within_a_factor_of_two_depths():
    """On vectors the slowest direction has the rate 2 c^(2-2/N) of the flow: twice the promise."""
    for N in (2, 3):
        target, W0 = np.array([[1.0, 0.0]]), np.array([[1.0, 1e-7]])
        c = descent.deficiency_margin(target, W0)
        step = 1e-3 * descent.guaranteed_step(c, 1.0, N)
        layers = networks.balanced(W0, [1] * (N - 1))
        found = decreases(layers, target, 1e4 * step, 1)[0][0] / 1e4
        assert found / descent.guaranteed_rate(c, N, step) == pytest.approx(2, rel=0.05)


def test_a_whole_run_is_as_short_as_promised():
    target, W0 = np.array([[1.0]]), np.array([[0.9]])
    for N in (2, 3):
        step = descent.proved_step(target, W0, N)
        rate = descent.proved_rate(target, W0, N, step)
        promised = int(np.ceil(np.log(1e4) / rate))
        layers = networks.balanced(W0, [1] * (N - 1))
        goal = 1e-4 * loss_of(layers, target)
        path = networks.layer_descent(
            losses.squared_distance(target),
            layers,
            step,
            promised,
            every=promised,
            stop=lambda W, goal=goal: loss_of(W, target) - goal,
        )
        assert path.reason == flow.LOSS_REACHED and path.t[-1] / step <= promised


def test_quoted_constants_follow_from_the_proof():
    rng = np.random.default_rng(9)
    for _ in range(DRAWS):
        target, W0, N = problem(rng, spread=10.0, lowest=0.01)
        N += int(rng.integers(0, 5))
        c, size, error = (
            descent.deficiency_margin(target, W0),
            np.linalg.norm(target),
            np.linalg.norm(W0 - target),
        )
        M = np.sqrt(1 + 1 / N) * (np.linalg.norm(target, 2) + error) ** (1 / N)
        balance = c**2 / (4 * N**3 * M ** (2 * N - 2))
        drift = c ** (4 - 2 / N) / (4 * N**3 * M ** (4 * N - 4) * error**2)
        assert descent.guaranteed_balancedness(c, size, N) <= balance
        assert balance <= descent.proved_balancedness(target, W0, N)
        step = descent.guaranteed_step(c, size, N)
        assert step <= min(descent.proved_step(target, W0, N), drift)


@given(st.floats(0.01, 1), st.floats(1, 10), st.integers(2, 8), st.floats(0.1, 10))
def test_scaling_laws(c, size, N, s):
    def close(one, other):
        return np.isclose(one, other, rtol=1e-9, atol=0)  # the numbers go down to 1e-22

    assert close(
        descent.guaranteed_balancedness(c, size, N) * 44 * N**3 * size ** (2 - 2 / N), c**2
    )
    assert close(
        descent.guaranteed_step(c, size, N) * 473 * N**3 * size ** (6 - 4 / N), c ** (4 - 2 / N)
    )
    # a change of units fixes the difference of the two powers only
    assert close(
        (s * c) ** 4 / (s * size) ** (4 - 2 / N), s ** (2 / N) * c**4 / size ** (4 - 2 / N)
    )
    for function, power in [
        (descent.guaranteed_balancedness, 2 / N),
        (descent.guaranteed_step, 2 / N - 2),
    ]:
        assert close(function(s * c, s * size, N), s**power * function(c, size, N))
    step = descent.guaranteed_step(c, size, N)
    scaled = descent.guaranteed_step(s * c, s * size, N)
    assert close(descent.guaranteed_rate(s * c, N, scaled), descent.guaranteed_rate(c, N, step))
    target, W0 = np.diag([size, 1.0]), np.diag([size, 1.0 - 0.5 * c])
    for function, power in [(descent.proved_balancedness, 2 / N), (descent.proved_step, 2 / N - 2)]:
        assert close(function(s * target, s * W0, N), s**power * function(target, W0, N))
    step = descent.proved_step(target, W0, N)
    scaled = descent.proved_step(s * target, s * W0, N)
    assert close(
        descent.proved_rate(s * target, s * W0, N, scaled), descent.proved_rate(target, W0, N, step)
    )


def test_a_change_of_units_changes_nothing_else():
    rng, s, target = np.random.default_rng(10), 7.0, np.diag([1.5, 1.0])
    for N in (2, 3, 4):
        start = networks.gaussian([2, *[3] * (N - 1), 2], 0.5, rng)
        path = networks.layer_descent(losses.squared_distance(target), start, 0.05, 60)
        scaled = networks.layer_descent(
            losses.squared_distance(s * target),
            [s ** (1 / N) * W for W in start],
            0.05 * s ** (2 / N - 2),
            60,
        )
        for A, B in zip(path.states, scaled.states, strict=True):
            assert np.allclose(s ** (1 / N) * A, B, rtol=1e-9)


@given(st.floats(0.01, 1), st.floats(1, 10), st.integers(2, 8))
def test_the_talks_powers_of_the_margin_are_weaker(c, size, N):
    """With constants that depend on N and the norm only; they are attained at c = norm."""
    one = size  # the largest margin there can be
    for function, power in [(descent.guaranteed_balancedness, 2), (descent.guaranteed_step, 4)]:
        assert function(c, size, N) >= function(one, size, N) * (c / one) ** power * (1 - 1e-12)
    assert (
        descent.guaranteed_rate(c, N, 1.0) >= descent.guaranteed_rate(one, N, 1.0) * (c / one) ** 2
    )


def test_bound_needs_the_first_loss_in_front():
    c = descent.deficiency_margin([[100.0]], [[50.0]])
    assert np.isclose(c, 50) and 0.5 * 50**2 > 1  # the talk's bound is 1 at t = 0
    step = descent.guaranteed_step(c, 100.0, 2)
    layers = networks.balanced(np.array([[50.0]]), [1])
    assert decreases(layers, np.array([[100.0]]), step, 50)[0].min() >= descent.guaranteed_rate(
        c, 2, step
    )


# ---- What each assumption is for ------------------------------------------------------------

ONE = losses.squared_distance([[1.0]])


def scalars(*weights):
    return [np.array([[float(w)]]) for w in weights]


def test_without_a_margin_it_is_stuck_and_does_not_diverge():
    layers = scalars(np.sqrt(0.9), -np.sqrt(0.9))
    assert (
        descent.balancedness(layers) == 0
        and descent.deficiency_margin([[1.0]], networks.product(layers)) < 0
    )
    for end in (
        networks.layer_descent(ONE, layers, 0.05, 600).final,
        networks.layer_flow(ONE, layers, 12.0).final,
    ):
        assert abs(loss_of(end, 1.0) - 0.5) < 1e-6
        assert max(norms(end)) < 1e-3


@pytest.mark.parametrize("depth", [2, 3])
def test_identity_layers_and_minus_identity_go_to_zero(depth):
    end = networks.layer_flow(
        losses.squared_distance(-np.eye(3)),
        networks.identity(3, depth),
        10.0 if depth == 2 else 1e4,
    )
    assert np.linalg.norm(networks.product(end.final)) < 1e-5


def test_unbalanced_descent_diverges_where_the_flow_and_balanced_descent_converge():
    layers = scalars(20, 0.045)
    assert descent.deficiency_margin([[1.0]], networks.product(layers)) > 0.89
    assert networks.layer_descent(ONE, layers, 0.05, 60).reason == flow.DIVERGED
    assert loss_of(networks.layer_flow(ONE, layers, 1.0).final, 1.0) < 1e-15
    balanced = networks.layer_descent(ONE, scalars(np.sqrt(0.9), np.sqrt(0.9)), 0.05, 600)
    assert loss_of(balanced.final, 1.0) < 1e-15


def test_too_long_a_step_bounces_or_diverges():
    layers = scalars(np.sqrt(0.9), np.sqrt(0.9))
    for step, reason in [(0.95, flow.END_OF_TIME), (1.3, flow.END_OF_TIME), (2.2, flow.DIVERGED)]:
        path = networks.layer_descent(ONE, layers, step, 600)
        assert path.reason == reason
        settled = reason == flow.END_OF_TIME and loss_of(path.final, 1.0) < 1e-12
        assert settled == (step < 1)


def test_a_bottleneck_is_stuck_above_the_minimum():
    target = np.diag([1.5, 1.0])
    end = networks.layer_descent(
        losses.squared_distance(target),
        [np.array([[1.0], [0.5]]), np.array([[1.0, 0.5]])],
        0.05,
        3000,
    ).final
    assert np.isclose(loss_of(end, target), 0.5)


def test_longest_step_that_settles():
    target, W0 = np.diag([1.5, 1.0]), np.diag([1.4, 0.6])
    for N in (2, 3, 4):
        limit = 2 / (N * 1.5 ** (2 - 2 / N))
        layers = networks.balanced(W0, [2] * (N - 1))
        for factor in (0.97, 1.03):
            end = networks.layer_descent(
                losses.squared_distance(target), layers, factor * limit, 1200
            ).final
            assert (loss_of(end, target) < 1e-12) == (factor < 1)
        assert 100 < limit / descent.proved_step(target, W0, N) < 1000
        c = descent.deficiency_margin(target, W0)
        assert limit / descent.guaranteed_step(c, np.linalg.norm(target), N) > 1e5


def test_margin_does_not_hold_for_data_that_are_not_whitened():
    X, best, W0 = np.diag([5.0, 0.1]), np.array([[0.0], [1.0]]), np.array([[0.15], [0.2]])
    c = descent.deficiency_margin(best, W0)
    path = networks.layer_flow(
        losses.regression(X, X @ best), networks.balanced(W0, [1]), np.linspace(0, 3, 40)
    )
    assert min(np.linalg.norm(networks.product(W)) for W in path) < 0.9 * c < c


# ---- One output -----------------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 5, 50])
def test_probability_of_a_margin(d):
    rng = np.random.default_rng(d)
    A = rng.standard_normal((20_000, d))
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    target = np.zeros((1, d))
    target[0, 0] = 2.0
    for size in (0.05, 0.4, 1.0, 1.9, 2.1):
        start = 2.0 * size * A
        found = np.mean(np.linalg.norm(start - target, axis=1) < 2.0)
        assert abs(found - descent.margin_probability(size, d)) < 0.015
        assert (descent.deficiency_margin(target, start[:1]) > 0) == (
            np.linalg.norm(start[0] - target) < 2.0
        )


def test_probability_is_below_one_half_and_tends_to_it():
    sizes = np.array([1.0, 0.1, 1e-2, 1e-3])
    for d in (2, 10, 1000):
        found = descent.margin_probability(sizes, d)
        assert np.all(found < 0.5) and np.all(np.diff(found) > 0) and found[-1] > 0.48
    assert abs(descent.margin_probability(0.05, 400) - norm.sf(0.025 * 20)) < 1e-3


def test_flow_from_a_vector_reaches_the_target_without_a_margin():
    rng, target, without = np.random.default_rng(11), np.eye(5, 1), 0
    for _ in range(8):
        A = rng.standard_normal((5, 1))
        A *= 0.1 / np.linalg.norm(A)
        without += descent.deficiency_margin(target, A) <= 0
        end = networks.layer_flow(
            losses.squared_distance(target), networks.balanced(A, [1]), 60.0
        ).final
        assert np.linalg.norm(networks.product(end) - target) < 1e-4
    assert without > 1


# ---- Bad input ------------------------------------------------------------------------------

EYE = np.eye(2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: descent.deficiency_margin(EYE, np.eye(3)), "W0 must have the shape"),
        (lambda: descent.deficiency_margin([1.0], EYE), "target must have 2"),
        (lambda: descent.deficiency_margin(EYE, EYE * np.nan), "W0 has entries"),
        (lambda: descent.guaranteed_step(-0.1, 1.0, 2), "margin must be greater than 0"),
        (lambda: descent.guaranteed_step(0.0, 1.0, 2), "margin must be greater than 0"),
        (lambda: descent.guaranteed_step(0.5, 0.4, 2), "norm must be at least the margin"),
        (lambda: descent.guaranteed_step(0.5, 1.0, 1), "depth must be at least 2"),
        (lambda: descent.guaranteed_balancedness(-1.0, 1.0, 2), "margin must be greater than 0"),
        (lambda: descent.guaranteed_rate(-1.0, 2, 0.1), "margin must be greater than 0"),
        (lambda: descent.guaranteed_rate(0.5, 2, 0.0), "step must be greater than 0"),
        (lambda: descent.flow_rate(-0.2, (2, 2), 3), "margin must be greater than 0"),
        (lambda: descent.flow_rate(0.2, (2, 0), 3), "shape must be at least 1"),
        (lambda: descent.unbalanced_flow_rate(EYE, -EYE, 0.0, 2), "no deficiency margin"),
        (lambda: descent.unbalanced_flow_rate(EYE, EYE, -1.0, 2), "imbalance must be at least 0"),
        (lambda: descent.proved_step(EYE, -EYE, 2), "no deficiency margin"),
        (lambda: descent.proved_step(EYE, EYE, 2.0), "depth must be a whole number"),
        (lambda: descent.proved_rate(EYE, 0.9 * EYE, 2, 1.0), "step must be at most"),
        (lambda: descent.critical_point(EYE, [2], [2]), "kept must name"),
        (lambda: descent.critical_point(EYE, [0, 0], [2]), "kept must name"),
        (lambda: descent.critical_point(EYE, [-1], [2]), "kept must be at least 0"),
        (lambda: descent.critical_point(EYE, [0, 1], [1]), "hidden widths"),
        (lambda: descent.hessian([EYE, EYE], np.eye(3)), "G must have the shape"),
        (lambda: descent.hessian([EYE, np.eye(3)], EYE), "do not chain"),
        (lambda: descent.balancedness([EYE, np.eye(3)]), "do not chain"),
        (lambda: descent.margin_probability(0.0, 3), "size must be greater than 0"),
        (lambda: descent.margin_probability(0.5, 0), "dimension must be at least 1"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_no_margin_is_returned_as_a_negative_number():
    assert np.isclose(descent.deficiency_margin([[1.0]], [[-0.9]]), -0.9)
    assert descent.deficiency_margin(EYE, np.diag([1.0, 0.0])) == 0


def test_one_layer_is_balanced_and_at_the_target_every_rate_is_defined():
    assert descent.balancedness([EYE]) == 0
    assert np.isclose(descent.flow_rate(0.3, (2, 3), 1), 2)
    assert np.isclose(descent.proved_step(EYE, EYE, 2), 1 / (4 * 1.5))
