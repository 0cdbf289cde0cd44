// chat - the conversation on the screen: sending, stopping, editing, and the list beside it.
import { answer, requestBody } from "./answer.js";
import { announce, byId, el } from "./dom.js";
import { MessageView } from "./message.js";
import { openSettings } from "./settings.js";
import { HttpError, call } from "./sse.js";
import * as store from "./store.js";

const NEAR_END = 60; // pixels: who is so near follows the text

let chat = store.newChat();
let running = null; // {abort, view, message}

export async function startChat() {
    chat = store.allChats()[0] ?? chat;
    byId("composer").addEventListener("submit", onSubmit);
    byId("input").addEventListener("keydown", onKey);
    byId("input").addEventListener("input", growInput);
    byId("new").addEventListener("click", () => show(store.newChat()));
    byId("show-side").addEventListener("click", () => toggleSide());
    byId("show-settings").addEventListener("click", openSettings);
    byId("key-form").addEventListener("submit", onKeyGiven);
    document.addEventListener("keydown", (event) => {
        if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) stop();
    });
    window.addEventListener("storage", () => listChats());
    show(chat);
    await loadModels();
}

async function loadModels() {
    const select = byId("model");
    try {
        const models = await (await call("/v1/models", { key: store.loadKey("key") })).json();
        select.replaceChildren(...models.data.map((model) => el("option", { value: model.id }, model.id)));
    } catch (error) {
        select.replaceChildren(el("option", { value: "" }, "no model"));
        if (error instanceof HttpError && error.status === 401) askKey();
    }
}

// ---- the conversation ----

function show(next) {
    stop();
    chat = next;
    byId("title").textContent = chat.title;
    byId("log").replaceChildren(...(chat.messages.length ? chat.messages.map((message) => viewOf(message).root) : [welcome()]));
    listChats();
    toggleSide(false);
    byId("scroll").scrollTop = byId("scroll").scrollHeight;
    byId("input").focus();
}

function welcome() {
    return el("p", { class: "welcome" }, "Ask something. Conversations stay in this browser.");
}

function viewOf(message) {
    return new MessageView(message, {
        edit: (text) => {
            truncate(message);
            send(text);
        },
        regenerate: () => {
            truncate(message);
            run();
        },
    });
}

/** Takes the message and all behind it away. */
function truncate(message) {
    stop();
    const at = chat.messages.indexOf(message);
    chat.messages.length = at;
    while (byId("log").children.length > at) byId("log").lastElementChild.remove();
}

function send(text) {
    if (chat.messages.length === 0) {
        byId("log").replaceChildren();
        chat.title = text.trim().slice(0, 60);
        byId("title").textContent = chat.title;
    }
    const message = { role: "user", content: text };
    chat.messages.push(message);
    byId("log").append(viewOf(message).root);
    run();
}

async function run() {
    const abort = new AbortController();
    const message = { role: "assistant", content: "", reasoning: "", stats: {}, running: true };
    const body = requestBody(byId("model").value, store.loadSettings(), chat.messages);
    chat.messages.push(message);
    const view = viewOf(message);
    byId("log").append(view.root);
    running = { abort, view, message };
    showRunning(true);
    const paint = painter(view);
    try {
        for await (const { content, reasoning } of answer(body, store.loadKey("key"), abort.signal, message.stats)) {
            message.content += content;
            message.reasoning += reasoning;
            paint.push(content, reasoning);
        }
    } catch (error) {
        if (error.name === "AbortError") message.stopped = true;
        else message.error = error.message;
        if (error instanceof HttpError && error.status === 401) askKey();
    }
    paint.flush();
    delete message.running;
    view.finish();
    if (running?.message === message) {
        running = null;
        showRunning(false);
        announce(message.error ? `No answer: ${message.error}` : "The answer is complete");
    }
    keep();
}

/** Gathers what comes within a frame: one change of the page for all of it. */
function painter(view) {
    let content = "", reasoning = "", asked = false;
    const flush = () => {
        asked = false;
        if (!content && !reasoning) return;
        const scroll = byId("scroll");
        const follows = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR_END;
        view.push(content, reasoning);
        content = reasoning = "";
        if (follows) scroll.scrollTop = scroll.scrollHeight;
    };
    return {
        flush,
        push(more, thought) {
            content += more;
            reasoning += thought;
            if (!asked) {
                asked = true;
                // A page in the background paints no frames, and still has to take the text in.
                if (document.hidden) setTimeout(flush, 100);
                else requestAnimationFrame(flush);
            }
        },
    };
}

function stop() {
    running?.abort.abort();
    if (running) showRunning(false);
    running = null;
}

function showRunning(on) {
    const button = byId("send");
    button.textContent = on ? "Stop" : "Send";
    button.classList.toggle("stop", on);
    byId("log").setAttribute("aria-busy", String(on));
    const scroll = byId("scroll");
    if (on) scroll.scrollTop = scroll.scrollHeight;
}

function keep() {
    chat.at = Date.now();
    if (!store.saveChat(chat)) announce("The browser keeps no more conversations: delete some");
    listChats();
}

// ---- the field below ----

function onSubmit(event) {
    event.preventDefault();
    const input = byId("input");
    if (running) {
        stop();
    } else if (input.value.trim()) {
        const text = input.value;
        input.value = "";
        growInput();
        send(text);
    }
    input.focus();
}

function onKey(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!running) byId("composer").requestSubmit();
    }
}

function growInput() {
    const input = byId("input");
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight + 2, 200)}px`;
}

function askKey() {
    byId("key-form").hidden = false;
    byId("key").focus();
}

async function onKeyGiven(event) {
    event.preventDefault();
    store.saveKey("key", byId("key").value);
    byId("key").value = "";
    byId("key-form").hidden = true;
    byId("input").focus();
    await loadModels();
}

// ---- the list beside it ----

function listChats() {
    const chats = store.allChats();
    byId("chats").replaceChildren(...chats.map((item) => el("li", {},
        el("button", { class: "pick", type: "button", "aria-current": item.id === chat.id && "true", onclick: () => item.id !== chat.id && show(item) }, item.title),
        el("button", { class: "quiet drop", type: "button", "aria-label": `Delete ${item.title}`, onclick: () => drop(item) }, "×"))));
}

function drop(item) {
    store.dropChat(item);
    if (item.id === chat.id) show(store.allChats()[0] ?? store.newChat());
    else listChats();
    byId("new").focus();
}

function toggleSide(open) {
    const now = document.body.classList.toggle("side-open", open);
    byId("show-side").setAttribute("aria-expanded", String(now));
}
