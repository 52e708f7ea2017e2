//! The torrents of a run: their configuration, their latest views, and how each ended.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;

use super::config::{Job, RunConfig};
use super::outcome::{Ending, TorrentOutcome};
use crate::actors::kit::Place;
use crate::actors::torrent::TorrentConfig;
use crate::actors::view::{TorrentPhase, TorrentView};
use crate::logic::peers::peer_book::BookConfig;
use crate::net::Net;
use crate::net::throttle::RateLimits;
use crate::storage::SharedStorage;

/// 64 MiB between request and disk (D-07) for all torrents together, and at least four pieces for each torrent.
const CREDIT: u64 = 64 * 1024 * 1024;

/// A torrent of a run.
#[derive(Debug)]
struct One {
    publish: Arc<watch::Sender<TorrentView>>,
    views: watch::Receiver<TorrentView>,
    ending: Option<Ending>,
}

/// All torrents of a run, in the order of the jobs.
#[derive(Debug)]
pub(super) struct Torrents(Vec<One>);

impl Torrents {
    /// The torrents of the configuration, which have not started.
    pub(super) fn new(config: &RunConfig) -> Self {
        let one = |Job { metainfo, .. }: &Job| {
            let view = TorrentView::new(
                metainfo.info.name.clone(),
                metainfo.info.info_hash,
                metainfo.info.geometry.total_len(),
            );
            let (publish, views) = watch::channel(view);
            One { publish: Arc::new(publish), views, ending: None }
        };
        Self(config.jobs.iter().map(one).collect())
    }

    /// The configuration of each torrent for the session. The torrents are distributed over `places`. `port` is the
    /// listening port.
    pub(super) fn configs(
        &self,
        config: &RunConfig,
        net: &Net,
        storages: Vec<SharedStorage>,
        places: &[Place],
        port: u16,
    ) -> Vec<TorrentConfig> {
        let share = config.descriptors();
        let credit = CREDIT / (self.0.len() as u64).max(1);
        // All torrents share one pair of limits, because the limits are the session's.
        let limits = RateLimits::new(config.max_down_bps, config.max_up_bps);
        let (our_id, mut seed) = (config.our_id(), config.seed);
        let homes = storages.into_iter().zip(places.iter().cycle());
        let all = config.jobs.iter().zip(homes).zip(&self.0).map(|((job, (storage, place)), one)| {
            let Job { metainfo, tiers, .. } = job;
            let piece_len = u64::from(metainfo.info.geometry.nominal_piece_len());
            let torrent = TorrentConfig {
                name: metainfo.info.name.clone(),
                info_hash: metainfo.info.info_hash,
                geometry: metainfo.info.geometry,
                wanted: Arc::new(job.wanted()),
                aim: config.aim,
                super_seed: config.super_seed,
                tiers: tiers.clone(),
                private: metainfo.info.private,
                peers: config.peers.clone(),
                our_id,
                port,
                net: Arc::clone(net),
                limits: limits.clone(),
                storage,
                patient_disk: config.wait_for_space,
                credit: credit.max(4 * piece_len),
                book: BookConfig { max_connected: config.max_peers.min(share.peers), ..BookConfig::default() },
                // Trackers and the disk can each take this long, and both must fit into the whole time-out.
                stop_timeout: config.shutdown_timeout.mul_f64(0.45),
                seed,
                listener: None,
                place: place.clone(),
                view: Arc::clone(&one.publish),
            };
            seed = seed.wrapping_add(1);
            torrent
        });
        all.collect()
    }

    /// The numbers of torrents whose view has changed. The channel closes when the last torrent is gone.
    pub(super) fn news(&self) -> mpsc::Receiver<usize> {
        let (tell, news) = mpsc::channel(self.0.len().max(1));
        for (nth, one) in self.0.iter().enumerate() {
            let (tell, mut views) = (tell.clone(), one.views.clone());
            spawn_local(async move { while views.changed().await.is_ok() && tell.send(nth).await.is_ok() {} });
        }
        news
    }

    /// The latest view of a torrent.
    pub(super) fn look(&self, nth: usize) -> TorrentView {
        self.0[nth].views.borrow().clone()
    }

    /// Whether the torrent has just ended, by this view.
    pub(super) fn judge(&mut self, nth: usize, view: &TorrentView) -> bool {
        let ending = match &view.phase {
            TorrentPhase::Complete => Ending::Complete,
            TorrentPhase::Failed(failure) => Ending::Failed(failure.clone()),
            TorrentPhase::Opening
            | TorrentPhase::Checking { .. }
            | TorrentPhase::Fetching
            | TorrentPhase::Seeding
            | TorrentPhase::Paused => return false,
        };
        let is_new = self.0[nth].ending.is_none();
        self.0[nth].ending.get_or_insert(ending);
        is_new
    }

    /// Whether every torrent has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.0.iter().all(|one| one.ending.is_some())
    }

    /// Sets the ending of all torrents that have not ended. An interruption of a torrent that is being seeded counts as
    /// complete.
    pub(super) fn end_all(&mut self, ending: &Ending) {
        for one in &mut self.0 {
            let is_there =
                matches!(ending, Ending::Interrupted) && matches!(one.views.borrow().phase, TorrentPhase::Seeding);
            one.ending.get_or_insert_with(|| if is_there { Ending::Complete } else { ending.clone() });
        }
    }

    /// Marks interrupted torrents as killed, because the user did not wait for the clean stop.
    pub(super) fn kill_interrupted(&mut self) {
        let interrupted = self.0.iter_mut().filter(|one| matches!(one.ending, Some(Ending::Interrupted)));
        interrupted.for_each(|one| one.ending = Some(Ending::Killed));
    }

    /// The outcome of each torrent.
    pub(super) fn finish(self) -> Vec<TorrentOutcome> {
        let gave_up = || Ending::GaveUp("it was never told to end".to_owned());
        let finish = |one: One| TorrentOutcome {
            ending: one.ending.unwrap_or_else(gave_up),
            view: one.views.borrow().clone(),
            advice: None,
        };
        self.0.into_iter().map(finish).collect()
    }
}
