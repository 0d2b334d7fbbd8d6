// What the page's parts share: the theme, the full view after a rest, and links that carry settings.
window.zero123 = window.zero123 || { plot: () => {} };
(() => {
  const own = window.zero123;
  let timer = 0;
  const press = (id) => document.getElementById(id)?.click();
  own.rest = (after) => { clearTimeout(timer); timer = setTimeout(() => press("settle"), after); };
  own.moved = (azimuth, elevation, radius) => { own.plot(azimuth, elevation, radius); own.rest(900); };
  // A file that is no picture is said so in words; the browser's torn picture beside them says nothing more.
  document.addEventListener("error", (e) => { if (e.target.matches?.("#picture img")) e.target.style.visibility = "hidden"; }, true);
  own.theme = () => {
    const dark = document.body.classList.toggle("dark");
    try { localStorage.setItem("zero123-theme", dark ? "dark" : "light"); } catch { /* private window */ }
  };
  own.started = () => {
    let kept = null;
    try { kept = localStorage.getItem("zero123-theme"); } catch { /* private window */ }
    if (kept && !new URLSearchParams(location.search).has("__theme")) document.body.classList.toggle("dark", kept === "dark");
  };
  own.link = (names, values) => {
    const query = new URLSearchParams(names.map((name, i) => [name, String(values[i])]));
    const link = `${location.origin}${location.pathname}?${query}`;
    history.replaceState(null, "", link);
    const button = document.getElementById("link");
    const told = (words) => { if (button) { button.textContent = words; setTimeout(() => { button.textContent = "Copy link"; }, 1600); } };
    (navigator.clipboard?.writeText(link) ?? Promise.reject()).then(() => told("Copied"), () => told("In the address bar"));
  };
})();
