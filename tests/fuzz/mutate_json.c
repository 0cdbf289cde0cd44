/* mutate_json - libFuzzer's mutations for inputs that are JSON behind at most PREFIX_MAX other bytes:
 * three times in four one node of the tree is changed, so that what is tried still parses. */
#include <jansson.h>

#include "common/rng.h"
#include "tests/fuzz/input.h"

#define PREFIX_MAX 16
#define NODES_MAX  4096

size_t LLVMFuzzerMutate(uint8_t *data, size_t len, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max, unsigned seed);

/* A place in the tree: parent[key] or parent[at]. */
struct node {
    json_t *parent;
    const char *key;
    size_t at;
    json_t *value;
};

struct nodes {
    struct node items[NODES_MAX];
    size_t count;
};

static void collect(struct nodes *nodes, json_t *json)
{
    const char *key;
    json_t *value;
    size_t at;
    json_object_foreach(json, key, value) {
        if (nodes->count == NODES_MAX)
            return;
        nodes->items[nodes->count++] = (struct node){json, key, 0, value};
        collect(nodes, value);
    }
    json_array_foreach(json, at, value) {
        if (nodes->count == NODES_MAX)
            return;
        nodes->items[nodes->count++] = (struct node){json, NULL, at, value};
        collect(nodes, value);
    }
}

static json_t *odd_value(uint64_t *rng)
{
    static const json_int_t numbers[] = {
        0,         1,        -1,    2,         3,         16,         255,
        256,       65535,    65536, INT32_MAX, INT32_MIN, UINT32_MAX, (json_int_t)UINT32_MAX + 1,
        INT64_MAX, INT64_MIN};
    static const double reals[] = {0, -0.0, 0.5, 1, 1e-300, 1e300, 3.0, -1, 1e18};
    switch (rng_below(rng, 8)) {
    case 0:
        return json_null();
    case 1:
        return json_boolean(rng_below(rng, 2));
    case 2:
        return json_array();
    case 3:
        return json_object();
    case 4:
        return json_string(rng_below(rng, 2) ? "" : "a");
    case 5:
        return json_real(reals[rng_below(rng, ARRAY_LEN(reals))]);
    default:
        return json_integer(numbers[rng_below(rng, ARRAY_LEN(numbers))]);
    }
}

/* A string whose bytes libFuzzer has mutated, with its dictionary; NULL when that is no UTF-8. */
static json_t *mutated_string(const char *text, size_t len, uint64_t *rng)
{
    uint8_t bytes[512];
    len = MIN(len, sizeof(bytes) / 2);
    memcpy(bytes, text, len);
    len = LLVMFuzzerMutate(bytes, len, sizeof(bytes));
    return json_stringn((const char *)bytes, len);
}

static json_t *mutated_value(const json_t *value, const struct nodes *nodes, uint64_t *rng)
{
    json_t *wrapped;
    if (json_is_string(value) && rng_below(rng, 3))
        return mutated_string(json_string_value(value), json_string_length(value), rng);
    if (json_is_integer(value) && rng_below(rng, 2))
        return json_integer(
            (json_int_t)((uint64_t)json_integer_value(value) + rng_below(rng, 9) - 4));
    switch (rng_below(rng, 4)) {
    case 0: /* another place's */
        return json_deep_copy(nodes->items[rng_below(rng, nodes->count)].value);
    case 1:
        wrapped = json_deep_copy(value);
        for (uint64_t n = rng_below(rng, 3); n < 3; n++) {
            json_t *outer = json_array();
            json_array_append_new(outer, wrapped);
            wrapped = outer;
        }
        return wrapped;
    default:
        return odd_value(rng);
    }
}

/* Some name that occurs in the tree, or the same one mutated. */
static void add_member(json_t *object, const char *like, json_t *value, const struct nodes *nodes,
                       uint64_t *rng)
{
    const char *key = nodes->items[rng_below(rng, nodes->count)].key;
    json_t *name =
        key && rng_below(rng, 2) ? json_string(key) : mutated_string(like, strlen(like), rng);
    if (name)
        json_object_set(object, json_string_value(name), value);
    json_decref(name);
    json_decref(value);
}

static void mutate(const struct nodes *nodes, uint64_t *rng)
{
    const struct node *node = &nodes->items[rng_below(rng, nodes->count)];
    json_t *value = mutated_value(node->value, nodes, rng);
    uint64_t how = rng_below(rng, 8);
    if (!value)
        return;
    if (how == 0) {
        json_decref(value);
        if (node->key)
            json_object_del(node->parent, node->key);
        else
            json_array_remove(node->parent, node->at);
    } else if (how == 1 && node->key) {
        add_member(node->parent, node->key, value, nodes, rng);
    } else if (how == 1) {
        json_array_insert_new(node->parent, node->at, value);
    } else if (node->key) {
        json_object_set_new(node->parent, node->key, value);
    } else {
        json_array_set_new(node->parent, node->at, value);
    }
}

/* The tree, changed, as text; NULL when there is none or nothing in it. */
static char *change(const uint8_t *json, size_t len, uint64_t *rng)
{
    static struct nodes nodes;
    json_t *root = json_loadb((const char *)json, len, JSON_ALLOW_NUL, NULL);
    char *text = NULL;
    nodes.count = 0;
    collect(&nodes, root);
    if (nodes.count > 0) {
        mutate(&nodes, rng);
        text = json_dumps(root, JSON_COMPACT | (rng_below(rng, 2) ? JSON_ENSURE_ASCII : 0));
    }
    json_decref(root);
    return text;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t len, size_t max, unsigned seed)
{
    uint64_t rng = seed;
    size_t at = 0;
    while (at < len && at < PREFIX_MAX && data[at] != '{' && data[at] != '[')
        at++;
    char *text = rng_below(&rng, 4) && at < len ? change(data + at, len - at, &rng) : NULL;
    size_t text_len = text ? strlen(text) : 0;
    if (text_len > 0 && at + text_len <= max) {
        memcpy(data + at, text, text_len);
        len = at + text_len;
        if (at > 0 && rng_below(&rng, 8) == 0)
            data[rng_below(&rng, at)] = (uint8_t)rng_next(&rng);
    } else {
        len = LLVMFuzzerMutate(data, len, max);
    }
    free(text);
    return len;
}
