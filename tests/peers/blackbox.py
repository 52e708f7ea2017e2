"""Fetch one torrent with libtorrent as it comes: its defaults, discovery off. For `tt-actors fault run --client`.

usage: blackbox.py TORRENT SAVE_DIR PORT
Leaves when every byte is there and on the disk.
"""
import sys
import time
import warnings

warnings.filterwarnings("ignore", category=DeprecationWarning)
import libtorrent as lt  # noqa: E402

torrent, save_dir, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
session = lt.session({
    "listen_interfaces": f"127.0.0.1:{port}",
    "enable_dht": False, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
    "alert_mask": 0,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = save_dir
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    time.sleep(0.05)
# Closes the files: what is still in its cache goes to the disk.
session.remove_torrent(handle)
