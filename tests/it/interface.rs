//! `--interface`: one device and no other, also while it is gone (N-09).

use std::time::Duration;

use serde_json::Value;

use crate::support::client::tt;
use crate::support::netns::{Host, second_cable, two_hosts};
use crate::support::payload::{assert_same, write_file};
use crate::support::process::Process;
use crate::support::torrents::Maker;
use crate::support::{Fetch, Lab, Needs};

const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(60);
const PORT: u16 = 6999;

/// Packets that have left by this device.
fn packets_sent(host: &Host, device: &str) -> u64 {
    let said: Value = serde_json::from_str(&host.ip(&["-s", "-j", "link", "show", "dev", device])).unwrap();
    said[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
}

/// The other way stays open all the time, with a peer at its end and, while the device is down, a route to the same peer.
#[test]
fn while_the_device_is_gone_nothing_leaves_by_another_and_then_it_goes_on() {
    let Some(lab) = Lab::with(&[Needs::Libtorrent, Needs::Namespaces]) else { return };
    let source = lab.at("source/payload.bin");
    write_file(&source, 8 * MIB, 7);
    let torrent = Maker::of(&source).make(&lab);
    let hosts = two_hosts();
    let other = second_cable(&hosts);
    let [here, there] = &hosts;
    let mut seed = tt();
    seed.args(["fault", "peer", "--behaviour", "max_rate=2M", "--at", &format!("0.0.0.0:{PORT}"), "--torrent"]);
    seed.arg(&torrent.path).arg("--dir").arg(torrent.save_path());
    let mut seed = Process::start("a slow seed", &mut there.command(&seed));
    seed.wait_for("that it listens", LIMIT, |line| line.contains(&PORT.to_string()).then_some(()));
    let dir = lab.folder("out");
    let fetch = Fetch::new(&torrent.path, &dir).args(&["--interface", here.device()]);
    let fetch = fetch.peer((there.ip, PORT).into()).peer(([198, 51, 100, 2], PORT).into());
    let mut fetch = fetch.on(here).start();
    fetch.wait_until_it_has(2 * MIB);
    here.ip(&["link", "set", here.device(), "down"]);
    here.ip(&["route", "add", &there.ip.to_string(), "dev", &other]);
    fetch.process.wait_for("that nothing comes", LIMIT, |line| line.contains(r#""down_bps":0,"#).then_some(()));
    assert_eq!(packets_sent(here, &other), 0, "packets left by the other device");
    here.ip(&["route", "del", &there.ip.to_string(), "dev", &other]);
    here.ip(&["link", "set", here.device(), "up"]);
    fetch.finish().expect_complete();
    assert_same(&torrent.source, &torrent.inside(&dir));
    assert_eq!(packets_sent(here, &other), 0, "packets left by the other device");
}
