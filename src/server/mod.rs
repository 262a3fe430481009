//! Searches over HTTP: an interface like OpenAI's for images, jobs that can be watched, and a page
//! that shows them.
//!
//! A request becomes an `request::SearchRequest`, the `desk::Desk` queues it, a worker thread carries it out
//! and tells its `log::Log`, the `store::Store` keeps what came of it. Routes only translate.

mod desk;
mod follow;
mod guard;
mod jobs;
mod log;
mod metrics;
mod openai;
mod page;
mod refusal;
mod report;
mod request;
mod store;
mod watch;
mod worker;

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use axum::Router;
use tokio::{net::TcpListener, sync::Notify};

use crate::{Error, Result, system::System};
use desk::Desk;
use guard::Guard;
use metrics::Metrics;
use request::RequestReader;
use store::Store;

/// What a server may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Searches that may wait.
    pub queue: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Characters of a prompt.
    pub prompt: usize,
    /// Rows of a search, at its widest and over all rounds.
    pub rows: usize,
    /// Pictures of one request.
    pub pictures: usize,
    /// How long a search may take once it has begun.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 64,
            body: 64 << 10,
            prompt: 1000,
            rows: 64,
            pictures: 10,
            time: Duration::from_secs(600),
        }
    }
}

/// Everything that a server is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where jobs, images and traces are kept.
    pub folder: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// The secret that clients must know; needed beyond loopback.
    pub token: Option<String>,
    /// Searches that run side by side.
    pub workers: usize,
    /// What may be asked for.
    pub limits: Limits,
    /// How long searches under way may go on when the server is to end.
    pub grace: Duration,
}

/// A server that listens and has not begun to answer.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    desk: Arc<Desk>,
    app: Router,
    workers: Vec<JoinHandle<()>>,
    grace: Duration,
}

/// What every route knows.
struct App {
    desk: Arc<Desk>,
    requests: RequestReader,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    guard: Guard,
    limits: Limits,
    /// When the model was loaded.
    began: SystemTime,
}

impl Server {
    /// Opens the folder, starts the workers and listens.
    ///
    /// # Errors
    /// An address beyond loopback without a token, an address or a folder that is in use or cannot
    /// be used.
    pub async fn bind(system: System, setup: Setup) -> Result<Self> {
        let guard = Guard::new(setup.address, setup.token)?;
        let store = Arc::new(Store::open(&setup.folder)?);
        let taken = |error| {
            Error::input(format!("cannot listen on {}: {error}", setup.address)).with_hint(TAKEN)
        };
        let listener = TcpListener::bind(setup.address).await.map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let (system, metrics) = (Arc::new(system), Arc::new(Metrics::new()));
        let workers = setup.workers.max(1);
        let desk = Arc::new(Desk::new(
            store.clone(),
            metrics.clone(),
            setup.limits.queue,
            workers,
        ));
        let requests = RequestReader::new(system.clone(), setup.limits)?;
        let threads = worker::start(workers, &system, &desk, &store, setup.limits.time)?;
        let app = App {
            desk: desk.clone(),
            requests,
            store,
            metrics,
            guard,
            limits: setup.limits,
            began: SystemTime::now(),
        };
        Ok(Self {
            listener,
            address,
            desk,
            app: routes(Arc::new(app)),
            workers: threads,
            grace: setup.grace,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` is over; then waiting jobs are given up, those under way get the time
    /// of grace, and everyone who waits is told.
    ///
    /// # Errors
    /// The network fails.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self {
            listener,
            address,
            desk,
            app,
            workers,
            grace,
        } = self;
        let began = Instant::now();
        let over = Arc::new(Notify::new());
        let closing = close(desk.clone(), grace, over.clone());
        let stop = async move {
            stop.await;
            tokio::spawn(closing);
        };
        let served = tokio::select! {
            served = axum::serve(listener, app).with_graceful_shutdown(stop) => served,
            () = over.notified() => Ok(()), // somebody holds a line open and says nothing
        };
        desk.close();
        let joined = tokio::task::spawn_blocking(move || {
            workers.into_iter().for_each(|worker| drop(worker.join()))
        });
        let _ = joined.await; // a worker that panicked has said so
        tracing::info!(seconds = began.elapsed().as_secs(), "stopped");
        served.map_err(|error| Error::input(format!("cannot answer on {address}: {error}")))
    }
}

/// How long clients may take to hear that it is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// Ends what the server does, and says when nobody can have anything to hear any more.
async fn close(desk: Arc<Desk>, grace: Duration, over: Arc<Notify>) {
    tracing::info!(
        running = desk.running(),
        waiting = desk.waiting(),
        "stopping"
    );
    desk.close();
    tokio::time::sleep(grace).await;
    desk.give_up();
    tokio::time::sleep(FAREWELL).await;
    over.notify_one();
}

const TAKEN: &str = "choose another --port; 0 takes a free one";

fn routes(app: Arc<App>) -> Router {
    let closed = jobs::routes()
        .merge(openai::routes())
        .merge(metrics::routes());
    let closed = closed.layer(axum::middleware::from_fn_with_state(
        app.clone(),
        guard::ask,
    ));
    closed
        .merge(page::routes())
        .fallback(refusal::nowhere)
        .method_not_allowed_fallback(refusal::wrong_method)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            guard::host,
        ))
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            metrics::observe,
        ))
        .layer(axum::extract::DefaultBodyLimit::max(app.limits.body))
        .with_state(app)
}

/// Does work that may wait for the disk or a lock, away from the threads that answer.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a worker thread failed: {error}")))
}
