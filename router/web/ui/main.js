// main - which view is shown, and in which colours.
import { startChat } from "./chat.js";
import { ClusterView } from "./cluster.js";
import { byId } from "./dom.js";
import { cluster } from "./port.js";
import { loadTheme, saveTheme } from "./store.js";

const THEMES = [null, "light", "dark"];
let view = null; // of the cluster: made when it is first looked at

function applyTheme(theme) {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    const name = theme ?? "auto";
    byId("theme").textContent = { auto: "Auto", light: "Light", dark: "Dark" }[name];
    byId("theme").setAttribute("aria-label", `Colours: ${name}. Change`);
    view?.repaint();
}

/** The hash names the view. */
function route() {
    const name = cluster && location.hash !== "#chat" ? "cluster" : "chat";
    for (const other of ["chat", "cluster"]) {
        byId(other).hidden = other !== name;
        if (other === name) byId("tab-" + other).setAttribute("aria-current", "page");
        else byId("tab-" + other).removeAttribute("aria-current");
    }
    document.title = name === "cluster" ? "msgl cluster" : "msgl";
    byId("model").parentElement.hidden = name === "cluster";
    byId("skip").href = "#" + name;
    if (name === "cluster") view ??= new ClusterView(byId("cluster"));
    else byId("input").focus();
}

byId("theme").addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(loadTheme()) + 1) % THEMES.length];
    saveTheme(next);
    applyTheme(next);
});
byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    (view && location.hash !== "#chat" ? byId("cluster") : byId("input")).focus();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view?.repaint());
addEventListener("hashchange", route);

byId("tab-cluster").hidden = !cluster;
applyTheme(loadTheme());
startChat();
route();
