"""What operators see: ids and traces through both logs, one line a call, /cluster, metrics under the names that dashboards expect."""
import re

import pytest
import requests

from conftest import NAME, SLOW, free_port, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def observed(cluster):
    port = free_port()
    c = cluster(workers=1, worker_args=["--engine", "sim", "--admin-port", str(port)])
    c.worker_admin = f"http://127.0.0.1:{port}"
    return c


def ask(c, headers=None, **fields):
    body = {"model": c.name, "prompt": list(range(1000, 1100)), "max_tokens": 8, "ignore_eos": True, **fields}
    return requests.post(c.url() + "/v1/completions", json=body, headers=headers, timeout=60 * SLOW)


def lines(process, event, name):
    found = []
    for line in process.text().split("\n"):
        if f" {event} " in line and f"id={name} " in line:
            found.append(dict(re.findall(r"(\w+)=(\S+)", line)))
    return found


def samples(url):
    text = requests.get(url + "/metrics", timeout=5).text
    return {m.group(1): float(m.group(2)) for m in re.finditer(r"^([\w:]+(?:\{.*\})?) (\S+)$", text, re.M)}


def test_one_call_in_both_logs(observed):
    c = observed
    reply = ask(c, {"X-Request-Id": "order-66", "traceparent": PARENT})
    assert reply.status_code == 200 and reply.headers["X-Request-Id"] == "order-66"
    line, = lines(c.routers[0], "call.done", "order-66")
    assert (line["trace"], line["status"], line["prompt"], line["tokens"], line["cached"], line["worker"], line["attempts"],
            line["model"], line["kind"], line["key"]) == (TRACE, "200", "100", "8", "0", "worker-0", "1", NAME, "completions", "-")
    assert 0 <= float(line["queue_ms"]) <= float(line["ttft_ms"]) <= float(line["total_ms"]) and float(line["itl_ms"]) > 0
    line = wait_for(lambda: lines(c.workers[0], "req.done", "order-66"), 5)[0]
    assert (line["trace"], line["end"], line["index"], line["attempt"]) == (TRACE, "length", "8", "1")
    ask(c, {"X-Request-Id": "order-67"})
    assert lines(c.routers[0], "call.done", "order-67")[0]["cached"] == "96"


def test_ids_of_our_own_and_hostile_ones(observed):
    c = observed
    reply = ask(c)
    name = reply.headers["X-Request-Id"]
    assert name == reply.json()["id"] and lines(c.routers[0], "call.done", name)
    hostile = 'a" key=root status=200 %s%n'
    reply = ask(c, {"X-Request-Id": hostile, "traceparent": PARENT.replace("00-", "zz-")})
    assert reply.headers["X-Request-Id"] == hostile
    line = lines(c.routers[0], "call.done", "a__key_root_status_200__s_n")[0]
    assert line["key"] == "-" and line["trace"] == "-"
    assert wait_for(lambda: lines(c.workers[0], "req.done", "a__key_root_status_200__s_n"), 5)
    assert ask(c, {"X-Request-Id": "x" * 300}).headers["X-Request-Id"].startswith("cmpl-")
    assert ask(c, {"X-Request-Id": "refused"}, model="nobody").status_code == 404
    assert lines(c.routers[0], "call.done", "refused")[0]["status"] == "404"


def test_cluster_says_what_the_router_believes(observed):
    c = observed
    ask(c)
    cluster = wait_for(lambda: (lambda j: j if j["workers"][0]["pages_known"] == 6 else None)(
        requests.get(c.admin() + "/cluster", timeout=5).json()), 5)
    worker, = cluster["workers"]
    assert worker["name"] == "worker-0" and worker["model"] == NAME and worker["index_exact"] and not worker["draining"]
    assert worker["running"] == 0 and worker["room"] > 0 and worker["silent_ms"] < 2000 * SLOW
    assert cluster["router"]["policy"] == "prefix" and cluster["router"]["streams"] == 0


# Read by vLLM's dashboards, KEDA triggers, and the endpoint picker of the Gateway API.
ROUTER = ["vllm:time_to_first_token_seconds_bucket", "vllm:inter_token_latency_seconds_bucket",
          "vllm:e2e_request_latency_seconds_count", "vllm:request_queue_time_seconds_count", "vllm:request_success_total"]
WORKER = ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:num_preemptions_total",
          "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:prefix_cache_queries_total",
          "vllm:prefix_cache_hits_total", "vllm:cache_config_info"]


def test_metrics_have_the_names_that_tools_read(observed):
    c = observed
    for _ in range(2):
        assert ask(c).status_code == 200
    found = wait_for(lambda: (lambda s: s if s[f'vllm:prompt_tokens_total{{model_name="{NAME}"}}'] == 200 else None)(
        samples(c.worker_admin)), 5)
    for name in WORKER:
        assert any(k.startswith(name + "{") and f'model_name="{NAME}"' in k for k in found), name
    labels = f'{{model_name="{NAME}"}}'
    assert found["vllm:prefix_cache_hits_total" + labels] == 96
    assert found["vllm:generation_tokens_total" + labels] == 16
    assert found["msgl_worker_steps_total" + labels] >= 8
    assert found["msgl_worker_step_seconds_count" + labels] == found["msgl_worker_plan_seconds_count" + labels]
    found = samples(c.admin())
    for name in ROUTER:
        assert any(k.startswith(name + "{") and f'model_name="{NAME}"' in k for k in found), name
    assert found[f'vllm:request_success_total{{model_name="{NAME}",finished_reason="length"}}'] == 2
    # Exposition is well-formed: each family's samples follow its HELP and TYPE, once.
    for url in (c.admin(), c.worker_admin):
        text = requests.get(url + "/metrics", timeout=5).text
        types = re.findall(r"^# TYPE (\S+) (\w+)$", text, re.M)
        assert len(types) == len({name for name, _ in types}) and len(re.findall(r"^# HELP ", text, re.M)) == len(types)


def test_probes_of_a_worker(observed):
    c = observed
    assert requests.get(c.worker_admin + "/health", timeout=5).status_code == 200
    assert requests.get(c.worker_admin + "/ready", timeout=5).status_code == 200
    c.routers[0].kill()
    wait_for(lambda: requests.get(c.worker_admin + "/ready", timeout=5).status_code == 503, 10)
    assert requests.get(c.worker_admin + "/health", timeout=5).status_code == 200
    c.workers[0].halt()  # nobody answers, which a kubelet takes as failed
    with pytest.raises(requests.RequestException):
        requests.get(c.worker_admin + "/health", timeout=1)
    c.workers[0].popen.send_signal(18)
    assert requests.get(c.worker_admin + "/health", timeout=5).status_code == 200


@pytest.mark.parametrize("request_bytes", [b"", b"GET /health", b"GET / HTTP/1.1\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n",
                                           b"\0" * 9000, b"GET /healthy HTTP/1.1\r\n\r\n", b"x" * 20000])
def test_a_bad_probe_hurts_nobody(observed, request_bytes):
    import socket
    c = observed
    with socket.create_connection(("127.0.0.1", int(c.worker_admin.rsplit(":", 1)[1])), timeout=5) as s:
        s.settimeout(5)
        try:
            s.sendall(request_bytes)
            s.shutdown(socket.SHUT_WR)
            assert not s.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            pass
    assert requests.get(c.worker_admin + "/health", timeout=5).status_code == 200
