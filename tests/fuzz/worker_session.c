/* The worker as a state machine: two routers that send frames in any order, true or not, sessions that
 * break, steps that are launched and end at any time. Whatever the order, a req's tokens go out once, in
 * order, to the session that asked; packets stay within the engine's limits; in the end no req is left,
 * every page is free, and the scheduler's own check holds.
 *
 *   routers ◄── played ──► inbox.c, links.c, scheduler, outbox.c, loop.c ◄── played ──► engine
 *
 * A req with seed s gets the token (s + position) % VOCAB. The wire, the clock and the engine are this
 * file; loop.c is included for its launch and commit.
 */
#include "worker/loop.c"

#include "common/automaton.h"
#include "proto/codec.h"
#include "tests/fuzz/input.h"

#define LINKS   2
#define SLOTS   4
#define WAITING 3
#define VOCAB   97
#define CONTEXT 120
#define PAGES   20
#define PAGE    8
#define JOBS    64

struct transport {
    uint32_t number;
    bool broken;
    uint64_t disconnects;
    const struct buf *message; /* to be received */
};

/* A req as its router knows it. */
struct job {
    uint32_t link;
    uint64_t session;
    struct req_key key;
    uint32_t next, prompt;
    uint64_t seed;
    bool ended;
};

struct engine {
    struct engine_info info;
    struct {
        uint32_t tokens[SLOTS], count;
    } steps[4];
    uint64_t submitted, waited;
    uint32_t grammars;
};

static struct {
    struct worker worker;
    struct worker_config config;
    struct loop loop;
    struct engine engine;
    struct transport wires[LINKS];
    struct job jobs[JOBS];
    uint32_t job_count;
    uint64_t now_ms;
    struct err err;
} world;

uint64_t clock_now_ns(void)
{
    return world.now_ms * 1000000u;
}

uint64_t clock_unix_ms(void)
{
    return 1700000000000;
}

/* ---- the engine ---- */

static const struct engine_info *played_info(const struct engine *engine)
{
    return &engine->info;
}

static void check_packet(const struct engine *engine, const struct step_packet *packet)
{
    CHECK(step_packet_valid(packet, packet->bytes, &engine->info.limits, SLOTS));
    for (uint32_t i = 0; i < packet->token_count; i++)
        CHECK(step_tokens(packet)[i] < VOCAB || step_tokens(packet)[i] == STEP_TOKEN_LAST);
    for (uint32_t i = 0; i < packet->delta_count; i++)
        CHECK(step_deltas(packet)[i].page < PAGES &&
              step_deltas(packet)[i].idx < DIV_CEIL(CONTEXT, PAGE));
    for (uint32_t i = 0; i < packet->row_count; i++)
        CHECK(step_rows(packet)[i].pos_first + step_rows(packet)[i].token_count <= CONTEXT);
}

static enum status played_submit(struct engine *engine, const struct step_packet *packet,
                                 uint64_t *ticket, struct err *err)
{
    CHECK(engine->submitted - engine->waited < ENGINE_IN_FLIGHT && packet->sample_count <= SLOTS);
    check_packet(engine, packet);
    *ticket = ++engine->submitted;
    uint32_t at = *ticket % ARRAY_LEN(engine->steps);
    engine->steps[at].count = packet->sample_count;
    for (uint32_t i = 0; i < packet->sample_count; i++) {
        const struct step_sample *sample = &step_samples(packet)[i];
        engine->steps[at].tokens[i] =
            (uint32_t)((sample->sampling.seed + sample->position) % VOCAB);
    }
    return STATUS_OK;
}

static enum status played_wait(struct engine *engine, uint64_t ticket, struct step_result *result,
                               struct err *err)
{
    static const float logprobs[2 * SLOTS * SAMPLING_TOP_MAX];
    static const uint32_t ids[2 * SLOTS * SAMPLING_TOP_MAX];
    uint32_t at = ticket % ARRAY_LEN(engine->steps);
    CHECK(ticket == ++engine->waited);
    *result = (struct step_result){.step = ticket,
                                   .tokens = engine->steps[at].tokens,
                                   .sample_count = engine->steps[at].count,
                                   .device_ns = 1000000,
                                   .logprobs = logprobs,
                                   .ranks = ids,
                                   .top_ids = ids,
                                   .top_logprobs = logprobs};
    return STATUS_OK;
}

static enum status played_grammar_add(struct engine *engine, struct str block, uint32_t *id,
                                      struct err *err)
{
    struct automaton automaton;
    char *copy = mem_strndup(block.data, block.len);
    enum status status = automaton_open(&automaton, (struct str){copy, block.len}, err);
    mem_free(copy);
    if (status == STATUS_OK) {
        engine->grammars++;
        *id = 1;
    }
    return status;
}

static void played_grammar_drop(struct engine *engine, uint32_t id)
{
    CHECK(id == 1 && engine->grammars > 0);
    engine->grammars--;
}

static const struct engine_kind kind = {.name = "played",
                                        .info = played_info,
                                        .submit = played_submit,
                                        .wait = played_wait,
                                        .grammar_add = played_grammar_add,
                                        .grammar_drop = played_grammar_drop};

/* ---- the wire ---- */

static struct job *job_of(const struct link *link, const struct req_key *key)
{
    for (uint32_t i = 0; i < world.job_count; i++)
        if (memcmp(&world.jobs[i].key, key, sizeof(*key)) == 0 &&
            world.worker.links.items[world.jobs[i].link] == link &&
            world.jobs[i].session == link->session)
            return &world.jobs[i];
    return NULL;
}

static void check_item(const struct link *link, const struct tokens_item *item)
{
    struct job *job = job_of(link, &item->key);
    CHECK(job && !job->ended && item->first == job->next);
    for (uint32_t i = 0; i < item->tokens.count; i++) {
        uint32_t id;
        token_view_copy((struct token_view){item->tokens.data + 4 * (size_t)i, 1}, &id);
        CHECK(id == (job->seed + job->prompt + job->next) % VOCAB);
        job->next++;
    }
    job->ended = item->finish != FINISH_NONE;
}

static void check_sent(const struct link *link, const struct frame *frame)
{
    struct job *job;
    CHECK(frame->type == FRAME_HELLO || link->state == LINK_OPEN);
    switch (frame->type) {
    case FRAME_TOKENS:
        CHECK(frame->tokens.epoch == link->router_epoch);
        for (uint32_t i = 0; i < frame->tokens.item_count; i++)
            check_item(link, &frame->tokens.items[i]);
        break;
    case FRAME_ERROR:
        job = job_of(link, &frame->error.key);
        CHECK(job && !job->ended);
        job->ended = true;
        break;
    case FRAME_LOAD:
        CHECK(frame->load.pages_free <= PAGES && frame->load.slots_free <= SLOTS + WAITING);
        break;
    default:
        CHECK(frame->type != FRAME_GENERATE && frame->type != FRAME_CANCEL &&
              frame->type != FRAME_WELCOME);
    }
}

enum status transport_send(struct transport *transport, struct buf *data)
{
    struct arena arena;
    struct frame frame;
    struct err err = {.text = ""};
    enum status status = transport->broken ? STATUS_AGAIN : STATUS_OK;
    arena_init(&arena);
    CHECK(frame_decode(data->data, data->len, &arena, &frame, &err) == STATUS_OK);
    if (status == STATUS_OK)
        check_sent(world.worker.links.items[transport->number], &frame);
    arena_release(&arena);
    buf_release(data);
    return status;
}

enum status transport_receive(struct transport *transport, struct str *peer, struct str *data)
{
    if (!transport->message)
        return STATUS_AGAIN;
    *peer = STR("");
    *data = (struct str){transport->message->data, transport->message->len};
    transport->message = NULL;
    return STATUS_OK;
}

uint64_t transport_disconnects(struct transport *transport)
{
    return transport->disconnects;
}

void transport_free(struct transport *transport)
{
}

struct transport_context *transport_context_new(void)
{
    return NULL;
}

void transport_context_free(struct transport_context *context)
{
}

enum status transport_bind(struct transport_context *context, const char *endpoint,
                           const struct transport_security *security, struct transport **out,
                           struct err *err)
{
    return STATUS_IO;
}

enum status transport_connect(struct transport_context *context, const char *endpoint,
                              const char *identity, const struct transport_security *security,
                              struct transport **out, struct err *err)
{
    return STATUS_IO;
}

const char *transport_endpoint(const struct transport *transport)
{
    return "";
}

int transport_fd(const struct transport *transport)
{
    return -1;
}

bool transport_readable(struct transport *transport)
{
    return false;
}

enum status transport_send_to(struct transport *transport, struct str peer, struct buf *data)
{
    return STATUS_IO;
}

/* ---- names: the links are given ---- */

enum status resolver_check(const struct config_list *names, struct err *err)
{
    return STATUS_OK;
}

enum status resolver_start(const struct config_list *names, struct resolver **out, struct err *err)
{
    return STATUS_OK;
}

void resolver_stop(struct resolver *resolver)
{
}

int resolver_fd(const struct resolver *resolver)
{
    return -1;
}

bool resolver_take(struct resolver *resolver, struct resolver_list *list)
{
    return false;
}

/* ---- events ---- */

static void deliver(uint32_t number, struct buf *bytes)
{
    world.wires[number].message = bytes;
    (void)inbox_receive(&world.worker, world.worker.links.items[number], world.now_ms);
    buf_release(bytes);
}

static void deliver_frame(uint32_t number, const struct frame *frame)
{
    struct buf bytes = {0};
    frame_encode(frame, &bytes);
    deliver(number, &bytes);
}

static struct str some_grammar(uint8_t how)
{
    /* one state that takes nothing and may end: a header, 256 classes, ends, pad, a table */
    static uint32_t block[5 + 64 + 1 + 1];
    memset(block, 0, sizeof(block));
    block[0] = AUTOMATON_MAGIC;
    block[1] = block[2] = 1;
    block[4] = how & 64; /* not 0: it starts at a state that is not there */
    block[5 + 64] = 1;
    block[5 + 64 + 1] = AUTOMATON_NONE;
    return (struct str){(const char *)block, sizeof(block) - 2};
}

/* What the worker took as a req: its router waits for an answer then. */
static void remember(uint32_t number, const struct frame_generate *frame)
{
    const struct link *link = world.worker.links.items[number];
    if (world.job_count == JOBS)
        return;
    world.jobs[world.job_count++] = (struct job){.link = number,
                                                 .session = link->session,
                                                 .key = frame->key,
                                                 .seed = frame->sampling.seed,
                                                 .prompt = frame->n_prompt,
                                                 .next = frame->tokens.count - frame->n_prompt};
}

static void say_generate(struct input *in, uint32_t number)
{
    uint8_t name = input_byte(in), attempt = input_byte(in), how = input_byte(in),
            more = input_byte(in);
    uint8_t length = input_byte(in), made = input_byte(in) % 6, wanted = input_byte(in);
    const struct link *link = world.worker.links.items[number];
    uint32_t tokens[256], stops[] = {wanted % VOCAB, 3}, bias[] = {1, 0, 2, 0};
    struct frame frame = {.type = FRAME_GENERATE};
    struct frame_generate *generate = &frame.generate;
    generate->key =
        (struct req_key){link->router_epoch ? link->router_epoch : 1, name & 7, name >> 7, attempt};
    generate->n_prompt = 1 + length % 130;
    generate->sampling = sampling_default();
    generate->sampling.seed = name >> 3 & 7;
    generate->sampling.choice = generate->key.choice;
    for (uint32_t i = 0; i < generate->n_prompt; i++) /* three prompts that share beginnings */
        tokens[i] = (how & 3) == 3 && i == generate->n_prompt - 1u
                        ? VOCAB
                        : (i + (i > 20) * (how & 3)) % VOCAB;
    for (uint32_t i = 0; i < made; i++)
        tokens[generate->n_prompt + i] =
            (uint32_t)((generate->sampling.seed + generate->n_prompt + i) % VOCAB);
    generate->tokens = token_view_of(tokens, generate->n_prompt + made);
    generate->tokens_max = 1 + wanted % 50;
    generate->tokens_min = how & 4 ? wanted % 7 : 0;
    generate->ignore_eos = how & 8;
    generate->stop_ids = token_view_of(stops, how & 16 ? 2 : 0);
    generate->logprobs = how & 32 ? 1 + more % 4 : 0;
    generate->score_from = how & 32 && more & 4 ? 1 + more % 9 : 0;
    generate->namespace_hash = more & 8 ? 5 : 0;
    generate->priority = more & 16 ? -1 : 0;
    generate->deadline_ms = more & 32 ? 200 : 0;
    generate->bias = (struct str){(const char *)bias, more & 64 ? sizeof(bias) : 0};
    generate->automaton = how & 128 ? some_grammar(how) : STR("");
    generate->request_id = more & 128 ? STR("a \"b") : STR("id");
    if (world.job_count < JOBS) {
        uint64_t received = link->received;
        /* An attempt that is not newer is no req. */
        const struct req_entry *older = req_table_newest(&world.worker.reqs, &generate->key);
        bool taken = link->state == LINK_OPEN && !(older && older->key.attempt >= attempt) &&
                     !job_of(link, &generate->key);
        if (!taken && job_of(link, &generate->key))
            return; /* no router says one name twice */
        if (taken)
            remember(number, generate);
        deliver_frame(number, &frame);
        CHECK(!taken || link->received == received + 1 || link->state != LINK_OPEN);
    }
}

static void say_small(struct input *in, uint32_t number, uint8_t what)
{
    const struct link *link = world.worker.links.items[number];
    uint8_t how = input_byte(in);
    struct frame frame = {.type = FRAME_WELCOME};
    switch (what) {
    case 0:
        frame.welcome = (struct frame_welcome){.version = how & 1 ? 2 : PROTO_VERSION,
                                               .router = STR("r"),
                                               .epoch = 50 + number * 2 + (how >> 1 & 1),
                                               .session = link->session - (how >> 2 & 1),
                                               .want_snapshot = how & 8};
        break;
    case 1:
        frame.type = FRAME_CANCEL;
        if (world.job_count > 0)
            frame.cancel.key = world.jobs[how % world.job_count].key;
        frame.cancel.key.epoch = MAX(frame.cancel.key.epoch, (uint64_t)1);
        break;
    case 2:
        frame.type = FRAME_ERROR;
        frame.error.status = 1 + how % (STATUS_COUNT - 1);
        frame.error.key.epoch = how & 128 ? 1 : 0;
        frame.error.text = STR("says so");
        break;
    case 3:
        frame.type = FRAME_SNAPSHOT;
        frame.snapshot.request = true;
        break;
    case 4:
        frame.type = FRAME_DRAIN;
        frame.drain.draining = how & 1;
        break;
    default:
        frame.type = FRAME_BYE;
        frame.bye.reason = STR("bye");
    }
    deliver_frame(number, &frame);
}

/* Whatever it is, but a req that nobody remembers. */
static void say_anything(struct input *in, uint32_t number)
{
    struct str raw = input_take(in, input_byte(in));
    struct buf bytes = {0};
    struct arena arena;
    struct frame frame;
    arena_init(&arena);
    bool generate = frame_decode(raw.data, raw.len, &arena, &frame, NULL) == STATUS_OK &&
                    frame.type == FRAME_GENERATE;
    arena_release(&arena);
    buf_append(&bytes, raw.data, raw.len);
    if (raw.len > 0 && !generate)
        deliver(number, &bytes);
    buf_release(&bytes);
}

static void step_launch(void)
{
    bool launched;
    if (world.worker.in_flight < ENGINE_IN_FLIGHT)
        CHECK(launch(&world.loop, &launched, &world.err) == STATUS_OK);
}

static void step_commit(void)
{
    if (world.worker.in_flight > 0)
        CHECK(commit_oldest(&world.loop, &world.err) == STATUS_OK);
}

static void pass(uint64_t ms)
{
    world.now_ms += ms;
    outbox_cache(&world.worker);
    links_tick(&world.worker, world.now_ms);
}

static void event(struct input *in)
{
    uint8_t what = input_byte(in);
    uint32_t number = what / 16 % LINKS;
    switch (what % 16) {
    case 0:
    case 1:
        say_generate(in, number);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        say_small(in, number, what % 16 - 2);
        break;
    case 8:
    case 9:
        step_launch();
        break;
    case 10:
    case 11:
        step_commit();
        break;
    case 12:
        pass(input_byte(in) * (uint64_t)8);
        break;
    case 13:
        world.wires[number].broken = what & 32;
        world.wires[number].disconnects += what >> 6 & 1;
        break;
    case 14:
        say_anything(in, number);
        break;
    default:
        world.worker.draining |= what == 255;
    }
}

/* ---- begin and end ---- */

static void add_played_link(uint32_t number)
{
    struct link *link = mem_zalloc(sizeof(*link));
    world.wires[number].number = number;
    link->transport = &world.wires[number];
    link->wanted = true;
    link->session = 1;
    list_init(&link->reqs);
    world.worker.links.items[world.worker.links.count++] = link;
}

static void begin(void)
{
    struct worker *worker = &world.worker;
    memset(&world, 0, sizeof(world));
    log_init("fuzz", LOG_LEVEL_ERROR);
    world.now_ms = 1000000;
    world.config = (struct worker_config){.router_dead_ms = 3000, .drain_timeout_s = 2, .tp = 1};
    world.engine.info = (struct engine_info){.vocab = VOCAB,
                                             .context_max = CONTEXT,
                                             .pages = PAGES,
                                             .features = 7,
                                             .prefill_us_per_token = 10,
                                             .decode_us_per_row = 10};
    step_limits_init(&world.engine.info.limits, SLOTS, 32, CONTEXT, PAGE);
    struct sched_opts opts = {.pages = PAGES,
                              .page_size = PAGE,
                              .slots = SLOTS,
                              .waiting_max = WAITING,
                              .context_max = CONTEXT,
                              .step_tokens = 32,
                              .chunk_tokens = 16,
                              .cache = true,
                              .prefix_groups = true,
                              .age_ms = 1000,
                              .prefill_us_per_token = 10,
                              .decode_us_per_row = 10,
                              .fingerprint = 7};
    worker->config = &world.config;
    worker->epoch = 9;
    worker->kind = &kind;
    worker->engine = &world.engine;
    worker->ranks.tp = 1;
    CHECK(scheduler_new(&opts, &worker->scheduler, &world.err) == STATUS_OK);
    worker->event_max = scheduler_event_max(worker->scheduler);
    worker->events = mem_array(worker->event_max, sizeof(*worker->events));
    worker->block = mem_aligned(step_packet_bytes_max(&world.engine.info.limits), 64);
    worker->hello = (struct frame_hello){.version = PROTO_VERSION,
                                         .worker = STR("w"),
                                         .epoch = 9,
                                         .model = STR("m"),
                                         .page_size = PAGE,
                                         .length_max = CONTEXT,
                                         .pages = PAGES,
                                         .tp = 1,
                                         .slots = SLOTS + WAITING,
                                         .features = 7};
    arena_init(&worker->arena);
    req_table_init(&worker->reqs, 2 * worker->hello.slots);
    outbox_init(worker);
    world.loop = (struct loop){.worker = worker, .depth = ENGINE_IN_FLIGHT, .err = &world.err};
    for (uint32_t i = 0; i < LINKS; i++)
        add_played_link(i);
}

/* All that runs comes to its end. */
static void end(void)
{
    struct worker *worker = &world.worker;
    struct sched_load load;
    for (int i = 0; i < 3000 && (worker->reqs.count > 0 || worker->in_flight > 0); i++) {
        step_launch();
        step_commit();
        if (i % 16 == 0)
            world.now_ms++;
    }
    scheduler_load(worker->scheduler, &load);
    CHECK(worker->reqs.count == 0 && worker->in_flight == 0 && world.engine.grammars == 0);
    CHECK(load.running == 0 && load.waiting == 0 && load.pages_free == PAGES);
    CHECK(scheduler_check(worker->scheduler, &world.err));
    for (uint32_t i = 0; i < LINKS; i++)
        CHECK(worker->links.items[i]->req_count == 0 && list_empty(&worker->links.items[i]->reqs));
    for (uint32_t i = 0; i < world.job_count; i++) {
        const struct link *link = worker->links.items[world.jobs[i].link];
        CHECK(world.jobs[i].ended || link->session != world.jobs[i].session);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, len};
    begin();
    while (in.left > 0)
        event(&in);
    end();
    links_release(&world.worker);
    outbox_release(&world.worker);
    req_table_release(&world.worker.reqs);
    scheduler_free(world.worker.scheduler);
    mem_free(world.worker.block);
    mem_free(world.worker.events);
    mem_free(world.worker.tokens);
    arena_release(&world.worker.arena);
    return 0;
}
