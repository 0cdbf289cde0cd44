/* The router as a state machine: an input is a sequence of events — calls of clients, clients that
 * leave or read slowly, frames of workers in any order, true or not, silence, SIGTERM — and whatever the
 * order, a client sees a prefix of the one true text, every exchange ends once, and in the end nothing
 * is left: no call, no stream, no count.
 *
 *   HTTP   ◄── played ──►  router.c, call.c, stream.c, dispatch.c, fleet.c, …  ◄── played ──►  workers
 *
 * The token with index i of any answer is the letter i % 26, wherever the answer was taken up. What a
 * worker says for an attempt that is over is "#", which no client may ever see. HTTP, the wire and the
 * clock are this file; router.c is included for its tick.
 */
#include "router/router.c"

#include "proto/codec.h"
#include "tests/fuzz/folder.h"

#define WORKERS   3
#define EXCHANGES 24
#define JOBS      96
#define STALE     '#'

/* A GENERATE that a worker has got. */
struct job {
    uint32_t worker;
    struct req_key key;
    uint32_t prompt, next, tokens_max, logprobs, score_next;
    bool stale; /* cancelled, superseded, or its worker has gone */
};

struct http_exchange {
    bool begun, replied, streaming, wrote, ended, slow;
    uint32_t request;
    int status;
    void *owner;
    void (*gone)(void *owner);
    struct buf out;
};

static struct {
    struct router router;
    uint64_t now_ms;
    struct http_exchange exchanges[EXCHANGES];
    uint32_t exchange_count;
    struct job jobs[JOBS];
    uint32_t job_count;
    uint64_t epochs[WORKERS], sessions[WORKERS], received[WORKERS], seqs[WORKERS];
    bool full; /* the next frames are not taken */
} world;

static const struct request {
    const char *path, *body, *shown; /* `shown`: what stands before the answer in its text */
} requests[] = {
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello you\"}],\"max_tokens\":40}", ""},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello "
     "you\"}],\"max_tokens\":40,\"stream\":true,"
     "\"stream_options\":{\"include_usage\":true}}",
     ""},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"n\":3,\"stream\":true,\"logprobs\":"
     "true,"
     "\"top_logprobs\":2,\"max_tokens\":9}",
     ""},
    {"/v1/completions",
     "{\"prompt\":[\"one prompt of more than a "
     "page\",\"two\"],\"n\":2,\"stop\":[\"ef\",\"xyz\"],\"max_tokens\":20}",
     ""},
    {"/v1/completions",
     "{\"prompt\":\"echoed\",\"echo\":true,\"logprobs\":1,\"stream\":true,\"max_tokens\":6}",
     "echoed"},
    {"/v1/completions", "{\"prompt\":\"scored\",\"echo\":true,\"logprobs\":2,\"max_tokens\":0}",
     "scored"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
     "\"function\":"
     "{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],\"stream\":true,\"max_tokens\":30}",
     ""},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":\"json_"
     "object\"},"
     "\"stream\":true,\"max_tokens\":30,\"ignore_eos\":true}",
     ""},
    {"/generate",
     "{\"text\":\"Hello\",\"sampling_params\":{\"max_new_tokens\":9,\"n\":2},\"stream\":true}",
     NULL},
    {"/tokenize", "{\"prompt\":\"abc\"}", NULL},
    {"/v1/completions", "{\"prompt\":\"too many\",\"max_tokens\":4000}", ""},
};

/* ---- the clock ---- */

uint64_t clock_now_ns(void)
{
    return world.now_ms * 1000000u;
}

uint64_t clock_unix_ms(void)
{
    return 1700000000000 + world.now_ms;
}

/* There is no loop: pass() calls the tick. */
int uv_timer_start(uv_timer_t *timer, uv_timer_cb tick, uint64_t timeout, uint64_t repeat)
{
    return 0;
}

void uv_stop(uv_loop_t *loop)
{
}

/* ---- HTTP ---- */

enum status http_server_start(uv_loop_t *loop, const struct http_opts *opts,
                              struct http_server **out, struct err *err)
{
    *out = NULL;
    return STATUS_OK;
}

uint16_t http_server_port(const struct http_server *server)
{
    return 0;
}

void http_server_refresh(struct http_server *server)
{
}

void http_server_stop(struct http_server *server)
{
}

void http_server_close(struct http_server *server)
{
}

bool http_server_closed(struct http_server *server)
{
    return true;
}

void http_server_free(struct http_server *server)
{
}

void http_server_sweep(struct http_server *server)
{
}

struct str http_method(const struct http_exchange *exchange)
{
    return STR("POST");
}

struct str http_path(const struct http_exchange *exchange)
{
    return str_from(requests[exchange->request].path);
}

struct str http_body(const struct http_exchange *exchange)
{
    return str_from(requests[exchange->request].body);
}

struct str http_header(const struct http_exchange *exchange, const char *name)
{
    return STR("");
}

void http_own(struct http_exchange *exchange, void *owner, void (*gone)(void *owner))
{
    exchange->owner = owner;
    exchange->gone = gone;
}

void http_add_header(struct http_exchange *exchange, const char *name, struct str value)
{
    CHECK(!exchange->ended && !exchange->wrote);
}

void http_reply(struct http_exchange *exchange, int status, const char *type, struct str body)
{
    /* a stream of which nothing was said may still fail */
    CHECK(!exchange->ended && !exchange->wrote);
    exchange->replied = exchange->ended = true;
    exchange->status = status;
    buf_append(&exchange->out, body.data, body.len);
}

void http_stream(struct http_exchange *exchange, const char *type)
{
    CHECK(!exchange->ended && !exchange->streaming);
    exchange->streaming = true;
    exchange->status = 200;
}

enum status http_write(struct http_exchange *exchange, const void *data, size_t len)
{
    CHECK(!exchange->ended && exchange->streaming);
    if (exchange->slow)
        return STATUS_NO_SPACE;
    exchange->wrote = true;
    buf_append(&exchange->out, data, len);
    return STATUS_OK;
}

size_t http_unsent(const struct http_exchange *exchange)
{
    return 0;
}

void http_finish(struct http_exchange *exchange)
{
    CHECK(!exchange->ended && exchange->streaming);
    exchange->ended = true;
}

void http_abort(struct http_exchange *exchange)
{
    CHECK(!exchange->ended);
    exchange->ended = true;
}

/* ---- the wire ---- */

static struct str peer_of(uint32_t worker)
{
    static const char *const peers[] = {"peer-a", "peer-b", "peer-c"};
    return str_from(peers[worker]);
}

static uint32_t letter(uint32_t index)
{
    return 'a' + index % 26;
}

/* Another attempt of the same choice: those before are over. */
static void supersede(const struct req_key *key)
{
    for (uint32_t i = 0; i < world.job_count; i++) {
        struct job *job = &world.jobs[i];
        if (job->key.call == key->call && job->key.choice == key->choice)
            job->stale = true;
    }
}

static void take_generate(uint32_t worker, const struct frame_generate *frame)
{
    for (uint32_t i = frame->n_prompt; i < frame->tokens.count; i++) {
        uint32_t id;
        token_view_copy((struct token_view){frame->tokens.data + 4 * (size_t)i, 1}, &id);
        CHECK(id == letter(i - frame->n_prompt)); /* a resume goes on from the true text */
    }
    supersede(&frame->key);
    world.received[worker]++;
    if (world.job_count == JOBS)
        return;
    world.jobs[world.job_count++] = (struct job){.worker = worker,
                                                 .key = frame->key,
                                                 .prompt = frame->n_prompt,
                                                 .next = frame->tokens.count - frame->n_prompt,
                                                 .tokens_max = frame->tokens_max,
                                                 .logprobs = frame->logprobs,
                                                 .score_next = frame->score_from};
}

enum status link_send(struct link *link, struct str peer, const struct frame *frame)
{
    struct buf bytes = {0};
    struct arena arena;
    struct frame decoded;
    struct err err = {.text = ""};
    uint32_t worker = (uint32_t)(peer.data[5] - 'a');
    if (world.full)
        return STATUS_AGAIN;
    arena_init(&arena);
    frame_encode(frame, &bytes);
    CHECK(frame_decode(bytes.data, bytes.len, &arena, &decoded, &err) == STATUS_OK);
    if (decoded.type == FRAME_GENERATE)
        take_generate(worker, &decoded.generate);
    if (decoded.type == FRAME_CANCEL)
        for (uint32_t i = 0; i < world.job_count; i++)
            if (memcmp(&world.jobs[i].key, &decoded.cancel.key, sizeof(decoded.cancel.key)) == 0)
                world.jobs[i].stale = true;
    arena_release(&arena);
    buf_release(&bytes);
    return STATUS_OK;
}

enum status link_start(struct link *link, uv_loop_t *loop, struct transport *transport,
                       const struct link_ops *ops, void *ctx, struct err *err)
{
    return STATUS_OK;
}

void link_close(struct link *link)
{
}

bool link_closed(const struct link *link)
{
    return true;
}

static void receive(uint32_t worker, const struct frame *frame)
{
    frames_in_ops.frame(&world.router, peer_of(worker), frame);
}

/* ---- events ---- */

static void say_hello(struct input *in, uint32_t worker)
{
    static const char *const names[] = {"w-a", "w-b", "w-c"};
    const struct model *model = &world.router.models.items[0];
    uint8_t how = input_byte(in);
    if (how & 1 || world.epochs[worker] == 0)
        world.epochs[worker] = 100 + worker + 10 * (uint64_t)(how & 1 ? world.now_ms + 1 : 0);
    if (how & 2)
        world.sessions[worker]++;
    world.received[worker] = 0;
    struct frame frame = {.type = FRAME_HELLO};
    frame.hello = (struct frame_hello){.version = how & 4 ? 2 : PROTO_VERSION,
                                       .worker = str_from(names[how & 8 ? 0 : worker]),
                                       .epoch = world.epochs[worker],
                                       .session = world.sessions[worker],
                                       .model = str_from(model->name),
                                       .fingerprint = model->fingerprint,
                                       .tokenizer_hash = model->tokenizer_hash,
                                       .weights_hash = how & 16 ? 1 : 9,
                                       .page_size = how & 32 ? 8 : 16,
                                       .length_max = 500,
                                       .pages = how & 64 ? 3 : 100,
                                       .tp = 1,
                                       .slots = 1 + how % 5,
                                       .features = how & 128 ? 0 : 7};
    receive(worker, &frame);
}

static void say_load(struct input *in, uint32_t worker)
{
    uint8_t how = input_byte(in), size = input_byte(in);
    struct frame frame = {.type = FRAME_LOAD};
    frame.load = (struct frame_load){.epoch = world.epochs[worker],
                                     .step = world.now_ms / 7,
                                     .received = world.received[worker] + (how & 1 ? size : 0),
                                     .running = size % 5,
                                     .waiting = size % 3,
                                     .pending_prefill_tokens = how & 2 ? UINT64_MAX : size,
                                     .pages_free = size,
                                     .slots_free = size % 9,
                                     .step_ms_bound = how & 4 ? UINT32_MAX : size,
                                     .draining = how & 8};
    receive(worker, &frame);
}

static void put_floats(struct buf *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        float value = -1.0f;
        buf_append(out, &value, sizeof(value));
    }
}

static void put_ids(struct buf *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = 'a';
        buf_append(out, &id, sizeof(id));
    }
}

static struct token_view ids_in(const struct buf *buf)
{
    return (struct token_view){(const unsigned char *)buf->data, (uint32_t)(buf->len / 4)};
}

/* The next tokens of a job; `how` may make them a lie. */
static void say_tokens(struct input *in, uint32_t worker)
{
    uint8_t which = input_byte(in), how = input_byte(in), size = input_byte(in);
    struct buf ids = {0}, probs = {0}, tops = {0}, top_probs = {0}, scores = {0}, score_ids = {0},
               score_probs = {0};
    if (world.job_count == 0)
        return;
    struct job *job = &world.jobs[which % world.job_count];
    uint32_t left = job->tokens_max > job->next ? job->tokens_max - job->next : 0;
    uint32_t first = job->next + (how & 1 ? 1 + size % 3 : 0) - (how & 2 ? MIN(job->next, 2u) : 0);
    uint32_t count = how & 4 ? size % 50 : MIN(1 + size % 8, left),
             wide = job->logprobs ? job->logprobs - 1 : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = job->stale ? STALE : letter(first + i);
        buf_append(&ids, &id, sizeof(id));
    }
    struct tokens_item item = {
        .key = job->key, .first = first, .tokens = ids_in(&ids), .cached_tokens = size};
    if (job->logprobs && !(how & 8)) {
        uint32_t scored =
            job->score_next && job->score_next < job->prompt ? job->prompt - job->score_next : 0;
        put_floats(&probs, count);
        put_ids(&tops, count * wide);
        put_floats(&top_probs, count * wide);
        put_floats(&scores, scored);
        put_ids(&score_ids, scored * wide);
        put_floats(&score_probs, scored * wide);
        item.logprobs = (struct str){probs.data, probs.len};
        item.top_ids = ids_in(&tops);
        item.top_logprobs = (struct str){top_probs.data, top_probs.len};
        item.score_first = job->score_next;
        item.scores = (struct str){scores.data, scores.len};
        if (how & 4) /* or none, or too many */
            item.score_ranks = ids_in(wide > 1 ? &score_ids : &tops);
        item.score_top_ids = ids_in(&score_ids);
        item.score_top_logprobs = (struct str){score_probs.data, score_probs.len};
        job->score_next = scored ? job->prompt : job->score_next;
    }
    item.finish = count == left ? FINISH_LENGTH
                  : how & 16    ? size % (FINISH_ERROR + 1)
                                : FINISH_NONE;
    struct frame frame = {.type = FRAME_TOKENS};
    frame.tokens = (struct frame_tokens){
        .epoch = world.router.epoch, .step = world.now_ms, .items = &item, .item_count = 1};
    receive(how & 32 ? worker : job->worker, &frame);
    if (!(how & 32) || worker == job->worker) { /* another's word about a req counts for nothing */
        job->next = MAX(job->next, first + count);
        job->stale |= item.finish != FINISH_NONE;
    }
    struct buf *all[] = {&ids, &probs, &tops, &top_probs, &scores, &score_ids, &score_probs};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_release(all[i]);
}

static void say_error(struct input *in, uint32_t worker)
{
    uint8_t which = input_byte(in), status = input_byte(in);
    struct frame frame = {.type = FRAME_ERROR};
    struct job *job = world.job_count ? &world.jobs[which % world.job_count] : NULL;
    if (job && which < 200)
        frame.error.key = job->key;
    frame.error.status = 1 + status % (STATUS_COUNT - 1);
    frame.error.text = STR("said so");
    receive(job && which < 200 ? job->worker : worker, &frame);
}

/* Pages of the first prompts, or others. */
static void say_cache(struct input *in, uint32_t worker, bool snapshot)
{
    uint8_t how = input_byte(in), size = input_byte(in);
    uint64_t hashes[8];
    for (uint32_t i = 0; i < ARRAY_LEN(hashes); i++)
        hashes[i] = 1 + (how >> 4) * 3 + i;
    struct page_run run = {.parent = how & 1 ? 3 : 0,
                           .hashes = (const unsigned char *)hashes,
                           .count = 1 + size % 8,
                           .removed = how & 2};
    struct frame_cache cache = {
        .epoch = world.epochs[worker] + (how & 4 && how & 8), .runs = &run, .run_count = 1};
    world.seqs[worker] += how & 4 ? size % 3 : 1;
    cache.seq = world.seqs[worker];
    struct frame frame = {.type = FRAME_CACHE, .cache = cache};
    if (snapshot) {
        frame = (struct frame){.type = FRAME_SNAPSHOT};
        frame.snapshot = (struct frame_snapshot){
            .part = size & 1, .part_count = 1 + (size >> 1 & 1), .cache = cache};
        frame.snapshot.part = MIN(frame.snapshot.part, frame.snapshot.part_count - 1);
    }
    receive(worker, &frame);
}

/* Anything that decodes, but tokens: say_tokens() knows which are true. */
static void say_anything(struct input *in, uint32_t worker)
{
    struct str bytes = input_take(in, input_byte(in));
    struct arena arena;
    struct frame frame;
    struct err err = {.text = ""};
    arena_init(&arena);
    if (frame_decode(bytes.data, bytes.len, &arena, &frame, &err) == STATUS_OK &&
        frame.type != FRAME_TOKENS)
        receive(worker, &frame);
    arena_release(&arena);
}

static void call(struct input *in)
{
    uint32_t request = input_byte(in) % ARRAY_LEN(requests);
    if (world.exchange_count == EXCHANGES)
        return;
    struct http_exchange *exchange = &world.exchanges[world.exchange_count++];
    *exchange = (struct http_exchange){.begun = true, .request = request};
    api_request(&world.router, exchange);
}

static void client(struct input *in, bool leaves)
{
    struct http_exchange *exchange = &world.exchanges[input_byte(in) % EXCHANGES];
    if (!exchange->begun || exchange->ended)
        return;
    if (!leaves) {
        exchange->slow = true;
        return;
    }
    exchange->ended = true;
    exchange->gone(exchange->owner);
}

static void pass(uint64_t ms)
{
    world.now_ms += ms;
    on_tick(&world.router.tick);
}

static void event(struct input *in)
{
    uint8_t what = input_byte(in);
    uint32_t worker = what / 16 % WORKERS;
    struct frame frame = {.type = FRAME_BYE};
    switch (what % 16) {
    case 0:
    case 1:
        call(in);
        break;
    case 2:
        say_hello(in, worker);
        break;
    case 3:
        say_load(in, worker);
        break;
    case 4:
    case 5:
    case 6:
        say_tokens(in, worker);
        break;
    case 7:
        say_error(in, worker);
        break;
    case 8:
    case 9:
        say_cache(in, worker, what % 16 == 9);
        break;
    case 10:
        frame.type = input_byte(in) & 1 ? FRAME_DRAIN : FRAME_BYE;
        frame.drain.draining = input_byte(in) & 1;
        if (frame.type == FRAME_BYE)
            frame.bye.reason = STR("");
        receive(worker, &frame);
        break;
    case 11:
        client(in, what & 16);
        break;
    case 12:
        pass(10 * (uint64_t)input_byte(in));
        break;
    case 13:
        say_anything(in, worker);
        break;
    case 14:
        world.full = what & 16;
        break;
    default:
        if (what == 255)
            on_signal(&world.router.signals[0], 15);
    }
}

/* ---- what must hold ---- */

struct texts {
    struct buf of[8]; /* by choice */
};

/* One chunk's or answer's JSON: the text of its choices goes behind what was there. */
static void take_json(const char *data, size_t len, struct texts *texts)
{
    json_t *root = json_loadb(data, len, JSON_ALLOW_NUL, NULL), *choice;
    size_t i;
    CHECK(root);
    json_array_foreach(json_object_get(root, "choices"), i, choice) {
        json_int_t index = json_integer_value(json_object_get(choice, "index"));
        const json_t *text = json_object_get(choice, "text");
        CHECK(index >= 0 && index < (json_int_t)ARRAY_LEN(texts->of));
        if (!text)
            text = json_object_get(
                json_object_get(choice, json_object_get(choice, "delta") ? "delta" : "message"),
                "content");
        if (json_is_string(text))
            buf_append(&texts->of[index], json_string_value(text), json_string_length(text));
    }
    json_decref(root);
}

static void take_events(const struct buf *out, struct texts *texts)
{
    for (size_t at = 0; at < out->len;) {
        const char *end = memmem(out->data + at, out->len - at, "\n\n", 2);
        CHECK(end && out->len - at > 6 && memcmp(out->data + at, "data: ", 6) == 0);
        size_t len = (size_t)(end - out->data) - at - 6;
        if (!(len == 6 && memcmp(out->data + at + 6, "[DONE]", 6) == 0))
            take_json(out->data + at + 6, len, texts);
        at += len + 8;
    }
}

static void check_text(const struct buf *text, const char *shown)
{
    size_t skip = strlen(shown);
    CHECK(memcmp(text->data, shown, MIN(skip, text->len)) == 0);
    for (size_t i = skip; i < text->len; i++)
        CHECK((uint8_t)text->data[i] == letter((uint32_t)(i - skip)));
}

static void check_exchange(const struct http_exchange *exchange)
{
    const struct request *request = &requests[exchange->request];
    struct texts texts = {0};
    CHECK(exchange->ended);
    CHECK(exchange->out.len == 0 || !memchr(exchange->out.data, STALE, exchange->out.len));
    if (!request->shown || exchange->out.len == 0)
        return;
    if (exchange->replied)
        take_json(exchange->out.data, exchange->out.len, &texts);
    else
        take_events(&exchange->out, &texts);
    for (size_t i = 0; i < ARRAY_LEN(texts.of); i++) {
        if (texts.of[i].len > 0)
            check_text(&texts.of[i], request->shown);
        buf_release(&texts.of[i]);
    }
}

/* Everybody falls silent. */
static void end(void)
{
    struct router *router = &world.router;
    world.full = false;
    for (int i = 0; i < 60; i++)
        pass(1000);
    CHECK(router->call_count == 0 && router->streams == 0 && router->queue.count == 0 &&
          router->preparing == 0);
    CHECK(router->calls.count == 0 && list_empty(&router->queue.streams) &&
          list_empty(&router->call_list));
    CHECK(router->fleet.count == 0);
    for (uint32_t i = 0; i < world.exchange_count; i++) {
        check_exchange(&world.exchanges[i]);
        buf_release(&world.exchanges[i].out);
    }
}

static void begin(void)
{
    static struct models models;
    struct router *router = &world.router;
    struct config_list names = {0}, wanted = {.items = {scratch_folder()}, .count = 1};
    struct err err = {.text = ""};
    if (models.count == 0) {
        folder_write();
        CHECK(models_load(&wanted, &names, &models, &err) == STATUS_OK);
        tools_probe(&models.items[0], 0, true);
    }
    memset(&world, 0, sizeof(world));
    world.now_ms = 1000000;
    router->config = (struct router_config){.queue_max = 6,
                                            .queue_wait_s = 4,
                                            .streams_max = 20,
                                            .choices_max = 6,
                                            .request_timeout_s = 20,
                                            .failover_wait_s = 3,
                                            .worker_dead_ms = 2000,
                                            .drain_settle_s = 1,
                                            .drain_timeout_s = 5,
                                            .inline_bytes = 1 << 20,
                                            .decode_weight = 1};
    router->policy = route_policy_of(ROUTE_PREFIX);
    router->epoch = 77;
    snprintf(router->name, sizeof(router->name), "router");
    map_init(&router->calls);
    list_init(&router->call_list);
    queue_init(&router->queue);
    router->metrics = telemetry_new();
    router->models = models;
    router->tick.data = router->signals[0].data = router;
    fleet_init(&router->fleet, &router->models, router->name, router->epoch, &frames_in_fleet_ops,
               router);
    router->fleet.dead_ms = router->config.worker_dead_ms;
    watch_init(&router->watch);
    page_tree_init(&router->tree);
    router->fleet.tree = &router->tree;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    begin();
    while (in.left > 0 && !world.router.stopped)
        event(&in);
    end();
    page_tree_check(&world.router.tree);
    fleet_release(&world.router.fleet);
    CHECK(world.router.tree.pages.count == 0);
    page_tree_release(&world.router.tree);
    watch_release(&world.router.watch);
    map_release(&world.router.calls);
    metrics_free(world.router.metrics);
    return 0;
}
