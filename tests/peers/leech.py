"""Fetch one torrent with libtorrent: proves the seeds of the tests, and asks us for the pieces that we have.

usage: leech.py TORRENT SAVE_DIR PORT [--peer HOST:PORT]... [--stay]
Prints "have BYTES" whenever that number of verified bytes has changed and "complete" at the end, when all of them are in the
files; leaves then, unless told to stay.
"""
import argparse
import time
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

ap = argparse.ArgumentParser()
ap.add_argument("torrent")
ap.add_argument("save_dir")
ap.add_argument("port", type=int)
ap.add_argument("--peer", action="append", default=[])
ap.add_argument("--stay", action="store_true")
args = ap.parse_args()

session = lt.session({
    "listen_interfaces": f"127.0.0.1:{args.port}",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "alert_mask": lt.alert.category_t.storage_notification,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(args.torrent)
params.save_path = args.save_dir
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
params.peers = [(p.rsplit(":", 1)[0], int(p.rsplit(":", 1)[1])) for p in args.peer]
handle = session.add_torrent(params)
had = -1
while True:
    status = handle.status()
    if status.total_done != had:
        had = status.total_done
        print(f"have {had}", flush=True)
    if status.is_seeding:
        break
    time.sleep(0.05)
# What is verified may still be on its way to the disk.
handle.flush_cache()
flushed = False
while not flushed:
    session.wait_for_alert(1000)
    flushed = any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts())
print("complete", flush=True)
while args.stay:
    time.sleep(1)
