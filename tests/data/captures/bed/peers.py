"""Many clients, which differ in their addresses.

peers.py connect ADDRESS PORT FIRST COUNT STEP   COUNT connections, the source of the nth FIRST + n × STEP; nobody waits for answers
peers.py utp ADDRESS PORT FIRST COUNT STEP       likewise, BitTorrent's opening datagram (BEP 29: ST_SYN) in place of a connection
"""

import ipaddress
import socket
import struct
import sys
import time

what, address, port, first, count, step = sys.argv[1:]
port, first = int(port), ipaddress.ip_address(first)
family = socket.AF_INET if first.version == 4 else socket.AF_INET6
kind = socket.SOCK_STREAM if what == "connect" else socket.SOCK_DGRAM
held = []
for number in range(int(count)):
    peer = socket.socket(family, kind)
    peer.setblocking(False)
    if kind == socket.SOCK_STREAM:
        # Else the kernel tries again for two minutes.
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
    peer.bind((str(first + number * int(step)), 0))
    try:
        peer.connect((address, port))
        if what == "utp":
            peer.send(struct.pack(">BBHIIIHH", 0x41, 0, 1000 + number, number * 7919, 0, 1 << 20, 1, 0))
    except OSError:
        # In progress, or refused already.
        pass
    held.append(peer)
    time.sleep(0.005)
