"""Seed one torrent with libtorrent until killed: the honest, foreign peer of the tests.

usage: seed.py TORRENT SAVE_DIR PORT [--rate BYTES_PER_SECOND] [--slots N] [--log] [--super-seed]
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
ap.add_argument("--rate", type=int, default=0, help="upload limit of this torrent; 0 is none")
ap.add_argument("--slots", type=int, default=200, help="peers unchoked at a time")
ap.add_argument("--super-seed", action="store_true", help="name the pieces one by one (BEP 16)")
ap.add_argument("--log", action="store_true", help="print every message of every peer")
args = ap.parse_args()

alerts = lt.alert.category_t.error_notification
if args.log:
    alerts |= lt.alert.category_t.peer_log_notification

session = lt.session({
    "listen_interfaces": f"127.0.0.1:{args.port}",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True, "unchoke_slots_limit": args.slots,
    "send_buffer_watermark": 8 << 20, "max_allowed_in_request_queue": 4000,
    "alert_mask": alerts,
})
if args.slots < 200:
    # Peers of the local network are outside the limit by default.
    local = session.get_peer_class(lt.session.local_peer_class_id)
    session.set_peer_class(lt.session.local_peer_class_id, {**local, "ignore_unchoke_slots": False})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(args.torrent)
params.save_path = args.save_dir
params.flags |= lt.torrent_flags.seed_mode
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
if args.super_seed:
    params.flags |= lt.torrent_flags.super_seeding
handle = session.add_torrent(params)
if args.rate:
    # The torrent's own peer class: the session's limit would spare peers of the local network.
    handle.set_upload_limit(args.rate)
while True:
    for alert in session.pop_alerts():
        print(alert, flush=True)
    time.sleep(0.2)
