// Search and previews. Both load their data when they are first asked for, as scripts, so that
// they work on pages that are opened from a folder.
(() => {
  "use strict";

  const root = document.documentElement.dataset.content_root ?? "./";
  const waiting = new Map();
  const load = (path, name) => {
    if (!waiting.has(name)) {
      waiting.set(
        name,
        new Promise((resolve) => {
          const script = document.createElement("script");
          script.src = `${root}data/${path}`;
          script.onload = () => resolve(window.book[name]);
          script.onerror = () => resolve(undefined);
          document.head.append(script);
        })
      );
    }
    return waiting.get(name);
  };
  const typeset = async (element) => {
    await window.MathJax?.startup?.promise;
    await window.MathJax?.typesetPromise?.([element]);
  };

  // Search: words without accents, in the singular; a formula counts as no word.
  const fold = (text) =>
    text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase().replace(/ł/g, "l").replace(/ø/g, "o");
  const stem = (word) =>
    word.length > 4 ? word.replace(/ies$/, "y").replace(/(ss)$|(?:es|s)$/, "$1").replace(/e$/, "") : word;
  const words = (text) =>
    (fold(text.replace(/\\\(.*?\\\)|\\\[.*?\\\]/gs, " ")).match(/[a-z]+|\d+(?:\.\d+)*/g) ?? []).map(stem);
  const count = (list, word, last) =>
    list.reduce((n, w) => n + (w === word || (last && word.length > 2 && w.startsWith(word)) ? 1 : 0), 0);

  const prepared = (data) => {
    for (const entry of data.ready ? [] : data.entries) {
      entry.heads = words(entry.title);
      entry.words = words(entry.text);
      entry.line = ` ${entry.heads.join(" ")} `;
      entry.flow = ` ${entry.words.join(" ")} `;
      entry.above = words(data.titles[entry.page] ?? "");
    }
    data.ready = true;
    return data;
  };

  // How well an entry answers: words in its title count most, then words in its text, a phrase
  // more than its words, rare words more than common ones, and words of the chapter's title a bit.
  const weights = { term: 0.95, section: 1.1, theorem: 1.1, definition: 1.1, exercise: 0.7, example: 0.9 };
  const rank = (data, query) => {
    const asked = words(query);
    if (!asked.length) return [];
    const { entries } = prepared(data);
    const table = asked.map((word, i) => {
      const last = i === asked.length - 1;
      const hits = entries.map((e) => [count(e.heads, word, last), count(e.words, word, last), count(e.above, word, last)]);
      const having = hits.filter(([a, b]) => a + b).length;
      return { hits, idf: Math.log(1 + entries.length / (1 + having)) };
    });
    const phrase = ` ${asked.join(" ")}`;
    const scored = entries.map((entry, i) => {
      let score = 0;
      let found = 0;
      for (const { hits, idf } of table) {
        const [head, text, above] = hits[i];
        if (head + text) found += 1;
        const often = text / (text + 1 + entry.words.length / 150);
        score += idf * (4 * Math.min(head, 1) + 2 * often + (head + text ? 1.2 * Math.min(above, 1) : 0));
      }
      if (asked.length > 1 && entry.line.includes(phrase)) score *= 1.6;
      else if (asked.length > 1 && entry.flow.includes(phrase)) score *= 1.25;
      score *= (found / asked.length) ** 2 * (weights[entry.kind] ?? 1);
      score *= 1 + 0.6 * (entry.heads.length ? asked.filter((w) => entry.heads.includes(w)).length / entry.heads.length : 0);
      if (!/^book\/(?!claims|errata|status|references|assignments|notation|library|statements)/.test(entry.page)) score *= 0.55;
      return [score, entry];
    });
    return scored.filter(([score]) => score > 0).sort((a, b) => b[0] - a[0]).map(([, entry]) => entry);
  };

  // A piece of prose around the first word that was asked for, with whole formulas.
  const snippet = (entry, query) => {
    const asked = words(query);
    const parts = entry.text.match(/\\\(.*?\\\)\S*|\\\[.*?\\\]\S*|\S+/gs) ?? [];
    const hit = parts.findIndex((part) => words(part).some((w) => asked.some((a) => w.startsWith(a))));
    const from = Math.max(0, hit - 8);
    const cut = parts.slice(from, from + 26);
    return (from ? "… " : "") + cut.join(" ") + (from + 26 < parts.length ? " …" : "");
  };

  const item = (data, entry, query) => {
    const line = document.createElement("li");
    const link = document.createElement("a");
    const chapter = data.titles[entry.page] ?? "";
    link.href = `${root}${entry.page}.html#${entry.id}`;
    link.textContent = entry.kind === "term" ? `Term ${entry.title}` : entry.title;
    const where = document.createElement("span");
    where.className = "result-place";
    where.textContent = chapter === entry.title ? "" : chapter;
    const text = document.createElement("p");
    text.textContent = snippet(entry, query);
    line.append(link, where, text);
    return line;
  };

  const answer = async (list, status, query, limit) => {
    const data = await load("search.js", "search");
    if (!data) {
      status.textContent = "The index of the search could not be loaded.";
      return;
    }
    const found = rank(data, query);
    list.replaceChildren(...found.slice(0, limit).map((entry) => item(data, entry, query)));
    status.textContent = query.trim() ? `${found.length} places found` : "";
    typeset(list);
  };

  const searchPage = () => {
    const form = document.querySelector("#find-form");
    if (!form) return;
    const [input, list, status] = ["#find-input", "#search-results", "#find-status"].map((q) => document.querySelector(q));
    let timer;
    const ask = () => answer(list, status, input.value, 40);
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(ask, 150);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask();
    });
    input.focus();
    ask();
  };

  const searchDialog = () => {
    const dialog = document.querySelector("#pst-search-dialog");
    const input = dialog?.querySelector("input[type=search]");
    if (!input) return;
    const list = document.createElement("ol");
    const status = document.createElement("p");
    list.className = "find-results";
    status.setAttribute("role", "status");
    dialog.append(status, list);
    let timer;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => answer(list, status, input.value, 7), 150);
    });
    list.addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => event.key === "Escape" && dialog.close());
  };

  // Previews: what a link leads to, when the pointer rests on it or the keyboard reaches it.
  let box;
  let origin; // the link that the box belongs to
  let timer;
  const hide = () => {
    clearTimeout(timer);
    box?.remove();
    box = undefined;
  };
  const place = () => {
    const at = origin.getClientRects()[0];
    if (!at || at.bottom < 0 || at.top > innerHeight) return hide();
    const { width, height } = box.getBoundingClientRect();
    const below = at.bottom + height + 12 < innerHeight || at.top < height + 12;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 16))}px`;
    box.style.top = `${below ? at.bottom + 8 : at.top - height - 8}px`;
    box.classList.add("shown");
  };
  const target = async (link) => {
    const address = new URL(link.href);
    const name = decodeURIComponent(address.hash.slice(1));
    if (!name) return undefined;
    if (address.pathname === location.pathname) {
      const element = document.getElementById(name);
      if (!element || element.matches("section, span, h1, h2, h3")) return undefined;
      const copy = element.cloneNode(true);
      copy.removeAttribute("id");
      copy.querySelectorAll("[id]").forEach((e) => e.removeAttribute("id"));
      copy.querySelectorAll("script, .headerlink, .explorer-sliders, button").forEach((e) => e.remove());
      copy.classList.remove("toggle-hidden");
      return copy;
    }
    const home = new URL(root, document.baseURI).pathname;
    const page = address.pathname.slice(home.length).replace(/\.html$/, "");
    const elements = await load(`previews/${page.replaceAll("/", "-")}.js`, `preview:${page}`);
    if (!elements?.[name]) return undefined;
    const copy = document.createElement("div");
    copy.innerHTML = elements[name];
    const base = new URL(`${page}.html`, new URL(root, document.baseURI));
    copy.querySelectorAll("img[src]").forEach((image) => {
      image.src = new URL(image.getAttribute("src"), base);
    });
    return copy;
  };
  const show = async (link) => {
    const content = await target(link);
    if (!content || !(link.matches(":hover") || link === document.activeElement)) return;
    hide();
    const mine = document.createElement("div");
    mine.className = "preview bd-article";
    mine.setAttribute("role", "tooltip");
    mine.append(content);
    document.querySelector(".bd-content").append(mine);
    [box, origin] = [mine, link];
    await typeset(mine);
    if (box === mine) place();
  };
  const previews = () => {
    const from = ".bd-article a.reference.internal[href*='#']:not(.slides)";
    const later = (event, delay) => {
      const link = event.target.closest?.(from);
      if (!link) return;
      clearTimeout(timer);
      timer = setTimeout(() => show(link), delay);
    };
    document.addEventListener("mouseover", (event) => later(event, 250));
    document.addEventListener("mouseout", (event) => event.target.closest?.(from) && hide());
    document.addEventListener("focusin", (event) => event.target.matches(":focus-visible") && later(event, 0));
    document.addEventListener("focusout", hide);
    document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
    // The page scrolls by itself when the keyboard reaches a link: the box goes along.
    window.addEventListener("scroll", () => box?.classList.contains("shown") && place(), { passive: true });
  };

  document.addEventListener("DOMContentLoaded", () => {
    searchPage();
    searchDialog();
    previews();
  });
  window.bookSearch = async (query) => rank(await load("search.js", "search"), query);
})();
