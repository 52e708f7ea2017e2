//! Small servers on loopback: each answers every connection with the same bytes, hangs, or sends slowly.

use std::cell::Cell;
use std::io::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::*;
use crate::net::sockets::Sockets;
use crate::net::testing::run;

/// 20 s: far more than a request over loopback needs.
const PATIENT: Duration = Duration::from_secs(20);

/// What the server does after it has read a request.
#[derive(Debug, Clone)]
enum Does {
    /// Sends this and closes the connection.
    Says(Vec<u8>),
    /// Sends this and keeps the connection open.
    SaysAndHangs(Vec<u8>),
    /// Sends this again and again.
    Repeats(&'static [u8]),
    /// Sends this, then a byte every few milliseconds.
    Drips(Vec<u8>),
    /// Closes the connection without a response.
    Closes,
}

/// A running server; counts the requests it has read.
struct Server {
    addr: SocketAddr,
    requests: Rc<Cell<u32>>,
    heads: Rc<RefCell<Vec<String>>>,
}

impl Server {
    async fn start(does: Does) -> Self {
        Self::start_with(move |_| does.clone()).await
    }

    /// Starts a server. `does` gets the address on which the server listens.
    async fn start_with(does: impl Fn(SocketAddr) -> Does + 'static) -> Self {
        let listener = Sockets::any().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Self { addr, requests: Rc::default(), heads: Rc::default() };
        let (requests, heads) = (Rc::clone(&server.requests), Rc::clone(&server.heads));
        spawn_local(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (does, requests, heads) = (does(addr), Rc::clone(&requests), Rc::clone(&heads));
                spawn_local(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    requests.set(requests.get() + 1);
                    heads.borrow_mut().push(String::from_utf8(head).unwrap());
                    answer(stream, does).await;
                });
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    async fn get(&self, limit: usize) -> Result<Vec<u8>, HttpTrouble> {
        ask_for(&self.url("/announce?x=%ff"), PATIENT, limit).await
    }
}

async fn answer(mut stream: BoxStream, does: Does) {
    // The client may close before everything is sent.
    match does {
        Does::Says(bytes) => drop(stream.write_all(&bytes).await),
        Does::SaysAndHangs(bytes) => {
            drop(stream.write_all(&bytes).await);
            drop(stream.read_u8().await);
        }
        Does::Repeats(bytes) => while stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok() {},
        Does::Drips(bytes) => {
            drop(stream.write_all(&bytes).await);
            while stream.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Does::Closes => {}
    }
}

async fn ask_for(url: &str, timeout: Duration, limit: usize) -> Result<Vec<u8>, HttpTrouble> {
    let got = get(&Sockets::any(), Get { url, purpose: Purpose::Tracker, timeout, limit, family: IpFamily::Any }).await;
    got.map(|got| {
        assert_eq!(got.zone, Zone::Loopback);
        got.body
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat()
}

/// A response with a body and its length.
fn sized(headers: &str, body: &[u8]) -> Vec<u8> {
    ok(&format!("Content-Length: {}\r\n{headers}", body.len()), body)
}

/// W-12: every common way to frame a body is read.
#[test]
fn bodies_come_however_they_are_framed() {
    let zipped = gzip(b"d5:peers0:e");
    let chunked = b"5\r\nd5:pe\r\n6;ext=1\r\ners0:e\r\n0\r\n\r\n";
    let zipped_chunk = [format!("{:x}\r\n", zipped.len()).as_bytes(), &zipped, b"\r\n0\r\n\r\n"].concat();
    let table = [
        sized("", b"d5:peers0:e"),
        ok("", b"d5:peers0:e"),
        ok("Transfer-Encoding: chunked\r\n", chunked),
        sized("Content-Encoding: gzip\r\n", &zipped),
        ok("Transfer-Encoding: chunked\r\nContent-Encoding: GZip\r\n", &zipped_chunk),
        b"HTTP/1.0 200 OK\r\n\r\nd5:peers0:e".to_vec(),
        // Responses of trackers written by hand, and of the proxies in front of them.
        sized(&"X-Proxy: something\r\n".repeat(200), b"d5:peers0:e"),
        b"HTTP/1.1 200 OK\nContent-Length: 11\n\nd5:peers0:e".to_vec(),
        b"HTTP/1.1 200 OK\n\nd5:peers0:e".to_vec(),
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nb\nd5:peers0:e\n0\n\n".to_vec(),
        sized("Content-Length: 11\r\n", b"d5:peers0:e"),
        sized("Content-Length : 11\r\nX-Odd: \x01\r\n folded\r\nno colon\r\n", b"d5:peers0:e"),
        ok("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", chunked),
        ok("Transfer-Encoding: chunked\r\n", b"b\r\nd5:peers0:e\r\n0\r\nChecksum: x\r\nOther: y\r\n\r\n"),
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", &sized("", b"d5:peers0:e")[..]]
            .concat(),
        [&sized("", b"d5:peers0:e")[..], b"behind the body"].concat(),
        sized("", &zipped),
        sized("Content-Encoding: gzip\r\n", b"d5:peers0:e"),
    ];
    run(async {
        for said in table {
            let shown = said.escape_ascii().to_string();
            let server = Server::start(Does::Says(said)).await;
            assert_eq!(server.get(1000).await, Ok(b"d5:peers0:e".to_vec()), "{shown}");
        }
    });
}

/// The bytes of an info-hash must arrive escaped as they were sent.
#[test]
fn the_request_is_as_it_was_written() {
    run(async {
        let server = Server::start(Does::Says(sized("", b""))).await;
        server.get(10).await.unwrap();
        let head = server.heads.borrow()[0].clone();
        assert!(head.starts_with("GET /announce?x=%ff HTTP/1.1\r\n"), "{head}");
        let lower = head.to_ascii_lowercase();
        assert!(lower.contains(&format!("\r\nhost: {}\r\n", server.addr)), "{head}");
        assert!(lower.contains("\r\nuser-agent: tt-actors/"), "{head}");
    });
}

/// The user and password of `http://user:pass@host` are sent as a browser sends them, and to this host only.
#[test]
fn user_and_password_of_a_url_are_sent_in_their_header() {
    run(async {
        let server = Server::start(Does::Says(sized("", b""))).await;
        let url = |user: &str| format!("http://{user}@{}/announce", server.addr);
        for user in ["Aladdin:open%20sesame", "Aladdin", ":x"] {
            ask_for(&url(user), PATIENT, 10).await.unwrap();
        }
        ask_for(&server.url("/announce"), PATIENT, 10).await.unwrap();
        let sent: Vec<_> = server.heads.borrow().iter().map(|head| (head.contains('@'), authorization(head))).collect();
        let want = ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Basic QWxhZGRpbjo=", "Basic Ong=", ""];
        assert_eq!(sent, want.map(|value| (false, value.to_owned())));

        let elsewhere = moved(&server.url("/announce/elsewhere"));
        let first = Server::start(elsewhere).await;
        ask_for(&format!("http://user:secret@{}/announce", first.addr), PATIENT, 10).await.unwrap();
        assert_eq!(authorization(&first.heads.borrow()[0]), "Basic dXNlcjpzZWNyZXQ=");
        assert_eq!(authorization(server.heads.borrow().last().unwrap()), "", "no secret goes to another server");
    });
}

fn authorization(head: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case("authorization")).map(|(_, value)| value.to_owned()).collect()
}

/// T-06: the limit applies to the inflated body as well as to the compressed one.
#[test]
fn a_body_beyond_the_limit_is_not_read() {
    let bomb = gzip(&vec![0; 10_000_000]);
    assert!(bomb.len() < 20_000);
    let table = [
        (Does::Says(sized("", &[0; 1001])), Err(HttpTrouble::TooLarge)),
        (Does::Says(sized("", &[0; 1000])), Ok(vec![0; 1000])),
        (Does::Repeats(b"HTTP/1.1 200 OK\r\n\r\n"), Err(HttpTrouble::TooLarge)),
    ];
    run(async {
        for (does, want) in table {
            assert_eq!(Server::start(does).await.get(1000).await, want);
        }
        let server = Server::start(Does::Says(sized("Content-Encoding: gzip\r\n", &bomb))).await;
        assert_eq!(server.get(1_000_000).await, Err(HttpTrouble::TooLarge));
        assert_eq!(server.get(10_000_000).await, Ok(vec![0; 10_000_000]));
    });
}

/// T-05.
#[test]
fn a_malformed_reply_is_reported_as_broken() {
    let cut_gzip = {
        let mut cut = gzip(b"d5:peers0:e");
        cut.truncate(12);
        cut
    };
    let table = [
        Does::Says(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        Does::Says(b"\x00\xff\x00\xff garbage \r\n\r\n".to_vec()),
        Does::Says(b"HTTP/1.1 999999 What\r\n\r\n".to_vec()),
        Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 5".to_vec()),
        Does::Says(ok("Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!")),
        Does::Says(ok("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n")),
        Does::Says(ok("Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\nTrailer: x\r\n")),
        Does::Says(ok(&format!("X: {}\r\n", "x".repeat(100_000)), b"")),
        Does::Says(sized("Content-Encoding: gzip\r\n", &cut_gzip)),
        Does::Says(ok("Content-Length: 100\r\n", b"only this")),
        Does::Says(ok("Transfer-Encoding: chunked\r\n", b"zz\r\n")),
        Does::Says(ok("Content-Length: -5\r\n", b"")),
    ];
    run(async {
        for does in table {
            let shown = format!("{does:?}");
            let trouble = Server::start(does).await.get(1000).await.unwrap_err();
            assert!(matches!(trouble, HttpTrouble::Broken(_)), "{shown}: {trouble:?}");
            assert_eq!(trouble.label(), "bad-reply");
        }
    });
}

#[test]
fn a_connection_that_fails_says_how() {
    run(async {
        let closed = Server::start(Does::Closes).await.get(10).await.unwrap_err();
        assert!(
            matches!(closed, HttpTrouble::Connect(DisconnectReason::Closed | DisconnectReason::Reset)),
            "{closed:?}"
        );
        let listener = Sockets::any().listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        drop(listener);
        let refused = ask_for(&url, PATIENT, 10).await.unwrap_err();
        assert_eq!(
            (&refused, refused.to_string().as_str()),
            (&HttpTrouble::Connect(DisconnectReason::Refused), "connection refused")
        );
    });
}

#[test]
fn statuses_are_reported_with_their_retry_after() {
    let table = [
        ("404 Not Found", "", 404, None),
        ("503 Service Unavailable", "Retry-After: 120\r\n", 503, Some(120)),
        ("429 Too Many Requests", "Retry-After:  7 \r\n", 429, Some(7)),
        ("503 Later", "Retry-After: Fri, 20 Nov 2026 12:00:00 GMT\r\n", 503, None),
        ("503 Later", "Retry-After: -1\r\n", 503, None),
    ];
    run(async {
        for (status, headers, code, secs) in table {
            let said = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n{headers}\r\n");
            let want = HttpTrouble::Status { code, retry_after: secs.map(Duration::from_secs) };
            assert_eq!(
                Server::start(Does::Says(said.into_bytes())).await.get(10).await,
                Err(want),
                "{status} {headers}"
            );
        }
    });
}

fn moved(to: &str) -> Does {
    Does::Says(format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes())
}

/// T-07.
#[test]
fn redirects_are_followed_a_few_times() {
    run(async {
        let home = Server::start(Does::Says(sized("", b"home"))).await;
        let away = home.url("/announce/2");
        assert_eq!(Server::start(moved(&away)).await.get(10).await, Ok(b"home".to_vec()));
        assert!(home.heads.borrow()[0].starts_with("GET /announce/2 "));

        let round = Server::start_with(|addr| moved(&format!("http://{addr}/announce"))).await;
        assert!(matches!(round.get(10).await, Err(HttpTrouble::Redirect(_))));
        assert_eq!(round.requests.get(), 6, "the first and five hops");

        let relative = Server::start(moved("announce?again")).await;
        assert!(matches!(relative.get(10).await, Err(HttpTrouble::Redirect(_))), "relative ones are understood");
    });
}

/// S-07: a redirect may lead only to a web server, and not from a tracker's URL to another service of this machine.
#[test]
fn redirects_lead_to_no_other_place() {
    run(async {
        let victim = Server::start(Does::Says(sized("", b"secret"))).await;
        let table = [
            ("file:///etc/passwd".to_owned(), "bad-url"),
            ("gopher://127.0.0.1/announce".to_owned(), "bad-url"),
            (victim.url("/admin?delete=all"), "forbidden-address"),
            ("http://169.254.169.254/announce".to_owned(), "forbidden-address"),
            ("http://[::ffff:0.0.0.0]/announce".to_owned(), "forbidden-address"),
            ("http://[not a host]/announce".to_owned(), "redirect"),
        ];
        for (to, want) in table {
            let trouble = Server::start(moved(&to)).await.get(10).await.unwrap_err();
            assert_eq!(trouble.label(), want, "{to}: {trouble:?}");
        }
        let nowhere = Server::start(Does::Says(b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n".to_vec())).await;
        assert!(matches!(nowhere.get(10).await, Err(HttpTrouble::Redirect(_))));
        assert_eq!(victim.requests.get(), 0);
    });
}

/// T-03, T-04: one time-out covers everything, even if bytes keep arriving.
#[test]
fn a_server_that_hangs_or_drips_is_left_in_time() {
    let short = Duration::from_millis(150);
    let table = [
        Does::SaysAndHangs(Vec::new()),
        Does::SaysAndHangs(b"HTTP/1.1 200 OK\r\n".to_vec()),
        Does::SaysAndHangs(ok("Content-Length: 100\r\n", b"half")),
        Does::Drips(b"HTTP/1.1 200 OK\r\nX-Slow: ".to_vec()),
        Does::Drips(ok("Content-Length: 1000000\r\n", b"")),
        Does::Drips(ok("", b"")),
    ];
    run(async {
        for does in table {
            let shown = format!("{does:?}");
            let server = Server::start(does).await;
            let outcome = timeout(PATIENT, ask_for(&server.url("/announce"), short, 1 << 30)).await;
            let trouble = outcome.expect("it ends by itself").unwrap_err();
            assert!(matches!(trouble, HttpTrouble::Timeout(_)), "{shown}: {trouble:?}");
        }
    });
}

#[test]
fn urls_that_cannot_be_asked_have_distinct_errors() {
    run(async {
        for (url, want) in [
            ("", "bad-url"),
            ("announce", "bad-url"),
            ("ftp://127.0.0.1/announce", "bad-url"),
            ("http://0.0.0.0/announce", "forbidden-address"),
            ("http://127.0.0.1:1/admin", "forbidden-address"),
        ] {
            let trouble = ask_for(url, PATIENT, 10).await.unwrap_err();
            assert_eq!(trouble.label(), want, "{url}: {trouble:?}");
        }
    });
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    for (said, date, want) in [
        ("120", None, Some(120)),
        (" 120 ", date, Some(120)),
        ("Sun, 06 Nov 1994 09:19:37 GMT", date, Some(1800)),
        ("Sunday, 06-Nov-94 08:50:37 GMT", date, Some(60)),
        ("Sun, 06 Nov 1994 08:00:00 GMT", date, Some(0)),
        ("Sun, 06 Nov 1994 09:19:37 GMT", None, None),
        ("Sun, 06 Nov 1994 09:19:37 GMT", Some("today"), None),
        ("tomorrow", date, None),
        ("-5", date, None),
        ("", date, None),
    ] {
        assert_eq!(wait_of(said, date), want.map(Duration::from_secs), "{said:?} {date:?}");
    }
}
