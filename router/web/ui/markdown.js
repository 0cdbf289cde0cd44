// markdown - a model's text as it comes, to elements. It knows paragraphs, headings, lists, quotes,
// tables, rules, code; everything else, HTML above all, stays the text that it is.
//
//   text:  | settled blocks ............ | open block ... |
//   DOM:   | never touched again         | made anew      |      a long answer costs no more a token
//
// Only the open block is read again when text comes. Open code grows in place; a line without an end
// is cut into pieces, so that neither reading nor layout has to start over.
import { copyButton, el } from "./dom.js";
import { inline, visible } from "./inline.js";

const PIECE = 4096; // characters of a paragraph that are read as one
const CODE_PIECE = 16384;

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`\n]*)$/;
const HEADING = /^(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])( *\1){2,} *$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const QUOTE = /^ {0,3}> ?/;
// The beginning of a line of which more is to come, and then it may be one of these.
const ITEM_BEGINS = /^\s*([-*+]|\d{1,9}[.)]?)?\s*$/;
const QUOTE_BEGINS = /^ {0,3}$/;
const ROW_BEGINS = /^[^|]{0,40}$/;
const TABLE_RULE = /^ *\|? *:?-+:? *(\| *:?-+:? *)*\|? *$/;

export class Markdown {
    constructor(root) {
        this.root = root;
        this.text = "";
        this.open = 0; // where the open block begins
        this.tail = null; // its element
        this.code = null; // or the code block that is open
    }

    push(text) {
        this.text += text.replaceAll("\r\n", "\n");
        this.#render(false);
    }

    finish() {
        this.#render(true);
    }

    #render(final) {
        for (;;) {
            if (this.code) {
                if (!this.#growCode(final)) return;
                continue;
            }
            if (this.open >= this.text.length) break;
            const block = nextBlock(this.text, this.open, final);
            this.tail?.remove();
            this.tail = null;
            if (block.fence) {
                this.code = new CodeBlock(block.fence);
                this.root.append(this.code.root);
                this.open = block.end;
                continue;
            }
            const node = block.make();
            if (node) this.root.append(node);
            if (!block.settled) {
                this.tail = node;
                return;
            }
            this.open = block.end;
        }
    }

    /** True when the block has ended and there may be more behind it. */
    #growCode(final) {
        const close = this.code.close;
        close.lastIndex = Math.max(this.open - 1, 0);
        let match = close.exec(this.text);
        // A last line that is not over yet may become the closing fence, or something else.
        if (match && !final && !match[0].endsWith("\n")) match = null;
        const end = match ? match.index + 1 : final ? this.text.length : this.text.lastIndexOf("\n") + 1;
        const long = !match && this.text.length - end > CODE_PIECE;
        const until = long ? this.text.length : Math.max(end, this.open);
        this.code.append(this.text.slice(this.open, until));
        this.open = until;
        if (match) this.open = match.index + match[0].length;
        if (match || final) this.code = null;
        return Boolean(match) && this.open < this.text.length;
    }
}

class CodeBlock {
    constructor({ mark, language }) {
        // The closing fence stands alone in its line: at least as long, of the same sign.
        this.close = new RegExp(`(?:^|\\n) {0,3}\\${mark[0]}{${mark.length},} *(?:\\n|$)`, "g");
        this.text = "";
        this.body = el("code");
        this.root = el("div", { class: "code" },
            el("div", { class: "code-head" }, el("span", {}, visible(language || "code")),
                copyButton("Copy the code", () => this.text)),
            el("pre", { tabindex: "0", role: "region", "aria-label": "Code" }, this.body));
    }

    append(text) {
        if (!text) return;
        this.text += text;
        let piece = this.body.lastElementChild;
        for (let at = 0, end; at < text.length; at = end) {
            if (!piece || piece.firstChild.length > CODE_PIECE) {
                piece = el("span", { class: "piece" }, document.createTextNode(""));
                this.body.append(piece);
            }
            const newline = text.lastIndexOf("\n", at + CODE_PIECE) + 1;
            end = newline > at ? newline : at + CODE_PIECE;
            piece.firstChild.appendData(visible(text.slice(at, end)));
        }
    }
}

/** The block at `start`: {end, settled, make()} or {end, fence}. */
function nextBlock(text, start, final) {
    const reader = new Lines(text, start);
    const line = reader.line;
    const over = final || reader.complete; // the line will not grow
    const fence = over && FENCE.exec(line);
    if (fence) return { end: reader.next, fence: { mark: fence[1], language: fence[2].trim() } };
    if (line.trim() === "") return { end: reader.next, settled: over, make: () => null };
    const heading = HEADING.exec(line);
    if (heading && line.length < PIECE)
        return { end: reader.next, settled: over, make: () => el(`h${Math.min(heading[1].length + 2, 6)}`, {}, ...inline(heading[2])) };
    if (RULE.test(line)) return { end: reader.next, settled: over, make: () => el("hr") };
    if (QUOTE.test(line)) return gather(reader, final, (l) => QUOTE.test(l), quote, QUOTE_BEGINS);
    if (ITEM.test(line)) return gather(reader, final, (l) => ITEM.test(l) || /^\s{2,}\S/.test(l), list, ITEM_BEGINS);
    if (line.includes("|") && reader.peek() !== null && TABLE_RULE.test(reader.peek()))
        return gather(reader, final, (l) => l.includes("|"), table, ROW_BEGINS);
    return gather(reader, final, (l) => l.trim() !== "" && !FENCE.test(l) && !HEADING.test(l) && !ITEM.test(l) && !QUOTE.test(l), paragraph);
}

/** Lines one after the other; `complete`: a line break has ended this one. */
class Lines {
    constructor(text, at) {
        this.text = text;
        this.#take(at);
    }

    #take(at) {
        this.at = at;
        const end = this.text.indexOf("\n", at);
        this.complete = end >= 0;
        this.line = this.text.slice(at, this.complete ? end : undefined);
        this.next = this.complete ? end + 1 : this.text.length;
    }

    peek() {
        if (!this.complete) return null;
        const end = this.text.indexOf("\n", this.next);
        return this.text.slice(this.next, end < 0 ? undefined : end);
    }

    /** No line break has ended the next line yet. */
    peekGrows() {
        return this.text.indexOf("\n", this.next) < 0;
    }

    advance() {
        this.#take(this.next);
    }
}

/**
 * A block of the lines that belong to it; settled once another line follows, or cut when it is long.
 * A line that has only just begun, as `begins` says, may come to belong to it.
 */
function gather(reader, final, belongs, make, begins = null) {
    const { text, at: start } = reader;
    while (reader.next - start < PIECE && reader.complete && reader.next < text.length && belongs(reader.peek()))
        reader.advance();
    let end = reader.next;
    let settled = final || (reader.complete && reader.next < text.length && !(begins?.test(reader.peek()) && reader.peekGrows()));
    if (end - start > PIECE) {
        end = cutAt(text, start);
        settled = true;
    }
    return { end, settled, make: () => make(text.slice(start, end).split("\n")) };
}

function cutAt(text, start) {
    const end = start + PIECE;
    const space = Math.max(text.lastIndexOf("\n", end), text.lastIndexOf(" ", end));
    if (space > start) return space + 1;
    const high = text.charCodeAt(end - 1);
    return high >= 0xd800 && high < 0xdc00 ? end - 1 : end; // not between two halves of a character
}

function paragraph(lines) {
    return el("p", {}, ...inline(lines.join("\n").trimEnd()));
}

function quote(lines) {
    return el("blockquote", {}, ...inline(lines.map((line) => line.replace(QUOTE, "")).join("\n").trimEnd()));
}

function list(lines) {
    const root = el("div");
    const stack = []; // {indent, node}
    for (const line of lines) {
        const match = ITEM.exec(line);
        const last = stack.at(-1);
        if (!match) {
            if (last && line.trim()) last.node.lastElementChild.append("\n", ...inline(line.trim()));
            continue;
        }
        const indent = match[1].length;
        while (stack.length > 1 && indent < stack.at(-1).indent) stack.pop();
        if (stack.length === 0 || (indent > stack.at(-1).indent + 1 && stack.length < 6)) {
            const ordered = /\d/.test(match[2]);
            const node = el(ordered ? "ol" : "ul", ordered ? { start: parseInt(match[2], 10) } : {});
            (stack.length ? stack.at(-1).node.lastElementChild : root).append(node);
            stack.push({ indent, node });
        }
        stack.at(-1).node.append(el("li", {}, ...inline(match[3])));
    }
    return root.firstElementChild;
}

function table(lines) {
    const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
    const row = (line, tag) => el("tr", {}, ...cells(line).map((cell) => el(tag, {}, ...inline(cell))));
    const body = lines.slice(2).filter((line) => line.trim());
    return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" },
        el("table", {}, el("thead", {}, row(lines[0], "th")), el("tbody", {}, ...body.map((line) => row(line, "td")))));
}
