// settings - the dialog of system prompt and sampling.
import { byId } from "./dom.js";
import { loadSettings, saveSettings } from "./store.js";

export function openSettings() {
    const dialog = byId("settings");
    const settings = loadSettings();
    for (const field of dialog.querySelectorAll("[name]")) field.value = settings[field.name] ?? "";
    dialog.addEventListener("close", () => saveSettings(taken(dialog)), { once: true });
    dialog.showModal();
}

/** The fields that are filled in; numbers as numbers, and none that the field itself finds wrong. */
function taken(dialog) {
    const settings = {};
    for (const field of dialog.querySelectorAll("[name]")) {
        if (field.value === "" || !field.checkValidity()) continue;
        settings[field.name] = field.type === "number" ? field.valueAsNumber : field.value;
    }
    return settings;
}
