"""Print what libtorrent reads in a .torrent as one JSON object: the second opinion on torrents that others made.

usage: read.py TORRENT
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

read = lt.torrent_info(sys.argv[1])
print(json.dumps({
    "info_hash": str(read.info_hashes().v1), "name": read.name(), "bytes": read.total_size(),
    "pieces": read.num_pieces(), "piece_length": read.piece_length(), "files": read.num_files(),
}))
