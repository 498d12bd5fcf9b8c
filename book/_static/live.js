// Live explorers, drawn in the reader's browser where a page has <div class="explorer live" data-live="edge">;
// without this script it shows what stands in it. Tests compare the numbers with the library's.
(() => {
  "use strict";

  // x(t) of the flow of (y - uv)²/2. No digits cancel in `a`: a start that leads to the saddle ends there.
  const product = (t, y, x0, imbalance) => {
    const [S, R] = [Math.hypot(imbalance, 2 * y), Math.hypot(imbalance, 2 * x0)];
    const q = imbalance ** 2 + 4 * x0 * y;
    const a = q < 0 ? (2 * imbalance * (x0 - y)) ** 2 / (R * S - q) : R * S + q;
    const growth = (a * Math.expm1(S * t) - (R * S - q) * Math.expm1(-S * t)) / (2 * S ** 2);
    return y + (x0 - y) / (1 + growth);
  };
  const flow = (t, y, u0, v0) => {
    if (Math.abs(u0) < Math.abs(v0)) return flow(t, y, v0, u0).reverse(); // the larger keeps its sign
    const imbalance = u0 ** 2 - v0 ** 2;
    const x = product(t, y, u0 * v0, imbalance);
    const u = Math.sign(u0) * Math.sqrt((imbalance + Math.hypot(imbalance, 2 * x)) / 2);
    return [u, u ? x / u : 0];
  };
  const descend = (u, v, y, eta, steps) => {
    const orbit = [[u, v]];
    while (orbit.length <= steps && Math.hypot(u, v) < 1e6) {
      [u, v] = [u + eta * (y - u * v) * v, v + eta * (y - u * v) * u];
      orbit.push([u, v]);
    }
    return orbit;
  };
  const ellipse = (u, v, y, eta) => eta * (u * u + v * v) + eta * eta * y * (y - u * v) - 4;

  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const range = (from, to, n) => Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1));
  const ticks = ([from, to], draw) => range(-9, 19, 29).filter((n) => from <= n && n <= to).map(draw).join("");
  const linear = ([a, b], [c, d]) => (value) => c + ((value - a) * (d - c)) / (b - a);

  // Sliders, for the keyboard and for exact values; a picture; a line that reads it out. `draw` draws
  // for the sliders' values and returns the line, `moved` the last values after a touch of the picture.
  const explore = (box, { sliders, axes, alt, draw, moved = (...place) => place }) => {
    const [[across, x], [up, y]] = Object.entries(axes);
    const [px, py] = [linear(x, [46, 552]), linear(y, [360, 8])]; // the picture's units: it is 560 by 400
    const label = (text, a, b, kind = "") => `<text class="${kind}" x="${a}" y="${b}">${text}</text>`;
    const column = (n) => `<path class="grid" d="M${px(n)},8V360"/>${label(number(n, 0), px(n), 378)}`;
    const row = (n) => `<path class="grid" d="M46,${py(n)}H552"/>${label(number(n, 0), 30, py(n) + 5)}`;
    const slider = ([name, min, max, start]) => `<label><span class="explorer-name">${name}</span>
      <input type="range" aria-label="${name}" min="${min}" max="${max}" step="0.01" value="${start}">
      <span class="explorer-value" aria-hidden="true"></span></label>`;
    box.insertAdjacentHTML("beforeend", `<div class="explorer-sliders">${sliders.map(slider).join("")}</div>
      <svg class="live-picture" viewBox="0 0 560 400" role="img" aria-label="${alt}">
        ${ticks(x, column)} ${ticks(y, row)} ${label(across, 303, 396, "name")} ${label(up, 16, 184, "name")}
        <svg x="36" width="524" height="370" viewBox="36 0 524 370"></svg>
      </svg>
      <p class="live-readout"></p>`);
    const [svg, marks, readout] = box.querySelectorAll("svg, p");
    const inputs = [...box.querySelectorAll("input")];
    const add = (mark) => marks.insertAdjacentHTML("beforeend", mark);
    const curve = (points, kind) =>
      add(`<polyline class="${kind}" points="${points.map(([a, b]) => [px(a), py(b)]).join(" ")}"/>`);
    const dot = ([a, b], r, kind) => add(`<circle class="${kind}" cx="${px(a)}" cy="${py(b)}" r="${r}"/>`);
    const update = () => {
      const values = inputs.map((input) => Number(input.value));
      inputs.forEach((input, i) => (input.nextElementSibling.textContent = number(values[i])));
      marks.replaceChildren();
      readout.textContent = draw(curve, dot, ...values);
    };
    const touch = (event) => {
      if (!event.buttons) return;
      svg.setPointerCapture(event.pointerId);
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      const values = moved(linear(x.map(px), x)(at.x), linear(y.map(py), y)(at.y));
      values.forEach((value, i) => (inputs.at(i - values.length).value = value));
      update();
    };
    box.addEventListener("input", update);
    ["pointerdown", "pointermove"].forEach((kind) => svg.addEventListener(kind, touch));
    update();
  };

  const hyperbola = [1, -1].map((sign) => range(0.2, 4, 160).map((u) => [sign * u, sign / u]));
  const scalar = {
    sliders: [["start of u", -2.2, 2.2, 1.9], ["start of v", -2.2, 2.2, -1.5]],
    axes: { u: [-2.3, 2.3], v: [-2.3, 2.3] },
    alt: "The path of the flow from the chosen start, on its hyperbola, to the curve where the product is one",
    draw: (curve, dot, u, v) => {
      const end = flow(200, 1, u, v);
      hyperbola.forEach((branch) => curve(branch, "target"));
      curve([[-2.2, 2.2], [2.2, -2.2]], "saddle");
      curve(range(0, 1, 300).map((s) => flow(30 * s ** 3, 1, u, v)), "path");
      dot([u, v], 8, "start");
      dot(end, 4, "path");
      const [imbalance, x0, a, b, x] = [u * u - v * v, u * v, ...end, end[0] * end[1]].map((z) => number(z));
      return `imbalance ${imbalance}, product at the start ${x0}; ends at u = ${a}, v = ${b}, product ${x}`;
    },
  };

  const targets = [3, 2, 1]; // a touch moves the nearest one
  const riccati = {
    sliders: [["start, as a power of ten", -6, 0, -3], ["imbalance of every mode", 0, 2, 0]],
    axes: { t: [0, 12], σ: [0, 4] },
    alt: "Three modes growing to their targets over time",
    moved: (t, height) => {
      const distances = targets.map((target) => Math.abs(target - height));
      targets[distances.indexOf(Math.min(...distances))] = Math.min(4, Math.max(0.2, height));
      return [];
    },
    draw: (curve, dot, power, imbalance) => {
      const said = targets.map((target) => {
        const x = (t) => product(t, target, 10 ** power, imbalance);
        curve([[0, target], [12, target]], "target");
        curve(range(0, 12, 400).map((t) => [t, x(t)]), "path");
        dot([12, target], 8, "start");
        const time = range(0, 40, 4001).find((t) => x(t + 0.005) > target / 2); // rounded
        return `half of ${number(target, 1)} at t = ${number(time)}`;
      });
      return `reached: ${said.join(", ")}`;
    },
  };

  const fate = (orbit, eta) => {
    const [[a, b], , [u, v]] = orbit.slice(-3);
    if (!(Math.hypot(u, v) < 1e6)) return "runs away";
    if (Math.abs(u * v - 1) < 1e-6) return `converges, sharpness × step ${number(eta * (u * u + v * v))}`;
    if (Math.hypot(u - a, v - b) > 1e-6) return "stays bounded and does not settle";
    return Math.hypot(u, v) < 1e-3 ? "ends in the saddle" : "goes round a cycle of two";
  };
  const edge = {
    sliders: [["step times target, ηy", 0.1, 2, 0.6], ["start of u", -4, 4, 2.4], ["start of v", -4, 4, 0.9]],
    axes: { u: [-4, 4], v: [-4, 4] },
    alt: "The orbit of descent from the chosen start, the ellipse that no orbit crosses, and the stable arc of the minima",
    draw: (curve, dot, eta, u, v) => {
      hyperbola.forEach((branch) => curve(branch, "unstable"));
      hyperbola.forEach((branch) => curve(branch.filter(([a, b]) => eta * (a * a + b * b) < 2), "target"));
      const [long, short] = [Math.sqrt(2 / eta + 1), Math.sqrt(2 / eta - 1)];
      const round = range(0, 2 * Math.PI, 200).map((p) => [long * Math.cos(p), short * Math.sin(p)]);
      curve(round.map(([a, b]) => [a + b, a - b]), "saddle");
      const orbit = descend(u, v, 1, eta, 4000);
      const near = orbit.slice(0, 60).filter((p) => Math.hypot(...p) < 50);
      curve(near, "path thin");
      near.forEach((p) => dot(p, 2, "path"));
      dot([u, v], 8, "start");
      const H = ellipse(u, v, 1, eta);
      return `H = ${number(H)} at the start: ${H < 0 ? "" : "not "}inside the ellipse; ${fate(orbit, eta)}`;
    },
  };

  document.addEventListener("DOMContentLoaded", () => {
    const boxes = document.querySelectorAll("[data-live]");
    boxes.forEach((box) => explore(box, { scalar, riccati, edge }[box.dataset.live]));
  });
  window.bookLive = { product, flow, descend, ellipse };
})();
