// cluster - the view of the cluster: one stream of changes, put together here, drawn once a frame.
import { JournalView } from "./journal.js";
import { announce, byId, el } from "./dom.js";
import { HttpError, call, events } from "./sse.js";
import { loadKey, saveKey } from "./store.js";
import { Totals } from "./totals.js";
import { TreeView } from "./tree.js";
import { WorkersView } from "./workers.js";

const QUIET_MS = 40000; // the router says something every 15 s
const AGAIN_MS = [500, 1000, 2000, 5000];
const SAMPLE_MS = 1000;

/** What /cluster/events has said so far. */
export class Model {
    constructor() {
        this.router = {};
        this.workers = new Map(); // id to row
        this.names = new Map(); // ids of workers that have left, too
        this.nodes = new Map(); // id to {id, parent, pages, below, hidden, heat, holders, names}
        this.tree = { pages: 0, cut: false };
        this.decisions = new Map();
        this.events = new Map();
    }

    take(change) {
        Object.assign(this.router, change.router);
        for (const id of change.gone ?? []) this.workers.delete(id);
        for (const row of change.workers ?? []) {
            this.workers.set(row.id, Object.assign(this.workers.get(row.id) ?? {}, row));
            if (row.name) this.names.set(row.id, row.name);
        }
        const { nodes = [], gone = [], ...totals } = change.tree ?? {};
        Object.assign(this.tree, totals);
        for (const id of gone) this.nodes.delete(id);
        for (const [id, parent, pages, below, hidden, heat, holders, names] of nodes)
            this.nodes.set(id, { id, parent, pages, below, hidden, heat, holders, names });
        keepLast(this.decisions, change.decisions, 32);
        keepLast(this.events, change.events, 64);
    }
}

function keepLast(map, items, count) {
    for (const item of items ?? []) map.set(item.n, item);
    for (const n of map.keys()) {
        if (map.size <= count) return;
        map.delete(n);
    }
}

export class ClusterView {
    constructor(root) {
        this.state = el("p", { class: "state", role: "status" });
        this.totals = new Totals();
        this.workers = new WorkersView();
        this.tree = new TreeView();
        this.journal = new JournalView();
        this.key = this.#keyForm();
        root.append(this.key, el("div", { class: "cluster-head" }, el("h1", {}, "Cluster"), this.state),
            this.totals.root, this.workers.root, this.tree.root, this.journal.root);
        this.#begin();
        setInterval(() => this.#sample(), SAMPLE_MS);
        this.#connect(0);
    }

    #begin() {
        this.model = new Model();
        this.dirty = new Set();
        this.workers.clear();
    }

    async #connect(attempt) {
        let heard = false;
        this.abort = new AbortController();
        this.lastMs = performance.now();
        try {
            const response = await call("/cluster/events", { key: loadKey("admin-key") || loadKey("key"), signal: this.abort.signal });
            for await (const data of events(response, () => (this.lastMs = performance.now()))) {
                const change = JSON.parse(data);
                if (change.full) this.#begin();
                heard = true;
                this.#say("live", "Live");
                this.#take(change);
            }
        } catch (error) {
            if (error instanceof HttpError && error.status === 401) {
                this.#say("lost", "A key is needed");
                this.key.hidden = false;
                return;
            }
        }
        this.#say("lost", "Connecting again");
        const next = heard ? 0 : Math.min(attempt + 1, AGAIN_MS.length - 1);
        setTimeout(() => this.#connect(next), AGAIN_MS[next]);
    }

    #say(state, text) {
        if (this.state.textContent === text) return;
        this.state.className = "state " + state;
        this.state.textContent = text;
    }

    #take(change) {
        this.model.take(change);
        for (const part of Object.keys(change)) this.dirty.add(part);
        for (const event of change.events ?? [])
            if (!change.full) announce(`${event.worker}: ${event.kind}`);
        if (!this.asked) {
            this.asked = true;
            requestAnimationFrame(() => this.#draw());
        }
    }

    #draw() {
        this.asked = false;
        const { dirty, model } = this;
        this.dirty = new Set();
        this.totals.draw(model);
        if (dirty.has("workers") || dirty.has("gone")) this.workers.draw(model);
        if (dirty.has("tree") || dirty.has("gone") || dirty.has("workers")) this.tree.draw(model, dirty.has("tree"));
        if (dirty.has("decisions") || dirty.has("events")) this.journal.draw(model);
    }

    /** Histories go on also while nothing changes. */
    #sample() {
        if (performance.now() - this.lastMs > QUIET_MS) this.abort?.abort();
        this.workers.sample(this.model);
        this.totals.sample(this.model);
    }

    #keyForm() {
        const input = el("input", { id: "admin-key", type: "password", autocomplete: "off", spellcheck: "false" });
        return el("form", { class: "key", hidden: true, onsubmit: (event) => {
            event.preventDefault();
            saveKey("admin-key", input.value);
            input.value = "";
            this.key.hidden = true;
            this.#connect(0);
        } }, el("label", { for: "admin-key" }, "The cluster view asks for a key"), input, el("button", { type: "submit" }, "Use it"));
    }

    /** Colours have changed. */
    repaint() {
        this.tree.repaint();
    }
}
