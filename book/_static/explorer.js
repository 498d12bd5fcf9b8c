// Explorers follow their sliders, and small repairs in the reader's browser: scrolling boxes that
// the keyboard reaches, names and roles that the theme leaves out. Formulas are drawn late, so
// boxes are looked at again whenever the page changes.
(() => {
  "use strict";

  const setOnce = (element, name, value) => {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  };

  // The frames stand in the page as data; the picture shows the one of the sliders' positions.
  const wake = (explorer) => {
    const image = explorer.querySelector(".explorer-frame");
    const sliders = [...explorer.querySelectorAll("input[type=range]")];
    let data;
    const show = () => {
      data ??= JSON.parse(explorer.querySelector("script").textContent);
      let index = 0;
      for (const slider of sliders) {
        const text = JSON.parse(slider.dataset.values)[slider.value];
        index = index * (Number(slider.max) + 1) + Number(slider.value);
        setOnce(slider, "aria-valuetext", text);
        slider.parentElement.querySelector(".explorer-value").textContent = text;
      }
      const svg = data.frames[index].map((part) => data.parts[part]).join("><");
      image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
      image.alt = data.alt[index];
    };
    for (const slider of sliders) {
      slider.disabled = false;
      slider.value = slider.defaultValue; // a browser may keep the last visit's
      slider.addEventListener("input", show);
    }
  };

  // Italic letters lean a few pixels out of their box, which is no reason to scroll.
  const sticksOut = (element) => element.scrollWidth > element.clientWidth + 8;
  const scrolls = (element) =>
    sticksOut(element) && ["auto", "scroll"].includes(getComputedStyle(element).overflowX);

  // Formulas wider than their column are made smaller, down to eight tenths; wider ones scroll.
  const SMALLEST = 0.8;
  const fitFormulas = () => {
    const formulas = [...document.querySelectorAll(".bd-article .math:has(mjx-math)")];
    for (const formula of formulas) {
      formula.classList.remove("wide");
      formula.style.fontSize = "";
    }
    const measured = formulas
      .filter((formula) => formula.offsetParent)
      .map((formula) => {
        const block = formula.closest("p, li, td, div, section, figcaption, dd");
        const number = formula.querySelector(":scope > .eqno")?.getBoundingClientRect().width ?? 0;
        const room = block.getBoundingClientRect().width - number;
        const body = formula.querySelector("mjx-math");
        return [formula, room, body.getBoundingClientRect().width];
      });
    for (const [formula, room, width] of measured) {
      if (width <= room + 1) continue;
      const scale = room / width;
      if (scale < SMALLEST) formula.classList.add("wide");
      formula.style.fontSize = `${Math.max(scale, SMALLEST) * 100}%`;
    }
  };

  // MathJax makes every formula a stop of the tab key; keep those that must scroll.
  const letKeyboardIn = () => {
    const reach = [];
    for (const formula of document.querySelectorAll("mjx-container")) {
      reach.push([formula, false]);
      reach.push([formula.parentElement, scrolls(formula.parentElement)]);
    }
    for (const box of document.querySelectorAll(
      ".bd-article .pst-scrollable-table-container, .bd-article pre, .bd-article .output"
    )) {
      reach.push([box, scrolls(box)]);
    }
    // Measure first and write afterwards: in turns, each write would lay out the page anew.
    for (const [element, wanted] of reach) {
      if (wanted) setOnce(element, "tabindex", "0");
      else if (element.tabIndex === 0) element.setAttribute("tabindex", "-1");
    }
  };

  let observer;
  let waiting = false;
  const look = () => {
    if (waiting) return;
    waiting = true;
    document.documentElement.toggleAttribute("data-looking", true);
    setTimeout(() => {
      try {
        fitFormulas();
        letKeyboardIn();
      } finally {
        observer.takeRecords(); // what was just written is no reason to look again
        waiting = false;
        document.documentElement.toggleAttribute("data-looking", false);
      }
    }, 50);
  };

  // Names and roles that the theme leaves out, has wrong, or that have gone out of use.
  const repairNames = () => {
    const give = (query, attributes) => {
      for (const element of document.querySelectorAll(query)) {
        Object.entries(attributes).forEach(([name, value]) => setOnce(element, name, value));
      }
    };
    give(".sidebar-primary-item:has(> .navbar-brand)", { role: "region", "aria-label": "Home" });
    give('.citation-list > [role="doc-biblioentry"]', { role: "listitem" });
  };

  // The page's bar says which chapter this is once its heading is out of sight.
  const nameChapter = () => {
    const heading = document.querySelector(".bd-article h1");
    const bar = document.querySelector(".header-article-items__start");
    if (!heading || !bar) return;
    const name = document.createElement("span");
    const words = [...heading.childNodes].filter((node) => !node.matches?.(".headerlink"));
    name.textContent = words.map((node) => node.textContent).join("");
    name.className = "bar-chapter";
    name.setAttribute("aria-hidden", "true"); // it is the heading once more
    bar.append(name);
    new IntersectionObserver(([{ isIntersecting }]) => name.classList.toggle("shown", !isIntersecting))
      .observe(heading);
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".explorer:has(.explorer-frame)").forEach(wake);
    repairNames();
    nameChapter();
    observer = new MutationObserver(look);
    observer.observe(document.body, {
      attributeFilter: ["open"],
      attributes: true,
      childList: true,
      subtree: true,
    });
    window.addEventListener("resize", look);
    look();
  });
})();
