// Light or dark: the browser's wish, until the reader chooses. first_paint.js recalls the choice.
import { remember } from "./remembered.js";

const KEY = "ivme.theme";
const wish = window.matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen === undefined ? wish.matches : chosen === "dark";
}

/** Make `button` switch the theme and show by aria-pressed whether it is dark. */
export function connectTheme(button) {
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    remember("localStorage", KEY, theme);
    show();
  });
  wish.addEventListener("change", show);
  show();
}
