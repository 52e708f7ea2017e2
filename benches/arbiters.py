"""Measure several torrents on one arbiter and on several, fetched and given on this machine.

usage: arbiters.py [--torrents N] [--size MIB] [--arbiters LIST] [--rounds N] [--bin FILE] [--dest DIR]
           One seed of ours that has all torrents, one fetch of all of them; the same number of arbiters on both sides, the
           numbers in turns. Seconds from the start of the fetch to its end, and CPU seconds for each GiB of either side;
           medians without the first round.
Every byte is compared outside the timed window.
"""
import argparse
import filecmp
import os
import shutil
import signal
import statistics
import subprocess
import time

MIB = 1 << 20
HERE, PORT = "127.0.0.1", 17420


def cpu_s(process):
    """What a process used, once it has ended."""
    used = os.wait4(process.pid, 0)[2]
    return used.ru_utime + used.ru_stime


def warm(bytes_of_all):
    """Fresh pages are charged to whoever touches them first: that is to be us."""
    with open("warm", "wb") as pages:
        for _ in range(bytes_of_all // MIB):
            pages.write(bytes(MIB))
    os.remove("warm")


def race(binary, torrents, arbiters):
    options = ["-q", "--arbiters", str(arbiters)]
    seed = subprocess.Popen([binary, "seed", *options, "--port", str(PORT), "-d", "source", *torrents])
    time.sleep(1)
    began = time.monotonic()
    fetch = subprocess.Popen(
        [binary, "fetch", *options, "--port", "0", "-d", "out", "--peer", f"{HERE}:{PORT}", *torrents])
    fetched = cpu_s(fetch)
    wall = time.monotonic() - began
    seed.send_signal(signal.SIGINT)
    given = cpu_s(seed)
    return wall, fetched, given


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--torrents", type=int, default=8)
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--arbiters", default="1,2")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--bin", default="target/release/tt-actors")
    options.add_argument("--dest", default="/dev/shm")
    options = options.parse_args()
    binary, place = os.path.abspath(options.bin), f"{options.dest}/tt-arbiters-{os.getpid()}"
    os.makedirs(f"{place}/source")
    os.chdir(place)
    try:
        names = [f"{nth}.bin" for nth in range(options.torrents)]
        for name in names:
            with open(f"source/{name}", "wb") as payload:
                for _ in range(options.size):
                    payload.write(os.urandom(MIB))
            command = [binary, "create", "-q", "--piece-length", "1M", "-o", f"{name}.torrent", f"source/{name}"]
            subprocess.run(command, check=True)
        counts = [int(count) for count in options.arbiters.split(",")]
        seen = {count: [] for count in counts}
        for nth in range(options.rounds + 1):
            for count in counts:
                warm(options.torrents * options.size * MIB)
                figures = race(binary, [f"{name}.torrent" for name in names], count)
                same, *_ = filecmp.cmpfiles("out", "source", names, shallow=False)
                assert same == names, f"only {same} are equal"
                shutil.rmtree("out")
                if nth > 0:
                    seen[count].append(figures)
        gib = options.torrents * options.size / 1024
        print(f"{options.torrents} torrents of {options.size} MiB, {options.rounds} rounds")
        for count, rounds in seen.items():
            wall, fetched, given = ([figures[at] for figures in rounds] for at in range(3))
            print(f"{count} arbiters: {statistics.median(wall):.2f} s ({min(wall):.2f}..{max(wall):.2f}), CPU s/GiB: "
                  f"fetch {statistics.median(fetched) / gib:.2f}, seed {statistics.median(given) / gib:.2f}")
    finally:
        shutil.rmtree(place)


main()
