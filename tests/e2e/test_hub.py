"""common/hub through `msgl fetch`: a local hub with faults, the cache's layout, and no network."""
import hashlib
import os
import random
import re
import signal
import subprocess
import time

import pytest
from conftest import BUILD, SLOW, wait_for
from hub_server import COMMIT, Hub, git_blob

MSGL = os.path.join(BUILD, "msgl")
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def weights(seed, size=300_000):
    return random.Random(seed).randbytes(size)


def tiny(**more):
    return {"README.md": b"# tiny", "config.json": b'{"a": 1}', "generation_config.json": b"{}",
            "tokenizer.json": b'{"t": 1}', "tokenizer_config.json": b'{"c": 1}',
            "model.safetensors": weights(1), "pytorch_model.bin": b"never", "consolidated.safetensors": b"nor this",
            **more}


@pytest.fixture
def hub():
    with Hub({"acme/tiny": tiny()}) as h:
        yield h


@pytest.fixture
def fetch(hub, tmp_path):
    """fetch(*args, **environment) runs msgl fetch --model acme/tiny."""
    def run(*args, model="acme/tiny", timeout=60, **env):
        return subprocess.run([MSGL, "fetch", "--model", model, *args], capture_output=True, text=True,
                              env=environment(hub, tmp_path, **env), timeout=timeout * SLOW)
    run.home = tmp_path
    return run


def environment(hub, home, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return {**kept, "HF_HOME": str(home), "HF_ENDPOINT": hub.url, "no_proxy": "127.0.0.1", **more}


def repo(home, name="acme--tiny"):
    return os.path.join(home, "hub", "models--" + name)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def test_downloads_into_the_ordinary_cache(hub, fetch):
    done = fetch()
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()
    assert folder == os.path.join(repo(fetch.home), "snapshots", COMMIT)
    wanted = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(os.listdir(folder)) == wanted
    for name in wanted:
        data = hub.models["acme/tiny"][name]
        path = os.path.join(folder, name)
        assert read(path) == data
        etag = hashlib.sha256(data).hexdigest() if name.endswith("safetensors") else git_blob(data)
        assert os.readlink(path) == f"../../blobs/{etag}"
    assert read(os.path.join(repo(fetch.home), "refs", "main")).decode() == COMMIT
    assert not [f for f in os.listdir(os.path.join(repo(fetch.home), "blobs")) if "incomplete" in f]


def test_what_is_in_the_cache_asks_nobody(hub, fetch):
    assert fetch().returncode == 0
    hub.requests.clear()
    again = fetch()
    assert again.returncode == 0 and hub.requests == []
    assert fetch(HF_HUB_OFFLINE="1").stdout == again.stdout
    assert fetch("--offline").stdout == again.stdout
    assert fetch("--revision", COMMIT).stdout == again.stdout and hub.requests == []


def test_offline_without_a_cache_says_so(hub, fetch):
    done = fetch(HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and "cache" in done.stderr and hub.requests == []


def test_without_weights(hub, fetch):
    done = fetch("--no-weights")
    assert done.returncode == 0, done.stderr
    assert "model.safetensors" not in os.listdir(done.stdout.strip())
    assert not any("safetensors" in r[2] for r in hub.requests)
    done = fetch()  # the rest is fetched later, and only the rest
    assert "model.safetensors" in os.listdir(done.stdout.strip())
    assert len(hub.gets("config.json")) == 1


def test_sharded_weights(hub, fetch):
    index = b'{"weight_map": {"a": "%s", "b": "%s"}}' % tuple(s.encode() for s in SHARDS)
    files = tiny(**{"model.safetensors.index.json": index, SHARDS[0]: weights(2), SHARDS[1]: weights(3)})
    del files["model.safetensors"]
    hub.models["acme/tiny"] = files
    done = fetch()
    assert done.returncode == 0, done.stderr
    for shard in SHARDS:
        assert read(os.path.join(done.stdout.strip(), shard)) == files[shard]
    os.unlink(os.path.join(done.stdout.strip(), SHARDS[1]))  # a snapshot that lost a shard is not whole
    hub.requests.clear()
    assert fetch().returncode == 0 and hub.requests


def test_a_cut_connection_goes_on_where_it_stopped(hub, fetch):
    hub.cut_after["model.safetensors"] = 70_000
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert read(os.path.join(done.stdout.strip(), "model.safetensors")) == weights(1)
    ranges = [r[3].get("Range") for r in hub.gets("model.safetensors")]
    assert ranges == [None, "bytes=70000-", "bytes=140000-", "bytes=210000-", "bytes=280000-"]


def test_a_later_process_goes_on_where_a_killed_one_stopped(hub, fetch, tmp_path):
    hub.slow["model.safetensors"] = 60
    first = subprocess.Popen([MSGL, "fetch", "--model", "acme/tiny"], env=environment(hub, tmp_path),
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    sha = hashlib.sha256(weights(1)).hexdigest()
    partial = os.path.join(repo(tmp_path), "blobs", sha + ".incomplete")
    wait_for(lambda: os.path.exists(partial) and os.path.getsize(partial) == 150_000, 20)
    first.send_signal(signal.SIGINT)
    assert first.wait(10 * SLOW) != 0
    hub.slow.clear()
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert read(os.path.join(done.stdout.strip(), "model.safetensors")) == weights(1)
    assert hub.gets("model.safetensors")[-1][3].get("Range") == "bytes=150000-"


def test_a_server_without_ranges_sends_all_of_it_again(hub, fetch):
    hub.cut_after["model.safetensors"] = 100_000
    hub.cuts_left["model.safetensors"] = 2
    hub.no_range = True
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert read(os.path.join(done.stdout.strip(), "model.safetensors")) == weights(1)


def test_a_damaged_partial_file_is_noticed_and_replaced(hub, fetch, tmp_path):
    blobs = os.path.join(repo(tmp_path), "blobs")
    os.makedirs(blobs)
    sha = hashlib.sha256(weights(1)).hexdigest()
    for partial in (b"x" * 1000, b"x" * 300_000, b"x" * 400_000):
        with open(os.path.join(blobs, sha + ".incomplete"), "wb") as f:
            f.write(partial)
        done = fetch()
        assert done.returncode == 0, done.stderr
        assert read(os.path.join(done.stdout.strip(), "model.safetensors")) == weights(1)
        os.unlink(os.path.join(done.stdout.strip(), "model.safetensors"))
        os.unlink(os.path.join(blobs, sha))


def test_a_wrong_checksum_is_refused(hub, fetch):
    hub.wrong_sha.add("model.safetensors")
    done = fetch()
    assert done.returncode == 1 and "checksum" in done.stderr and "model.safetensors" in done.stderr
    assert len(hub.gets("model.safetensors")) == 2
    blobs = os.listdir(os.path.join(repo(fetch.home), "blobs"))
    assert hashlib.sha256(weights(1) + b"!").hexdigest() not in blobs
    assert not os.path.exists(os.path.join(repo(fetch.home), "refs", "main"))


def test_more_bytes_than_announced_are_refused(hub, fetch):
    hub.claimed_size["model.safetensors"] = 1000
    done = fetch()
    assert done.returncode == 1 and "longer" in done.stderr


def test_a_full_disk_is_said_before_a_byte_is_fetched(hub, fetch):
    hub.claimed_size["model.safetensors"] = 10 ** 15
    done = fetch()
    assert done.returncode == 1 and "disk" in done.stderr and "HF_HOME" in done.stderr
    assert hub.gets("model.safetensors") == []


def test_a_disk_that_fills_up_meanwhile(hub, tmp_path):
    """A file system of its own, 1 MB: there is room when the download starts; then something else takes it."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    hub.models["acme/tiny"]["model.safetensors"] = weights(4, 800_000)
    hub.slow["model.safetensors"] = 2
    script = f"""mount -t tmpfs -o size=1m tmpfs '{tmp_path}'
        (sleep 1; head -c 900000 /dev/zero >'{tmp_path}/other') &
        '{MSGL}' fetch --model acme/tiny; echo "rc=$?"
        rm '{tmp_path}/other'; '{MSGL}' fetch --model acme/tiny; echo "rc=$?" """
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True,
                          env=environment(hub, tmp_path), timeout=60 * SLOW)
    assert re.findall(r"rc=(\d)", done.stdout) == ["1", "0"], done.stdout + done.stderr
    assert "full" in done.stderr
    assert hub.gets("model.safetensors")[-1][3].get("Range")  # and the second went on from there


@pytest.mark.parametrize("statuses", [[503], [500, 502, 429]])
def test_a_hub_in_trouble_is_asked_again(hub, fetch, statuses):
    hub.fail["model.safetensors"] = list(statuses)
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert len(hub.gets("model.safetensors")) == 1 + len(statuses)


def test_a_hub_that_stays_in_trouble(hub, fetch):
    hub.fail["model.safetensors"] = [503] * 100
    done = fetch()
    assert done.returncode == 1 and "503" in done.stderr
    assert len(hub.gets("model.safetensors")) == 5


def test_a_stalled_connection_is_given_up_and_resumed(hub, fetch):
    hub.slow["model.safetensors"] = 4
    started = time.monotonic()
    done = subprocess.Popen([MSGL, "fetch", "--model", "acme/tiny", "--stall-s", "1"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=environment(hub, fetch.home))
    wait_for(lambda: len(hub.gets("model.safetensors")) >= 2, 20)
    hub.slow.clear()
    out, errors = done.communicate(timeout=30 * SLOW)
    assert done.returncode == 0, errors
    assert time.monotonic() - started < 20 * SLOW
    assert read(os.path.join(out.strip(), "model.safetensors")) == weights(1)


def test_token_goes_to_the_hub_and_nowhere_else(hub, fetch):
    hub.token = "hf_secret"
    refused = fetch()
    assert refused.returncode == 1 and "HF_TOKEN" in refused.stderr
    done = fetch(HF_TOKEN="hf_secret")
    assert done.returncode == 0, done.stderr
    hub.requests = hub.requests[1:]
    for server, _, path, headers in hub.requests:
        has = any(k.lower() == "authorization" for k in headers)
        assert has == (server == "api"), (server, path)
    assert "hf_secret" not in done.stdout + done.stderr


def test_unknown_model_and_revision(hub, fetch):
    done = fetch(model="acme/none")
    assert done.returncode == 1 and "acme/none" in done.stderr
    done = fetch("--revision", "v9")
    assert done.returncode == 1 and "v9" in done.stderr
    done = fetch("--revision", "v1/a")  # a branch with a slash
    assert done.returncode == 0, done.stderr
    assert read(os.path.join(repo(fetch.home), "refs", "v1", "a")).decode() == COMMIT


@pytest.mark.parametrize("model", ["nobody", "../x", "a/b/c", "a/..", "", "a/b\nc", "-a/b"])
def test_names_that_are_none(hub, fetch, model):
    done = fetch(model=model)
    assert done.returncode == 1 and re.search("folder|needed", done.stderr) and hub.requests == []


@pytest.mark.parametrize("revision", ["../../etc", "/x", "a//b", ".."])
def test_revisions_that_are_none(hub, fetch, revision):
    done = fetch("--revision", revision)
    assert done.returncode == 1 and hub.requests == []


def test_a_folder_is_itself(hub, fetch, tmp_path):
    done = fetch(model=str(tmp_path))
    assert done.returncode == 0 and done.stdout.strip() == str(tmp_path) and hub.requests == []


def test_a_hub_without_needed_files(hub, fetch):
    del hub.models["acme/tiny"]["tokenizer.json"]
    done = fetch()
    assert done.returncode == 1 and "tokenizer.json" in done.stderr
    del hub.models["acme/tiny"]["model.safetensors"]
    done = fetch()
    assert done.returncode == 1 and "safetensors" in done.stderr


def test_hostile_commit_and_file_names_stay_in_the_cache(hub, fetch, tmp_path):
    hub.models["acme/tiny"]["model-../../../evil.safetensors"] = b"evil"
    hub.models["acme/tiny"]["../config.json"] = b"evil"
    assert fetch().returncode == 0
    assert not any("evil" in f for _, _, files in os.walk(tmp_path) for f in files)
    hub.models["acme/other"] = hub.models["acme/tiny"]
    hub.commit = "../../../outside"
    done = fetch(model="acme/other")
    assert done.returncode == 1 and "hub" in done.stderr
    assert not os.path.exists(os.path.join(tmp_path, "outside"))


def test_relative_redirects_are_followed(hub, fetch):
    hub.relative_redirect = True
    done = fetch()
    assert done.returncode == 0, done.stderr
    assert read(os.path.join(done.stdout.strip(), "config.json")) == b'{"a": 1}'


def test_nobody_there(hub, fetch):
    done = fetch(HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1 and "127.0.0.1:9" in done.stderr


def test_an_answer_that_is_no_hub(hub, fetch):
    hub.send_list = lambda request, *rest: hub.plain(request, 200, body=b"<html>")
    done = fetch()
    assert done.returncode == 1 and "JSON" in done.stderr
    hub.send_list = lambda request, *rest: hub.plain(request, 200, body=b'{"sha": 5}')
    assert fetch().returncode == 1


def test_two_at_once_fetch_once(hub, fetch, tmp_path):
    hub.slow["model.safetensors"] = 1
    both = [subprocess.Popen([MSGL, "fetch", "--model", "acme/tiny"], env=environment(hub, tmp_path),
                             stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outs = {p.communicate(timeout=30 * SLOW)[0] for p in both}
    assert all(p.returncode == 0 for p in both) and len(outs) == 1
    assert len(hub.gets("model.safetensors")) == 1


def test_a_terminal_sees_a_bar(hub, tmp_path):
    import pexpect
    hub.slow["model.safetensors"] = 0.5
    child = pexpect.spawn(MSGL, ["fetch", "--model", "acme/tiny"], env=environment(hub, tmp_path), timeout=30 * SLOW,
                          encoding="utf-8")
    child.expect(r"model\.safetensors +\[#+\] +0\.3 of 0\.3 MB")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
