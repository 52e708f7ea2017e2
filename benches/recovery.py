"""Measure how soon a download has its goodput back after a peer was lost or fell silent.

usage: recovery.py [--rtt 20,100] [--rate MBIT] [--rounds N] [--scenes A,B] [--clients A,B] [--bin FILE] [--dest DIR]
           Seeds of ours behind one narrow link, a relay in this process: so many ms there and back, one rate for all.
           After 4 s one connection is reset, or stays open and carries nothing any more, or nothing happens: what the
           measuring itself makes of it. Ours and libtorrent as the client, in turns; medians (least..most) in ms.

    dialled      until the client dials the lost peer again
    gives again  until the first whole block of that new connection
    90 %/20 ms   until every window of 20 ms, for a second, has 90 % of the goodput of the 2 s before
    lost         how much later than at that goodput the bytes of the next 3 s were there
    elsewhere    until the last block that the peer owed at that moment had come from anybody
    end          how much later than at the link's rate the last block was there; in the scenes at the end the fault is
                 0.2 s before it
    twice        KiB that came more than once, or in vain

Needs: Python's libtorrent, and a core for the relay. Every byte is compared outside the timed window.
"""
import argparse
import bisect
import collections
import filecmp
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import threading
import time
import types

import libtorrent as lt

MIB, BLOCK = 1 << 20, 1 << 14
WARM_S, BASE_S, WATCH_S, LASTING_MS, LAST_S, WHOLE_S = 4, 2, 3, 1000, 0.2, 12
CHUNK_S, LINK_BUFFER_S, NEVER = 0.0005, 0.1, float("inf")
REQUEST, PIECE = b"\x06", b"\x07"
# Seeds dial too, and tell others their port: nobody reaches anybody but through the link, where the ports are the same.
SEEDS_AT, LINK_AT, CLIENT_AT, PORT = "127.0.0.1", "127.0.3.1", "127.0.4.1", 17420
BACK = ["back", "back_rtt", "lost", "end", "twice"]
SCENES = {  # how many seeds, what happens, what is told
    "nothing-alone": (1, None, BACK),
    "reset-alone": (1, "reset", ["dialled", "gives", *BACK]),
    "nothing-four": (4, None, BACK),
    "reset-two": (2, "reset", ["dialled", *BACK, "elsewhere"]),
    "reset-four": (4, "reset", ["dialled", *BACK, "elsewhere"]),
    "silent-two": (2, "silent", [*BACK, "elsewhere"]),
    "silent-four": (4, "silent", [*BACK, "elsewhere"]),
    "nothing-end": (4, None, ["end", "twice"]),
    "silent-end": (4, "silent", ["end", "twice", "elsewhere"]),
}
QUIET = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "out_enc_policy": 2, "in_enc_policy": 2,
    "allow_multiple_connections_per_ip": True, "alert_mask": 0,
    "listen_interfaces": f"{CLIENT_AT}:0", "outgoing_interfaces": CLIENT_AT,
}


def messages(held, data):
    """One direction of a connection: the kind of each message, and the place of its block if it is about one."""
    held += data
    while len(held) >= 4:
        end = 68 if held[0] == 19 else 4 + int.from_bytes(held[:4], "big")
        if len(held) < end:
            return
        yield bytes(held[4:5]), bytes(held[5:13])
        del held[:end]


class Link(threading.Thread):
    """The client's end of the net. Its times are the link's: when a byte has passed it at its rate, even where this
    thread is a little late to hand it over."""

    def __init__(self, seeds, rtt_s, rate, fault, fault_after):
        super().__init__(daemon=True)
        self.listeners = [socket.create_server((LINK_AT, PORT + seed)) for seed in range(seeds)]
        self.rtt_s, self.rate, self.fault, self.fault_after = rtt_s, rate, fault, fault_after
        self.paths, self.free_at, self.over = [], 0, False
        self.times, self.totals, self.came, self.owed = [0.0], [0], {}, set()
        self.at = self.dialled = self.gives = self.watched = None

    def run(self):
        while not self.over:
            now = time.monotonic()
            for path in self.paths:
                self.guarded(path, self.send_up, now)
            self.send_down(now)
            if self.at is None and len(self.came) * BLOCK >= self.fault_after:
                self.strike(now)
            if self.at and not self.watched and self.totals[-1] - self.total(self.at) >= self.rate * WATCH_S:
                self.watched = now
            room = self.rate * (self.rtt_s + LINK_BUFFER_S)
            near = {path.near: path for path in self.paths if now >= path.opens_at}
            far = {path.far: path for path in self.paths if path.in_flight < room and not (path.silent or path.ending)}
            for ready in select.select([*self.listeners, *near, *far], [], [], 0.0005)[0]:
                if ready in self.listeners:
                    self.accept(self.listeners.index(ready), *ready.accept())
                else:
                    self.guarded(near.get(ready) or far[ready], self.hear_near if ready in near else self.hear_far)
        for end in self.listeners + [end for path in self.paths for end in (path.near, path.far)]:
            end.close()

    def accept(self, seed, near, caller):
        if caller[0] != CLIENT_AT:
            return near.close()  # a seed that was told of another
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        far.connect((SEEDS_AT, PORT + seed))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        now = time.monotonic()
        if self.at and seed == 0:
            self.dialled = self.dialled or now
        # The kernel has shaken hands at once; over the link that takes a round trip.
        self.paths.append(types.SimpleNamespace(
            seed=seed, near=near, far=far, opens_at=now + self.rtt_s, up=collections.deque(), down=collections.deque(),
            in_flight=0, asks=bytearray(), gives=bytearray(), owed=set(), silent=False, ending=False))

    def guarded(self, path, step, *args):
        try:
            return step(path, *args)
        except BlockingIOError:
            return None
        except OSError:
            self.paths = [other for other in self.paths if other is not path]
            path.near.close()
            path.far.close()

    def hear_near(self, path):
        data = path.near.recv(65536)
        if not data:
            raise ConnectionError
        path.owed.update(block for kind, block in messages(path.asks, data) if kind == REQUEST)
        path.up.append((time.monotonic() + self.rtt_s / 2, data))

    def hear_far(self, path):
        data = path.far.recv(BLOCK)
        path.ending = not data
        path.in_flight += len(data)
        path.down.append((time.monotonic() + self.rtt_s / 2, data))

    def send_up(self, path, now):
        while path.up and path.up[0][0] <= now:
            data = path.up.popleft()[1]
            if not path.silent:
                path.far.sendall(data)

    def send_down(self, now):
        """Passes on what has reached the narrow place by now, a little of each connection in turns."""
        while waiting := [path for path in self.paths if path.down]:
            here = [path for path in waiting if path.down[0][0] <= self.free_at]
            path = here[0] if here else min(waiting, key=lambda path: path.down[0][0])
            start = max(self.free_at, path.down[0][0])
            if start > now or not self.guarded(path, self.give, start):
                return
            self.paths = [other for other in self.paths if other is not path] + [path]

    def give(self, path, start):
        due, data = path.down[0]
        if not data:
            raise ConnectionError
        taken = path.near.send(data[:int(self.rate * CHUNK_S)])
        self.free_at = start + taken / self.rate
        self.times.append(self.free_at)
        self.totals.append(self.totals[-1] + taken)
        path.in_flight -= taken
        path.down.popleft()
        if data[taken:]:
            path.down.appendleft((due, data[taken:]))
        for kind, block in messages(path.gives, data[:taken]):
            if kind == PIECE:
                self.came.setdefault(block, self.free_at)
                path.owed.discard(block)
                if self.dialled and path.seed == 0:
                    self.gives = self.gives or self.free_at
        return taken

    def strike(self, now):
        self.at = now
        for path in [path for path in self.paths if path.seed == 0 and self.fault]:
            self.owed = path.owed - self.came.keys()
            path.silent = True
            path.down.clear()
            if self.fault == "reset":
                self.guarded(path, self.reset)

    def reset(self, path):
        path.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionError

    def total(self, when):
        return self.totals[bisect.bisect_right(self.times, when) - 1]

    def back(self, window, base):
        """ms from the fault until the windows that begin within the next second all have 90 %."""
        good, ms = 0, 0
        while (start := self.at + ms / 1000) + window <= self.watched:
            good = good + 1 if self.total(start + window) - self.total(start) >= 0.9 * base * window else 0
            ms += 1
            if good == LASTING_MS:
                return ms - LASTING_MS
        return NEVER

    def figures(self, size):
        since = lambda when: NEVER if when is None else 1000 * (when - self.at)
        base = (self.total(self.at) - self.total(self.at - BASE_S)) / BASE_S
        left = size - BLOCK * sum(when <= self.at for when in self.came.values())
        told = {"dialled": since(self.dialled), "gives": since(self.gives)}
        told["elsewhere"] = since(max((self.came[block] for block in self.owed), default=self.at))
        told["end"] = since(max(self.came.values())) - 1000 * left / self.rate
        told["twice"] = (self.totals[-1] - size * (1 + 13 / BLOCK)) / 1024
        if self.watched:  # it is not where the fault is near the end
            told["back"], told["back_rtt"] = self.back(0.02, base), self.back(max(self.rtt_s, 0.02), base)
            enough = bisect.bisect_left(self.totals, self.total(self.at) + base * WATCH_S)
            told["lost"] = since(self.times[enough]) - 1000 * WATCH_S
        return told


def ours(binary, at):
    peers = [word for addr, port in at for word in ("--peer", f"{addr}:{port}")]
    fetch = [binary, "fetch", "-q", "--bind", CLIENT_AT, "--port", "0", "-d", "out", *peers, "t.torrent"]
    subprocess.run(fetch, check=True)


def libtorrents(at):
    session = lt.session(QUIET)
    params = lt.add_torrent_params()
    params.ti, params.save_path = lt.torrent_info("t.torrent"), "out"
    handle = session.add_torrent(params)
    for peer in at:
        handle.connect_peer(peer)
    while not handle.status().is_seeding:
        time.sleep(0.05)


def measure(scene, fetch, rtt_ms, rate):
    seeds, fault, _ = SCENES[scene]
    size = os.path.getsize("source/payload")
    link = Link(seeds, rtt_ms / 1000, rate, fault, size - LAST_S * rate if scene.endswith("end") else WARM_S * rate)
    link.start()
    try:
        fetch([(LINK_AT, PORT + seed) for seed in range(seeds)])
    finally:
        link.over = True
        link.join()
    assert filecmp.cmp("out/payload", "source/payload", shallow=False), "wrong bytes"
    shutil.rmtree("out")
    return link.figures(size)


def table(options, binary, rate):
    clients = {"tt-actors": lambda at: ours(binary, at), "libtorrent": libtorrents}
    number = lambda value: "never" if value == NEVER else f"{value:.0f}"
    for rtt_ms in (int(rtt) for rtt in options.rtt.split(",")):
        labels = {"gives": "gives again", "back": "90 %/20 ms", "back_rtt": f"90 %/{max(rtt_ms, 20)} ms"}
        for scene in options.scenes.split(","):
            runs = {client: [] for client in options.clients.split(",")}
            for _ in range(options.rounds):
                for client, kept in runs.items():
                    kept.append(measure(scene, clients[client], rtt_ms, rate))
            for client, kept in runs.items():
                row = [f"{rtt_ms} ms, {scene}, {client}"]
                for key in SCENES[scene][2]:
                    taken = [figures[key] for figures in kept]
                    median, least, most = (number(of(taken)) for of in (statistics.median, min, max))
                    row.append(f"{labels.get(key, key)} {median} ({least}..{most})")
                print("; ".join(row), flush=True)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rtt", default="20,100")
    options.add_argument("--rate", type=int, default=40)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scenes", default=",".join(SCENES))
    options.add_argument("--clients", default="tt-actors,libtorrent")
    options.add_argument("--bin", default="target/release/tt-actors")
    options.add_argument("--dest", default="/dev/shm")
    options = options.parse_args()
    binary, place = os.path.abspath(options.bin), f"{options.dest}/tt-recovery-{os.getpid()}"
    rate = options.rate * 125_000
    os.makedirs(f"{place}/source")
    os.chdir(place)
    with open("source/payload", "wb") as payload:
        for _ in range(rate * WHOLE_S // MIB):
            payload.write(os.urandom(MIB))
    subprocess.run([binary, "create", "-q", "--piece-length", "256K", "-o", "t.torrent", "source/payload"], check=True)
    seeds = []
    try:
        for seed in range(4):
            os.mkdir(f"seed-{seed}")
            os.link("source/payload", f"seed-{seed}/payload")
            listen = ["--bind", SEEDS_AT, "--port", str(PORT + seed)]
            seeds.append(subprocess.Popen([binary, "seed", "-q", *listen, "-d", f"seed-{seed}", "t.torrent"]))
        time.sleep(1)
        table(options, binary, rate)
    finally:
        for seed in seeds:
            seed.send_signal(signal.SIGINT)
            seed.wait()
        shutil.rmtree(place)


main()
