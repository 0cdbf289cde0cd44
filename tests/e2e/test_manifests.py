"""deploy/kubernetes and deploy/systemd: valid, consistent with the programs, and what they start works under a kubelet's hands."""
import json
import os
import re
import signal
import subprocess
import sys

import kubernetes_validate
import pytest
import requests
import yaml

from conftest import BUILD, MODEL, ROOT, SLOW, Process, wait_for
from manifests import FOLDER, OVERLAYS, command, compose, container, load

MONITORING = os.path.join(FOLDER, "monitoring")


def options(program):
    text = subprocess.run([os.path.join(BUILD, program), "--help"], capture_output=True, text=True).stdout
    return set(re.findall(r"--([a-z][a-z0-9-]*)", text))


def option(words, name, default=None):
    found = [w.split("=", 1)[1] for w in words if w.startswith(f"--{name}=")]
    return found[-1] if found else default


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_documents_are_valid(overlay):
    for document in compose(os.path.join(FOLDER, "overlays", overlay)):
        kubernetes_validate.validate(document, "1.32", strict=True)


def test_the_validation_catches():
    document, = [d for d in compose(os.path.join(FOLDER, "base")) if d["kind"] == "Deployment"]
    document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.32", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_schemas_do_not_see(overlay):
    documents = compose(os.path.join(FOLDER, "overlays", overlay))
    workloads = [container(documents, "Deployment"), container(documents, "StatefulSet")]
    for document, pod, spec in workloads:
        words = spec["args"]
        assert {w[2:].split("=")[0] for w in words} <= options(spec["command"][0])
        labels = document["spec"]["template"]["metadata"]["labels"]
        assert document["spec"]["selector"]["matchLabels"].items() <= labels.items()
        ports = {p["name"]: p["containerPort"] for p in spec["ports"]}
        assert ports["admin"] == int(option(words, "admin-port"))
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert spec[probe]["httpGet"]["port"] in ports and spec[probe]["httpGet"]["path"] in ("/health", "/ready")
        assert spec["livenessProbe"]["httpGet"]["path"] == "/health"
        assert pod["terminationGracePeriodSeconds"] > int(option(words, "drain-timeout")) + int(option(words, "drain-settle", 0))
        mounts = {m["name"] for m in spec["volumeMounts"]}
        assert mounts == {v["name"] for v in pod["volumes"]}
        if option(words, "kv-store"):
            mount = next(m["name"] for m in spec["volumeMounts"] if m["mountPath"] == option(words, "kv-store"))
            limit = next(v for v in pod["volumes"] if v["name"] == mount)["emptyDir"]["sizeLimit"]
            assert int(limit.removesuffix("Mi")) > int(option(words, "kv-mib"))
        assert pod["securityContext"]["runAsNonRoot"] and spec["securityContext"]["readOnlyRootFilesystem"]
        gpus = [spec["resources"][k].get("nvidia.com/gpu") for k in ("requests", "limits")]
        assert gpus[0] == gpus[1]
        if gpus[0] and option(words, "tp"):
            assert int(option(words, "tp")) == int(gpus[0]) * int(option(words, "nnodes", 1))
        if option(words, "nnodes"):
            assert document["spec"]["replicas"] == int(option(words, "nnodes"))
        key_volume = next(v for v in pod["volumes"] if v["name"] == "keys")["secret"]
        made = subprocess.run([os.path.join(BUILD, "msgl"), "keys", "--kubernetes"], capture_output=True, text=True).stdout
        secret = yaml.safe_load(made)
        assert key_volume["secretName"] == secret["metadata"]["name"]
        assert {i["key"] for i in key_volume["items"]} <= set(secret["data"])
        for name in ("wire-key-file", "wire-allow-file", "wire-router-key-file"):
            path = option(words, name)
            assert not path or os.path.basename(path) in {i["path"] for i in key_volume["items"]}
    router, worker = workloads[0], workloads[1]
    probe = router[2]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < int(option(router[2]["args"], "drain-settle"))
    services = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Service"}
    name, port = option(worker[2]["args"], "router")[6:].split(":")
    wire = services[name]["spec"]
    assert wire["clusterIP"] == "None" and wire["publishNotReadyAddresses"]
    assert wire["ports"][0]["port"] == int(port) == int(option(router[2]["args"], "worker-endpoint").rsplit(":", 1)[1])
    for service in services.values():
        assert any(service["spec"]["selector"].items() <= d["spec"]["template"]["metadata"]["labels"].items()
                   for d, _, _ in workloads)
    assert worker[0]["spec"]["serviceName"] in services
    allowed = {p["port"] for d in documents if d["kind"] == "NetworkPolicy" for rule in d["spec"]["ingress"]
               for p in rule.get("ports", [])}
    assert {p["containerPort"] for _, _, s in workloads for p in s["ports"] if p["name"] != "ranks"} <= allowed


def kubelet():
    """Runs in namespaces of its own: the pods' ports, paths and names are those of the manifests."""
    def sh(*words):
        subprocess.run(words, check=True, capture_output=True)
    tmp = sys.argv[2]
    sh("ip", "link", "set", "lo", "up")
    models, keys, hosts = (os.path.join(tmp, n) for n in ("models", "keys", "hosts"))
    for place in ("/srv", "/run"):
        sh("mount", "-t", "tmpfs", "tmpfs", place)
    os.makedirs("/srv/models")
    os.makedirs("/run/msgl")
    os.symlink(MODEL, "/srv/models/SmolLM2-135M-Instruct")
    sh(os.path.join(BUILD, "msgl"), "keys", "--dir", keys)
    os.symlink(keys, "/run/msgl/keys")
    os.makedirs("/run/msgl/kv")  # the pod's: a container that is started again finds what the one before left
    with open(hosts, "w") as f:
        f.write("127.0.0.1 localhost msgl-router-wire\n")
    sh("mount", "--bind", hosts, "/etc/hosts")
    documents = compose(os.path.join(FOLDER, "overlays", "cpu-demo"))
    pods = {}

    def start(kind, name):
        _, _, spec = container(documents, kind)
        words = command(spec, {"POD_NAME": name})
        pods[kind] = Process([os.path.join(BUILD, words[0]), *words[1:]], os.path.join(tmp, name + ".log"))
        return spec

    def probe(spec, which):
        what = spec[which]["httpGet"]
        port = next(p["containerPort"] for p in spec["ports"] if p["name"] == what["port"])
        try:
            return requests.get(f"http://127.0.0.1:{port}{what['path']}", timeout=spec[which].get("timeoutSeconds", 1)).status_code
        except requests.RequestException:
            return 0
    worker = start("StatefulSet", "msgl-worker-0")  # before its router: a name without a server behind it
    wait_for(lambda: probe(worker, "livenessProbe") == 200, 20)
    assert probe(worker, "readinessProbe") == 503
    router = start("Deployment", "msgl-router-0")
    wait_for(lambda: probe(router, "startupProbe") == 200, 30)
    wait_for(lambda: probe(router, "readinessProbe") == 200 and probe(worker, "readinessProbe") == 200, 60)
    body = {"model": "SmolLM2-135M-Instruct", "prompt": "Hello", "max_tokens": 60, "temperature": 0, "ignore_eos": True}

    def ask():
        return requests.post("http://127.0.0.1:8000/v1/completions", json=body, timeout=60 * SLOW)
    want = ask().json()["choices"][0]["text"]
    metrics = "".join(requests.get(f"http://127.0.0.1:{p}/metrics", timeout=5).text for p in (9000, 9100))
    with open(os.path.join(tmp, "metrics"), "w") as f:
        f.write(metrics)
    # A container dies and is started again in its pod, with its cache.
    pods["StatefulSet"].kill()
    start("StatefulSet", "msgl-worker-0")
    wait_for(lambda: probe(worker, "readinessProbe") == 200, 60)
    wait_for(lambda: ask().status_code == 200, 60)
    assert ask().json()["choices"][0]["text"] == want
    again = requests.get("http://127.0.0.1:9100/metrics", timeout=5).text
    assert float(re.search(r"^msgl_worker_store_restored_pages\{.*\} (\S+)$", again, re.M).group(1)) >= 3
    # A router is rolled: not ready first, still answering; then it ends by itself within its grace.
    pods["Deployment"].popen.send_signal(signal.SIGTERM)
    wait_for(lambda: probe(router, "readinessProbe") == 503, 5, every=0.05)
    assert probe(router, "livenessProbe") == 200 and ask().json()["choices"][0]["text"] == want
    assert pods["Deployment"].popen.wait(30 * SLOW) == 0
    wait_for(lambda: probe(worker, "readinessProbe") == 503, 20)
    assert probe(worker, "livenessProbe") == 200
    start("Deployment", "msgl-router-1")
    wait_for(lambda: probe(router, "readinessProbe") == 200, 60)
    assert ask().json()["choices"][0]["text"] == want
    pods["StatefulSet"].popen.send_signal(signal.SIGTERM)
    assert pods["StatefulSet"].popen.wait(20 * SLOW) == 0
    wait_for(lambda: probe(router, "readinessProbe") == 503, 10)
    assert pods["Deployment"].kill(signal.SIGKILL) is not None


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("kubelet")
    if subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True).returncode != 0:
        pytest.skip("namespaces cannot be made here")
    done = subprocess.run(["unshare", "-n", "-m", sys.executable, os.path.abspath(__file__), "kubelet", str(tmp)],
                          capture_output=True, text=True, timeout=300 * SLOW,
                          env={**os.environ, "PYTHONPATH": os.path.dirname(__file__), "no_proxy": "*"})
    assert done.returncode == 0, done.stderr + "".join(p.read_text()[-2000:] for p in tmp.glob("*.log"))
    return (tmp / "metrics").read_text()


def test_a_kubelet_starts_probes_and_stops_them(played):
    assert "msgl_router_workers 1" in played


def names_in(expression):
    return set(re.findall(r"\b((?:vllm:|msgl_)[a-z_0-9:]+)", expression))


def test_dashboard_and_alerts_read_metrics_that_exist(played):
    with open(os.path.join(MONITORING, "dashboard.json"), encoding="utf-8") as f:
        wanted = {n for p in json.load(f)["panels"] for t in p["targets"] for n in names_in(t["expr"])}
    rules, = load(os.path.join(MONITORING, "alerts.yaml"))
    alerts = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    wanted |= {n for rule in alerts for n in names_in(rule["expr"])}
    keda, = load(os.path.join(MONITORING, "keda.yaml"))
    wanted |= names_in(keda["spec"]["triggers"][0]["metadata"]["query"])
    families = set(re.findall(r"^# TYPE (\S+)", played, re.M))
    assert not {n for n in wanted if n not in families and re.sub(r"_(bucket|sum|count)$", "", n) not in families}
    assert len(wanted) > 20
    with open(os.path.join(ROOT, "docs", "OPERATIONS.md"), encoding="utf-8") as f:
        page = f.read()
    assert not [rule["alert"] for rule in alerts if rule["alert"] not in page]
    assert not [name for name in families if name not in page]


@pytest.mark.parametrize("unit", ["msgl-router.service", "msgl-worker@.service"])
def test_systemd_units(unit, tmp_path):
    with open(os.path.join(ROOT, "deploy", "systemd", unit), encoding="utf-8") as f:
        text = f.read()
    words = re.search(r"^ExecStart=(.*)$", text, re.M).group(1).split()
    program = os.path.basename(words[0])
    assert {w[2:] for w in words if w.startswith("--")} <= options(program) | {"config"}
    assert int(re.search(r"TimeoutStopSec=(\d+)", text).group(1)) > 30 and "KillMode=mixed" in text
    config = tmp_path / "conf"
    config.write_text(f"model = {MODEL}\n" + ("router = tcp://127.0.0.1:8100\n" if program == "msgl-worker" else ""))
    words = [w if w != words[words.index("--config") + 1] else str(config) for w in words]
    done = subprocess.run([os.path.join(BUILD, program), *words[1:], "--print-config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__" and sys.argv[1:2] == ["kubelet"]:
    kubelet()
