//! `SwarmKeeper`: all swarms of the tracker.
//!
//! * Owns one [`logic::tracker_server::TrackerDesk`](crate::logic::tracker_server::TrackerDesk).
//! * Parent: `TrackerServer`. Restart policy: permanent, 5 restarts in 60 s. After a panic it keeps its peers if their
//!   counts and indices are consistent; otherwise the clients announce themselves again.
//! * Handles `Query`, `AnswerDatagrams`, `NewAllowList`, `GetCounts`, `SavePart` and `RestoreSwarms`, and answers each
//!   in the same turn. Sends messages to no other actor.
//! * Its mailbox holds at most one request of each HTTP connection and one batch of each datagram socket.
//! * Stops when its parent tells it to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use actix::prelude::*;
use bytes::Bytes;
use tokio::time::Instant;

use crate::actors::kit::{Child, Ctx, Goodbye, Timer};
use crate::codec::swarm_state::SavedState;
use crate::logic::tracker_server::{AllowList, DeskConfig, Stats, TrackerDesk};

/// The page that a query was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Announce,
    Scrape,
}

/// Answers a request over HTTP. The result is a body; a refusal is a body too.
#[derive(Debug, Message)]
#[rtype(result = "Vec<u8>")]
pub(super) struct Query {
    pub(super) page: Page,
    /// The text after the `?` of the URL, as received.
    pub(super) words: String,
    pub(super) from: IpAddr,
}

/// Answers requests over UDP. The result has the answers and their addresses; some requests get none.
#[derive(Debug, Message)]
#[rtype(result = "Vec<(Vec<u8>, SocketAddr)>")]
pub(super) struct AnswerDatagrams(pub(super) Vec<(Bytes, SocketAddr)>);

/// Replaces the list of allowed torrents.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct NewAllowList(pub(super) AllowList);

/// Asks for the counters and sizes of the tracker.
#[derive(Debug, Message)]
#[rtype(result = "Stats")]
pub(super) struct GetCounts;

/// Asks for a part of all swarms for the state file, from this position down. The result has the encoded part and the
/// next position.
#[derive(Debug, Message)]
#[rtype(result = "(Vec<u8>, Option<usize>)")]
pub(super) struct SavePart(pub(super) usize);

/// Adds the swarms that an earlier run has saved.
#[derive(Debug, Message)]
#[rtype(result = "Stats")]
pub(super) struct RestoreSwarms {
    /// The bytes of the file, which were checked.
    pub(super) file: Vec<u8>,
    /// The time since the file was written.
    pub(super) away: Duration,
}

/// Answers all requests of the tracker.
#[derive(Debug)]
pub(super) struct SwarmKeeper {
    desk: TrackerDesk,
    timer: Timer<Self>,
}

crate::metered!(SwarmKeeper, "SwarmKeeper");

impl SwarmKeeper {
    /// A keeper without swarms.
    pub(super) fn new(cfg: DeskConfig) -> Self {
        Self { desk: TrackerDesk::new(cfg, Instant::now().into_std()), timer: Timer::new() }
    }

    /// Arms the timer for the desk's next deadline.
    fn arm(&mut self, ctx: &mut Ctx<Self>) {
        self.timer.arm(ctx, Some(self.desk.deadline()), |keeper, ctx| {
            keeper.desk.on_timeout(Instant::now().into_std());
            keeper.arm(ctx);
        });
    }
}

impl Actor for SwarmKeeper {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        self.arm(ctx);
    }
}

impl Supervised for SwarmKeeper {
    fn restarting(&mut self, _: &mut Ctx<Self>) {
        self.timer = Timer::new();
        self.desk.recover(Instant::now().into_std());
    }
}

impl Child for SwarmKeeper {
    fn id(&self) -> String {
        "swarms".to_owned()
    }
}

impl Handler<Query> for SwarmKeeper {
    type Result = Vec<u8>;

    fn handle(&mut self, Query { page, words, from }: Query, _: &mut Ctx<Self>) -> Vec<u8> {
        let now = Instant::now().into_std();
        match page {
            Page::Announce => self.desk.on_announce(now, &words, from),
            Page::Scrape => self.desk.on_scrape(now, &words, from),
        }
    }
}

impl Handler<AnswerDatagrams> for SwarmKeeper {
    type Result = Vec<(Vec<u8>, SocketAddr)>;

    fn handle(&mut self, AnswerDatagrams(batch): AnswerDatagrams, _: &mut Ctx<Self>) -> Self::Result {
        let now = Instant::now().into_std();
        let answer =
            |(datagram, from): (Bytes, SocketAddr)| Some((self.desk.on_datagram(now, &datagram, from.ip())?, from));
        batch.into_iter().filter_map(answer).collect()
    }
}

impl Handler<NewAllowList> for SwarmKeeper {
    type Result = ();

    fn handle(&mut self, NewAllowList(allow): NewAllowList, _: &mut Ctx<Self>) {
        self.desk.on_allow_list(Some(allow));
    }
}

impl Handler<GetCounts> for SwarmKeeper {
    type Result = MessageResult<GetCounts>;

    fn handle(&mut self, _: GetCounts, _: &mut Ctx<Self>) -> MessageResult<GetCounts> {
        MessageResult(self.desk.stats(Instant::now().into_std()))
    }
}

impl Handler<SavePart> for SwarmKeeper {
    type Result = MessageResult<SavePart>;

    fn handle(&mut self, SavePart(below): SavePart, _: &mut Ctx<Self>) -> MessageResult<SavePart> {
        MessageResult(self.desk.save(Instant::now().into_std(), below))
    }
}

impl Handler<RestoreSwarms> for SwarmKeeper {
    type Result = MessageResult<RestoreSwarms>;

    fn handle(
        &mut self,
        RestoreSwarms { file, away }: RestoreSwarms,
        _: &mut Ctx<Self>,
    ) -> MessageResult<RestoreSwarms> {
        let now = Instant::now().into_std();
        if let Ok(state) = SavedState::read(&file) {
            self.desk.restore(now, &state, away);
        }
        MessageResult(self.desk.stats(now))
    }
}

impl Handler<Goodbye> for SwarmKeeper {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}
