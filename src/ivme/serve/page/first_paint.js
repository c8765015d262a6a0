// Runs before the first paint, so that a remembered theme or language does not flash in late.
// A classic script: modules wait for the whole document.
(() => {
  const root = document.documentElement;
  const remembered = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null; // storage is forbidden: the page then follows the browser
    }
  };
  const theme = remembered("ivme.theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  const language = remembered("ivme.language") ?? navigator.language.slice(0, 2);
  root.lang = language === "tr" ? "tr" : "en";
})();
