// answer - one streamed call of /v1/chat/completions.
import { call, events } from "./sse.js";

/** What goes out: settings that are empty are left to the model. */
export function requestBody(model, settings, messages) {
    const body = { model, stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } };
    for (const name of ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed"])
        if (settings[name] !== undefined) body[name] = settings[name];
    body.messages = messages.map(({ role, content }) => ({ role, content }));
    if (settings.system) body.messages.unshift({ role: "system", content: settings.system });
    return body;
}

/** Yields {content, reasoning} and keeps `stats`: tokens, rate, first_ms, prompt, cached. */
export async function* answer(body, key, signal, stats) {
    const began = performance.now();
    let first = 0;
    const response = await call("/v1/chat/completions", { key, body, signal });
    for await (const data of events(response)) {
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new Error(event.error.message);
        const delta = event.choices?.[0]?.delta ?? {};
        const content = delta.content ?? "";
        const reasoning = delta.reasoning_content ?? "";
        if (!first && (content || reasoning)) {
            first = performance.now();
            stats.first_ms = first - began;
        }
        if (event.usage) count(stats, event.usage, first);
        if (content || reasoning) yield { content, reasoning };
    }
    throw new Error("the connection broke off");
}

function count(stats, usage, first) {
    stats.tokens = usage.completion_tokens;
    stats.prompt = usage.prompt_tokens;
    stats.cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    const seconds = (performance.now() - first) / 1000;
    if (first && stats.tokens > 1 && seconds > 0) stats.rate = (stats.tokens - 1) / seconds;
}
