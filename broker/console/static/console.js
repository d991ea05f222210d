// What the console's pages do in the browser without asking anybody: zone, theme, keys, copying, whether it is live.
(() => {
  const remember = (name, value) => {
    document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=31536000; samesite=lax`;
  };
  const recall = (name) => document.cookie.match(new RegExp(`(?:^|; )${name}=([^;]*)`))?.[1];

  remember("jobbroker_zone", Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
  const wished = recall("jobbroker_theme");
  const isDark = wished ? wished === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.classList.toggle("jb-dark", isDark);
  remember("jobbroker_shade", isDark ? "dark" : "light");

  const theme = () => {
    const dark = !document.body.classList.contains("body--dark");
    Quasar.Dark.set(dark);
    document.documentElement.classList.toggle("jb-dark", dark);
    remember("jobbroker_theme", dark ? "dark" : "light");
    remember("jobbroker_shade", dark ? "dark" : "light");
  };

  // Clipboards are for secure pages only; a page that came by plain HTTP copies by a selection.
  const copy = async (event) => {
    const text = event.target.closest(".jb-code").querySelector("pre").textContent;
    if (navigator.clipboard && window.isSecureContext) {
      await navigator.clipboard.writeText(text);
    } else {
      const area = document.createElement("textarea");
      area.value = text;
      area.style.position = "fixed";
      area.style.opacity = "0";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    Quasar.Notify.create({ message: "Copied", timeout: 1200, position: "bottom" });
  };

  const help = () => {
    const dialog = document.getElementById("jb-help-dialog");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  };

  const isTyping = (target) =>
    target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName);

  const step = (by) => {
    const rows = [...document.querySelectorAll("a[data-row]")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    const next = rows[Math.min(Math.max(at + by, 0), rows.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "/") {
      document.querySelector("[data-search]")?.focus();
    } else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "n") document.querySelector("[data-new]")?.click();
    else if (event.key === "?") help();
    else return;
    event.preventDefault();
  });

  const noteVisible = () => {
    if (window.socket) emitEvent("jobbroker_visible", document.visibilityState === "visible");
  };
  document.addEventListener("visibilitychange", noteVisible);
  // A page that was opened behind another one has not changed yet.
  addEventListener("load", () => document.visibilityState === "visible" || noteVisible());

  // The editor's own field has no name: it takes that of the element around it.
  const nameEditors = () => {
    for (const field of document.querySelectorAll(".cm-content:not([aria-label])")) {
      field.setAttribute("aria-label", field.closest("[aria-label]")?.getAttribute("aria-label") || "Text");
    }
  };
  new MutationObserver(nameEditors).observe(document, { childList: true, subtree: true });

  // NiceGUI shows its popup when the connection is lost; the badge says so, too.
  addEventListener("DOMContentLoaded", () => {
    const popup = document.getElementById("popup");
    if (!popup) return;
    const note = () => document.body.classList.toggle("jb-offline", popup.ariaHidden !== "true");
    new MutationObserver(note).observe(popup, { attributes: true, attributeFilter: ["aria-hidden"] });
    document.documentElement.lang ||= "en";
  });

  window.jobbroker = { theme, copy, help };
})();
