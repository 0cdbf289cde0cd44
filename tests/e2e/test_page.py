"""The page to chat: its files as any client sees them, and in a real browser with the real model."""
import http.client
import json
import os
import re

import pytest
import requests
from accessible import check_contrast, check_keys, check_names, check_narrow
from browser import Browser, Keys
from conftest import BUILD, MODEL, NAME, ROOT, wait_for
from scripted_worker import ScriptedWorker, ids_of

MODULES = sorted(f for f in os.listdir(os.path.join(ROOT, "router", "web", "ui")))
ANSWER = "article.assistant"
DONE = ANSWER + ":last-child .foot button"


@pytest.fixture(scope="module")
def window():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def page(window):
    """open(url): a window without a past; what it asked for and complained of is checked at the end."""
    urls = []

    def start(url, width=1180, height=800, dark=False):
        window.size(width, height)
        window.colours(dark)
        window.open("about:blank")
        window.cdp("Storage.clearDataForOrigin", origin=url, storageTypes="all")
        window.console(), window.requests()
        urls.append(url)
        window.open(url + "/")
        window.wait("#model option[value]")
        return window
    start.allowed = []
    yield start
    complaints = [c for c in window.console() if not any(a in c for a in start.allowed)]
    assert not complaints, complaints
    foreign = [r for r in window.requests() if not any(r.startswith(u + "/") for u in urls) and not r.startswith("about:")]
    assert not foreign, foreign


@pytest.fixture
def told(cluster):
    """told(text): a router whose model thinks a little and then says this."""
    workers = []

    def make(c, text, burst=1):
        ids = requests.post(c.url() + "/tokenize", json={"prompt": text}, timeout=60).json()["tokens"]
        worker = ScriptedWorker(c.wire(), c.model, length_max=4_000_000, step_s=0.005)
        worker.burst = burst
        worker.say(ids)
        workers.append(worker)
        wait_for(lambda: worker.welcomed, 10)
        return worker
    yield make
    for worker in workers:
        worker.stop()


def ask(page, text, *keys):
    page.find("#input").click()
    page.press(text, *(keys or (Keys.ENTER,)))


def brief(page):
    """Answers of a real model that end soon: without a limit one may fill the context, for minutes."""
    page.js("localStorage.setItem('msgl.settings', '{\"temperature\":0,\"max_tokens\":48}')")
    return page


def answered(page, seconds=60):
    page.wait(DONE, seconds)
    wait_for(lambda: page.text("#send") == "Send", 10)
    return page.text(ANSWER + ":last-child .body")


# ---- the files ----

@pytest.mark.sanitize
@pytest.mark.parametrize("admin", [False, True])
def test_files(shared, admin):
    url = shared.admin() if admin else shared.url()
    index = requests.get(url + "/", timeout=5)
    assert index.status_code == 200 and index.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in index.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'" and "unsafe" not in str(policy)
    for name in MODULES + ["port.js"]:
        reply = requests.get(f"{url}/ui/{name}", timeout=5)
        assert reply.status_code == 200 and len(reply.content) > 10
        assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["referrer-policy"] == "no-referrer"
        assert reply.headers["content-security-policy"] == index.headers["content-security-policy"]
        again = requests.get(f"{url}/ui/{name}", headers={"If-None-Match": reply.headers["etag"]}, timeout=5)
        assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == reply.headers["etag"]
    assert ("true" in requests.get(url + "/ui/port.js", timeout=5).text) == admin
    assert requests.get(url + "/ui/none.js", timeout=5).status_code == 404
    assert requests.post(url + "/", timeout=5).status_code in (404, 405)


@pytest.mark.sanitize
def test_head_has_no_body(shared):
    connection = http.client.HTTPConnection(shared.url()[7:], timeout=10)
    for path in ("/", "/ui/main.js"):
        length = len(requests.get(shared.url() + path, timeout=5).content)
        connection.request("HEAD", path)
        reply = connection.getresponse()
        assert reply.status == 200 and int(reply.headers["content-length"]) == length and reply.read() == b""
    # What came behind a HEAD would be read as the head of the next answer.
    connection.request("GET", "/health")
    assert json.loads(connection.getresponse().read())["status"] == "ok"


@pytest.mark.sanitize
def test_no_page(cluster):
    c = cluster(workers=0, start=False, router_args=["--no-ui"])
    for url in (c.url(), c.admin()):
        for path in ("/", "/ui/main.js", "/ui/port.js"):
            assert requests.get(url + path, timeout=5).status_code == 404
    assert requests.post(c.admin() + "/v1/chat/completions", json={}, timeout=5).status_code == 405
    assert requests.get(c.url() + "/v1/models", timeout=5).status_code == 200


@pytest.mark.sanitize
def test_admin_port_takes_the_pages_calls_and_no_others(shared):
    body = {"model": NAME, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    assert requests.post(shared.admin() + "/v1/chat/completions", json=body, timeout=60).json()["usage"]["completion_tokens"] >= 1
    assert requests.get(shared.admin() + "/v1/models", timeout=5).json()["data"][0]["id"] == NAME
    assert requests.post(shared.admin() + "/v1/completions", json={"prompt": "x"}, timeout=5).status_code == 405
    assert requests.get(shared.admin() + "/openapi.json", timeout=5).status_code == 404


# ---- the chat ----

def test_chat(shared, page):
    p = brief(page(shared.url()))
    ask(p, "Say hello to the world in one short sentence.")
    text = answered(p)
    assert len(text.strip()) > 3
    first = p.text(ANSWER + " .figures")
    assert re.search(r"[\d.]+ tokens/s · first token after \d+\.\d\d s · \d+ tokens · \d+ of \d+ prompt tokens cached", first), first
    assert p.text("#title").startswith("Say hello") and p.count("#chats .pick") == 1
    # The second turn has the first in its prompt, and the worker has it in its cache.
    ask(p, "And again, please.")
    answered(p)
    cached, prompt = map(int, re.search(r"(\d+) of (\d+) prompt", p.text(ANSWER + ":last-child .figures")).groups())
    assert 16 <= cached < prompt
    # The first message, edited: what came after it is gone.
    p.find("article.user .foot button").click()
    p.chord(Keys.CONTROL, "a")
    p.press("What is two plus two?", Keys.ENTER)
    answered(p)
    assert p.count("article") == 2 and p.text("article.user .body") == "What is two plus two?"
    # Regenerated: one answer, another call.
    p.find(ANSWER + " .foot button").click()
    wait_for(lambda: p.text("#send") == "Stop" or p.count(DONE), 10)
    answered(p)
    assert p.count("article") == 2
    # A second conversation; both are there after a reload, and one can be deleted.
    p.find("#new").click()
    assert p.count("article") == 0
    ask(p, "Name a colour.")
    answered(p)
    p.open(shared.url() + "/")
    p.wait("#chats .pick")
    assert p.count("#chats .pick") == 2 and p.text("article.user .body") == "Name a colour."
    p.all("#chats .pick")[1].click()
    wait_for(lambda: p.text("article.user .body") == "What is two plus two?", 5)
    p.all("#chats .drop")[1].click()
    assert p.count("#chats .pick") == 1 and p.text("article.user .body") == "Name a colour."


def test_stop_and_settings(cluster, told, page):
    c = cluster(workers=0, start=False)
    worker = told(c, "and on it goes, " * 2000)
    p = page(c.url())
    p.find("#show-settings").click()
    p.find("#settings [name=system]").send_keys("Be brief.")
    p.find("#settings [name=temperature]").send_keys("0.25")
    p.find("#settings [name=max_tokens]").send_keys("3000")
    p.find("#settings button").click()
    ask(p, "One two three")
    wait_for(lambda: len(p.text(ANSWER + " .body")) > 20, 30)
    assert p.text("#send") == "Stop"
    p.press(Keys.ESCAPE)
    wait_for(lambda: "stopped" in p.text(ANSWER + " .figures"), 10)
    assert "tokens/s" in p.text(ANSWER + " .figures")
    wait_for(lambda: not worker.reqs, 10)  # the worker was told
    frame = worker.frames(3)[0]
    assert frame["te"] == pytest.approx(0.25) and frame["mx"] == 3000
    prompt = requests.post(c.url() + "/detokenize", json={"tokens": ids_of(frame["k"])}, timeout=10).text
    assert "Be brief." in prompt and "One two three" in prompt
    kept = p.js("return JSON.parse(localStorage.getItem('msgl.settings'))")
    assert kept == {"system": "Be brief.", "temperature": 0.25, "max_tokens": 3000}


def test_key(cluster, page):
    c = cluster(workers=0, start=False, router_args=["--api-key", "sk-page-test"])
    worker = ScriptedWorker(c.wire(), MODEL)
    worker.eos_after = 8
    page.allowed = ["401 (Unauthorized)"]
    try:
        wait_for(lambda: worker.welcomed, 10)
        p = page(c.url())
        assert p.find("#key-form").is_displayed() and p.js("return document.activeElement.id") == "key"
        p.press("sk-wrong-key", Keys.ENTER)
        wait_for(lambda: p.find("#key-form").is_displayed(), 10)
        p.press("sk-page-test", Keys.ENTER)
        wait_for(lambda: p.text("#model") == NAME, 10)
        ask(p, "Hello")
        answered(p)
        assert not p.find("#key-form").is_displayed()
        assert "sk-page-test" not in p.js("return JSON.stringify(localStorage)")  # it goes with the tab
    finally:
        worker.stop()


# ---- what a model may say ----

HOSTILE = """<script>window.broken = 1</script><img src=x onerror="window.broken = 2">

[press](javascript:window.broken=3) [good](https://example.com/path) [press](data:text/html,<script>4</script>)

<iframe src="https://example.com"></iframe> &lt;b&gt; **bold** `<i>code</i>` https://evil.example/?a=<script>

\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \u202egnp.exe\u202c \u2066turned\u2069

| a | <b>b</b> |
|---|---|
| 1 | <u>2</u> |

```html
<script>window.broken = 5</script>
\u202eturned\x1b[2J
```

- one <script>6</script>
- two
"""


def thinking_model(folder):
    """The model's folder with <think> marks in its tokenizer."""
    path = os.path.join(str(folder), NAME)
    os.makedirs(path)
    for name in os.listdir(MODEL):
        if not name.endswith(".safetensors"):
            os.symlink(os.path.join(MODEL, name), os.path.join(path, name))
    with open(os.path.join(path, "tokenizer.json"), encoding="utf-8") as f:
        tokenizer = json.load(f)
    for i, token in enumerate(("<think>", "</think>")):
        tokenizer["added_tokens"].append({"id": 49152 + i, "content": token, "special": False, "single_word": False,
                                          "lstrip": False, "rstrip": False, "normalized": False})
    os.remove(os.path.join(path, "tokenizer.json"))
    with open(os.path.join(path, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f)
    return path


def test_hostile_text_stays_text(cluster, told, page, tmp_path):
    c = cluster(workers=0, start=False, model=thinking_model(tmp_path))
    told(c, "<think>\nhm <script>window.broken = 0</script> \u202ehm\n</think>\n\n" + HOSTILE)
    p = page(c.url())
    ask(p, "Go")
    body = answered(p)
    assert p.js("return window.broken") is None
    assert p.count(ANSWER + " :is(script, img, iframe, b, u, i)") == 0
    links = p.js("return [...document.querySelectorAll('article.assistant a')].map(a => [a.href, a.textContent, a.rel])")
    assert [link[0] for link in links] == ["https://example.com/path", "https://example.com/", "https://evil.example/?a="]
    assert links[0][1] == "good (example.com)" and all("noopener" in link[2] for link in links)
    for piece in ("<script>window.broken = 1</script>", "[press](javascript:window.broken=3)", "data:text/html", "<iframe src=",
                  "&lt;b&gt;", "<i>code</i>", "\u241b[31mred\u241b[0m", "\u27e8U+202E\u27e9gnp.exe", "<b>b</b>", "<u>2</u>",
                  "window.broken = 5", "\u27e8U+202E\u27e9turned\u241b[2J", "one <script>6</script>"):
        assert piece in body, piece
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", body)
    # What was thought is folded, and is text too.
    thought = p.find(ANSWER + " details")
    assert not thought.get_attribute("open") and "<script>window.broken = 0</script>" in p.text(ANSWER + " details p")
    assert p.count(ANSWER + " strong") == 1 and p.count(ANSWER + " li") == 2 and p.count(ANSWER + " td") == 2
    # The copy button has what the model wrote.
    assert p.text(ANSWER + " .code-head span") == "html"


ANSWERED = """<think>
They want the rule, an example and how to try it. The cost is in tokens, so the example should be, too.
</think>

It takes the worker with the **lowest cost**, in tokens that are still to be computed:

1. what the worker does not hold of the prompt,
2. what waits before it,
3. a share for every stream that it runs.

| worker | holds | waits | cost |
|---|---|---|---|
| a | 480 of 530 | 0 | 50 |
| b | 0 of 530 | 0 | 530 |

So `a` computes 50 tokens where `b` would compute 530. To see it:

```python
for turn in ("Hello!", "And then?"):
    messages.append({"role": "user", "content": turn})
    answer = client.chat.completions.create(model=model, messages=messages)
    print(answer.usage.prompt_tokens_details.cached_tokens)
```
"""


PIECES = """
const done = arguments[arguments.length - 1], texts = arguments[0];
import("/ui/markdown.js").then(({ Markdown }) => {
    const read = (text, sizes) => {
        const root = document.createElement("div"), markdown = new Markdown(root);
        for (let at = 0, i = 0; at < text.length; i++) {
            const end = at + sizes[i % sizes.length];
            markdown.push(text.slice(at, end));
            at = end;
        }
        markdown.finish();
        return root.innerHTML;
    };
    done(texts.map((text) => [[1], [2, 3], [7, 1, 4]].map((sizes) => [read(text, [text.length]), read(text, sizes)])));
}, (error) => done(String(error)));
"""


def test_text_reads_the_same_in_any_pieces(shared, page):
    """A token may end anywhere, also in the sign of a list's next item."""
    p = page(shared.url())
    texts = [ANSWERED.split("</think>")[1], HOSTILE, "- a\n- b\n  - c\n  - d\n- e\ntext\n", "1. a\n2. b\n   more of b\n10. c\n\n11) d\n",
             "> one\n> two\nthree\n\na | b\n---|---\nc | d\nlong enough | f\n\n# head\n***\n~~~\ncode\n~~~\n* x\n**bold**\n"]
    for text, tries in zip(texts, p.driver.execute_async_script(PIECES, texts)):
        for at_once, in_pieces in tries:
            assert in_pieces == at_once, text


def test_an_answer_with_all_in_it(cluster, told, page, tmp_path):
    """Each part is what it says, to the eye, to a screen reader and to the keyboard, in both colours and on a phone."""
    c = cluster(workers=0, start=False, model=thinking_model(tmp_path))
    told(c, ANSWERED)
    p = page(c.url())
    ask(p, "How does the router choose a worker?")
    answered(p)
    assert [p.count(ANSWER + " " + part) for part in ("ol > li", "table tr", "pre", "strong", "details.thought")] == [3, 3, 1, 1, 1]
    assert "They want the rule" in p.text(ANSWER + " details p") and "They want" not in p.text(ANSWER + " .body")
    p.picture("page-chat")
    p.find(ANSWER + " details summary").click()
    check_names(p, "How does the router choose a worker?")
    check_contrast(p)
    check_keys(p)
    check_narrow(p)
    p.find("#show-side").click()
    check_contrast(p)
    p.find("#new").click()
    check_names(p, "New chat")
    check_contrast(p)
    p.find("#show-settings").click()
    check_contrast(p)
    names = p.js("return [...document.querySelectorAll('#settings [name]')].map(n => n.labels[0]?.textContent.trim())")
    assert len(names) == 7 and all(names)


@pytest.mark.parametrize("check,harm", [
    (lambda p: check_names(p, "New chat"), "document.querySelector('label[for=input]').remove(); input.placeholder = ''"),
    (lambda p: check_names(p, "New chat"), "title.setAttribute('role', 'presentation')"),
    (lambda p: check_names(p, "New chat"), "document.querySelector('header nav').removeAttribute('aria-label')"),
    (check_contrast, "document.querySelector('.welcome').style.color = '#888'"),
    (check_contrast, "document.querySelector('.welcome').style.opacity = 0.6"),
    (check_keys, "send.tabIndex = -1"),
    (check_narrow, "log.style.width = '400px'"),
])
def test_what_is_wrong_is_found(shared, page, check, harm):
    """The checks above, on a page that is not as it should be."""
    p = page(shared.url())
    p.js("const [input, title, send, log] = ['input', 'title', 'send', 'log'].map(id => document.getElementById(id));" + harm)
    with pytest.raises(AssertionError):
        check(p)


def test_a_megabyte_in_one_line(cluster, told, page):
    """It streams in, the page stays alive, and nothing of it is lost."""
    c = cluster(workers=0, start=False)
    line = "".join(f"word{i} <b>*_`[x](" for i in range(65_000))
    assert len(line) > 1_000_000
    told(c, line, burst=4000)
    p = page(c.url())
    ask(p, "Go")
    answered(p, 120)
    shown = p.js("return document.querySelector('article.assistant .body').textContent.length")
    wait_for(lambda: p.js("return document.querySelector('article.assistant .body').textContent.length") == shown, 10)
    text = p.text(ANSWER + " .body")
    assert text.count("word") == 65_000 and "word64999 " in text and p.count(ANSWER + " b") == 0
    pieces = p.count(ANSWER + " .body > *")
    assert pieces > 200, "one piece would be laid out anew with every token"
    assert p.js("return document.documentElement.scrollWidth <= innerWidth")


def test_narrow_dark_and_keyboard_only(shared, page):
    p = brief(page(shared.url(), width=360, height=640, dark=True))
    assert p.js("return getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 27)"
    assert p.js("return document.documentElement.scrollWidth") <= 360
    assert p.js("return document.activeElement.id") == "input"
    p.press("Say hi", Keys.ENTER)
    answered(p)
    assert p.js("return document.documentElement.scrollWidth") <= 360
    # From the field backwards with Tab: everything that does something can be reached, and shows that it is.
    reached = []
    for _ in range(14):
        p.chord(Keys.SHIFT, Keys.TAB)
        reached.append(p.js("const a = document.activeElement; return [a.getAttribute('aria-label') || a.textContent.slice(0, 20) || a.id,"
                            "getComputedStyle(a).outlineStyle, a.tagName]"))
    names = [name for name, _, _ in reached]
    for name in ("Copy this answer", "Regenerate this answer", "Edit this message", "Settings", "Chats", "Chat"):
        assert name in names, (name, names)
    assert all(style != "none" for _, style, tag in reached if tag not in ("BODY", "TEXTAREA")), reached  # the field lights up the frame around it
    # The list of chats opens over the transcript and closes again.
    p.find("#show-side").click()
    assert p.find("#new").is_displayed()
    p.find("#chats .pick")
    p.find("#new").click()
    assert not p.find("#side").is_displayed() and p.js("return document.activeElement.id") == "input"
    # Colours by hand: dark stays dark, light is light whatever the system says.
    p.find("#theme").click()
    assert p.js("return getComputedStyle(document.body).backgroundColor") == "rgb(247, 247, 245)"


def test_built_page_is_this_page():
    """The files in the binary are those of the tree: a stale table would be tested for nothing."""
    with open(os.path.join(BUILD, "msgl-router"), "rb") as f:
        binary = f.read()
    for name in MODULES:
        with open(os.path.join(ROOT, "router", "web", "ui", name), "rb") as f:
            assert f.read() in binary, name
