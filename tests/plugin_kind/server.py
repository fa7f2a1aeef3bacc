"""Modelshelf itself: deployments in memory, by path. Prints its port.

With a number, it holds what is written after so many deployments; a POST drops what it holds.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SHELF: dict[str, dict[str, object]] = {}
MOST = float(sys.argv[1] if len(sys.argv) > 1 else "inf")
GOES_ON = threading.Event()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        below = [one for path, one in SHELF.items() if path.startswith(f"{self.path}/")]
        if self.path in SHELF or self.path.endswith("/deployments"):
            self.answer(200, SHELF.get(self.path, below))
        else:
            self.answer(404, {"error": {"code": "NoDeployment", "message": "No such deployment."}})

    def do_PUT(self) -> None:
        if len(SHELF) >= MOST and not GOES_ON.is_set():
            GOES_ON.wait()
            self.close_connection = True
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        version = int(str(SHELF.get(self.path, {}).get("version", 0))) + 1
        name = self.path.rpartition("/")[2]
        SHELF[self.path] = {"replicas": 1, **body, "name": name, "version": version}
        self.answer(200, SHELF[self.path])

    def do_POST(self) -> None:
        GOES_ON.set()
        self.answer(200, {})

    def do_DELETE(self) -> None:
        self.answer(200, SHELF.pop(self.path, {}))

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
