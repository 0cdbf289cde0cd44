// message - one message of the transcript: its text, what was thought, its figures and buttons.
import { copyButton, el } from "./dom.js";
import { Markdown } from "./markdown.js";

export class MessageView {
    /** `actions`: {edit(text), regenerate()}, called with what the reader asks for. */
    constructor(message, actions) {
        this.message = message;
        this.actions = actions;
        this.body = el("div", { class: "body", dir: "auto" });
        this.foot = el("div", { class: "foot" });
        const own = message.role === "user";
        this.root = el("article", { class: `message ${message.role}`, "aria-label": own ? "You" : "The model" }, this.body, this.foot);
        if (own) this.#showOwn();
        else this.#showAnswer();
    }

    #showOwn() {
        this.body.replaceChildren(el("p", { class: "plain" }, this.message.content));
        this.foot.replaceChildren(
            el("button", { class: "quiet", type: "button", "aria-label": "Edit this message", onclick: () => this.#edit() }, "Edit"),
            copyButton("Copy this message", () => this.message.content));
    }

    #edit() {
        const area = el("textarea", { rows: "4", "aria-label": "Edit the message" });
        area.value = this.message.content;
        const back = () => {
            this.#showOwn();
            this.foot.firstElementChild.focus();
        };
        const form = el("form", { class: "edit", onsubmit: (event) => {
            event.preventDefault();
            if (area.value.trim()) this.actions.edit(area.value);
        } }, area, el("div", { class: "row" }, el("button", { type: "submit" }, "Send"),
            el("button", { class: "quiet", type: "button", onclick: back }, "Cancel")));
        area.addEventListener("keydown", (event) => {
            if (event.key === "Escape") back();
            if (event.key === "Enter" && !event.shiftKey) {
                event.preventDefault();
                form.requestSubmit();
            }
        });
        this.body.replaceChildren(form);
        this.foot.replaceChildren();
        area.focus();
    }

    #showAnswer() {
        const { content, reasoning } = this.message;
        this.text = new Markdown(this.body);
        if (reasoning) this.#think(reasoning);
        if (content) this.text.push(content);
        if (!this.message.running) this.finish();
        else this.foot.replaceChildren(el("span", { class: "wait" }, "Thinking of an answer"));
    }

    #think(text) {
        if (!this.thought) {
            this.thought = el("p", { class: "plain", dir: "auto" });
            this.root.prepend(el("details", { class: "thought" }, el("summary", {}, "Reasoning"), this.thought));
        }
        this.thought.append(text);
    }

    /** More of the answer. */
    push(content, reasoning) {
        if (reasoning) this.#think(reasoning);
        if (content) this.text.push(content);
        this.showFigures();
    }

    showFigures() {
        const text = figures(this.message.stats);
        if (!this.figures) {
            this.figures = el("span", { class: "figures" });
            this.foot.replaceChildren(this.figures);
        }
        this.figures.textContent = text;
    }

    finish() {
        this.text.finish();
        this.figures = null;
        const { error, stopped, stats } = this.message;
        if (error) this.body.append(el("p", { class: "error", role: "alert" }, error));
        this.foot.replaceChildren(
            el("span", { class: "figures" }, [figures(stats), stopped && "stopped"].filter(Boolean).join(" · ")),
            el("button", { class: "quiet", type: "button", "aria-label": "Regenerate this answer", onclick: () => this.actions.regenerate() }, "Regenerate"),
            copyButton("Copy this answer", () => this.message.content));
    }
}

/** "38 tokens/s · first token after 0.12 s · 57 tokens · 512 of 530 prompt tokens cached" */
export function figures(stats) {
    if (!stats) return "";
    const parts = [];
    if (stats.rate) parts.push(`${stats.rate < 10 ? stats.rate.toFixed(1) : Math.round(stats.rate)} tokens/s`);
    if (stats.first_ms != null) parts.push(`first token after ${(stats.first_ms / 1000).toFixed(2)} s`);
    if (stats.tokens) parts.push(`${stats.tokens} tokens`);
    if (stats.prompt) parts.push(`${stats.cached ?? 0} of ${stats.prompt} prompt tokens cached`);
    return parts.join(" · ");
}
