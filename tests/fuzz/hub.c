/* What a model hub answers: the list of files, headers, bytes, redirects, breaks. However it lies,
 * nothing is written outside the cache's folder for that model, what is left behind can be read again,
 * and success means that the files are there. libcurl is played here, below common/hub*.c.
 *
 *   input:  │ flags │ text, NUL │ (redirect: URL, NUL) │ flags │ …      one request after the other
 *             └ low 3 bits: status; 8: breaks off; high bits: size of the pieces
 */
#include <curl/curl.h>
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <time.h>

#include "common/hub.h"
#include "tests/fuzz/input.h"

#undef curl_easy_setopt
#undef curl_easy_getinfo

static struct { /* the one handle */
    struct input in;
    size_t (*on_body)(char *, size_t, size_t, void *);
    size_t (*on_header)(char *, size_t, size_t, void *);
    void *body_ctx, *header_ctx;
    bool fail_on_error;
    long http;
    char location[300];
} fake;

CURL *curl_easy_init(void)
{
    return (CURL *)&fake;
}

void curl_easy_cleanup(CURL *easy)
{
}

void curl_easy_reset(CURL *easy)
{
    fake.on_body = fake.on_header = NULL;
    fake.fail_on_error = false;
}

CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...)
{
    va_list args;
    va_start(args, option);
    switch (option) {
    case CURLOPT_WRITEFUNCTION:
        fake.on_body = va_arg(args, size_t(*)(char *, size_t, size_t, void *));
        break;
    case CURLOPT_WRITEDATA:
        fake.body_ctx = va_arg(args, void *);
        break;
    case CURLOPT_HEADERFUNCTION:
        fake.on_header = va_arg(args, size_t(*)(char *, size_t, size_t, void *));
        break;
    case CURLOPT_HEADERDATA:
        fake.header_ctx = va_arg(args, void *);
        break;
    case CURLOPT_FAILONERROR:
        fake.fail_on_error = va_arg(args, long) != 0;
        break;
    default:
        break;
    }
    va_end(args);
    return CURLE_OK;
}

CURLcode curl_easy_getinfo(CURL *easy, CURLINFO info, ...)
{
    va_list args;
    va_start(args, info);
    if (info == CURLINFO_RESPONSE_CODE)
        *va_arg(args, long *) = fake.http;
    else if (info == CURLINFO_REDIRECT_URL)
        *va_arg(args, char **) = fake.location[0] ? fake.location : NULL;
    va_end(args);
    return CURLE_OK;
}

const char *curl_easy_strerror(CURLcode code)
{
    return "played";
}

/* Pauses between tries would only make it slow. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    return 0;
}

/* Hands the text on in pieces of exactly their size; false when it is refused. */
static bool deliver(struct str text, size_t piece, size_t (*take)(char *, size_t, size_t, void *),
                    void *ctx)
{
    while (take && text.len > 0) {
        size_t len = MIN(piece, text.len);
        char *copy = malloc(len);
        CHECK(copy);
        memcpy(copy, text.data, len);
        size_t taken = take(copy, 1, len, ctx);
        free(copy);
        if (taken != len)
            return false;
        text.data += len;
        text.len -= len;
    }
    return true;
}

static void deliver_headers(struct str text)
{
    while (text.len > 0) {
        const char *end = memchr(text.data, '\n', text.len);
        struct str line = {text.data, end ? (size_t)(end - text.data) + 1 : text.len};
        CHECK(deliver(line, line.len, fake.on_header, fake.header_ctx));
        text.data += line.len;
        text.len -= line.len;
    }
}

CURLcode curl_easy_perform(CURL *easy)
{
    static const long codes[] = {200, 200, 200, 206, 302, 404, 416, 500};
    if (fake.in.left == 0)
        return CURLE_COULDNT_CONNECT;
    uint8_t flags = input_byte(&fake.in);
    struct str text = input_text(&fake.in);
    fake.http = codes[flags & 7];
    fake.location[0] = 0;
    if (fake.http == 302) {
        struct str url = input_text(&fake.in);
        snprintf(fake.location, sizeof(fake.location), "%.*s", (int)MIN(url.len, (size_t)290),
                 url.data);
    }
    if (fake.on_header)
        deliver_headers(text);
    if (fake.fail_on_error && fake.http >= 400)
        return CURLE_HTTP_RETURNED_ERROR;
    if (!deliver(text, 1 + (size_t)(flags >> 4) * 20, fake.on_body, fake.body_ctx))
        return CURLE_WRITE_ERROR;
    return flags & 8 ? CURLE_RECV_ERROR : CURLE_OK;
}

/* ---- what it leaves ---- */

static int on_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    char home[200];
    scratch_path("home", home, sizeof(home));
    CHECK(where->level == 0 || strncmp(path, home, strlen(home)) == 0);
    if (where->level == 0)
        return 0;
    if (type == FTW_SLN) /* a link to nowhere */
        CHECK(!"a link without its blob");
    return type == FTW_DP ? rmdir(path) : unlink(path);
}

static void check_files(const char *snapshot)
{
    static const char *const files[] = {"config.json", "tokenizer.json"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", snapshot, files[i]);
        CHECK(access(path, R_OK) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = {.text = ""};
    char home[200], *path = NULL;

    scratch_path("home", home, sizeof(home));
    struct hub_opts opts = {.home = home, .endpoint = "http://hub", .token = "secret"};
    fake.in = (struct input){data, len};
    for (int round = 0; round < 2; round++) { /* the second finds what the first has left */
        enum hub_want want = len % 2 ? HUB_WANT_ALL : HUB_WANT_NO_WEIGHTS;
        if (hub_resolve("org/name", want, &opts, &path, &err) == STATUS_OK)
            check_files(path);
        else
            CHECK(err.text[0]);
        mem_free(path);
        path = NULL;
    }
    CHECK(nftw(scratch_folder(), on_entry, 16, FTW_DEPTH | FTW_PHYS) == 0);
    return 0;
}
