"""Connections that end after a firewall has forgotten them.

late.py serve PORT COUNT GO             accepts COUNT connections; when the file GO is there, sends on each and closes it
late.py answer PORT DELAY               answers each datagram DELAY seconds after it came
late.py hold ADDRESS PORT COUNT DONE    opens COUNT connections, makes the file DONE and says nothing more
"""

import os
import socket
import sys
import threading
import time

if sys.argv[1] == "serve":
    port, count, go = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    server = socket.create_server(("", port), backlog=512)
    connections = [server.accept()[0] for _ in range(count)]
    while not os.path.exists(go):
        time.sleep(0.05)
    for number, connection in enumerate(connections):
        # Some had a last answer to give.
        if number % 2:
            connection.sendall(b"HTTP/1.0 408 Request Timeout\r\n\r\n")
        connection.close()
        time.sleep(0.01)
elif sys.argv[1] == "answer":
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", int(sys.argv[2])))
    while True:
        datagram, client = server.recvfrom(512)
        # A response with the answer's length (RFC 1035, section 4.1.1: QR).
        late = datagram[:2] + b"\x81\x80" + datagram[4:] + bytes(32)
        threading.Timer(float(sys.argv[3]), server.sendto, (late, client)).start()
else:
    address, port, count, done = sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
    connections = []
    while len(connections) < count:
        try:
            connections.append(socket.create_connection((address, port)))
        except ConnectionRefusedError:
            # The server is still starting.
            time.sleep(0.05)
    open(done, "w").close()
    time.sleep(60)
