"""A local model hub: the paths of the Hugging Face hub that common/hub uses, with faults on demand.

    hub = Hub({"acme/tiny": {"config.json": b"{}", ...}})
    with hub: ... HF_ENDPOINT=hub.url ...

Large files (*.safetensors) redirect to a second server (another port: "another host"), as the real hub sends
them to a store elsewhere. Every request is kept in hub.requests as (server, method, path, headers)."""
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    def __init__(self, models, token=None):
        self.models = models          # name -> {file: bytes}
        self.token = token            # asked of every request to the hub itself
        self.requests = []
        self.cut_after = {}           # file -> bytes sent before the connection is cut, each time
        self.cuts_left = {}           # file -> how often that happens (absent: always)
        self.wrong_sha = set()        # files whose named sha256 is not theirs
        self.claimed_size = {}        # file -> size the headers name
        self.fail = {}                # file -> list of HTTP statuses to answer GET with first
        self.no_range = False         # Range is ignored: 200 and all bytes
        self.slow = {}                # file -> seconds of sleep in the middle
        self.relative_redirect = False
        self.commit = COMMIT
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_HEAD(self):
                hub.answer(self, "HEAD")

            def do_GET(self):
                hub.answer(self, "GET")

        self.api = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.store = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.api.daemon_threads = self.store.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.api.server_address[1]}"
        self.store_url = f"http://127.0.0.1:{self.store.server_address[1]}"

    def __enter__(self):
        for server in (self.api, self.store):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args):
        for server in (self.api, self.store):
            server.shutdown()
            server.server_close()

    def gets(self, file):
        """GET requests that would have carried the bytes of `file`."""
        return [r for r in self.requests if r[1] == "GET" and r[2].endswith("/" + file)
                and (r[0] == "store" or not file.endswith(".safetensors"))]

    # one request -------------------------------------------------------------------------------

    def answer(self, request, method):
        server = "api" if request.server is self.api else "store"
        self.requests.append((server, method, request.path, dict(request.headers)))
        if server == "store":
            _, name, file = request.path.split("|")
            name = name.replace("%2F", "/")
            if method == "HEAD":
                return self.plain(request, 403)  # as presigned addresses do
            return self.send_file(request, name, file.split("/", 1)[1])
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return self.plain(request, 401)
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.send_list(request, "/".join(parts[2:4]), parts[5])
        if parts[0] == "cache":  # where relative redirects go
            return self.send_plain(request, method, "/".join(parts[1:3]), parts[3])
        return self.resolve(request, method, "/".join(parts[:2]), parts[4])

    def plain(self, request, status, headers=(), body=b""):
        request.send_response(status)
        for key, value in headers:
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def send_list(self, request, name, revision):
        if name not in self.models or revision not in ("main", self.commit, "v1%2Fa"):
            return self.plain(request, 404)
        body = json.dumps({"id": name, "sha": self.commit,
                           "siblings": [{"rfilename": f} for f in self.models[name]]}).encode()
        return self.plain(request, 200, [("Content-Type", "application/json")], body)

    def resolve(self, request, method, name, file):
        data = self.models.get(name, {}).get(file)
        if data is None:
            return self.plain(request, 404)
        if file.endswith(".safetensors"):
            sha = hashlib.sha256(data + (b"!" if file in self.wrong_sha else b"")).hexdigest()
            return self.plain(request, 302, [
                ("Location", f"{self.store_url}/|{name.replace('/', '%2F')}|/{file}"),
                ("X-Linked-ETag", f'"{sha}"'), ("X-Repo-Commit", self.commit),
                ("X-Linked-Size", str(self.claimed_size.get(file, len(data))))])
        if self.relative_redirect:
            return self.plain(request, 307, [("Location", f"/cache/{name}/{file}"), ("X-Repo-Commit", self.commit)])
        return self.send_plain(request, method, name, file)

    def send_plain(self, request, method, name, file):
        data = self.models[name][file]
        if method == "HEAD":
            request.send_response(200)
            request.send_header("ETag", f'W/"{git_blob(data)}"')
            request.send_header("X-Repo-Commit", self.commit)
            request.send_header("Content-Length", str(len(data)))
            request.end_headers()
            return None
        return self.send_file(request, name, file)

    def send_file(self, request, name, file):
        data, start = self.models[name][file], 0
        if self.fail.get(file):
            return self.plain(request, self.fail[file].pop(0))
        asked = request.headers.get("Range")
        if asked and not self.no_range:
            start = int(asked.split("=")[1].rstrip("-"))
            if start >= len(data):
                return self.plain(request, 416)
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        end = len(data)
        if file in self.cut_after and self.cuts_left.get(file, 1) > 0:
            if file in self.cuts_left:
                self.cuts_left[file] -= 1
            end = min(end, start + self.cut_after[file])
        if file in self.slow:
            half = start + (end - start) // 2
            request.wfile.write(data[start:half])
            request.wfile.flush()
            time.sleep(self.slow[file])
            start = half
        try:
            request.wfile.write(data[start:end])
        except OSError:
            pass
        if end < len(data):
            request.wfile.flush()
            request.close_connection = True
        return None
