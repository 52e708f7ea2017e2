//! A listener whose inbound connections are made by the test.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::*;
use crate::actors::kit::testing::{Diary, with_actors};
use crate::actors::kit::{self, ChildEvent, SupervisedChild};
use crate::actors::policies;
use crate::base::ids::PeerId;
use crate::net::Pending;
use crate::net::testing::pipe;

const SERVED: InfoHash = InfoHash([1; 20]);

/// A listening socket through which the test sends connections and errors.
#[derive(Debug, Default)]
struct Door {
    callers: RefCell<VecDeque<io::Result<(BoxStream, SocketAddr)>>>,
    bell: Notify,
}

impl Door {
    /// Connects from host `host`. Returns the far end of the stream.
    fn call(&self, host: u8) -> DuplexStream {
        let (near, far) = pipe(1000);
        self.ring(Ok((near, SocketAddr::from(([198, 51, 100, host], 1000)))));
        far
    }

    fn ring(&self, caller: io::Result<(BoxStream, SocketAddr)>) {
        self.callers.borrow_mut().push_back(caller);
        self.bell.notify_one();
    }
}

impl Listen for Door {
    fn accept(&self) -> Pending<'_, (BoxStream, SocketAddr)> {
        Box::pin(async {
            loop {
                if let Some(caller) = self.callers.borrow_mut().pop_front() {
                    return caller;
                }
                self.bell.notified().await;
            }
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([192, 0, 2, 1], 6881)))
    }
}

/// In place of the pool and of the session.
struct Ear(Diary);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<PeerArrived> for Ear {
    type Result = ();

    fn handle(&mut self, arrived: PeerArrived, _: &mut Context<Self>) {
        self.0.write(format!("{} is {}", arrived.addr, arrived.theirs.peer_id.0[0]));
    }
}

impl Handler<ChildEvent> for Ear {
    type Result = ();

    fn handle(&mut self, _: ChildEvent, _: &mut Context<Self>) {}
}

fn start(places: usize) -> (Rc<Door>, Diary, SupervisedChild<Listener>) {
    let (door, diary) = (Rc::new(Door::default()), Diary::default());
    let ear = Ear(diary.clone()).start();
    let cfg = ListenerConfig { door: Rc::<Door>::clone(&door), places };
    let handle = kit::spawn(Listener::new(cfg), policies::LISTENER, 1, ear.clone().recipient());
    handle.addr.do_send(RegisterTorrent { info_hash: SERVED, pool: ear.recipient() });
    (door, diary, handle)
}

fn greeting_of(peer: u8, info_hash: InfoHash) -> [u8; Handshake::LEN] {
    Handshake { reserved: [0; 8], info_hash, peer_id: PeerId([peer; 20]) }.encode()
}

async fn is_closed(far: &mut DuplexStream) -> bool {
    timeout(Duration::from_millis(1), far.read_u8()).await.is_ok_and(|read| read.is_err())
}

#[tokio::test(start_paused = true)]
async fn a_connection_goes_to_the_pool_of_its_torrent_and_others_are_closed() {
    with_actors(async {
        let (door, diary, handle) = start(10);
        let mut known = door.call(1);
        known.write_all(&greeting_of(7, SERVED)).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(diary.read(), ["198.51.100.1:1000 is 7"]);
        let mut unknown = door.call(2);
        unknown.write_all(&greeting_of(8, InfoHash([9; 20]))).await.unwrap();
        let mut other = door.call(3);
        other.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(is_closed(&mut unknown).await && is_closed(&mut other).await);
        assert_eq!(diary.read(), [""; 0]);
        handle.stop();
    })
    .await;
}

/// P-02, P-28: a connection without a handshake ends after ten seconds, and a crowd of them shuts out no other peer.
#[tokio::test(start_paused = true)]
async fn silent_connections_make_room_for_those_with_a_handshake() {
    with_actors(async {
        let (door, diary, _handle) = start(3);
        let began = Instant::now();
        let mut silent: Vec<_> = (1..=20).map(|host| door.call(host)).collect();
        sleep(Duration::from_millis(1)).await;
        let mut gone = 0;
        for far in &mut silent {
            gone += usize::from(is_closed(far).await);
        }
        assert_eq!(gone, 17);
        let mut speaker = door.call(99);
        speaker.write_all(&greeting_of(7, SERVED)).await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(diary.read(), ["198.51.100.99:1000 is 7"]);
        let last = silent.last_mut().unwrap();
        assert!(last.read_u8().await.is_err());
        assert_eq!(began.elapsed().as_secs(), HANDSHAKE_TIMEOUT.as_secs());
    })
    .await;
}

/// without descriptors no connection can be accepted; a second later it is tried again.
#[tokio::test(start_paused = true)]
async fn a_socket_that_fails_is_tried_again() {
    with_actors(async {
        let (door, diary, _handle) = start(3);
        for _ in 0..3 {
            door.ring(Err(io::ErrorKind::OutOfMemory.into()));
        }
        door.ring(Err(io::ErrorKind::ConnectionAborted.into()));
        let mut far = door.call(1);
        far.write_all(&greeting_of(7, SERVED)).await.unwrap();
        sleep(Duration::from_millis(2900)).await;
        assert_eq!(diary.read(), [""; 0]);
        sleep(Duration::from_millis(200)).await;
        assert_eq!(diary.read(), ["198.51.100.1:1000 is 7"]);
    })
    .await;
}
