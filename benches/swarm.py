"""Measure what giving costs, and how close a swarm of ours comes to what is possible, on loopback.

usage: swarm.py seeding [--leeches 1,20] [--size MIB] [--piece KIB] [--rounds N] [--bin FILE] [--dest DIR]
           CPU seconds of the seed for each GiB it sends, to libtorrent leeches that share nothing, ours beside libtorrent's
           as the seed, in turns; medians.
       swarm.py bound [--leeches 8] [--size MIB] [--piece KIB] [--rate MIB_PER_SECOND] [--rounds N] [--bin FILE] [--dest DIR]
           One seed and some leeches of ours, all with the same upload limit: the last finisher beside
           max(F/u_s, F/d_min, N*F/(u_s + sum of u_i)), and what the seed had to send.
Needs: Python's libtorrent. Every byte is compared outside the timed window.
"""
import argparse
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

MIB = 1 << 20
SEED_PORT = 17400
QUIET = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "allow_multiple_connections_per_ip": True, "alert_mask": 0,
}


def make(dest, size, piece):
    """A payload of random bytes and its torrent with pieces of so many KiB; its SHA-1."""
    os.makedirs(f"{dest}/source", exist_ok=True)
    path = f"{dest}/source/payload"
    with open(path, "wb") as file:
        for _ in range(size):
            file.write(os.urandom(MIB))
    storage = lt.file_storage()
    lt.add_files(storage, path)
    torrent = lt.create_torrent(storage, piece * 1024, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, f"{dest}/source")
    with open(f"{dest}/t.torrent", "wb") as file:
        file.write(lt.bencode(torrent.generate()))
    return sha1(path)


def sha1(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def cpu_of(process):
    """User and system seconds so far."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_seed(kind, args, dest):
    torrent, source = f"{dest}/t.torrent", f"{dest}/source"
    if kind == "ours":
        command = [args.bin, "seed", torrent, "-d", source, "--port", str(SEED_PORT), "--json"]
    else:
        command = [sys.executable, "-W", "ignore", __file__, "libtorrent-seed", torrent, source, str(SEED_PORT)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in process.stdout:
        if "seeding" in line:
            return process
    raise SystemExit(f"{kind} does not seed")


def libtorrent_seed(torrent, source, port):
    session = lt.session({**QUIET, "listen_interfaces": f"127.0.0.1:{port}", "unchoke_slots_limit": 200,
                          "send_buffer_watermark": 8 * MIB, "max_allowed_in_request_queue": 4000})
    params = lt.add_torrent_params()
    params.ti, params.save_path = lt.torrent_info(torrent), source
    params.flags |= lt.torrent_flags.seed_mode
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    session.add_torrent(params)
    print("seeding", flush=True)
    signal.pause()


def leech(dest, leeches):
    """Leeches that know nobody but the seed and give nothing; seconds until the last one is complete."""
    sessions = []
    for number in range(leeches):
        folder = f"{dest}/leech-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        session = lt.session({**QUIET, "listen_interfaces": f"127.0.0.1:{SEED_PORT + 1 + number}"})
        params = lt.add_torrent_params()
        params.ti, params.save_path = lt.torrent_info(f"{dest}/t.torrent"), folder
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        params.peers = [("127.0.0.1", SEED_PORT)]
        sessions.append((session, session.add_torrent(params)))
    began = time.monotonic()
    while not all(handle.status().is_seeding for _, handle in sessions):
        time.sleep(0.02)
    return time.monotonic() - began


def seeding(args):
    digest = make(args.dest, args.size, args.piece)
    for leeches in (int(n) for n in args.leeches.split(",")):
        figures = {"ours": [], "libtorrent": []}
        for turn in range(args.rounds + 1):
            for kind, kept in figures.items():
                seed = start_seed(kind, args, args.dest)
                before = cpu_of(seed)
                wall = leech(args.dest, leeches)
                spent = cpu_of(seed) - before
                seed.terminate()
                seed.wait()
                for number in range(leeches):
                    assert sha1(f"{args.dest}/leech-{number}/payload") == digest, f"leech {number} of {kind} is wrong"
                if turn > 0:  # the first warms up
                    kept.append((spent / (leeches * args.size / 1024), wall))
        for kind, kept in figures.items():
            cpu, wall = ([round(figure[at], 3) for figure in kept] for at in (0, 1))
            print(json.dumps({"seed": kind, "leeches": leeches, "size_mib": args.size, "cpu_s_per_gib": cpu,
                              "median_cpu": statistics.median(cpu), "median_wall_s": statistics.median(wall)}), flush=True)


def bound(args):
    digest = make(args.dest, args.size, args.piece)
    leeches, rate = int(args.leeches), f"{args.rate}M"
    limit = ["--max-upload-limit", rate, "--json", "--exclude-tracker", "*"]
    ports = [str(SEED_PORT + number) for number in range(leeches + 1)]
    # Everybody knows everybody, as from a tracker; whom one really talks to is the choker's choice.
    everybody = [word for port in ports for word in ("--peer", f"127.0.0.1:{port}")]
    for _ in range(args.rounds):
        torrent = f"{args.dest}/t.torrent"
        seed = subprocess.Popen([args.bin, "seed", torrent, "-d", f"{args.dest}/source", "--port", ports[0], *limit],
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in seed.stdout:
            if "seeding" in line:
                break
        began, running = time.monotonic(), []
        for number in range(leeches):
            folder = f"{args.dest}/leech-{number}"
            shutil.rmtree(folder, ignore_errors=True)
            command = [args.bin, "fetch", torrent, "-d", folder, "--port", ports[number + 1], "--seed-time", "1h", *limit, *everybody]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        finished = []
        for number, process in enumerate(running):
            for line in process.stdout:
                if '"phase":"seeding"' in line:
                    finished.append(time.monotonic() - began)
                    break
        seed.send_signal(signal.SIGINT)
        sent = json.loads(seed.stdout.read().splitlines()[-1])["bytes_uploaded"]
        seed.wait()
        for process in running:
            process.send_signal(signal.SIGINT)
            process.stdout.read()
            process.wait()
        for number in range(leeches):
            assert sha1(f"{args.dest}/leech-{number}/payload") == digest, f"leech {number} is wrong"
        least = max(args.size / args.rate, leeches * args.size / (args.rate * (leeches + 1)))
        print(json.dumps({"leeches": leeches, "size_mib": args.size, "rate_mib": args.rate, "last_s": round(max(finished), 2),
                          "bound_s": round(least, 2), "ratio": round(max(finished) / least, 3),
                          "seed_sent": round(sent / (args.size * MIB), 3)}), flush=True)


def main():
    if sys.argv[1:2] == ["libtorrent-seed"]:
        return libtorrent_seed(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["seeding", "bound"])
    parser.add_argument("--leeches", default="8")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--piece", type=int, default=256)
    parser.add_argument("--rate", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bin", default="target/release/tt-actors")
    parser.add_argument("--dest", default="/dev/shm/tt-swarm")
    args = parser.parse_args()
    try:
        {"seeding": seeding, "bound": bound}[args.what](args)
    finally:
        shutil.rmtree(args.dest, ignore_errors=True)


main()
