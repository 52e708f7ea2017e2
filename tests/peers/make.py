"""Make a .torrent with libtorrent.

usage: make.py PATH OUT [--piece-length N] [--announce URL[,URL]]... [--hybrid] [--by-hand] [--private] [--sorted] [--source TEXT]
Each --announce is a tier; its trackers are separated by commas. --by-hand builds the dictionary here, for piece lengths
that libtorrent reads but does not make. --sorted puts the files in the order of their paths' bytes; else it is the folder's.
"""
import argparse
import hashlib
import os
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

ap = argparse.ArgumentParser()
ap.add_argument("path")
ap.add_argument("out")
ap.add_argument("--piece-length", type=int, default=0)
ap.add_argument("--announce", action="append", default=[])
ap.add_argument("--hybrid", action="store_true")
ap.add_argument("--by-hand", action="store_true")
ap.add_argument("--private", action="store_true")
ap.add_argument("--sorted", action="store_true")
ap.add_argument("--source")
args = ap.parse_args()
path = os.path.abspath(args.path)
tiers = [tier.split(",") for tier in args.announce]


def by_libtorrent():
    files = lt.list_files(path)
    if args.sorted:
        files.sort(key=lambda file: file.filename.encode())
    flags = 0 if args.hybrid else lt.create_torrent.v1_only
    torrent = lt.create_torrent(files, piece_size=args.piece_length, flags=flags)
    for number, tier in enumerate(tiers):
        for url in tier:
            torrent.add_tracker(url, number)
    torrent.set_priv(args.private)
    lt.set_piece_hashes(torrent, os.path.dirname(path))
    made = torrent.generate()
    if args.source:
        made[b"info"][b"source"] = args.source.encode()
    return made


def by_hand():
    info = {b"name": os.path.basename(path).encode(), b"piece length": args.piece_length}
    data = b""
    if os.path.isdir(path):
        info[b"files"] = []
        for folder, folders, names in os.walk(path):
            folders.sort()
            for name in sorted(names):
                full = os.path.join(folder, name)
                with open(full, "rb") as file:
                    data += file.read()
                parts = [part.encode() for part in os.path.relpath(full, path).split(os.sep)]
                info[b"files"].append({b"length": os.path.getsize(full), b"path": parts})
    else:
        with open(path, "rb") as file:
            data = file.read()
        info[b"length"] = len(data)
    step = args.piece_length
    info[b"pieces"] = b"".join(hashlib.sha1(data[at:at + step]).digest() for at in range(0, len(data), step))
    torrent = {b"info": info}
    if tiers:
        torrent[b"announce"] = tiers[0][0].encode()
        torrent[b"announce-list"] = [[url.encode() for url in tier] for tier in tiers]
    return torrent


with open(args.out, "wb") as out:
    out.write(lt.bencode(by_hand() if args.by_hand else by_libtorrent()))
