"""Measure one peer that is far away: 100 ms there and back, 1 Gb/s, through a relay in this process.

usage: wan.py [--size MIB] [--rounds N] [--bin FILE] [--dest DIR]
           Seconds for a raw TCP flow, for our fetch (start of the process to its end) and for libtorrent (from its first
           dial), in turns, from the same seed of ours; medians.
Needs: Python's libtorrent, and a core for the relay. Every byte is compared outside the timed window.
"""
import argparse
import collections
import filecmp
import os
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time

import libtorrent as lt

MIB = 1 << 20
ONE_WAY_S = 0.05
BYTES_PER_S = 125_000_000
LINK_BUFFER_S = 0.1
HERE = "127.0.0.1"
RAW_PORT, SEED_PORT, FAR_RAW_PORT, FAR_SEED_PORT = 17410, 17411, 17412, 17413
QUIET = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "out_enc_policy": 2, "in_enc_policy": 2,
    "listen_interfaces": f"{HERE}:0", "alert_mask": 0,
}


def carry(source, sink):
    """One direction of a connection: what comes is passed on as late, and as slowly, as the link says."""
    under_way, changed = collections.deque(), threading.Condition()

    def take():
        free_at = time.monotonic()
        while True:
            data = source.recv(256 * 1024)
            now = time.monotonic()
            free_at = max(free_at, now) + len(data) / BYTES_PER_S
            with changed:
                under_way.append((free_at + ONE_WAY_S, data))
                changed.notify()
            if not data:
                return
            time.sleep(max(0, free_at - now - LINK_BUFFER_S))

    def give():
        while True:
            with changed:
                changed.wait_for(lambda: under_way)
                due, data = under_way.popleft()
            time.sleep(max(0, due - time.monotonic()))
            if not data:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(data)

    def until_reset(step):
        try:
            step()
        except OSError:
            pass

    for step in (take, give):
        threading.Thread(target=until_reset, args=(step,), daemon=True).start()


def relay(at, to):
    def accept(listener):
        while True:
            near, far = listener.accept()[0], socket.create_connection((HERE, to))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            carry(near, far)
            carry(far, near)

    threading.Thread(target=accept, args=(socket.create_server((HERE, at)),), daemon=True).start()


def raw_server(size):
    def serve(listener):
        while True:
            with listener.accept()[0] as taker:
                taker.recv(1)
                for _ in range(size):
                    taker.sendall(bytes(MIB))

    threading.Thread(target=serve, args=(socket.create_server((HERE, RAW_PORT)),), daemon=True).start()


def raw_flow(size):
    began, left = time.monotonic(), size * MIB
    with socket.create_connection((HERE, FAR_RAW_PORT)) as flow:
        flow.sendall(b"x")
        while left > 0:
            left -= len(flow.recv(MIB))
    return time.monotonic() - began


def ours(binary, out):
    command = [binary, "fetch", "-q", "--port", "0", "-d", out, "--peer", f"{HERE}:{FAR_SEED_PORT}", "t.torrent"]
    began = time.monotonic()
    subprocess.run(command, check=True)
    return time.monotonic() - began


def libtorrents(out):
    session = lt.session(QUIET)
    params = lt.add_torrent_params()
    params.ti, params.save_path = lt.torrent_info("t.torrent"), out
    handle = session.add_torrent(params)
    began = time.monotonic()
    handle.connect_peer((HERE, FAR_SEED_PORT))
    while not handle.status().is_seeding:
        time.sleep(0.005)
    return time.monotonic() - began


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--size", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--bin", default="target/release/tt-actors")
    options.add_argument("--dest", default="/dev/shm")
    options = options.parse_args()
    binary, place = os.path.abspath(options.bin), f"{options.dest}/tt-wan-{os.getpid()}"
    os.makedirs(f"{place}/source")
    os.chdir(place)
    with open("source/payload", "wb") as payload:
        for _ in range(options.size):
            payload.write(os.urandom(MIB))
    subprocess.run([binary, "create", "-q", "--piece-length", "1M", "-o", "t.torrent", "source/payload"], check=True)
    seed = subprocess.Popen([binary, "seed", "-q", "--port", str(SEED_PORT), "-d", "source", "t.torrent"])
    try:
        raw_server(options.size)
        relay(FAR_RAW_PORT, RAW_PORT)
        relay(FAR_SEED_PORT, SEED_PORT)
        times = {"raw": [], "tt-actors": [], "libtorrent": []}
        for _ in range(options.rounds):
            times["raw"].append(raw_flow(options.size))
            for name, fetch in (("tt-actors", lambda: ours(binary, "out")), ("libtorrent", lambda: libtorrents("out"))):
                times[name].append(fetch())
                assert filecmp.cmp("out/payload", "source/payload", shallow=False), f"{name}: wrong bytes"
                shutil.rmtree("out")
        raw = statistics.median(times["raw"])
        for name, taken in times.items():
            median = statistics.median(taken)
            print(f"{name}: {median:.2f} s ({min(taken):.2f}..{max(taken):.2f}), {raw / median:.3f} of the raw flow's rate")
    finally:
        seed.send_signal(signal.SIGINT)
        seed.wait()
        shutil.rmtree(place)


main()
