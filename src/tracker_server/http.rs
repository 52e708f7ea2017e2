//! `HttpDesk`: one listening HTTP socket of the tracker (BEP 3, 48), served by actix-web.
//!
//! * Owns the socket and its connections. The socket survives a restart, the connections do not.
//! * Parent: `TrackerServer`. Restart policy: permanent, 5 restarts in 60 s.
//! * Asks the `SwarmKeeper` about each request.
//! * Handles only `Goodbye`, which closes all connections: an answer takes less than a millisecond.
//! * Limits: 5 s for a head, 15 s between requests, two minutes for a connection, and the number of `connections`. A
//!   connection has one request and one answer at a time, and bodies are not read (`turns`).

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::prelude::*;
use actix_http::{HttpService, Protocol};
use actix_service::{Service, ServiceFactory, map_config};
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::web::{Data, get};
use actix_web::{App, HttpRequest, HttpResponse};
use tokio::time::{sleep, timeout};

use super::connections::HttpConnections;
use super::keeper::{GetCounts, Page, Query, SwarmKeeper};
use super::pages;
use super::turns::Turns;
use crate::actors::kit::{self, Child, Ctx, Goodbye};
use crate::net::Listen;

/// 5 s for the head of a request: a slow phone needs one second.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// 15 s: enough for a client that scrapes after its announce.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Two minutes: no client needs more. This also ends a later head whose bytes arrive slowly.
const LIFETIME: Duration = Duration::from_secs(120);

/// 1 s for the client to close its end.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// 10 ms: immediately after a failed accept the next one would fail as well.
const TROUBLE_PAUSE: Duration = Duration::from_millis(10);

/// 16 KiB of an answer may be in the kernel for a client that does not read: as long as the longest answer, and more
/// than any announce needs.
const UNSENT_IN_KERNEL: u32 = 16 * 1024;

/// One listening HTTP socket of the tracker.
#[derive(Debug)]
pub(super) struct HttpDesk {
    listener: Rc<dyn Listen>,
    at: SocketAddr,
    max_connections: usize,
    keeper: Addr<SwarmKeeper>,
}

crate::metered!(HttpDesk, "HttpDesk");

impl HttpDesk {
    /// An actor for this listening socket.
    pub(super) fn new(
        listener: Rc<dyn Listen>,
        at: SocketAddr,
        max_connections: usize,
        keeper: Addr<SwarmKeeper>,
    ) -> Self {
        Self { listener, at, max_connections, keeper }
    }
}

/// The routes that actix-web serves.
fn app(
    keeper: Addr<SwarmKeeper>,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse, Error = actix_web::Error, InitError = ()>,
> {
    App::new()
        .app_data(Data::new(keeper))
        // The paths may continue, as in opentracker: clients know URLs such as `/announce.php` and `/announce/KEY`.
        .route("/announce{rest:.*}", get().to(announce))
        .route("/scrape{rest:.*}", get().to(scrape))
        .route("/stats", get().to(stats))
        .route("/metrics", get().to(metrics))
}

async fn announce(request: HttpRequest, keeper: Data<Addr<SwarmKeeper>>) -> HttpResponse {
    ask(&request, &keeper, Page::Announce).await
}

async fn scrape(request: HttpRequest, keeper: Data<Addr<SwarmKeeper>>) -> HttpResponse {
    ask(&request, &keeper, Page::Scrape).await
}

async fn stats(keeper: Data<Addr<SwarmKeeper>>) -> HttpResponse {
    match keeper.send(GetCounts).await {
        Ok(stats) => HttpResponse::Ok().content_type(ContentType::json()).body(pages::stats(&stats)),
        Err(_restarting) => HttpResponse::ServiceUnavailable().finish(),
    }
}

async fn metrics(keeper: Data<Addr<SwarmKeeper>>) -> HttpResponse {
    match keeper.send(GetCounts).await {
        Ok(stats) => {
            let text = pages::metrics(&stats, &kit::snapshot());
            HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text)
        }
        Err(_restarting) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// Asks the keeper about an announce or a scrape.
async fn ask(request: &HttpRequest, keeper: &Addr<SwarmKeeper>, page: Page) -> HttpResponse {
    let Some(from) = request.peer_addr() else { return HttpResponse::BadRequest().finish() };
    match keeper.send(Query { page, words: request.query_string().to_owned(), from: from.ip() }).await {
        Ok(body) => HttpResponse::Ok().content_type(ContentType::plaintext()).body(body),
        Err(_restarting) => HttpResponse::ServiceUnavailable().finish(),
    }
}

/// Serves the connections of a listening socket.
async fn serve(listener: Rc<dyn Listen>, max_connections: usize, keeper: Addr<SwarmKeeper>) {
    let service = HttpService::build()
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .finish(map_config(app(keeper), |()| AppConfig::default()));
    let handler = service.new_service(()).await;
    let handler = handler.expect("routes to plain functions have nothing that could fail");
    accept(&*listener, HttpConnections::new(max_connections), handler).await;
}

/// Accepts connections for ever.
async fn accept(
    listener: &dyn Listen,
    mut connections: HttpConnections,
    handler: impl Service<(Turns, Protocol, Option<SocketAddr>), Future: 'static>,
) {
    loop {
        tokio::select! {
            biased;
            () = connections.ended() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let host: IpAddr = from.ip().to_canonical();
                    if connections.has_room_for(host) {
                        if let Err(error) = stream.limit_unsent(UNSENT_IN_KERNEL) {
                            tracing::debug!(%error, "the kernel's buffer of a connection cannot be limited");
                        }
                        let request = (Turns::new(stream), Protocol::Http1, Some(from));
                        let serving = timeout(LIFETIME, handler.call(request));
                        connections.add(host, async move { drop(serving.await) });
                    }
                }
                Err(error) => {
                    // Most often there are no descriptors left.
                    tracing::debug!(%error, "a connection cannot be accepted");
                    connections.make_room();
                    sleep(TROUBLE_PAUSE).await;
                }
            },
        }
    }
}

impl Actor for HttpDesk {
    type Context = Ctx<Self>;

    fn started(&mut self, ctx: &mut Ctx<Self>) {
        let serving = serve(Rc::clone(&self.listener), self.max_connections, self.keeper.clone());
        ctx.spawn(wrap_future(serving));
    }
}

impl Supervised for HttpDesk {}

impl Child for HttpDesk {
    fn id(&self) -> String {
        format!("http://{}", self.at)
    }
}

impl Handler<Goodbye> for HttpDesk {
    type Result = ();

    fn handle(&mut self, _: Goodbye, ctx: &mut Ctx<Self>) {
        ctx.stop();
    }
}
