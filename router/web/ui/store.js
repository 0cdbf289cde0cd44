// store - conversations and settings in this browser; nothing of them is kept on the server.
//
//   localStorage    msgl.chat.ID   {id, title, at, messages: [{role, content, reasoning, stats, error}]}
//                   msgl.settings  {system, temperature, …}, empty ones left out
//                   msgl.theme     "light" or "dark"; without it as the system says
//   sessionStorage  msgl.key, msgl.admin-key: gone with the tab
const PREFIX = "msgl.chat.";

function read(key, fallback) {
    try {
        return JSON.parse(localStorage.getItem(key)) ?? fallback;
    } catch {
        return fallback;
    }
}

/** False when the browser's store is full or closed. */
function write(key, value) {
    try {
        localStorage.setItem(key, JSON.stringify(value));
        return true;
    } catch {
        return false;
    }
}

export function newChat() {
    const random = crypto.getRandomValues(new Uint32Array(2));
    return { id: random[0].toString(36) + random[1].toString(36), title: "New chat", at: Date.now(), messages: [] };
}

/** Latest first. */
export function allChats() {
    const chats = [];
    for (let i = 0; i < localStorage.length; i++) {
        const key = localStorage.key(i);
        const chat = key.startsWith(PREFIX) && read(key, null);
        if (chat && Array.isArray(chat.messages)) chats.push(chat);
    }
    return chats.sort((a, b) => b.at - a.at);
}

export const saveChat = (chat) => write(PREFIX + chat.id, chat);
export const dropChat = (chat) => localStorage.removeItem(PREFIX + chat.id);
export const loadSettings = () => read("msgl.settings", {});
export const saveSettings = (settings) => write("msgl.settings", settings);
export const loadTheme = () => read("msgl.theme", null);
export const saveTheme = (theme) => (theme ? write("msgl.theme", theme) : localStorage.removeItem("msgl.theme"));
export const loadKey = (name) => sessionStorage.getItem("msgl." + name) ?? "";
export const saveKey = (name, key) => sessionStorage.setItem("msgl." + name, key);
