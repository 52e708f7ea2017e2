"""What libtorrent does in a race, in one process with one torrent.

usage: with_libtorrent.py fetch [--tuned] TORRENT DIR PORT [--peer HOST:PORT]
       with_libtorrent.py seed [--tuned] TORRENT DIR PORT
       with_libtorrent.py verify [--tuned] TORRENT DIR
       with_libtorrent.py create PATH OUT PIECE_LENGTH
Prints "ready" and the CPU seconds used so far when Python is done with itself: the race counts from there. Leaves with 0 when all
is well and on the disk. Without --tuned settings are libtorrent's own, but for what finds peers by itself.
"""
import argparse
import os
import time
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

QUIET = {
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False, "allow_multiple_connections_per_ip": True,
    "out_enc_policy": 2, "in_enc_policy": 2, "alert_mask": lt.alert.category_t.status_notification,
}
# libtorrent's preset for seeds with much memory, a window that is never too small, a second thread for hashes.
TUNED = {
    **lt.high_performance_seed(), "max_out_request_queue": 2000, "request_queue_time": 5, "hashing_threads": 2,
    "max_queued_disk_bytes": 64 << 20, "send_buffer_watermark": 8 << 20, "max_allowed_in_request_queue": 4000,
    "unchoke_slots_limit": 200, "connection_speed": 500,
}


def session(args):
    settings = {**(TUNED if args.tuned else {}), **QUIET}
    if args.port:
        settings["listen_interfaces"] = f"127.0.0.1:{args.port}"
    return lt.session(settings)


def add(session, args):
    params = lt.add_torrent_params()
    params.ti, params.save_path = lt.torrent_info(args.torrent), args.dir
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    if args.peer:
        host, port = args.peer.rsplit(":", 1)
        params.peers = [(host, int(port))]
    return session.add_torrent(params)


def wait(session, kind):
    """Until an alert of this kind has come."""
    while True:
        session.wait_for_alert(60_000)
        if any(isinstance(alert, kind) for alert in session.pop_alerts()):
            return


def ready():
    print("ready", time.process_time(), flush=True)


def fetch(args):
    ready()
    running = session(args)
    handle = add(running, args)
    wait(running, lt.torrent_finished_alert)
    handle.flush_cache()
    wait(running, lt.cache_flushed_alert)


def seed(args):
    ready()
    running = session(args)
    # Not in seed mode, which hashes each piece when it is asked for first: all is hashed before anybody comes.
    add(running, args)
    while True:
        running.wait_for_alert(60_000)
        running.pop_alerts()


def verify(args):
    ready()
    running = session(args)
    handle = add(running, args)
    wait(running, lt.torrent_checked_alert)
    assert handle.status().is_seeding, "something is wrong with the data"


def create(args):
    ready()
    torrent = lt.create_torrent(lt.list_files(args.path), piece_size=args.piece_length, flags=lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, os.path.dirname(args.path))
    with open(args.out, "wb") as file:
        file.write(lt.bencode(torrent.generate()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(port=0, peer=None, tuned=False)
    verbs = parser.add_subparsers(required=True)
    for verb in (fetch, seed, verify):
        words = verbs.add_parser(verb.__name__)
        words.set_defaults(run=verb)
        words.add_argument("torrent")
        words.add_argument("dir")
        if verb is not verify:
            words.add_argument("port", type=int)
        words.add_argument("--peer")
        words.add_argument("--tuned", action="store_true")
    words = verbs.add_parser("create")
    words.set_defaults(run=create)
    words.add_argument("path")
    words.add_argument("out")
    words.add_argument("piece_length", type=int)
    args = parser.parse_args()
    args.run(args)
    # What libtorrent does after this (telling trackers, waiting for them) is not in the race.
    os._exit(0)


main()
