"""stretch.py FACTOR PCAP   multiplies the times between the packets of a capture: a scan of days, made in seconds."""

import struct
import sys

factor, path = float(sys.argv[1]), sys.argv[2]
with open(path, "rb") as file:
    capture = bytearray(file.read())
# Written by tcpdump on this machine, in microseconds (the pcap format's savefile header and record header).
assert struct.unpack_from("=I", capture)[0] == 0xA1B2C3D4
at, first = 24, None
while at < len(capture):
    seconds, micros, length = struct.unpack_from("=III", capture, at)
    time = seconds * 1_000_000 + micros
    first = time if first is None else first
    struct.pack_into("=II", capture, at, *divmod(round(first + (time - first) * factor), 1_000_000))
    at += 16 + length
with open(path, "wb") as file:
    file.write(capture)
