// journal - the last routing decisions with their reasons, and what happened to workers and streams.
import { el } from "./dom.js";
import { compact } from "./totals.js";

const REASONS = {
    only: "the only one with room",
    prefix: "it knows most of the prompt",
    load: "least work before it",
};

const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

export class JournalView {
    constructor() {
        this.decisions = el("ol", { class: "decisions" });
        this.events = el("ol", { class: "events" });
        this.shown = new Map();
        const section = (id, title, list, none) => el("section", { "aria-labelledby": id }, el("h2", { id }, title), list, el("p", { class: "none" }, none));
        this.root = el("div", { class: "journal" },
            section("decisions-title", "Where prompts went", this.decisions, "No prompt yet."),
            section("events-title", "Events", this.events, "Nothing has happened yet."));
    }

    draw(model) {
        const decisions = [...model.decisions.values()].sort((a, b) => b.n - a.n);
        // An opened one stays open: rows are made once.
        const rows = decisions.map((decision) => this.shown.get(decision.n + ":" + decision.at) ?? decisionRow(decision));
        this.shown = new Map(decisions.map((decision, i) => [decision.n + ":" + decision.at, rows[i]]));
        place(this.decisions, rows);
        this.events.replaceChildren(...[...model.events.values()].sort((a, b) => b.n - a.n).map(eventRow));
    }
}

/** The list in this order, moving only what is not in its place: focus stays where it is. */
function place(list, rows) {
    for (const child of [...list.children]) if (!rows.includes(child)) child.remove();
    rows.forEach((row, i) => {
        if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
    });
}

function decisionRow(decision) {
    const chosen = decision.candidates[decision.chosen];
    const matched = chosen.held + chosen.expected;
    const what = decision.generated ? `${decision.prompt} + ${decision.generated} tokens` : `${decision.prompt} tokens`;
    return el("li", {}, el("details", {},
        el("summary", {}, el("span", { class: "when" }, clock(decision.at)), el("span", { class: "to" }, chosen.name),
            el("span", { class: "tag " + decision.reason }, decision.reason),
            el("span", { class: "why" }, `${what}, ${matched} matched`)),
        el("p", { class: "hint" }, `Call ${decision.call}, attempt ${decision.attempt}: ${REASONS[decision.reason] ?? decision.reason}. ` +
            `The lowest cost of ${decision.of} ${decision.of === 1 ? "worker" : "workers"} with room wins; costs are tokens to compute.`),
        candidateTable(decision)));
}

function candidateTable(decision) {
    const head = ["Worker", "Held", "Expected", "Before it", "Reqs", "Busy", "Cost"];
    const rows = decision.candidates.map((c, i) => el("tr", { class: i === decision.chosen && "chosen" },
        el("th", { scope: "row" }, c.name, i === decision.chosen ? el("span", { class: "unseen" }, " (chosen)") : null),
        ...[compact(c.held), compact(c.expected), compact(c.pending), compact(c.reqs), `${Math.round(c.busy * 100)}\u202f%`, compact(c.cost)].map((text) => el("td", {}, text))));
    return el("div", { class: "candidates", tabindex: "0", role: "region", "aria-label": "Candidates" },
        el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows)));
}

function eventRow(event) {
    return el("li", {}, el("span", { class: "when" }, clock(event.at)), el("span", { class: "to" }, event.worker),
        el("span", { class: "tag " + event.kind }, event.count > 1 ? `${event.kind} × ${event.count}` : event.kind),
        el("span", { class: "why" }, event.text));
}
