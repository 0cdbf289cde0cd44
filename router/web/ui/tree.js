// tree - the radix cache as a tree of shared prefixes: drawing, pointing, walking by keys.
//
//   ▌══════▌════════▌     a bar is a branch: as tall as its share of all pages, striped in the
//   ▌      ▌═══▌          colours of who holds it; a ribbon leads to the branches under it,
//   ▌══════▌              the warmer the more prompts took it lately
import { el } from "./dom.js";
import { layout, nodeAt, step } from "./layout.js";
import { compact, percent } from "./totals.js";
import { colour } from "./workers.js";

const HEIGHT = 420, BAR = 9;
const WARMTH = ["cold", "warm", "warm", "hot", "hot", "very hot"];
const LARGEST = 12; // rows of the table

export class TreeView {
    constructor() {
        this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-describedby": "branch",
            "aria-label": "Tree of cached prefixes. Arrow keys walk along it." });
        this.about = el("p", { id: "branch", class: "branch", "aria-live": "polite" });
        this.table = el("tbody");
        this.none = el("p", { class: "none" }, "Nothing is cached yet.");
        this.frame = el("div", { class: "tree" }, this.canvas);
        const head = ["Share", "Tokens", "With all under it", "Held by", "Lately"];
        this.list = el("details", { class: "largest" }, el("summary", {}, "The largest branches as a table"),
            el("div", { class: "candidates", tabindex: "0", role: "region", "aria-label": "Largest branches" },
                el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), this.table)));
        this.root = el("section", { "aria-labelledby": "tree-title" }, el("h2", { id: "tree-title" }, "Cached prefixes"),
            el("p", { class: "hint" }, "A bar is a stretch of tokens that prompts share: as tall as its share of all cached pages, striped in the colours " +
                "of the workers that hold it. Orange ways were taken lately."),
            this.none, this.frame, this.about, this.list);
        this.chosen = null;
        this.canvas.addEventListener("pointermove", (event) => this.#point(event));
        this.canvas.addEventListener("pointerdown", (event) => this.#point(event));
        this.canvas.addEventListener("keydown", (event) => this.#key(event));
        this.list.addEventListener("toggle", () => this.model && this.#fillTable());
        new ResizeObserver(() => this.model && this.draw(this.model, true)).observe(this.frame);
    }

    draw(model, moved) {
        this.model = model;
        this.none.hidden = model.nodes.size > 0;
        this.frame.hidden = this.about.hidden = this.list.hidden = model.nodes.size === 0;
        if (model.nodes.size === 0) return;
        const width = Math.max(this.frame.clientWidth, 200);
        if (moved || width !== this.width) this.#place(width);
        if (moved && this.chosen) this.#choose(this.plan.byId.get(this.chosen)?.node.id ?? null);
        if (this.list.open) this.#fillTable();
        if (moved || !this.about.textContent) this.#describe();
        this.#paint();
    }

    repaint() {
        this.colours = null;
        if (this.model && this.plan) this.#paint();
    }

    #place(width) {
        const ratio = Math.min(devicePixelRatio || 1, 2);
        this.width = width;
        this.plan = layout(this.model.nodes, width, HEIGHT, BAR);
        if (this.canvas.width !== Math.round(width * ratio)) {
            this.canvas.width = Math.round(width * ratio);
            this.canvas.height = HEIGHT * ratio;
        }
        this.ratio = ratio;
    }

    #paint() {
        this.colours ??= readColours();
        const pen = this.canvas.getContext("2d");
        pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
        pen.clearRect(0, 0, this.width, HEIGHT);
        for (const box of this.plan.boxes) if (box.from) this.#ribbon(pen, box);
        for (const box of this.plan.boxes) this.#bar(pen, box);
        pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
        pen.textBaseline = "middle";
        for (const box of this.plan.boxes) this.#label(pen, box);
        const box = this.chosen && this.plan.byId.get(this.chosen);
        if (box) {
            pen.strokeStyle = this.colours.ink;
            pen.lineWidth = 2;
            pen.strokeRect(box.x - 1, box.y - 1, BAR + 2, Math.max(box.height, 1) + 2);
        }
    }

    #ribbon(pen, box) {
        const left = box.from.x + BAR, bend = (left + box.x) / 2, low = box.y + box.height;
        pen.fillStyle = this.colours.heat[box.node.heat];
        pen.globalAlpha = box.node.heat ? 0.55 : 0.3;
        pen.beginPath();
        pen.moveTo(left, box.fromY);
        pen.bezierCurveTo(bend, box.fromY, bend, box.y, box.x, box.y);
        pen.lineTo(box.x, low);
        pen.bezierCurveTo(bend, low, bend, box.fromY + box.fromHeight, left, box.fromY + box.fromHeight);
        pen.fill();
        pen.globalAlpha = 1;
    }

    #bar(pen, box) {
        const names = box.node.names;
        if (box.height < 3 || names.length === 0) {
            pen.fillStyle = names.length ? colour(names[0]) : this.colours.soft;
            pen.fillRect(box.x, box.y, BAR, Math.max(box.height, 0.8));
            return;
        }
        names.forEach((id, i) => {
            pen.fillStyle = colour(id);
            pen.fillRect(box.x + (BAR * i) / names.length, box.y, BAR / names.length, box.height);
        });
    }

    #label(pen, box) {
        if (box.height < 15 || box.room < 44) return;
        pen.fillStyle = this.colours.ink;
        pen.fillText(`${compact(box.node.pages * this.#pageSize())} tok`, box.x + BAR + 5, box.y + box.height / 2, box.room - BAR - 8);
    }

    #pageSize() {
        return this.model.workers.values().next().value?.page_size ?? 16;
    }

    #holders(node) {
        const names = node.names.slice(0, 6).map((id) => this.model.names.get(id) ?? "?");
        if (node.holders > names.length) names.push(`${node.holders - names.length} more`);
        return names.join(", ") || "nobody";
    }

    #describe() {
        const node = this.chosen && this.model.nodes.get(this.chosen);
        const size = this.#pageSize();
        this.about.textContent = node
            ? `${compact(node.pages * size)} tokens in ${node.pages} pages; ${percent(node.below / this.model.tree.pages)} of the cache with all under it. ` +
              `Held by ${this.#holders(node)}. ${WARMTH[node.heat]}${node.hidden ? `; ${node.hidden} smaller branches are not drawn` : ""}.`
            : `${compact(this.model.tree.pages)} pages of ${size} tokens, ${this.model.nodes.size} branches drawn. Point at one, or walk with the arrow keys.`;
    }

    #choose(id) {
        if (this.chosen === id) return;
        this.chosen = id;
        this.#describe();
        if (this.plan) this.#paint();
    }

    #point(event) {
        if (!this.plan) return;
        const box = this.canvas.getBoundingClientRect();
        const found = nodeAt(this.plan, event.clientX - box.left, event.clientY - box.top);
        this.#choose(found?.node.id ?? null);
    }

    #key(event) {
        const next = this.plan && step(this.plan, this.chosen, event.key);
        if (next === undefined) return;
        event.preventDefault();
        this.#choose(next);
    }

    #fillTable() {
        const size = this.#pageSize();
        const rows = [...this.model.nodes.values()].sort((a, b) => b.below - a.below).slice(0, LARGEST);
        this.table.replaceChildren(...rows.map((node) => el("tr", {},
            el("th", { scope: "row" }, percent(node.below / this.model.tree.pages)),
            ...[compact(node.pages * size), compact(node.below * size), this.#holders(node), WARMTH[node.heat]].map((text) => el("td", {}, text)))));
    }
}

function readColours() {
    const computed = getComputedStyle(document.documentElement);
    const get = (name) => computed.getPropertyValue(name).trim();
    return { ink: get("--ink"), soft: get("--soft"), heat: [0, 1, 2, 3, 4, 5].map((i) => get(`--heat-${i}`)) };
}
