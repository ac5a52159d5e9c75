"""A server on this machine that answers as Hugging Face's hub does, and can fail as it does."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves the files of one repository.

    Attributes:
        files: Content by path.
        commit: The one revision that it has, beside main.
        breaks: The paths whose transfer breaks in the middle, and how often yet.
        gone: The paths that are listed but answer 404.
        gated: Whether files and listing answer 403.
        asked: Every request as (method, path, range).
    """

    daemon_threads = True

    def __init__(self, repository, files):
        super().__init__(("127.0.0.1", 0), Answer)
        self.repository, self.files, self.commit = repository, files, COMMIT
        self.breaks, self.gone, self.gated, self.asked = {}, set(), False, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        """A client that goes away is no news."""


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):  # noqa: PLR0911 - one return for each kind of answer
        hub, path = self.server, self.path.split("?")[0]
        hub.asked.append((self.command, path, self.headers.get("Range")))
        if path.startswith("/cdn/"):
            return self.content(path.removeprefix("/cdn/"), body)
        if hub.repository not in path:
            return self.send(404, error="RepoNotFound", body=body)
        if hub.gated:
            return self.send(403, error="GatedRepo", body=body)
        api = path.startswith("/api/")
        if api and "/tree/" in path:
            return self.send(200, [self.entry(name) for name in hub.files], body=body)
        if api and path.rpartition("/")[2] not in ("main", hub.commit):
            return self.send(404, error="RevisionNotFound", body=body)
        if api:
            listed = [{"rfilename": name} for name in hub.files]
            return self.send(200, {"id": hub.repository, "sha": hub.commit, "siblings": listed}, body=body)
        name = path.partition(f"/resolve/{hub.commit}/")[2] or path.partition("/resolve/main/")[2]
        if name in hub.gone or name not in hub.files:
            return self.send(404, headers={"X-Repo-Commit": hub.commit}, error="EntryNotFound", body=body)
        headers = {
            "Location": f"http://localhost:{hub.server_address[1]}/cdn/{name}",
            "X-Repo-Commit": hub.commit,
            "X-Linked-Size": str(len(hub.files[name])),
        }
        return self.send(302, headers=headers | {"X-Linked-Etag": f'"{digest(hub.files[name])}"'}, body=body)

    def entry(self, name):
        data = self.server.files[name]
        lfs = {"oid": digest(data), "size": len(data), "pointerSize": 130}
        return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40, "lfs": lfs}

    def content(self, name, body):
        data = self.server.files[name]
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if body and self.server.breaks.get(name, 0) > 0:
            self.server.breaks[name] -= 1
            self.wfile.write(data[start : (start + len(data)) // 2])
            self.close_connection = True
        elif body:
            self.wfile.write(data[start:])

    def send(self, status, value=None, headers=None, error="", body=True):
        data = json.dumps(value if value is not None else {"error": error}).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


def digest(data):
    return hashlib.sha256(data).hexdigest()
