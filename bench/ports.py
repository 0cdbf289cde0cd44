"""Ports of this machine that nobody has, for the processes of a bench."""
import socket


def free_ports(count):
    """Different ones: all are held until the last is found."""
    socks = [socket.socket() for _ in range(count)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports
