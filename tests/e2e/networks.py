"""Nodes with addresses of their own on one machine, and a switch between them that does to packets what networks do.

    client ──veth──┐
    router 0 ─veth─┤ switch: for each pair (from, to) a share of packets lost, a delay, a spread of it (which reorders), drawn from a seed
    worker 0 ─veth─┘

Each node and the switch is a network namespace made here and removed here; nothing of it can reach, or be reached from, any other
network. The switch is this file run as a program: raw sockets at its ends of the veth pairs. It ends with its standard input, and
after LIFE_S at the latest. A partition is the switch's end of a pair set down, as when a cable is pulled."""
import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time

LIFE_S = 3600
CLONE_NEWNET = 0x40000000
ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
SIOCETHTOOL, OFFLOADS = 0x8946, (0x17, 0x1F, 0x24)  # transmit checksums, TSO, GSO: the switch wants packets as on a cable
LIBC = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def why_not():
    """A sentence when there can be no namespaces here, or ""."""
    if os.geteuid() != 0:
        return "network namespaces want root"
    try:
        name = f"msgl-{os.getpid()}-try"
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1")
        finally:
            ip("netns", "del", name)
    except (AssertionError, OSError) as e:
        return f"no network namespaces or veth here: {e}"
    return ""


def enter(path):
    """This thread, and the processes that it starts, live in that namespace from now on."""
    with open(path, "rb") as f:
        if LIBC.setns(f.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def as_on_a_cable(device):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for command in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP", device.encode(), ctypes.addressof(value)))


class Network:
    def __init__(self, names, seed):
        """names: of the nodes, as processes call them: "client", "router-0" …"""
        self.names, self.prefix = list(names), f"msgl-{os.getpid()}-"
        self.home = f"/proc/{os.getpid()}/task/{LIBC.gettid()}/ns/net"
        self.home_fd = os.open(self.home, os.O_RDONLY)
        self.made, self.process = [], None
        try:
            self._make()
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.prefix + "switch", sys.executable, os.path.abspath(__file__), str(seed), str(len(self.names))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self.process.stdout.readline() == "ready\n"
        except BaseException:
            self.close()
            raise

    def _namespace(self, name):
        ip("netns", "add", self.prefix + name)
        self.made.append(self.prefix + name)

    def _make(self):
        self._namespace("switch")
        for i, name in enumerate(self.names):
            self._namespace(name)
            ns = self.prefix + name
            ip("-n", ns, "link", "add", "name", "eth0", "address", f"02:00:00:00:00:{i + 1:02x}", "type", "veth",
               "peer", "name", f"port{i}", "netns", self.prefix + "switch")
            ip("-n", ns, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            self.within(ns, as_on_a_cable, "eth0")
            for device, where in (("lo", ns), ("eth0", ns), (f"port{i}", self.prefix + "switch")):
                ip("-n", where, "link", "set", device, "up")

    def within(self, namespace, do, *args):
        enter(f"/var/run/netns/{namespace}")
        try:
            return do(*args)
        finally:
            self.leave()

    def enter(self, name):
        enter(f"/var/run/netns/{self.prefix}{name}")

    def leave(self):
        if LIBC.setns(self.home_fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def address(self, name):
        return f"10.77.0.{self.names.index(name) + 1}"

    def place(self, name):
        return ["ip", "netns", "exec", self.prefix + name]

    # ---- what can be done to it ----
    def cable(self, name, plugged):
        ip("-n", self.prefix + "switch", "link", "set", f"port{self.names.index(name)}", "up" if plugged else "down")

    def blackhole(self, source, target, on):
        """What `source` sends to `target` goes nowhere: a route of its own that swallows it."""
        ip("-n", self.prefix + source, "route", "add" if on else "del", "blackhole", f"{self.address(target)}/32")

    def netem(self, name, *rule):
        """tc netem on all that goes to the node, where the kernel has it: True. No rule ends it."""
        words = ["tc", "-n", self.prefix + "switch", "qdisc", "replace" if rule else "del", "dev", f"port{self.names.index(name)}", "root"]
        return subprocess.run([*words, *(("netem", *rule) if rule else ())], capture_output=True, check=False).returncode == 0

    def rule(self, source, target, loss=0.0, delay_s=0.0, spread_s=0.0):
        """For packets from source to target, by the switch; all zero ends it."""
        json.dump([self.names.index(source), self.names.index(target), loss, delay_s, spread_s], self.process.stdin)
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self):
        self.leave()
        counts = ""
        if self.process:
            self.process.stdin.close()
            counts = self.process.stdout.read()
            self.process.wait(10)
        for name in self.made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        self.made = []
        os.close(self.home_fd)
        return json.loads(counts) if counts else {}


class Switch:
    def __init__(self, seed, count):
        self.rng, self.count, self.rules, self.delayed, self.number = random.Random(seed), count, {}, [], 0
        self.counts = {"passed": 0, "lost": 0, "delayed": 0, "overtaken": 0}
        self.sent_last = {}
        self.ports = []
        for i in range(count):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.bind((f"port{i}", 0))
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.setblocking(False)
            self.ports.append(s)

    def send(self, source, target, number, packet):
        last = self.sent_last.get((source, target), -1)
        self.counts["overtaken"] += number < last
        self.sent_last[source, target] = max(number, last)
        try:
            self.ports[target].send(packet)
            self.counts["passed"] += 1
        except OSError:  # its cable is out, or its queue full
            self.counts["lost"] += 1

    def take(self, source):
        try:
            packet = self.ports[source].recv(65536)
        except OSError:  # the cable is out
            return False
        to = packet[5] - 1
        targets = [to] if packet[:5] == b"\x02\0\0\0\0" and to < self.count else [i for i in range(self.count) if i != source]
        for target in targets:
            loss, delay_s, spread_s = self.rules.get((source, target), (0.0, 0.0, 0.0))
            self.number += 1
            if loss and self.rng.random() < loss:
                self.counts["lost"] += 1
            elif delay_s or spread_s:
                self.counts["delayed"] += 1
                due = time.monotonic() + delay_s + self.rng.random() * spread_s
                heapq.heappush(self.delayed, (due, self.number, source, target, packet))
            else:
                self.send(source, target, self.number, packet)
        return True

    def control(self, rest):
        data = os.read(0, 65536)
        if not data:
            return None
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            source, target, *rule = json.loads(line)
            self.rules[source, target] = rule
        return rest

    def run(self):
        rest = b""
        with selectors.DefaultSelector() as selector:
            for i, s in enumerate(self.ports):
                selector.register(s, selectors.EVENT_READ, i)
            selector.register(0, selectors.EVENT_READ, -1)
            print("ready", flush=True)
            while rest is not None:
                wait = max(0.0, self.delayed[0][0] - time.monotonic()) if self.delayed else None
                for key, _ in selector.select(wait):
                    if key.data < 0:
                        rest = self.control(rest)
                        continue
                    for _ in range(64):
                        if not self.take(key.data):
                            break
                while self.delayed and self.delayed[0][0] <= time.monotonic():
                    _, number, source, target, packet = heapq.heappop(self.delayed)
                    self.send(source, target, number, packet)
        print(json.dumps(self.counts), flush=True)


if __name__ == "__main__":
    signal.alarm(LIFE_S)
    Switch(int(sys.argv[1]), int(sys.argv[2])).run()
