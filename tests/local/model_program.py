# ruff: noqa: T201, TID251 - a program of its own, with a log to read
"""A model server that keeps to the multi-model contract and serves no model: for the platform.

    python model_program.py <rooms> serve

It answers what it was given, so that a test sees both sides; a body `{"act": …}` misbehaves on
purpose, and a file `slow` in a model's folder makes loading take that many seconds.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOMS = int(sys.argv[1])
models: dict[str, Path] = {}
lock = threading.Lock()
state = {"healthy": True}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/ping":
            self.reply(200 if state["healthy"] else 500)
        else:
            self.reply(200, {"models": [{"modelName": name} for name in models]})

    def do_DELETE(self) -> None:
        print("DELETE", self.path, flush=True)
        with lock:
            known = models.pop(self.path.rpartition("/")[2], None)
        self.reply(200 if known else 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/models":
            self.load(json.loads(body))
        else:
            self.invoke(self.path.split("/")[2], body)

    def load(self, given: dict) -> None:
        folder = Path(given["url"])
        print("LOAD", (folder / "adapter.json").read_text(), flush=True)
        words = (folder / "adapter.json").read_text().split()
        if "slow" in words:
            time.sleep(1)
        if "rejected" in words:
            self.reply(400, {"error": "AdapterRejected", "message": "wrong base", "do": "Train."})
            return
        with lock:
            if given["model_name"] in models:
                self.reply(409)
            elif len(models) >= ROOMS:
                self.reply(507, {"error": "NoRoom", "message": "no room"})
            else:
                models[given["model_name"]] = folder
                self.reply(200)

    def invoke(self, name: str, body: bytes) -> None:
        given = json.loads(body) if body.startswith(b"{") else {}
        act = given.get("act")
        if name not in models:
            self.reply(404)
        elif act == "die":
            os._exit(1)
        elif act == "rubbish":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            self.close_connection = True
        elif act == "sicken":
            state["healthy"] = False
            self.reply(200)
        elif act == "forget":
            with lock:
                models.pop(name, None)
            self.reply(200)
        elif act == "no memory unless alone" and len(models) > 1:
            self.reply(507, {"error": "NoMemory", "message": "no memory"})
        elif act == "answer":
            self.reply(given["status"], given["document"], given.get("headers", {}))
        else:
            if say := given.get("say"):
                print(say.upper(), flush=True)
            time.sleep(given.get("seconds", 0))
            with lock:
                # Others load and unload meanwhile: a dict must not change while it is walked.
                loaded = list(models.values())
            self.reply(
                200,
                {
                    "model": (models[name] / "adapter.json").read_text(),
                    "name": name,
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                    "body": body.decode(),
                    "environment": dict(os.environ),
                    "loaded": sorted((folder / "adapter.json").read_text() for folder in loaded),
                },
                {"X-Amzn-SageMaker-Custom-Attributes": "from=container"},
            )

    def reply(self, status: int, document: object = None, headers: dict | None = None) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    print("START", flush=True)
    Server(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
