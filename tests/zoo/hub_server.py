"""A web server on this machine that speaks as much of the Hugging Face Hub's protocol as ``huggingface_hub`` uses here.

It was written from the client's code and documentation, not from the hub itself: that the zoo works with this server
does not show that it works with the hub. It knows

- files of repositories, ``/<owner>/<name>/resolve/<revision>/<path>``: small ones are sent, large ones (all ``.pt``)
  redirected to another host with their SHA-256 as ETag, as those in LFS are; ranges are sent where they are asked for
- errors with the hub's headers: unknown repositories, revisions and files, and repositories with gated access
- what ``push`` needs: making a repository, asking how files go up (always inside the commit), and the commit

``/plain/<path>`` serves files as any web server would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_a_token_that_may_write"


@dataclass
class HubServer:
    """The server and what it serves.

    :param files: contents by repository and path, ``"<owner>/<name>/<path>"``, or ``"plain/<path>"``
    """

    files: dict[str, bytes] = field(default_factory=dict)
    #: contents that are sent in place of those that the headers tell of
    damaged: dict[str, bytes] = field(default_factory=dict)
    #: how many transfers of a file break off in the middle
    breaks: Counter[str] = field(default_factory=Counter)
    #: repositories whose authors give access on request
    gated: set[str] = field(default_factory=set)
    #: requests so far: method, path and range
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)
    #: what the hub says in place of a file's checksum, and of the commit
    etag: str | None = None
    commit: str = COMMIT
    #: seconds before a file's contents are sent
    delay: float = 0.0

    def __post_init__(self) -> None:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def downloads(self) -> list[str]:
        """Files whose contents were asked for, from their beginning or not."""
        return [path for method, path, _ in self.requests if method == "GET"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away, as in transfers that break off."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[HubServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(with_content=False)

    def do_GET(self) -> None:
        self._serve(with_content=True)

    def _serve(self, with_content: bool) -> None:
        path = self.path.lstrip("/")
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        if path.startswith(("plain/", "cdn/")):
            name = path.removeprefix("cdn/")
            if name in self.hub.files:
                self._send_file(name, {}, with_content)
            else:
                self._answer(404, {}, b"not here")
            return
        if path.startswith("api/"):  # newer clients ask for what they can do without
            self._answer(404, {}, b"")
            return
        owner, name, resolve, revision, *rest = path.split("/")
        repo, file = f"{owner}/{name}", "/".join(rest)
        assert resolve == "resolve", path
        if not any(key.startswith(f"{repo}/") for key in self.hub.files):
            self._error(401, "RepoNotFound", "Invalid username or password.")
        elif repo in self.hub.gated:
            self._error(403, "GatedRepo", f"Access to model {repo} is restricted")
        elif revision not in ("main", COMMIT):
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif f"{repo}/{file}" not in self.hub.files:
            self._error(404, "EntryNotFound", "Entry not found")
        else:
            self._serve_entry(f"{repo}/{file}", with_content)

    def _serve_entry(self, key: str, with_content: bool) -> None:
        content = self.hub.files[key]
        headers = {"X-Repo-Commit": self.hub.commit, "Accept-Ranges": "bytes"}
        if not key.endswith(".pt"):
            git_name = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send_file(key, headers | {"ETag": f'"{self.hub.etag or git_name}"'}, with_content)
            return
        headers |= {
            "X-Linked-Etag": f'"{self.hub.etag or hashlib.sha256(content).hexdigest()}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"http://localhost:{self.hub.port}/cdn/{key}",
        }
        self._answer(302, headers, b"")

    def _send_file(self, key: str, headers: dict[str, str], with_content: bool) -> None:
        content = self.hub.damaged.get(key, self.hub.files[key])
        status, asked = 200, self.headers.get("Range")
        if asked is not None:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            status = 206
            headers = headers | {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            content = content[start:]
        if not with_content:
            self._answer(status, headers, content)
            return
        threading.Event().wait(self.hub.delay)
        if self.hub.breaks[key] > 0:
            self.hub.breaks[key] -= 1
            self._answer(status, headers, content, sent=len(content) // 2)
            self.close_connection = True
            return
        self._answer(status, headers, content)

    def _error(self, status: int, code: str, message: str) -> None:
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": message}, b"")

    def _answer(self, status: int, headers: dict[str, str], content: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:sent])

    # ------------------------------------------------------------ uploads

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].lstrip("/")
        self.hub.requests.append(("POST", path, None))
        authorization = self.headers.get("Authorization")
        if authorization is None:
            self._error(401, "", "Invalid username or password.")
        elif authorization != f"Bearer {TOKEN}":
            self._error(403, "", "You don't have the rights to create a model there")
        elif path == "api/repos/create":
            self._answer_json({"url": f"{self.hub.url}/somebody/their-model", "name": "somebody/their-model"})
        elif "/preupload/" in path:
            files = [entry["path"] for entry in json.loads(body)["files"]]
            self._answer_json(
                {"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in files]}
            )
        else:
            assert "/commit/" in path, path
            repo = path.removeprefix("api/models/").partition("/commit/")[0]
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.files[f"{repo}/{line['value']['path']}"] = content
            self._answer_json(
                {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.url}/{repo}/commit/{COMMIT}"}
            )

    def _answer_json(self, data: dict[str, Any]) -> None:
        self._answer(200, {"Content-Type": "application/json"}, json.dumps(data).encode())


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A server that the hub's client takes for the hub."""
    server = HubServer()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    try:
        yield server
    finally:
        server.close()
