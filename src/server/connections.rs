//! Connections: accepts them, limits their number, and closes those whose clients do nothing.
//!
//! The server waits for a client while it sends headers or a body, while it does not take a
//! response, and between two requests. None of these may last longer than [`Limits::idle`]. When the
//! limit of connections is reached, the one that has kept the server waiting longest makes place,
//! so that clients which hold connections cannot keep others out. A shutdown closes the connections
//! without a request at once, and the others when their response has been sent.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io::{Read, Write},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::Request, http::StatusCode, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{
    Limits,
    api_error::ApiError,
    client_stream::{ClientStream, CountedBody},
};

/// Bytes of the headers of a request, at most.
const MAX_HEADERS: usize = 64 << 10;

/// Open files that are not connections: the index, the log, files being written.
const OTHER_FILES: usize = 64;

/// Time to wait when the system has no more files for connections.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(200);

/// The longest time that a timer of a connection can be set to: no machine runs for longer, and the
/// end of a much longer time would be out of the range of the clock.
const LONGEST_IDLE: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Serves until `stop` completes and the last response has been sent.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let open = Arc::new(OpenConnections::default());
    let most = most_connections(limits.connections);
    let idle = limits.idle.min(LONGEST_IDLE);
    let stopping = watch::Sender::new(false);
    let mut tasks = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        while tasks.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                accept_failed(&error, &open).await;
                continue;
            }
        };
        if open.count() >= most && !open.close_longest_waiting() {
            refuse(stream);
            continue;
        }
        let connection = open.add();
        tasks.spawn(serve_connection(
            stream,
            routes.clone(),
            connection,
            idle,
            stopping.subscribe(),
        ));
    }
    drop(listener);
    stopping.send_replace(true);
    while tasks.join_next().await.is_some() {}
}

/// The number of connections that the limit on open files leaves room for: each may have a file of
/// a job open.
fn most_connections(wanted: usize) -> usize {
    let room = open_file_limit().map_or(usize::MAX, |files| files.saturating_sub(OTHER_FILES) / 2);
    if room < wanted {
        tracing::info!(
            connections = room.max(1),
            "the limit on open files leaves room for fewer connections than --max-connections"
        );
    }
    wanted.min(room).max(1)
}

#[cfg(unix)]
fn open_file_limit() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.and_then(|files| usize::try_from(files).ok())
}

#[cfg(not(unix))]
fn open_file_limit() -> Option<usize> {
    None
}

/// Handles a failure to accept a connection. A client that has already gone needs nothing; a lack
/// of files needs time.
async fn accept_failed(error: &std::io::Error, open: &OpenConnections) {
    use std::io::ErrorKind;
    if matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    ) {
        return;
    }
    tracing::error!(%error, "cannot accept a connection");
    open.close_longest_waiting();
    tokio::time::sleep(EXHAUSTED_PAUSE).await;
}

/// Tells a client that there are too many connections, without waiting for it.
fn refuse(stream: TcpStream) {
    let error = ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "too_many_connections",
        "all connections of this server are in use; try again in 1 s",
    );
    let body = error.body().to_string();
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         retry-after: 1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The socket does not block. A client that cannot take these bytes at once gets nothing.
    if let Ok(mut stream) = stream.into_std() {
        let mut request = [0; 8 << 10]; // Unread bytes would reset the connection
        let _ = stream.read(&mut request);
        let _ = stream.write(response.as_bytes());
    }
}

/// Serves one connection until the client closes it, does nothing for too long, or has to make
/// place for another.
async fn serve_connection(
    stream: TcpStream,
    routes: Router,
    connection: Connection,
    idle: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true); // Only delays events if it fails
    let client = connection.client.clone();
    let stream = ClientStream::new(stream, client.clone(), idle);
    let service = service_fn(|request| respond(routes.clone(), client.clone(), request));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut stopped = false;
    loop {
        tokio::select! {
            // Errors are those of the client: it went away, was too slow, or does not speak HTTP
            _ = served.as_mut() => return,
            () = connection.client.closing.notified() => return,
            _ = stopping.wait_for(|stopping| *stopping), if !stopped => {
                stopped = true;
                if connection.client.is_idle() {
                    return;
                }
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Passes a request to the routes. The request is running until all of its response is on its way.
async fn respond(
    routes: Router,
    client: Arc<Client>,
    request: hyper::Request<Incoming>,
) -> Result<Response, Infallible> {
    let running = RunningRequest::new(client.clone());
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(client);
    let response = routes.oneshot(request).await?;
    Ok(response.map(|body| Body::new(CountedBody::new(body, running))))
}

/// What the server waits for from a client, and since when.
#[derive(Default)]
struct Waits {
    /// A request.
    idle: Option<Instant>,
    /// The rest of a request.
    receiving: Option<Instant>,
    /// That the client takes more of a response.
    sending: Option<Instant>,
    /// A response is complete, but its last bytes may not have been sent.
    unsent: bool,
}

/// The client of one connection.
pub(super) struct Client {
    waits: Mutex<Waits>,
    /// Notified when the connection must be closed.
    closing: Notify,
}

impl Client {
    fn new() -> Self {
        let waits = Waits {
            idle: Some(Instant::now()),
            ..Waits::default()
        };
        Self {
            waits: Mutex::new(waits),
            closing: Notify::new(),
        }
    }

    /// Notes whether the server waits for the rest of a request.
    pub(super) fn set_receiving(&self, waiting: bool) {
        self.lock().receiving = waiting.then(Instant::now);
    }

    /// Notes whether the server waits until the client takes more of a response.
    pub(super) fn set_sending(&self, waiting: bool) {
        let mut waits = self.lock();
        if waits.sending.is_some() != waiting {
            waits.sending = waiting.then(Instant::now);
        }
    }

    /// Notes that nothing is left to be sent. If the response was complete, the server waits for a
    /// request again.
    pub(super) fn set_sent(&self) {
        let mut waits = self.lock();
        if std::mem::take(&mut waits.unsent) {
            waits.idle = Some(Instant::now());
        }
    }

    /// Returns whether the server waits for a request, and all responses have been sent.
    fn is_idle(&self) -> bool {
        self.lock().idle.is_some()
    }

    /// Since when the server waits for this client. `None` while the client waits for the server.
    fn waiting_since(&self) -> Option<Instant> {
        let waits = self.lock();
        waits.idle.or(waits.receiving).or(waits.sending)
    }

    fn lock(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request whose response is not complete.
pub(super) struct RunningRequest {
    client: Arc<Client>,
}

impl RunningRequest {
    fn new(client: Arc<Client>) -> Self {
        let mut waits = client.lock();
        waits.idle = None;
        waits.unsent = false;
        drop(waits);
        Self { client }
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.client.lock().unsent = true;
    }
}

/// The open connections.
#[derive(Default)]
struct OpenConnections {
    inner: Mutex<Numbered>,
}

#[derive(Default)]
struct Numbered {
    next: u64,
    clients: HashMap<u64, Arc<Client>>,
}

impl OpenConnections {
    fn add(self: &Arc<Self>) -> Connection {
        let client = Arc::new(Client::new());
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        inner.clients.insert(number, client.clone());
        Connection {
            number,
            client,
            open: self.clone(),
        }
    }

    fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// Closes the connection whose client has kept the server waiting longest. Returns `false` if
    /// all clients are waiting for the server.
    fn close_longest_waiting(&self) -> bool {
        let mut inner = self.lock();
        let waiting = inner
            .clients
            .iter()
            .filter_map(|(number, client)| Some((client.waiting_since()?, *number)));
        let Some((_, number)) = waiting.min() else {
            return false;
        };
        if let Some(client) = inner.clients.remove(&number) {
            client.closing.notify_one();
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection, counted until it is dropped.
struct Connection {
    number: u64,
    client: Arc<Client>,
    open: Arc<OpenConnections>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.lock().clients.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_that_keeps_the_server_waiting_longest_makes_place() {
        let open = Arc::new(OpenConnections::default());
        let [first, second, third] = [open.add(), open.add(), open.add()];
        let running = RunningRequest::new(first.client.clone());
        assert!(open.close_longest_waiting());
        assert!(open.lock().clients.contains_key(&first.number));
        assert!(!open.lock().clients.contains_key(&second.number));
        let busy = RunningRequest::new(third.client.clone());
        assert!(!open.close_longest_waiting(), "both wait for the server");
        third.client.set_sending(true);
        assert!(open.close_longest_waiting());
        assert_eq!(open.count(), 1);
        first.client.set_receiving(true);
        assert!(open.close_longest_waiting());
        drop((running, busy, first, second, third));
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn a_client_is_idle_once_its_response_has_been_sent() {
        let client = Arc::new(Client::new());
        assert!(client.is_idle());
        let running = RunningRequest::new(client.clone());
        client.set_sent(); // The headers
        assert!(!client.is_idle());
        drop(running);
        assert!(!client.is_idle(), "the last bytes are not on their way");
        client.set_sent();
        assert!(client.is_idle());
    }
}
