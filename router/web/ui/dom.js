// dom - making elements. Text only ever becomes text nodes: nothing here reads HTML.

/** el("button", {class: "quiet", onclick: f}, "text", child): true sets an empty attribute, false and null none. */
export function el(tag, attributes = {}, ...children) {
    return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
    return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
        else if (value === true) node.setAttribute(name, "");
        else if (value !== false && value != null) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child != null));
    return node;
}

export const byId = (id) => document.getElementById(id);

/** Says it to screen readers. */
export function announce(text) {
    byId("status").textContent = text;
}

/** Text to the clipboard, also where the page has no secure origin. */
export async function copyText(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}

/** A button that copies what get() returns, and says so for a moment. */
export function copyButton(label, get) {
    const button = el("button", { class: "quiet", type: "button", "aria-label": label }, "Copy");
    button.addEventListener("click", async () => {
        await copyText(get());
        button.textContent = "Copied";
        announce("Copied");
        setTimeout(() => (button.textContent = "Copy"), 1500);
    });
    return button;
}
