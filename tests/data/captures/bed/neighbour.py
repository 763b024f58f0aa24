"""Neighbours that speak to everybody on the link up0, and the one who listens.

neighbour.py join READY   joins the groups of mDNS, SSDP and all hosts, makes the file READY and stays
neighbour.py ssdp         looks for devices (UPnP Device Architecture 2.0, 1.3.2), and announces itself (1.2.2)
neighbour.py netbios      name queries and browser announcements (RFC 1002, 4.2 and 4.4)
neighbour.py igmp         general queries from 0.0.0.0 (RFC 3376, 4.1; RFC 4541, 2.1.1), as snooping switches send them
neighbour.py mld          a general query (RFC 3810, 5.1)
"""

import socket
import struct
import sys
import time

HOME_BROADCAST = "198.51.100.255"


def checksum(octets):
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def join():
    four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for group in "224.0.0.251", "239.255.255.250":
        member = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex("up0"))
        four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    member = socket.inet_pton(socket.AF_INET6, "ff02::fb") + struct.pack("=i", socket.if_nametoindex("up0"))
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    open(sys.argv[2], "w").close()
    time.sleep(60)


def udp(sport):
    speaking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    speaking.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    speaking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    speaking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("198.51.100.7"))
    speaking.bind(("198.51.100.7", sport))
    return speaking


def ssdp():
    group = ("239.255.255.250", 1900)
    for number in range(15):
        udp(0).sendto(
            b"M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n",
            group,
        )
        udp(1900).sendto(
            b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nNTS: ssdp:alive\r\nNT: upnp:rootdevice\r\n\r\n", group
        )
        # And answers a search of home's: from 1900, to the port it came from.
        udp(1900).sendto(b"HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nEXT:\r\n\r\n", ("198.51.100.5", 50000 + number % 3))
        time.sleep(0.02)


def netbios():
    name = b"\x20" + b"FDFEEPFCEBEHEFCACACACACACACACAAA" + b"\x00"
    for number in range(15):
        query = struct.pack(">6H", number, 0x0110, 1, 0, 0, 0) + name + struct.pack(">2H", 0x20, 1)
        udp(137).sendto(query, (HOME_BROADCAST, 137))
        header = struct.pack(">BBH4sHHH", 0x11, 0x02, number, socket.inet_aton("198.51.100.7"), 138, 187, 0)
        udp(138).sendto((header + name * 2).ljust(201, b"\x00"), (HOME_BROADCAST, 138))
        udp(138).sendto((header + name * 2).ljust(201, b"\x00"), ("255.255.255.255", 138))
        time.sleep(0.02)


def igmp():
    query = struct.pack(">BBH4sBBH", 0x11, 100, 0, bytes(4), 2, 125, 0)
    query = query[:2] + struct.pack(">H", checksum(query)) + query[4:]
    # IPv4 with the router alert option (RFC 2113), TTL 1, class 0xc0.
    header = struct.pack(
        ">BBHHHBBH4s4s4s", 0x46, 0xC0, 36, 0, 0x4000, 1, 2, 0, bytes(4), socket.inet_aton("224.0.0.1"), b"\x94\x04\x00\x00"
    )
    # No socket sends from 0.0.0.0, so the frame is made here.
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    frame = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    frame.bind(("up0", 0x0800))
    for _ in range(15):
        frame.send(b"\x01\x00\x5e\x00\x00\x01" + b"\x52\x54\x00\x00\x00\x07" + b"\x08\x00" + header + query)
        time.sleep(0.02)


def mld():
    raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    raw.bind(("fe80::7", 0, 0, socket.if_nametoindex("up0")))
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
    # Hop-by-hop options: router alert (RFC 2711), padding.
    alert = bytes([0, 0, 5, 2, 0, 0, 1, 0])
    query = struct.pack(">BBHHH16sBBH", 130, 0, 0, 1000, 0, bytes(16), 2, 125, 0)
    raw.sendmsg([query], [(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, alert)], 0, ("ff02::1", 0, 0, socket.if_nametoindex("up0")))


{"join": join, "ssdp": ssdp, "netbios": netbios, "igmp": igmp, "mld": mld}[sys.argv[1]]()
