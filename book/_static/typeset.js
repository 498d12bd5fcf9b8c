// Formulas in order of need: first those on the screen, then the rest a few at a time, so that a
// reader sees formulas, and can scroll and click, while the others are still being drawn.
(() => {
  "use strict";

  const FEW = 80;
  const pause = () => new Promise((resolve) => setTimeout(resolve));
  const onScreen = (formula) => {
    const { top, bottom } = formula.getBoundingClientRect();
    return formula.offsetParent !== null && bottom > 0 && top < innerHeight;
  };

  if (!window.MathJax) return;
  window.MathJax.startup = {
    typeset: false,
    pageReady: async () => {
      await window.MathJax.startup.defaultPageReady();
      const waiting = [...document.querySelectorAll(".math")];
      const seen = new Set(waiting.filter(onScreen));
      const rest = waiting.filter((formula) => !seen.has(formula));
      await window.MathJax.typesetPromise([...seen]);
      for (let i = 0; i < rest.length; i += FEW) {
        await pause();
        await window.MathJax.typesetPromise(rest.slice(i, i + FEW));
      }
      await window.MathJax.typesetPromise(); // what stands outside: tables of results, outputs
    },
  };
})();
