// totals - the line of figures above all, and how numbers are written.
import { el } from "./dom.js";
import { Spark } from "./spark.js";

/** 950, 12.3k, 4.5M */
export function compact(value) {
    if (value < 1000) return String(Math.round(value));
    if (value < 1e6) return `${(value / 1e3).toFixed(value < 1e4 ? 1 : 0)}k`;
    return `${(value / 1e6).toFixed(value < 1e7 ? 1 : 0)}M`;
}

export const percent = (share) => `${share > 0 && share < 0.1 ? (share * 100).toFixed(1) : Math.round(share * 100)}\u202f%`;

export class Totals {
    constructor() {
        this.root = el("dl", { class: "totals" });
        this.values = {};
        this.spark = new Spark(120, 26);
        for (const name of ["Workers", "Streams", "Queued", "Tokens/s", "Hit rate", "Cached pages"]) {
            const value = el("dd", {}, "0");
            this.values[name] = value;
            this.root.append(el("div", {}, el("dt", {}, name), value, name === "Tokens/s" ? this.spark.root : null));
        }
    }

    draw(model) {
        const rows = [...model.workers.values()];
        const rate = sum(rows, "tokens_s");
        // A worker's hit rate weighs as much as it computes: idle ones say nothing new.
        const hits = rows.filter((row) => row.hit > 0);
        this.rate = rate;
        this.#set("Workers", rows.length);
        this.#set("Streams", model.router.streams ?? 0);
        this.#set("Queued", model.router.queued ?? 0);
        this.#set("Tokens/s", compact(rate));
        this.#set("Hit rate", hits.length ? percent(sum(hits, "hit") / hits.length / 1000) : "–");
        this.#set("Cached pages", compact(model.tree.pages ?? 0) + (model.tree.cut ? "+" : ""));
    }

    sample() {
        this.spark.push(this.rate ?? 0);
    }

    #set(name, value) {
        if (this.values[name].textContent !== String(value)) this.values[name].textContent = value;
    }
}

const sum = (rows, name) => rows.reduce((total, row) => total + (row[name] ?? 0), 0);
