// Before anything is painted: the theme that was chosen here, else the system's.
(() => {
  let chosen = null;
  try {
    chosen = JSON.parse(localStorage.getItem("theme"));
  } catch {
    // Storage may be forbidden or hold something else; the system's theme stays.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
