/* Light, dark, or the setting of the operating system; remembered where the browser allows that. */

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "harness-theme";

/** @returns {string | null} */
function rememberedTheme() {
  try {
    return localStorage.getItem(THEME_KEY);
  } catch {
    return null;
  }
}

/** @param {string} theme */
function useTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem(THEME_KEY, theme);
  } catch {
    // Some browsers give pages from files no storage; the choice then lasts as long as the page.
  }
}

function startTheme() {
  let place = Math.max(0, THEMES.indexOf(rememberedTheme() ?? "auto"));
  useTheme(THEMES[place]);
  byId("theme").addEventListener("click", () => {
    place = (place + 1) % THEMES.length;
    useTheme(THEMES[place]);
  });
  byId("print").addEventListener("click", () => window.print());
}
