// Live explorers: pictures computed in the reader's browser, to be dragged. A page asks for one by
// <div class="explorer live" data-live="scalar">; what stands in it is shown without this script.
// The numbers are those of the library (overparam.scalar, .riccati, .edge), to which tests compare.
(() => {
  "use strict";

  // x(t) of the flow of (y - uv)²/2, and the weights on their hyperbola.
  const product = (t, y, x0, imbalance) => {
    const [S, R] = [Math.hypot(imbalance, 2 * y), Math.hypot(imbalance, 2 * x0)];
    const q = imbalance * imbalance + 4 * x0 * y;
    const growth = S ? (R * Math.sinh(S * t)) / S + (2 * q * Math.sinh((S * t) / 2) ** 2) / S ** 2 : R * t;
    return y + (x0 - y) / (1 + growth);
  };
  const flow = (t, y, u0, v0) => {
    const imbalance = u0 * u0 - v0 * v0;
    const x = product(t, y, u0 * v0, imbalance);
    const larger = Math.sqrt((Math.abs(imbalance) + Math.hypot(imbalance, 2 * x)) / 2);
    const swapped = Math.abs(u0) < Math.abs(v0); // the larger weight keeps its sign
    const first = (swapped ? v0 : u0) < 0 ? -larger : larger;
    const weights = [first, larger ? x / first : 0];
    return swapped ? weights.reverse() : weights;
  };
  const descend = (u, v, y, eta, steps) => {
    const orbit = [[u, v]];
    for (let j = 0; j < steps && Math.hypot(u, v) < 1e6; j += 1) {
      const pull = eta * (y - u * v);
      [u, v] = [u + pull * v, v + pull * u];
      orbit.push([u, v]);
    }
    return orbit;
  };
  const ellipse = (u, v, y, eta) => eta * (u * u + v * v) + eta * eta * y * (y - u * v) - 4;
  const number = (value, digits = 2) => value.toFixed(digits).replace("-", "−");
  const range = (from, to, n) => Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1));

  const shape = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    element.textContent = text;
    return element;
  };

  // A picture with axes; it draws curves and points anew at each change, and says where it is touched.
  const picture = (box, { x: [x0, x1], y: [y0, y1], names, alt }) => {
    const [w, h, left, low] = [560, 400, 46, 40];
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (w - left - 8);
    const py = (y) => h - low - ((y - y0) / (y1 - y0)) * (h - low - 8);
    const svg = shape("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": alt, class: "live-picture" });
    const grid = (d, text, at) => svg.append(shape("path", { d, class: "grid" }), shape("text", at, text));
    for (let x = Math.ceil(x0); x <= x1; x += 1) {
      grid(`M${px(x)},${py(y0)}V${py(y1)}`, number(x, 0), { x: px(x), y: h - low + 18, "text-anchor": "middle" });
    }
    for (let y = Math.ceil(y0); y <= y1; y += 1) {
      grid(`M${px(x0)},${py(y)}H${px(x1)}`, number(y, 0), { x: left - 8, y: py(y) + 5, "text-anchor": "end" });
    }
    const clip = shape("clipPath", { id: `live-${box.dataset.live}` });
    clip.append(shape("rect", { x: left - 10, y: 0, width: w - left + 10, height: h - low + 10 }));
    const marks = shape("g", { "clip-path": `url(#live-${box.dataset.live})` });
    svg.append(shape("text", { x: (w + left) / 2, y: h - 4, "text-anchor": "middle", class: "name" }, names[0]));
    svg.append(shape("text", { x: 12, y: py((y0 + y1) / 2), class: "name" }, names[1]), clip, marks);
    box.append(svg);
    const inside = ([x, y]) => Math.abs(px(x)) < 3000 && Math.abs(py(y)) < 3000; // false for NaN
    const curve = (points, kind) => {
      const step = (p, i) => inside(p) && `${i && inside(points[i - 1]) ? "L" : "M"}${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`;
      marks.append(shape("path", { d: points.map(step).filter(Boolean).join(""), class: kind }));
    };
    const dot = (p, kind, r) => inside(p) && marks.append(shape("circle", { cx: px(p[0]), cy: py(p[1]), r, class: kind }));
    const touched = (tell) => {
      const at = ({ clientX, clientY }) => {
        const frame = svg.getBoundingClientRect();
        const [a, b] = [((clientX - frame.left) / frame.width) * w, ((clientY - frame.top) / frame.height) * h];
        tell(x0 + ((a - left) / (w - left - 8)) * (x1 - x0), y0 + ((h - low - b) / (h - low - 8)) * (y1 - y0));
      };
      svg.addEventListener("pointerdown", (event) => (svg.setPointerCapture(event.pointerId), at(event)));
      svg.addEventListener("pointermove", (event) => event.buttons && at(event));
    };
    return { curve, dot, touched, clear: () => marks.replaceChildren() };
  };

  // Sliders, for the keyboard and for exact values; below them the picture, and a line that reads it
  // out. `draw(plane, ...values)` returns that line; `moved(x, y)` the sliders' values after a touch.
  const explore = (box, { sliders, axes, draw, moved }) => {
    const rows = document.createElement("div");
    rows.className = "explorer-sliders";
    rows.innerHTML = sliders
      .map(([name, min, max, start]) => `<label><span class="explorer-name">${name}</span><input type="range" aria-label="${name}" min="${min}" max="${max}" step="0.01" value="${start}"><span class="explorer-value" aria-hidden="true"></span></label>`)
      .join("");
    box.append(rows);
    const inputs = [...rows.querySelectorAll("input")];
    const plane = picture(box, axes);
    const line = document.createElement("p");
    line.className = "live-readout";
    box.append(line);
    const update = () => {
      inputs.forEach((input) => (input.nextElementSibling.textContent = number(Number(input.value))));
      plane.clear();
      line.textContent = draw(plane, ...inputs.map((input) => Number(input.value)));
    };
    rows.addEventListener("input", update);
    plane.touched((x, y) => {
      moved(x, y).forEach((value, i) => value !== undefined && (inputs[i].value = value));
      update();
    });
    update();
  };
  const hyperbola = [1, -1].map((sign) => range(0.2, 4, 160).map((u) => [sign * u, sign / u]));

  const scalar = {
    sliders: [["start of u", -2.2, 2.2, 1.9], ["start of v", -2.2, 2.2, -1.5]],
    axes: { x: [-2.3, 2.3], y: [-2.3, 2.3], names: ["u", "v"], alt: "The path of the flow from the chosen start, on its hyperbola, to the curve where the product is one" },
    moved: (u, v) => [u, v],
    draw: (plane, u, v) => {
      hyperbola.forEach((branch) => plane.curve(branch, "target"));
      plane.curve([[-2.2, 2.2], [2.2, -2.2]], "saddle");
      plane.curve(range(0, 1, 300).map((s) => flow(30 * s ** 3, 1, u, v)), "path");
      const end = flow(200, 1, u, v);
      plane.dot([u, v], "start", 8);
      plane.dot(end, "path", 4);
      return `imbalance ${number(u * u - v * v)}, product at the start ${number(u * v)}; ends at u = ${number(end[0])}, v = ${number(end[1])}, product ${number(end[0] * end[1])}`;
    },
  };
  const targets = [3, 2, 1]; // a touch moves the nearest one
  const riccati = {
    sliders: [["start, as a power of ten", -6, 0, -3], ["imbalance of every mode", 0, 2, 0]],
    axes: { x: [0, 12], y: [0, 4], names: ["t", "σ"], alt: "Three modes growing to their targets over time" },
    moved: (t, height) => {
      const distance = targets.map((target) => Math.abs(target - height));
      targets[distance.indexOf(Math.min(...distance))] = Math.min(4, Math.max(0.2, height));
      return [];
    },
    draw: (plane, power, imbalance) => {
      const half = targets.map((target, i) => {
        const x = (t) => product(t, target, 10 ** power, imbalance);
        plane.curve([[0, target], [12, target]], "target");
        plane.curve(range(0, 12, 400).map((t) => [t, x(t)]), `path mode-${i}`);
        plane.dot([12, target], "start", 8);
        let [a, b] = [0, 200];
        for (let j = 0; j < 60; j += 1) x((a + b) / 2) < target / 2 ? (a = (a + b) / 2) : (b = (a + b) / 2);
        return number(a);
      });
      return `half of the targets ${targets.map((t) => number(t, 1)).join(", ")} is reached at t = ${half.join(", ")}`;
    },
  };
  const edge = {
    sliders: [["step times target, ηy", 0.1, 2, 0.6], ["start of u", -4, 4, 2.4], ["start of v", -4, 4, 0.9]],
    axes: { x: [-4, 4], y: [-4, 4], names: ["u", "v"], alt: "The orbit of descent from the chosen start, the ellipse that no orbit crosses, and the stable arc of the minima" },
    moved: (u, v) => [undefined, u, v],
    draw: (plane, eta, u, v) => {
      for (const branch of hyperbola) {
        plane.curve(branch, "unstable");
        plane.curve(branch.map(([a, b]) => (eta * (a * a + b * b) < 2 ? [a, b] : [NaN, NaN])), "target");
      }
      const [long, short] = [Math.sqrt((8 + 4 * eta) / eta) / 2, Math.sqrt(Math.max(8 - 4 * eta, 0) / eta) / 2];
      const around = range(0, 2 * Math.PI, 200).map((p) => [long * Math.cos(p), short * Math.sin(p)]);
      plane.curve(around.map(([a, b]) => [a + b, a - b]), "saddle");
      const orbit = descend(u, v, 1, eta, 4000);
      plane.curve(orbit.slice(0, 60), "path thin");
      orbit.slice(0, 60).forEach((p) => plane.dot(p, "path", 2));
      plane.dot([u, v], "start", 8);
      const [a, b] = orbit.at(-1);
      const still = orbit.length > 9 && Math.abs(a * b - 1) < 1e-6;
      const again = orbit.length > 9 && Math.hypot(a - orbit.at(-3)[0], b - orbit.at(-3)[1]) < 1e-6;
      const cycle = Math.hypot(a, b) < 1e-3 ? "ends in the saddle" : "goes round a cycle of two";
      const settled = still ? `converges, sharpness × step ${number(eta * (a * a + b * b))}` : again ? cycle : "stays bounded and does not settle";
      const inside = ellipse(u, v, 1, eta) < 0 ? "inside" : "not inside";
      return `H = ${number(ellipse(u, v, 1, eta))} at the start: ${inside} the ellipse; ${orbit.length < 4001 ? "runs away" : settled}`;
    },
  };

  const kinds = { scalar, riccati, edge };
  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-live]")) {
      box.querySelector("img")?.classList.add("only-print");
      explore(box, kinds[box.dataset.live]);
    }
  });
  window.bookLive = { product, flow, descend, ellipse };
})();
