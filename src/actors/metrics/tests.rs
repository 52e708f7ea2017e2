//! The events that the metrics actor logs, read back from a log of their own.

use serde_json::Value;
use tokio::time::sleep;

use super::*;
use crate::actors::kit::testing::logged_alone;
use crate::actors::kit::{ChildEvent, SupervisedChild};
use crate::actors::policies;
use crate::base::ids::InfoHash;
use crate::logic::torrent::why::{Why, WhyReason};

/// In place of the parent.
struct Ear;

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, _: ChildEvent, _: &mut Context<Self>) {}
}

/// Runs the metrics of one torrent for 3.5 s.
async fn run(every: Option<Duration>) {
    let view = TorrentView {
        down_bps: 1000,
        credit_free: 7,
        why: Some(Why { primary: WhyReason::Choked, text: "choked by 1 of 1".to_owned() }),
        ..TorrentView::new("x".to_owned(), InfoHash([0xab; 20]), 3)
    };
    let (_torrent, views) = watch::channel(view);
    let metrics = Metrics::new(MetricsConfig { every, views: vec![views], hosts: Vec::new() });
    let mut metrics: SupervisedChild<Metrics> = kit::spawn(metrics, policies::METRICS, 1, Ear.start().recipient());
    sleep(Duration::from_millis(3500)).await;
    metrics.stop();
    metrics.control.ended().await;
    write_summary();
}

/// The fields of all events with this message.
fn of<'a>(events: &'a [Value], message: &str) -> Vec<&'a Value> {
    events.iter().map(|event| &event["fields"]).filter(|fields| fields["message"] == message).collect()
}

#[test]
fn every_event_is_logged_once_an_interval_and_at_the_end() {
    let name = "actors::metrics::tests::every_event_is_logged_once_an_interval_and_at_the_end";
    let Some(events) = logged_alone(name, || run(Some(Duration::from_secs(1)))) else { return };
    let swarms = of(&events, "swarm");
    assert_eq!(swarms.len(), 4, "three intervals and the end");
    assert_eq!(swarms[0]["torrent"], "abababababababababababababababababababab");
    assert_eq!((&swarms[0]["down_bps"], &swarms[0]["credit_free"]), (&1000.into(), &7.into()));
    assert_eq!(swarms[0]["why"], "choked by 1 of 1");
    let kinds = of(&events, "actor metrics");
    assert_eq!(kinds.len(), 4, "one kind of actor lives here");
    assert!(kinds.iter().all(|kind| kind["actor"] == "Metrics" && kind["live"] == 1 && kind["started"] == 1));
    let lags = of(&events, "arbiter lag");
    assert_eq!(lags.len(), 4);
    assert!(lags.iter().all(|lag| lag["lag_us"].as_u64().is_some_and(|us| us < 2000)), "{lags:?}");
    assert_eq!(of(&events, "supervision summary").len(), 1);
}

#[test]
fn without_an_interval_only_the_summary_is_logged() {
    let name = "actors::metrics::tests::without_an_interval_only_the_summary_is_logged";
    let Some(events) = logged_alone(name, || run(None)) else { return };
    let [summary] = of(&events, "supervision summary")[..] else { panic!("{events:?}") };
    for count in ["restarts_expected", "restarts_abnormal", "panics", "gave_up"] {
        assert_eq!(summary[count], 0, "{count}");
    }
    assert_eq!(events.len(), 1, "{events:?}");
}
