//! What connections tell the pool of their peers from second to second, and who has to know it: the choker, the peer book, and
//! whoever names pieces for a super-seed (BEP 16).

use std::net::SocketAddr;

use tokio::time::Instant;

use super::{Ctx, Live, PeerPool};
use crate::actors::peer_connection::{NamePiece, PeerEvent};
use crate::base::ids::PeerKey;
use crate::logic::peer::protocol::PeerView;
use crate::logic::peers::choke;
use crate::logic::peers::peer_book;
use crate::logic::peers::super_seed::SuperSeed;

impl PeerPool {
    pub(super) fn on_view(&mut self, peer: PeerKey, view: PeerView, ctx: &mut Ctx<Self>) {
        let Some(live) = self.live.get_mut(&peer) else { return };
        let Live { addr, view: kept, .. } = &mut **live;
        let (addr, before) = (*addr, std::mem::replace(kept, view));
        let PeerView { down_bps, up_bps, sent, charged, asks, snubs, .. } = view;
        let standing = choke::UploadStanding { down_bps, up_bps, taken: charged, asks, snubs };
        self.choke_step(ctx, |choker, now| choker.on_standing(now, peer, standing));
        if sent > before.sent || down_bps > 0 {
            self.book.on_active(Instant::now().into_std(), addr);
        }
        let standing = peer_book::PeerStanding {
            wanted: view.am_interested,
            wants: view.peer_interested,
            chokes_us: view.peer_choking,
            gives: down_bps > 0,
            takes: sent > before.sent,
        };
        self.book.on_standing(Instant::now().into_std(), addr, standing);
    }

    /// A peer has taken its first block: the book and the choker count it as one that uses what it has.
    pub(super) fn on_served(&mut self, peer: PeerKey, addr: SocketAddr, ctx: &mut Ctx<Self>) {
        self.book.on_served(Instant::now().into_std(), addr);
        self.choke_step(ctx, |choker, now| choker.on_served(now, peer));
    }

    /// News that matter to a super-seed only.
    pub(super) fn on_pieces(&mut self, peer: PeerKey, news: &PeerEvent, ctx: &mut Ctx<Self>) {
        self.name_step(ctx, |seed, now| match news {
            PeerEvent::Ready => seed.on_joined(now, peer),
            PeerEvent::Has(pieces) => seed.on_has(now, peer, pieces),
            _ => {}
        });
    }

    /// As `step`, for the super-seed.
    pub(super) fn name_step(&mut self, ctx: &mut Ctx<Self>, mutate: impl FnOnce(&mut SuperSeed, std::time::Instant)) {
        let Some(seed) = &mut self.super_seed else { return };
        mutate(seed, Instant::now().into_std());
        while let Some(naming) = self.super_seed.as_mut().and_then(|seed| seed.poll()) {
            self.tell(naming.peer, NamePiece(naming.piece));
        }
        self.arm(ctx);
    }
}
