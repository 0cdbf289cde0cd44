// inline - the marks inside of a paragraph: code, bold, italic, links. Returns nodes.
import { el } from "./dom.js";

// Every repetition is bounded: a line full of marks costs no more than its length times the bound.
const MARKS = new RegExp([
    "(`{1,3})([^`\\n]{1,400}?)\\1(?!`)", // 1 2: code
    "\\*\\*([^*\\n]{1,400}?)\\*\\*", // 3: bold
    "(?<![\\w*])[*_]([^*_\\s][^*_\\n]{0,400}?)[*_](?!\\w)", // 4: italic
    "\\[([^\\[\\]\\n]{1,200})\\]\\((https?://[^()\\s]{1,1000})\\)", // 5 6: a named link
    "(https?://[^\\s<>\"'`()\\[\\]]{1,1000}[^\\s<>\"'`()\\[\\].,;:!?])", // 7: a bare one
].join("|"), "gi");

// What would act on a terminal or turn the text around is shown by name.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** The text with control characters and bidirectional overrides made visible. */
export function visible(text) {
    return text.replace(UNSEEN, (sign) => {
        const code = sign.charCodeAt(0);
        return code < 0x20 ? String.fromCharCode(0x2400 + code) : `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
    });
}

export function inline(text, depth = 0) {
    const nodes = [];
    let at = 0;
    for (const match of text.matchAll(MARKS)) {
        if (match.index > at) nodes.push(visible(text.slice(at, match.index)));
        nodes.push(made(match, depth));
        at = match.index + match[0].length;
    }
    if (at < text.length) nodes.push(visible(text.slice(at)));
    return nodes;
}

function made(match, depth) {
    const [whole, , code, bold, italic, name, named, bare] = match;
    const inner = (text) => (depth < 3 ? inline(text, depth + 1) : [visible(text)]);
    if (code) return el("code", {}, visible(code));
    if (bold) return el("strong", {}, ...inner(bold));
    if (italic) return el("em", {}, ...inner(italic));
    return link(named ?? bare, name) ?? visible(whole);
}

/** Only http and https become links, and a link with a name also shows where it leads. */
function link(address, name) {
    let url;
    try {
        url = new URL(address);
    } catch {
        return null;
    }
    if (url.protocol !== "https:" && url.protocol !== "http:") return null;
    const shown = name ? `${visible(name)} (${url.host})` : visible(address);
    return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" }, shown);
}
