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
    if (Math.abs(u0) >= Math.abs(v0)) {
      const u = u0 < 0 ? -larger : larger;
      return [u, larger ? x / u : 0];
    }
    const v = v0 < 0 ? -larger : larger;
    return [x / v, v];
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

  // A picture with axes; `draw` gives it curves and points anew at each change.
  const picture = (box, [x0, x1], [y0, y1], [xName, yName], alt) => {
    const [w, h, left, low] = [560, 400, 46, 40];
    const px = (x) => left + ((x - x0) / (x1 - x0)) * (w - left - 8);
    const py = (y) => h - low - ((y - y0) / (y1 - y0)) * (h - low - 8);
    const make = (tag, attributes, text = "") => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
      element.textContent = text;
      return element;
    };
    const svg = make("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": alt, class: "live-picture" });
    for (let x = Math.ceil(x0); x <= x1; x += 1) {
      svg.append(make("path", { d: `M${px(x)},${py(y0)}V${py(y1)}`, class: "grid" }), make("text", { x: px(x), y: h - low + 18, "text-anchor": "middle" }, number(x, 0)));
    }
    for (let y = Math.ceil(y0); y <= y1; y += 1) {
      svg.append(make("path", { d: `M${px(x0)},${py(y)}H${px(x1)}`, class: "grid" }), make("text", { x: left - 8, y: py(y) + 5, "text-anchor": "end" }, number(y, 0)));
    }
    svg.append(make("text", { x: (w + left) / 2, y: h - 4, "text-anchor": "middle", class: "name" }, xName), make("text", { x: 12, y: py((y0 + y1) / 2), class: "name" }, yName));
    const frame = make("clipPath", { id: `live-${box.dataset.live}` });
    frame.append(make("rect", { x: left - 10, y: 0, width: w - left + 10, height: h - low + 10 }));
    const marks = make("g", { "clip-path": `url(#live-${box.dataset.live})` });
    svg.append(frame, marks);
    box.append(svg);
    const inside = ([x, y]) => Number.isFinite(x + y) && Math.abs(px(x)) < 3000 && Math.abs(py(y)) < 3000;
    const curve = (points, kind) => {
      let pen = "M";
      const d = points.map((p) => {
        if (!inside(p)) return (pen = "M"), "";
        const part = `${pen}${px(p[0]).toFixed(1)},${py(p[1]).toFixed(1)}`;
        pen = "L";
        return part;
      });
      marks.append(make("path", { d: d.join(""), class: kind }));
    };
    const dot = (p, kind, r = 4) => inside(p) && marks.append(make("circle", { cx: px(p[0]), cy: py(p[1]), r, class: kind }));
    const dragged = (move) => {
      const at = (event) => {
        const frame = svg.getBoundingClientRect();
        const [a, b] = [((event.clientX - frame.left) / frame.width) * w, ((event.clientY - frame.top) / frame.height) * h];
        move(x0 + ((a - left) / (w - left - 8)) * (x1 - x0), y0 + ((h - low - b) / (h - low - 8)) * (y1 - y0));
      };
      svg.addEventListener("pointerdown", (event) => (svg.setPointerCapture(event.pointerId), at(event)));
      svg.addEventListener("pointermove", (event) => event.buttons && at(event));
    };
    return { curve, dot, dragged, clear: () => marks.replaceChildren() };
  };

  // Sliders above the picture, for the keyboard and for exact values; they and the drag agree.
  const sliders = (box, settings, changed) => {
    const rows = document.createElement("div");
    rows.className = "explorer-sliders";
    const inputs = settings.map(([name, min, max, start, step = 0.01]) => {
      const label = document.createElement("label");
      label.innerHTML = `<span class="explorer-name">${name}</span><input type="range" aria-label="${name}" min="${min}" max="${max}" step="${step}" value="${start}"><span class="explorer-value" aria-hidden="true"></span>`;
      rows.append(label);
      const input = label.querySelector("input");
      input.addEventListener("input", () => update());
      return input;
    });
    const values = () => inputs.map((input) => Number(input.value));
    const update = () => {
      inputs.forEach((input) => (input.nextElementSibling.textContent = number(Number(input.value))));
      changed(...values());
    };
    const set = (...wanted) => (inputs.forEach((input, i) => wanted[i] !== undefined && (input.value = wanted[i])), update());
    box.append(rows);
    return { set, update };
  };
  const readout = (box) => {
    const line = document.createElement("p");
    line.className = "live-readout";
    box.append(line);
    return line;
  };
  const hyperbola = [1, -1].map((sign) => range(0.2, 4, 160).map((u) => [sign * u, sign / u]));

  const scalar = (box) => {
    const control = sliders(box, [["start of u", -2.2, 2.2, 1.9], ["start of v", -2.2, 2.2, -1.5]], (u, v) => {
      plane.clear();
      hyperbola.forEach((branch) => plane.curve(branch, "target"));
      plane.curve([[-2.2, 2.2], [2.2, -2.2]], "saddle");
      plane.curve(range(0, 1, 300).map((s) => flow(30 * s ** 3, 1, u, v)), "path");
      plane.dot([u, v], "start", 8);
      const end = flow(200, 1, u, v);
      plane.dot(end, "path", 4);
      line.textContent = `imbalance ${number(u * u - v * v)}, product at the start ${number(u * v)}; ends at u = ${number(end[0])}, v = ${number(end[1])}, product ${number(end[0] * end[1])}`;
    });
    const plane = picture(box, [-2.3, 2.3], [-2.3, 2.3], ["u", "v"], "The path of the flow from the chosen start, on its hyperbola, to the curve where the product is one");
    const line = readout(box);
    plane.dragged((u, v) => control.set(u, v));
    control.update();
  };

  const riccati = (box) => {
    const targets = [3, 2, 1];
    const control = sliders(box, [["start, as a power of ten", -6, 0, -3], ["imbalance of every mode", 0, 2, 0]], (power, imbalance) => {
      plane.clear();
      const half = targets.map((target, i) => {
        const x = (t) => product(t, target, 10 ** power, imbalance);
        plane.curve([[0, target], [12, target]], "target");
        plane.curve(range(0, 12, 400).map((t) => [t, x(t)]), `path mode-${i}`);
        plane.dot([12, target], "start", 8);
        let [a, b] = [0, 200];
        for (let j = 0; j < 60; j += 1) x((a + b) / 2) < target / 2 ? (a = (a + b) / 2) : (b = (a + b) / 2);
        return number(a);
      });
      line.textContent = `half of the targets ${targets.map((t) => number(t, 1)).join(", ")} is reached at t = ${half.join(", ")}`;
    });
    const plane = picture(box, [0, 12], [0, 4], ["t", "σ"], "Three modes growing to their targets over time");
    const line = readout(box);
    plane.dragged((t, height) => {
      const distance = targets.map((target) => Math.abs(target - height));
      targets[distance.indexOf(Math.min(...distance))] = Math.min(4, Math.max(0.2, height));
      control.update();
    });
    control.update();
  };

  const edge = (box) => {
    const control = sliders(box, [["step times target, ηy", 0.1, 2, 0.6], ["start of u", -4, 4, 2.4], ["start of v", -4, 4, 0.9]], (eta, u, v) => {
      plane.clear();
      for (const branch of hyperbola) {
        plane.curve(branch, "unstable");
        plane.curve(branch.map(([a, b]) => (eta * (a * a + b * b) < 2 ? [a, b] : [NaN, NaN])), "target");
      }
      plane.curve(range(0, 2 * Math.PI, 200).map((p) => {
        const [a, b] = [Math.sqrt((8 + 4 * eta) / eta) * Math.cos(p), Math.sqrt(Math.max(8 - 4 * eta, 0) / eta) * Math.sin(p)];
        return [(a + b) / 2, (a - b) / 2];
      }), "saddle");
      const orbit = descend(u, v, 1, eta, 4000);
      plane.curve(orbit.slice(0, 60), "path thin");
      orbit.slice(0, 60).forEach((p) => plane.dot(p, "path", 2));
      plane.dot([u, v], "start", 8);
      const [a, b] = orbit.at(-1);
      const still = orbit.length > 9 && Math.abs(a * b - 1) < 1e-6;
      const again = orbit.length > 9 && Math.hypot(a - orbit.at(-3)[0], b - orbit.at(-3)[1]) < 1e-6;
      const fate = orbit.length < 4001 ? "runs away" : still ? `converges, sharpness × step ${number(eta * (a * a + b * b))}` : again ? (Math.hypot(a, b) < 1e-3 ? "ends in the saddle" : "goes round a cycle of two") : "stays bounded and does not settle";
      line.textContent = `H = ${number(ellipse(u, v, 1, eta))} at the start: ${ellipse(u, v, 1, eta) < 0 ? "inside" : "not inside"} the ellipse; ${fate}`;
    });
    const plane = picture(box, [-4, 4], [-4, 4], ["u", "v"], "The orbit of descent from the chosen start, the ellipse that no orbit crosses, and the stable arc of the minima");
    const line = readout(box);
    plane.dragged((u, v) => control.set(undefined, u, v));
    control.update();
  };

  const kinds = { scalar, riccati, edge };
  document.addEventListener("DOMContentLoaded", () => {
    for (const box of document.querySelectorAll("[data-live]")) {
      box.querySelector("img")?.classList.add("only-print");
      kinds[box.dataset.live](box);
    }
  });
  window.bookLive = { product, flow, descend, ellipse };
})();
