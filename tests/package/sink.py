#!/usr/bin/python3
"""sink.py PORT FILE   answers what is posted to 127.0.0.1:PORT, and appends a line of JSON to FILE for each."""

import http.server
import json
import sys


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        with open(sys.argv[2], "a") as file:
            headers = {name.lower(): value for name, value in self.headers.items()}
            print(json.dumps({"path": self.path, "headers": headers, "body": body}), file=file)
        self.send_response(404 if self.path == "/refuse" else 204)
        self.end_headers()


http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
