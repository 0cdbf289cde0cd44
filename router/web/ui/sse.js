// sse - server-sent events over fetch, which can send a header where EventSource cannot.

/** Yields the data of each event as text, until the stream ends; heard() is called whatever comes. */
export async function* events(response, heard = () => {}) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
        for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            heard();
            const parts = (rest + value).split("\n\n");
            rest = parts.pop();
            for (const part of parts) if (part.startsWith("data: ")) yield part.slice(6);
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

export class HttpError extends Error {
    constructor(status, text) {
        super(text);
        this.status = status;
    }
}

/** fetch with a bearer key; an answer that is no 2xx becomes an HttpError with the server's sentence. */
export async function call(path, { key, body, signal } = {}) {
    const headers = {};
    if (key) headers.authorization = "Bearer " + key;
    if (body) headers["content-type"] = "application/json";
    const response = await fetch(path, {
        method: body ? "POST" : "GET",
        headers,
        signal,
        body: body && JSON.stringify(body),
        credentials: "omit",
    });
    if (response.ok) return response;
    let text = `the server answered ${response.status}`;
    try {
        text = (await response.json()).error.message;
    } catch {
        // not one of ours: a proxy's
    }
    throw new HttpError(response.status, text);
}
