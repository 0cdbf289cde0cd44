// workers - one row a worker.
import { el } from "./dom.js";
import { Spark } from "./spark.js";
import { compact, percent } from "./totals.js";

const COLUMNS = ["Worker", "Running", "Waiting", "To prefill", "Free pages", "Tokens/s", "Hit rate", "Step"];

/** A worker's colour, the same wherever it is drawn. */
export function colour(id) {
    return `hsl(${(id * 137.5) % 360} 48% 52%)`;
}

export class WorkersView {
    constructor() {
        this.rows = new Map();
        this.body = el("tbody");
        this.empty = el("p", { class: "none" }, "No worker has come yet.");
        this.root = el("section", { "aria-labelledby": "workers-title" }, el("h2", { id: "workers-title" }, "Workers"), this.empty,
            el("div", { class: "workers", tabindex: "0", role: "region", "aria-label": "Workers" },
                el("table", {}, el("thead", {}, el("tr", {}, ...COLUMNS.map((name) => el("th", { scope: "col" }, name)))), this.body)));
    }

    clear() {
        this.rows.clear();
        this.body.replaceChildren();
    }

    draw(model) {
        for (const [id, row] of this.rows)
            if (!model.workers.has(id)) {
                row.root.remove();
                this.rows.delete(id);
            }
        for (const worker of model.workers.values()) {
            if (!this.rows.has(worker.id)) this.#add(worker);
            this.rows.get(worker.id).draw(worker);
        }
        this.empty.hidden = model.workers.size > 0;
    }

    /** In order of their names, worker-2 before worker-10. */
    #add(worker) {
        const row = new Row(worker);
        const order = new Intl.Collator("en", { numeric: true });
        const behind = [...this.rows.values()].filter((other) => order.compare(other.name, row.name) > 0)
            .sort((a, b) => order.compare(a.name, b.name))[0];
        this.rows.set(worker.id, row);
        this.body.insertBefore(row.root, behind?.root ?? null);
    }

    sample(model) {
        for (const [id, row] of this.rows) row.sample(model.workers.get(id));
    }
}

class Row {
    constructor(worker) {
        this.name = worker.name;
        this.cells = {};
        this.rate = new Spark();
        this.step = new Spark();
        this.busy = new Spark();
        const dot = el("span", { class: "swatch" });
        dot.style.background = colour(worker.id);
        this.badge = el("span", { class: "badge" });
        this.fill = el("span", { class: "fill" });
        this.root = el("tr", {},
            el("th", { scope: "row" }, dot, el("span", { class: "name" }, worker.name), this.badge),
            this.#cell("running", this.busy.root), this.#cell("waiting"), this.#cell("pending"),
            this.#cell("free", el("span", { class: "meter", "aria-hidden": "true" }, this.fill)),
            this.#cell("tokens_s", this.rate.root), this.#cell("hit"), this.#cell("step", this.step.root));
    }

    #cell(name, extra = null) {
        const value = el("span", { class: "value" });
        this.cells[name] = value;
        const label = COLUMNS[{ running: 1, waiting: 2, pending: 3, free: 4, tokens_s: 5, hit: 6, step: 7 }[name]];
        return el("td", { "data-label": label }, value, extra);
    }

    draw(worker) {
        const state = worker.draining ? "draining" : worker.running || worker.waiting ? "working" : "idle";
        if (this.badge.textContent !== state) {
            this.badge.textContent = state;
            this.badge.className = "badge " + state;
        }
        this.#set("running", compact(worker.running));
        this.#set("waiting", compact(worker.waiting));
        this.#set("pending", compact(worker.pending));
        this.#set("free", compact(worker.free));
        this.#set("tokens_s", compact(worker.tokens_s));
        this.#set("hit", percent(worker.hit / 1000));
        this.#set("step", worker.step_us ? `${(worker.step_us / 1000).toFixed(worker.step_us < 10000 ? 1 : 0)} ms` : "–");
        const used = worker.pages ? 1 - worker.free / worker.pages : 0;
        this.fill.style.transform = `scaleX(${used.toFixed(3)})`;
    }

    #set(name, text) {
        if (this.cells[name].textContent !== text) this.cells[name].textContent = text;
    }

    sample(worker) {
        if (!worker) return;
        this.rate.push(worker.tokens_s);
        this.step.push(worker.step_us);
        this.busy.push(worker.running);
    }
}
