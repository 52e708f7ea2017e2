//! Peers that read nothing, change their interest all the time, or request too little at a time: what is queued for
//! them, what the torrent is told of them, and when they are read.

use super::*;

/// The bytes that `input` queues for a peer whose socket takes nothing.
fn queued(talk: &mut Talk, input: impl FnOnce(&mut PeerProtocol, Instant)) -> usize {
    input(&mut talk.it, talk.now);
    let effects = std::iter::from_fn(|| talk.it.poll());
    let sent = effects.filter_map(|effect| if let PeerEffect::Send(message) = effect { Some(message) } else { None });
    let mut bytes = bytes::BytesMut::new();
    sent.for_each(|message| message.encode(&mut bytes));
    bytes.len()
}

/// The choker and the scheduler follow every change. The peer reads nothing.
#[test]
fn state_messages_to_a_peer_that_does_not_read_are_merged() {
    let mut talk = Talk::welcomed(&[0]);
    let mut unread = 0;
    for turn in 0..10_000 {
        unread += queued(&mut talk, |it, now| it.on_choke_decision(now, turn % 2 == 1));
        unread += queued(&mut talk, |it, now| it.on_interest(now, turn % 2 == 0));
    }
    assert!(unread <= 40, "{unread} bytes");
    assert_eq!(talk.does(|it, now| it.on_sent(now, unread, 0)), "", "all of them were taken back");
    talk.does(|it, now| it.on_choke_decision(now, false));
    assert_eq!(talk.does(|it, now| it.on_interest(now, true)), "→ interested", "and the next are told at once");
}

/// Requests from before a choke are not answered, so the peer must be told of the choke, however late.
#[test]
fn a_peer_that_reads_late_is_told_of_a_choke_in_between() {
    let mut talk = Talk::welcomed(&[0]);
    for turn in 0..9 {
        talk.does(|it, now| it.on_choke_decision(now, turn % 2 == 1));
    }
    // Eight messages are queued, the last of them a choke. They are told when they are read.
    assert_eq!(talk.does(|it, now| it.on_sent(now, 40, 0)), "→ unchoke");
    talk.does(|it, now| it.on_interest(now, true));
    for turn in 0..6 {
        talk.does(|it, now| it.on_choke_decision(now, turn % 2 == 0));
    }
    // The last message was an unchoke, and the peer was choked and unchoked since.
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, true)), "");
    assert_eq!(talk.does(|it, now| it.on_choke_decision(now, false)), "");
    assert_eq!(talk.does(|it, now| it.on_sent(now, 40, 0)), "→ choke, → unchoke");
}

#[test]
fn the_choker_is_told_of_twenty_changes_of_interest_a_round() {
    let mut talk = Talk::welcomed(&[0]);
    let mut heard = 0;
    for nth in 0..100_000 {
        let message = if nth % 2 == 0 { Message::Interested } else { Message::NotInterested };
        heard += usize::from(!talk.hears([message]).is_empty());
    }
    assert_eq!(heard, 20);
    talk.hears([Message::Interested]);
    let (waited, what) = talk.waits();
    assert_eq!((waited, what.as_str()), (10, "peer wants"), "what it said last is told");
    assert_eq!(
        talk.hears((0..1001).map(|nth| if nth % 2 == 0 { Message::NotInterested } else { Message::Interested })),
        "peer wants no more",
        "all of one read are one change"
    );
}

/// A lost piece is announced like a new one: when a disk disappears, two million pieces are lost at once.
#[test]
fn lost_pieces_are_announced_no_faster_than_the_peer_reads() {
    let pieces = 1 << 17;
    let geometry = Geometry::new(pieces, 1).unwrap();
    let mut talk = Talk::fresh();
    talk.it = PeerProtocol::new(talk.now, Terms { extended: true, ..terms(geometry, false) });
    talk.does(|it, now| it.on_welcome(now, Bitfield::all(1 << 17)));
    let numbers = b"d1:md11:lt_donthavei7eee".to_vec();
    talk.hears([Message::Extended { id: 0, payload: numbers.into() }]);
    let all: Vec<_> = geometry.pieces().collect();
    let mut unread = queued(&mut talk, |it, now| it.on_pieces_lost(now, &all));
    let mut told = 0;
    while unread > 0 {
        assert!(unread <= 33_000, "{unread} bytes");
        told += unread / 10;
        unread = queued(&mut talk, |it, now| it.on_sent(now, unread, 0));
    }
    assert_eq!(told, all.len());
}

/// P-21: whatever makes us answer, a peer that does not read our messages is not read, and is closed after a minute.
#[test]
fn a_peer_that_does_not_read_is_not_read_and_closed() {
    let mut talk = Talk::with_leech(&[0]);
    assert!(talk.it.may_read(talk.now, 100_000));
    assert!(!talk.it.may_read(talk.now, 1_000_000));
    talk.passes(30);
    talk.hears([Message::KeepAlive]);
    assert!(talk.it.may_read(talk.now, 0), "it has read");
    assert!(!talk.it.may_read(talk.now, 1_000_000));
    talk.passes(59);
    assert_eq!(talk.does(PeerProtocol::on_timeout), "");
    // A socket that takes a byte now and then changes nothing.
    talk.does(|it, now| it.on_sent(now, 1, 999_999));
    assert!(!talk.it.may_read(talk.now, 999_999));
    talk.passes(1);
    assert_eq!(talk.does(PeerProtocol::on_timeout), "leave: write-stalled");
}

/// At most 2,000 requests for a byte wait. A peer that requests more when they are answered is read again later.
#[test]
fn a_peer_that_requests_single_bytes_is_read_at_a_limited_rate() {
    let rate = |len: u32, secs: u32| {
        let mut talk = Talk::with_leech(&[0]);
        let (began, mut asked, zeros) = (talk.now, 0, Bytes::from(vec![0; BLOCK as usize]));
        while talk.now < began + Duration::from_secs(secs.into()) {
            if talk.it.may_read(talk.now, 0) {
                talk.it.on_messages(talk.now, (0..500).map(|_| request(0, 0, len)));
                asked += 500;
                // All of it is read from the disk and taken by the socket at once.
                while let Some(effect) = talk.it.poll() {
                    if let PeerEffect::Read(ranges) = effect {
                        let blocks: Vec<_> =
                            ranges.iter().map(|range| Some(zeros.slice(..range.len() as usize))).collect();
                        talk.it.on_read(talk.now, blocks);
                    }
                    talk.it.on_sent(talk.now, 1 << 20, 0);
                }
                talk.now += Duration::from_millis(1);
            } else {
                talk.now = talk.it.deadline().unwrap().max(talk.now);
                talk.it.on_timeout(talk.now);
            }
        }
        asked / secs
    };
    let bytes = rate(1, 10);
    assert!((4000..5000).contains(&bytes), "{bytes}");
    let blocks = rate(BLOCK, 1);
    assert!(blocks > 10_000, "{blocks}");
}

/// Requests while choked and cancelled requests cost the same.
#[test]
fn refused_and_cancelled_requests_are_charged_too() {
    let held_after = |script: fn(&mut Talk)| {
        let mut talk = Talk::with_leech(&[0]);
        (0..100_000).find(|_| {
            script(&mut talk);
            talk.does(|it, now| it.on_sent(now, 1 << 20, 0));
            !talk.it.may_read(talk.now, 0)
        })
    };
    let cancels = held_after(|talk| {
        talk.hears([request(0, 0, BLOCK), Message::Cancel(RawRequest { piece: 0, begin: 0, len: BLOCK })]);
    });
    let refusals = held_after(|talk| drop(talk.hears([request(1, 0, BLOCK)])));
    // One less than may be outstanding: its `interested` is charged too.
    assert_eq!((cancels, refusals), (Some(3999), Some(3999)));
}

/// The first block was taken: the choker and the peer book are told.
#[test]
fn a_peer_that_takes_a_block_says_so_once() {
    let mut talk = Talk::with_leech(&[0]);
    talk.hears([request(0, 0, BLOCK), request(0, BLOCK, BLOCK)]);
    assert!(talk.it.view(talk.now).asks);
    talk.reads([BLOCK, BLOCK]);
    let half = BLOCK as usize / 2;
    assert!(!talk.does(|it, now| it.on_sent(now, half, half)).contains("served"));
    assert!(talk.does(|it, now| it.on_sent(now, half, 100)).contains("served"));
    assert!(!talk.does(|it, now| it.on_sent(now, 100 + BLOCK as usize, 0)).contains("served"));
    assert!(!talk.it.view(talk.now).asks);
}
