// The reader's choice of light or dark, set before anything is painted.
"use strict";
(() => {
  const KEY = "synflow-bench-theme";
  const root = document.documentElement;
  const remembered = () => { try { return localStorage.getItem(KEY); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem(KEY, theme); } catch { /* not remembered */ } };
  const current = () => root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const saved = remembered();
  if (saved === "light" || saved === "dark") root.dataset.theme = saved;

  addEventListener("DOMContentLoaded", () => {
    const button = document.createElement("button");
    const name = () => { button.textContent = current() === "dark" ? "Light" : "Dark"; };
    button.type = "button";
    button.className = "theme";
    button.title = "Switch between light and dark";
    button.addEventListener("click", () => {
      root.dataset.theme = current() === "dark" ? "light" : "dark";
      remember(root.dataset.theme);
      name();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", name);
    name();
    document.querySelector(".top").append(button);
  });
})();
