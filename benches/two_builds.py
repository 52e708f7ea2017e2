#!/usr/bin/env python3
"""Compares two builds of the program, in turns: downloads over loopback, from memory to memory.

usage: two_builds.py BEFORE NOW [--mib 1024] [--leeches 1] [--piece-length 16K] [--rounds 8]

Each build seeds a copy of the same payload and is fetched from by its own kind. The first round is not counted. Prints the
median, the least and the greatest of: seconds until the last leech is done, CPU seconds of all leeches, CPU seconds of the
seed.
"""
import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("now")
    parser.add_argument("--mib", type=int, default=1024, help="size of the payload")
    parser.add_argument("--leeches", type=int, default=1, help="downloads at the same time")
    parser.add_argument("--piece-length", help="of the torrent; chosen by the size if it is not given")
    parser.add_argument("--rounds", type=int, default=8)
    return parser.parse_args()


def cpu_seconds(process):
    """User and system time of a process that runs (proc(5): fields 14 and 15)."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def quiet(command):
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prepare(args, root):
    payload = os.path.join(root, "payload.bin")
    dice = random.Random(1)
    with open(payload, "wb") as file:
        for _ in range(args.mib):
            file.write(dice.randbytes(1 << 20))
    torrent = os.path.join(root, "payload.torrent")
    command = [args.now, "create", payload, "-o", torrent]
    if args.piece_length:
        command += ["--piece-length", args.piece_length]
    if quiet(command).wait() != 0:
        sys.exit(f"{args.now} cannot create a torrent")
    return payload, torrent


def start_seed(program, torrent, payload, folder, port):
    os.mkdir(folder)
    shutil.copy(payload, folder)
    return quiet([program, "seed", torrent, "-d", folder, "--port", str(port)])


def fetch(program, torrent, root, port, leeches):
    """Returns the seconds until all are done, and their CPU seconds."""
    folders = [os.path.join(root, f"leech-{number}") for number in range(leeches)]
    began = time.monotonic()
    command = lambda folder: [program, "fetch", torrent, "-d", folder, "--peer", f"127.0.0.1:{port}"]
    cpu = 0.0
    for leech in [quiet(command(folder)) for folder in folders]:
        _, status, usage = os.wait4(leech.pid, 0)
        if status:
            sys.exit(f"{program} fetch ended with {os.waitstatus_to_exitcode(status)}")
        cpu += usage.ru_utime + usage.ru_stime
    took = time.monotonic() - began
    for folder in folders:
        shutil.rmtree(folder)
    return took, cpu


def main():
    args = arguments()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as root:
        payload, torrent = prepare(args, root)
        builds = {}
        for number, (name, program) in enumerate([("before", args.before), ("now", args.now)]):
            port = 21000 + number
            builds[name] = (program, start_seed(program, torrent, payload, os.path.join(root, name), port), port, [])
        time.sleep(3 + args.mib / 512)
        try:
            for round_number in range(args.rounds):
                for program, seed, port, results in builds.values():
                    before = cpu_seconds(seed)
                    took, cpu = fetch(program, torrent, root, port, args.leeches)
                    if round_number > 0:
                        results.append((took, cpu, cpu_seconds(seed) - before))
        finally:
            for _, seed, _, _ in builds.values():
                seed.terminate()
                seed.wait()
    for name, (_, _, _, results) in builds.items():
        columns = zip(("seconds", "leech CPU", "seed CPU"), zip(*results))
        shown = (f"{what} {statistics.median(of):.2f} ({min(of):.2f}..{max(of):.2f})" for what, of in columns)
        print(f"{name:7}", "  ".join(shown))


if __name__ == "__main__":
    main()
