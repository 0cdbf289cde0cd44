"""rules - what the tree must keep true, as data. test_tidy.py reads it; a rule is one row."""

# folder -> prefixes of our own headers that it may include (longest folder wins).
INCLUDES = {
    "common": ["common/"],
    "proto": ["proto/", "common/"],
    "kernels": ["kernels/", "common/"],
    "worker/sched": ["worker/sched/", "common/"],
    "worker/model": ["worker/model/", "kernels/", "common/"],
    "worker/engine": ["worker/engine/", "worker/model/", "kernels/", "worker/sched/batch.h", "common/"],
    "worker": ["worker/", "proto/", "common/", "kernels/ops.h"],
    "router/jinja": ["router/jinja/", "common/"],
    "router/text": ["router/text/", "router/jinja/", "common/"],
    "router/grammar": ["router/grammar/", "common/"],
    "router/http": ["router/http/", "common/"],
    "router": ["router/", "proto/", "common/"],
    "deploy/local": ["deploy/local/", "router/text/tokenizer.h", "router/text/detokenizer.h",
                     "router/text/chat_template.h", "proto/keys.h", "common/"],
}

# third-party header -> folders that may include it.
LIBRARY_HEADERS = {
    "zmq.h": ["proto"],
    "msgpack.h": ["proto"],
    "h2o.h": ["router/http"],
    "uv.h": ["router"],
    "curl/curl.h": ["common", "deploy/local"],
    "pcre2.h": ["router/text"],
    "utf8proc.h": ["router/text", "router/jinja"],
    "histedit.h": ["deploy/local"],
    "openssl/sha.h": ["router/api"],
    "openssl/ssl.h": ["router/http"],
    "openssl/crypto.h": ["router/api"],
    "cuda_runtime.h": ["kernels/cuda"],
    "cublasLt.h": ["kernels/cuda"],
    "nccl.h": ["kernels/cuda"],
}

# call -> why not, and what instead. Matched as a word before "(" in code (comments stripped).
BANNED_CALLS = {
    "strcpy": "use memcpy with a length or buf_str",
    "strcat": "use struct buf",
    "sprintf": "use snprintf or buf_printf",
    "gets": "never",
    "strtok": "keeps hidden state; cut a struct str",
    "atoi": "no error; use strtol with checks",
    "atof": "no error; use strtod with checks",
    "rand": "use common/rng.h",
    "srand": "use common/rng.h",
    "alloca": "unbounded stack",
}
# exit is for main.c (and forked children, which use _exit).
EXIT_ALLOWED = ["main.c"]

# getenv: one place for options, plus the hub's and the launcher's documented variables.
GETENV_ALLOWED = ["common/config.c", "common/hub", "deploy/local/"]

# Bodies that are included several times with other macros, and so do not stand alone.
TEMPLATE_HEADERS = ("_body.h", "ops_checked.h", "ops_checked_model.h")

LINES_C_MAX = 800
LINES_H_MAX = 350
FUNCTION_LINES_MAX = 110

PRODUCTION = ["common", "proto", "kernels", "worker", "router", "deploy/local"]

# The page (router/web/ui): files that one reads in one go, and what its code never does. Word -> why not.
PAGE_LINES_MAX = 350
PAGE_COLUMNS_MAX = 200
PAGE_BANNED = {
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|createContextualFragment":
        "text of models and workers would become HTML",
    r"\beval\b|new Function|setTimeout\(\s*[\"']": "the policy forbids code made of text",
    r"\bimport\s*\(|from\s+[\"'](?!\./)": "only the modules beside it",
    r"https?://(?!www\.w3\.org/2000/svg|\[)": "no request leaves the router",
    r"\bstyle\s*=|\bon\w+\s*=\s*[\"']": "the policy forbids inline styles and handlers",
    r"\bvar\s+\w|\bconsole\.": "let and const; nothing is left on the console",
}
