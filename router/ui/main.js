// main - which view is shown, and in which colours.
import { startChat } from "./chat.js";
import { byId } from "./dom.js";
import { loadTheme, saveTheme } from "./store.js";

const THEMES = [null, "light", "dark"];

function applyTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const name = theme ?? "auto";
    byId("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name];
    byId("theme").setAttribute("aria-label", `Colours: ${name}. Change`);
}

byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(loadTheme()) + 1) % THEMES.length];
    saveTheme(next);
    applyTheme(next);
});

byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("input").focus();
});

applyTheme(loadTheme());
byId("tab-chat").setAttribute("aria-current", "page");
startChat();
