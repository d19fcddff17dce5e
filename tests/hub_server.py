"""A substitute for the Hugging Face Hub on 127.0.0.1: repositories of small files, each with its last commit."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers what uploading a folder and downloading files ask for; files are in ``server.files``."""

    def do_HEAD(self):
        """Tell of a file."""
        self._file()

    def do_GET(self):
        """Return a file, or what is known about a repository or the user."""
        if self.path == "/api/whoami-v2":
            return self._json({"name": "user", "type": "user"})
        if self.path.startswith("/api/models/"):
            repo = "/".join(self.path.split("/")[3:5]).partition("?")[0]
            if "/tree/" in self.path:
                return self._json([{"type": "file", "path": n, "size": 1, "oid": COMMIT} for n in self._names(repo)])
            files = [{"rfilename": name} for name in self._names(repo)]
            return self._json({"id": repo, "sha": self._commit(repo), "siblings": files})
        self._file()
        return None

    def do_POST(self):
        """Make a repository, or commit files."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        host = f"http://{self.headers['Host']}"
        if self.path == "/api/repos/create":
            repo = json.loads(body)
            name = f"{repo.get('organization') or 'user'}/{repo['name']}"
            return self._json({"url": f"{host}/{name}", "name": name, "id": name})
        if self.path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        repo = "/".join(self.path.split("/")[3:5])
        if "/preupload/" in self.path:
            asked = json.loads(body)["files"]
            files = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in asked]
            return self._json({"files": files})
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "deletedFile":
                del self.server.files[f"{repo}/{entry['value']['path']}"]
            if entry["key"] == "file":
                self.server.files[f"{repo}/{entry['value']['path']}"] = base64.b64decode(entry["value"]["content"])
        return self._json({"commitUrl": f"{host}/{repo}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def log_message(self, *_):
        """Say nothing."""

    def _commit(self, repo):
        """Return the current commit, which depends on the files."""
        files = [(name, self.server.files[f"{repo}/{name}"]) for name in sorted(self._names(repo))]
        return hashlib.sha1(repr(files).encode()).hexdigest()

    def _names(self, repo):
        return [name.removeprefix(f"{repo}/") for name in self.server.files if name.startswith(f"{repo}/")]

    def _file(self):
        repo, _, name = self.path.partition("/resolve/")
        content = self.server.files.get(f"{repo.strip('/')}/{name.partition('/')[2]}")
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            commit = self._commit(repo.strip("/"))
            self._send(content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit})

    def _json(self, value):
        self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, content, headers):
        self.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving():
    """Run the hub; yields it, with its ``address`` and ``files``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {}
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
