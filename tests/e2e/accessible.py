"""What a page owes to people who do not see it, see little, or have no mouse; asked of the browser itself."""
from browser import Keys

# Every text that is seen and how far its colour is from what is behind it (WCAG 2: 4.5, large text 3).
CONTRAST = """
const lin = (v) => (v /= 255, v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * lin(r) + 0.7152 * lin(g) + 0.0722 * lin(b);
const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
const rgba = (text) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = text; pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
};
const over = (top, below, alpha = top[3]) => [0, 1, 2].map((i) => top[i] * alpha + below[i] * (1 - alpha)).concat(1);
const ways = (node) => { const all = []; for (let n = node; n; n = n.parentElement) all.unshift(n); return all; };
const behind = (node) => ways(node).reduce((back, n) => over(rgba(getComputedStyle(n).backgroundColor), back), [255, 255, 255, 1]);
const low = [];
let count = 0;
const weigh = (node, style, what) => {
    const back = behind(node), faint = ways(node).reduce((o, n) => o * getComputedStyle(n).opacity, 1);
    const ink = rgba(style.color), size = parseFloat(style.fontSize);
    const is = ratio(over(ink, back, ink[3] * faint), back);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    count++;
    if (is < (large ? 3 : 4.5)) low.push(`${what}: ${is.toFixed(2)}, ${style.color} on ${back.slice(0, 3).map(Math.round)}`);
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || node.closest("script, option, .unseen, :disabled") || !node.checkVisibility({ visibilityProperty: true })) continue;
    weigh(node, getComputedStyle(node), `${node.tagName.toLowerCase()}.${node.className} '${text.slice(0, 30)}'`);
}
for (const node of document.querySelectorAll("input, textarea, select")) {
    if (!node.checkVisibility()) continue;
    weigh(node, getComputedStyle(node), `what is written in ${node.id || node.name}`);
    if (node.placeholder) weigh(node, getComputedStyle(node, "::placeholder"), `placeholder '${node.placeholder}'`);
}
// What is drawn: the tree's labels lie on its ribbons; the frame around what has the focus.
const root = getComputedStyle(document.documentElement), of = (name) => rgba(root.getPropertyValue(name).trim());
for (let i = 0; i < 6; i++)
    if (ratio(of("--ink"), over(of("--heat-" + i), of("--paper"), 0.55)) < 4.5) low.push(`label on --heat-${i}`);
for (const back of ["--back", "--paper", "--fill"])
    if (ratio(of("--accent"), of(back)) < 3) low.push(`focus on ${back}`);
return { count, low };
"""

# All that can have the focus now; arguments[0] "begin" makes the list, "seen" takes the one that has it off.
FOCUS = """
const name = (n) => `${n.tagName.toLowerCase()} '${(n.getAttribute("aria-label") || n.textContent || n.id).slice(0, 40)}'`;
if (arguments[0] === "begin")
    window.unreached = new Set([...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")]
        .filter((n) => !n.disabled && n.checkVisibility({ visibilityProperty: true })));
else unreached.delete(document.activeElement);
return [...unreached].map(name);
"""

# What is wider than the frame that it lies in.
WIDE = """
return [...document.querySelectorAll("*")].filter((n) => {
    const style = getComputedStyle(n);
    return n.scrollWidth > n.clientWidth && (n === document.documentElement || style.overflowX !== "visible") && n.checkVisibility() &&
        style.textOverflow !== "ellipsis" && !n.matches("pre, .table, .candidates, .unseen, input, textarea, select");
}).map((n) => `${n.tagName.toLowerCase()}#${n.id}.${n.className}: ${n.scrollWidth} in ${n.clientWidth}`);
"""


def tree(page):
    """The accessibility tree as Chromium gives it to a screen reader: (role, name, {property: value}) of each node."""
    rows = []
    for node in page.cdp("Accessibility.getFullAXTree")["nodes"]:
        if not node.get("ignored"):
            rows.append((node["role"]["value"], node.get("name", {}).get("value", "").strip(),
                         {p["name"]: p["value"].get("value") for p in node.get("properties", [])}))
    return rows


def check_names(page, title):
    """Landmarks and one heading of the first level, with this text; all that can be used says what it is."""
    rows = tree(page)
    roles = [role for role, _, _ in rows]
    assert roles.count("main") == 1 and "banner" in roles and "navigation" in roles, roles
    headings = [(properties["level"], name) for role, name, properties in rows if role == "heading"]
    assert [name for level, name in headings if level == 1] == [title], headings
    assert all(b - a <= 1 for (a, _), (b, _) in zip(headings, headings[1:])), headings
    nameless = [row for row in rows if row[2].get("focusable") and not row[1] and row[0] != "RootWebArea"]
    assert not nameless, nameless
    silent = [row for row in rows if row[0] in ("navigation", "region", "main", "dialog", "image") and not row[1]]
    assert not silent, silent
    return rows


def check_contrast(page):
    """Text against what is behind it, in light and in dark."""
    for dark in (False, True):
        page.colours(dark)
        found = page.js(CONTRAST)
        assert found["count"] > 5 and not found["low"], ("dark" if dark else "light", found["low"])
    page.colours(False)


def check_keys(page):
    """Tab comes to everything that does something."""
    page.js("document.activeElement.blur()")
    left = page.js(FOCUS, "begin")
    for _ in range(len(left) + 8):
        page.press(Keys.TAB)
        left = page.js(FOCUS, "seen")
        if not left:
            return
    raise AssertionError(f"Tab does not come to {left}")


def check_narrow(page):
    """360 pixels: nothing is cut off or needs to be pushed sideways, but for tables and code in frames of their own."""
    page.size(360, 640)
    assert page.js("return innerWidth") == 360
    wide = page.js(WIDE)
    assert not wide, wide
