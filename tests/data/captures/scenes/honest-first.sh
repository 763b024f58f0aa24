# shellcheck shell=sh disable=SC2034,SC2154,SC2086 # sourced by `make`; addresses and ports have no spaces
# Honest clients and late answers on home's own link.
browse() {
    from_world $python -c '
import socket
for burst in range(20):
    connections = [socket.create_connection(("198.51.100.5", port)) for port in (80, 443) * 5]
    for connection in connections:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
    for connection in connections:
        while connection.recv(1024): pass
        connection.close()'
}
record browser.ether browse
record browser.sll2 browse
record browser.accepted browse

# A client opens the port of a proxy that is not there again and again, and once that of a mail server.
proxy() {
    from_world hping3 -S -p 110 -c 1 $v4
    from_world hping3 -S -p 3128 -c 60 -i u20000 $v4
}
both proxy proxy

ping_both() {
    from_world hping3 -1 -c 15 -i u100000 $v4
    from_world nmap -6 -n -sn -PE --send-ip $v6
}
record ping.sll ping_both

# 30 questions to port 53, each from a port of its own; 53 answers, 5353 is closed.
ask() {
    from_world $python -c '
import socket, sys
for number in range(30):
    asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(0.2)
    asking.connect(("198.51.100.5", int(sys.argv[1])))
    try:
        asking.send(bytes([number, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + b"\x07example\x03org\x00\x00\x01\x00\x01")
        asking.recv(512)
    except OSError:
        pass' "$1"
}
record dns-open.ether ask 53
record dns-closed.ether ask 5353
record dns-closed.nflog ask 53

# A web server's last segments, come after the firewall has forgotten the connections: ports of our clients, ascending.
late_fins() { from_world hping3 -F -A -s 443 -k -p ++40000 -c 40 -i u20000 $v4; }
both late-fins late_fins
