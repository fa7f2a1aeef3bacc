"use strict";
(() => {
  const root = document.documentElement;
  const button = document.createElement("button");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const key = "reconciler-theme";
  // A browser may refuse storage to a page from disk; then the choice lasts as long as the page.
  const remember = (theme) => {
    try {
      localStorage.setItem(key, theme);
    } catch {}
  };
  const recall = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const show = () => {
    button.textContent = isDark() ? "Light theme" : "Dark theme";
  };
  const chosen = recall();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  system.addEventListener("change", show);
  button.type = "button";
  button.id = "theme";
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    show();
  });
  document.querySelector(".bar").append(button);
  show();
})();
