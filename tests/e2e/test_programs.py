"""Programs of others, unmodified, against a local server with SmolLM2. Each has an environment of its own under
MSGL_HOME/programs, made from programs.txt when its test first runs; a program that cannot be installed here is
skipped with the installer's last words. The heavy ones are marked long; curl is in every run, as is `openai`
(test_openai.py)."""
import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import MODEL, NAME, SLOW
from programs import program

pytestmark = pytest.mark.real


def run(argv, timeout=240, **kwargs):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout * SLOW, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def script(name, server, text):
    return run([os.path.join(program(name), "python"), "-c", text, server.url() + "/v1", NAME])


def test_curl(shared):
    body = json.dumps({"model": NAME, "messages": [{"role": "user", "content": "What is the capital of France?"}], "stream": True, "temperature": 0, "max_tokens": 12})
    out = run(["curl", "-sN", shared.url() + "/v1/chat/completions", "-H", "Content-Type: application/json", "-d", body])
    events = [line for line in out.split("\n") if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert "Paris" in "".join(json.loads(e[6:])["choices"][0]["delta"].get("content") or "" for e in events[:-1])
    big = run(["curl", "-s", "-H", "Expect: 100-continue", "--compressed", shared.url() + "/v1/completions", "-d",
               json.dumps({"model": NAME, "prompt": "word " * 1200, "max_tokens": 1})])
    assert json.loads(big)["usage"]["completion_tokens"] == 1


@pytest.mark.long
def test_langchain(shared):
    script("langchain", shared, """
import sys
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field
llm = ChatOpenAI(base_url=sys.argv[1], api_key="none", model=sys.argv[2], temperature=0, max_tokens=200)
text = llm.invoke("What is the capital of France?").content
assert "Paris" in text, text
assert "".join(c.content for c in llm.stream("What is the capital of France?")) == text
class City(BaseModel):
    name: str = Field(max_length=20)
    population: int = Field(ge=0, le=100000000)
for method in ("json_schema", "function_calling"):
    city = llm.with_structured_output(City, method=method).invoke("Tell me about Paris")
    assert isinstance(city, City), city
assert len(llm.batch(["Say a", "Say b"])) == 2
assert llm.invoke("Hi").usage_metadata["input_tokens"] > 0
lp = llm.bind(logprobs=True, top_logprobs=2).invoke("Hi").response_metadata["logprobs"]["content"]
assert lp and len(lp[0]["top_logprobs"]) == 2
""")


@pytest.mark.long
def test_llama_index(shared):
    script("llama-index", shared, """
import sys
from llama_index.llms.openai_like import OpenAILike
from llama_index.core.llms import ChatMessage
llm = OpenAILike(model=sys.argv[2], api_base=sys.argv[1], api_key="none", is_chat_model=True, temperature=0, max_tokens=40)
ask = [ChatMessage(role="user", content="What is the capital of France?")]
answer = llm.chat(ask).message.content
assert "Paris" in answer, answer
parts = [r.delta for r in llm.stream_chat(ask)]
assert "".join(p or "" for p in parts) == answer and len(parts) > 3
plain = OpenAILike(model=sys.argv[2], api_base=sys.argv[1], api_key="none", is_chat_model=False, temperature=0, max_tokens=8)
assert "Paris" in plain.complete("The capital of France is").text
""")


@pytest.mark.long
def test_instructor(shared):
    script("instructor", shared, """
import sys
import instructor
from openai import OpenAI
from pydantic import BaseModel, Field
from typing import List, Literal
class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    name: str = Field(max_length=12)
class User(BaseModel):
    name: str = Field(max_length=30)
    age: int = Field(ge=0, le=130)
    pets: List[Pet] = Field(max_length=2)
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(OpenAI(base_url=sys.argv[1], api_key="none"), mode=mode)
    user = client.chat.completions.create(model=sys.argv[2], response_model=User, temperature=0, max_tokens=300, max_retries=0,
        messages=[{"role": "user", "content": "Jason is 25 years old and has a cat called Tom"}])
    assert isinstance(user, User), user
""")


@pytest.mark.long
def test_schemathesis(shared, tmp_path):
    """Generated requests of all endpoints: never a 500, every status, content type and body as the document says. (What
    a schema cannot say, such as stream_options only with stream, is a 400, so valid ones may be refused.)"""
    out = run([os.path.join(program("schemathesis"), "schemathesis"), "run", shared.url() + "/openapi.json", "--max-examples", "60",
               "--phases", "coverage,fuzzing", "--request-timeout", "60", "--checks",
               "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,response_headers_conformance"],
              timeout=600, cwd=tmp_path)
    print([line for line in out.split("\n") if "generated" in line])
    assert " generated" in out


def lm_eval(folder, server=None):
    """The score of a small multiple-choice task made here, through the server or through transformers."""
    task = os.path.join(str(folder), "tasks")
    os.makedirs(task, exist_ok=True)
    with open(os.path.join(task, "capitals.jsonl"), "w", encoding="utf-8") as f:
        for country, capital in (("France", "Paris"), ("Italy", "Rome"), ("Japan", "Tokyo"), ("Spain", "Madrid"), ("Egypt", "Cairo"),
                                 ("Greece", "Athens"), ("Norway", "Oslo"), ("Peru", "Lima"), ("Kenya", "Nairobi"), ("Cuba", "Havana")):
            choices = sorted({capital, "London", "Berlin", "Rome" if capital != "Rome" else "Paris"})
            f.write(json.dumps({"question": f"The capital of {country} is", "choices": choices, "answer": choices.index(capital)}) + "\n")
    with open(os.path.join(task, "capitals.yaml"), "w", encoding="utf-8") as f:
        f.write(f"task: capitals\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {task}/capitals.jsonl\ntest_split: test\n"
                "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_target: answer\ndoc_to_choice: choices\n"
                "metric_list:\n  - metric: acc\n  - metric: acc_norm\n")
    model = (["--model", "local-completions", "--model_args",
              f"model={NAME},base_url={server.url()}/v1/completions,num_concurrent=4,tokenizer={MODEL},tokenized_requests=False"] if server else
             ["--model", "hf", "--model_args", f"pretrained={MODEL},dtype=float32", "--device", "cpu"])
    out = os.path.join(str(folder), "server" if server else "transformers")
    run([os.path.join(program("lm-eval"), "lm_eval"), *model, "--tasks", "capitals", "--include_path", task, "--batch_size", "1", "--log_samples",
         "--output_path", out], timeout=900, env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": os.path.join(str(folder), "cache")})
    found = [os.path.join(d, f) for d, _, names in os.walk(out) for f in names]
    with open(next(f for f in found if "results_" in f), encoding="utf-8") as f:
        score = json.load(f)["results"]["capitals"]
    with open(next(f for f in found if "samples_" in f), encoding="utf-8") as f:
        samples = sorted((json.loads(line) for line in f), key=lambda s: s["doc_id"])
    return score, [[float(r[0][0]) for r in s["resps"]] for s in samples]


@pytest.mark.long
def test_lm_eval(shared, tmp_path):
    score, logprobs = lm_eval(tmp_path, shared)
    print("through the server:", score)
    assert score["acc,none"] >= 0.8
    want_score, want = lm_eval(tmp_path)
    assert score["acc,none"] == want_score["acc,none"] and score["acc_norm,none"] == want_score["acc_norm,none"]
    worst = max(abs(a - b) for x, y in zip(logprobs, want) for a, b in zip(x, y))
    print("largest difference to transformers:", worst)
    assert worst < 0.05


@pytest.mark.long
def test_guidellm(shared, tmp_path):
    out = os.path.join(str(tmp_path), "report.json")
    run([os.path.join(program("guidellm"), "guidellm"), "run", "--backend", f"kind=openai_http,target={shared.url()},model={NAME}",
         "--profile", "kind=concurrent,streams=2", "--constraint", "kind=max_requests,count=6", "--tokenizer",
         f"kind=huggingface_auto,model={MODEL}", "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
         "--output", f"kind=json,path={out}"], timeout=600, cwd=tmp_path, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    with open(out, encoding="utf-8") as f:
        totals = json.load(f)["benchmarks"][0]["metrics"]["request_totals"]
    assert totals["successful"] >= 6 and totals["errored"] == 0, totals


@pytest.mark.long
def test_aiperf(shared, tmp_path):
    out = run([os.path.join(program("aiperf"), "aiperf"), "profile", "--model", NAME, "--url", shared.url(), "--endpoint-type", "chat",
               "--streaming", "--request-count", "6", "--concurrency", "2", "--tokenizer", MODEL, "--synthetic-input-tokens-mean", "32",
               "--output-tokens-mean", "16", "--ui", "none"], timeout=600, cwd=tmp_path)
    assert re.search(r"Request Error Rate \(%\) │ +0\.00", out) and re.search(r"Request Count \(requests\) │ +6\.00", out), out[-4000:]


@pytest.mark.long
def test_wrk(shared, tmp_path):
    if not shutil.which("wrk"):
        pytest.skip("wrk is not installed here (its Debian package is called wrk)")
    lua = tmp_path / "post.lua"
    lua.write_text('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = \'%s\'\n' %
                   json.dumps({"model": NAME, "prompt": "Hi", "max_tokens": 2, "temperature": 0}))
    out = run(["wrk", "-t", "1", "-c", "8", "-d", "4s", "--timeout", "30s", "-s", str(lua), shared.url() + "/v1/completions"])
    assert "Non-2xx" not in out and "Socket errors" not in out, out
