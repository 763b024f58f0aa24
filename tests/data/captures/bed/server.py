"""server.py READY   listens on TCP 22, 80 and 443, answers once and closes, and answers every datagram to UDP 53.

Makes the file READY when it listens.
"""

import select
import socket
import sys

tcp = []
for port in 22, 80, 443:
    tcp.append(socket.create_server(("::", port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=True))
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
# Answers come from the address that was asked: see the control message below.
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
udp.bind(("::", 53))
open(sys.argv[1], "w").close()
while True:
    for ready in select.select(tcp + [udp], [], [])[0]:
        try:
            if ready is udp:
                data, control, _, client = udp.recvmsg(512, 256)
                udp.sendmsg([data + bytes(40)], control, 0, client)
                continue
            with ready.accept()[0] as connection:
                connection.settimeout(5)
                connection.recv(1024)
                connection.sendall(b"HTTP/1.0 204 No Content\r\n\r\n")
        except OSError:
            # A client that went away.
            pass
