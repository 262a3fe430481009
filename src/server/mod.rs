//! Searches over HTTP: endpoints for images that clients of OpenAI and of AUTOMATIC1111's web UI
//! know, jobs whose progress can be watched, and a web page that shows them.
//!
//! A request becomes a `request::SearchRequest`, the `scheduler::Scheduler` queues it, a worker
//! thread runs it and appends its events to an `event_log::EventLog`, and the `store::Store`
//! keeps the results. The routes only translate.

mod api_error;
mod client_stream;
mod connections;
mod contact_sheet;
mod edits;
mod event_log;
mod event_sink;
mod field_names;
mod folder;
mod form;
mod guard;
mod image_stream;
mod images;
mod job;
mod jobs;
mod json_body;
mod leftovers;
mod metrics;
mod openai;
mod page;
mod raw_request;
mod report;
mod request;
mod scheduler;
mod sdapi;
mod store;
mod waiting_time;
mod watch;
mod worker;

use std::{
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use axum::{Router, extract::DefaultBodyLimit, middleware::from_fn_with_state};
use tokio::{net::TcpListener, sync::Notify};

use crate::{
    Error, Result,
    clock::unix_seconds,
    loading::LoadListener,
    request::Session,
    system::{MemoryLimit, System},
};
use guard::Guard;
use metrics::Metrics;
use request::RequestReader;
use scheduler::Scheduler;
use store::Store;

/// Logs which networks are read.
struct ReadingLog;

impl LoadListener for ReadingLog {
    fn begun(&self, network: &str, bytes: u64) {
        tracing::info!(bytes, "reading the {network}");
    }

    fn read(&self, _: u64) {}

    fn ended(&self) {}
}

/// The limits on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of searches that may wait.
    pub queue: usize,
    /// Bytes of a request.
    pub body: usize,
    /// Characters of a prompt.
    pub prompt: usize,
    /// Candidates of a search, both at its widest and over all rounds.
    pub rows: usize,
    /// Number of images per request.
    pub images: usize,
    /// Running time of a search.
    pub time: Duration,
    /// Memory for all searches that run side by side, with the networks.
    pub memory: Option<MemoryLimit>,
    /// Number of connections; fewer if the system does not allow as many open files.
    pub connections: usize,
    /// Time for which a client may keep the server waiting: for headers, for a body, for the next
    /// request, or until it takes more of a response.
    pub idle: Duration,
}

impl Limits {
    /// Keeps the searches of a session within the numbers of candidates and the memory.
    ///
    /// # Errors
    /// They do not fit into the memory.
    fn apply(&self, session: &mut Session) -> Result<()> {
        session.limit_candidates(self.rows)?;
        match self.memory {
            Some(limit) => session.fit_rows(limit),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: 64,
            body: 64 << 10,
            prompt: 1000,
            rows: 64,
            images: 10,
            time: Duration::from_secs(600),
            memory: None,
            connections: 512,
            idle: Duration::from_secs(30),
        }
    }
}

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder for jobs, images and traces.
    pub folder: PathBuf,
    /// The address to listen on; port 0 selects a free port.
    pub address: SocketAddr,
    /// The secret that clients must send, required on any non-loopback address.
    pub token: Option<String>,
    /// Number of searches that run side by side.
    pub workers: usize,
    /// The limits on requests.
    pub limits: Limits,
    /// Time for running searches to finish when the server shuts down.
    pub grace: Duration,
}

/// A server that listens but does not respond yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    scheduler: Arc<Scheduler>,
    routes: Router,
    workers: Vec<JoinHandle<()>>,
    limits: Limits,
    grace: Duration,
}

/// The state that all routes share.
struct App {
    scheduler: Arc<Scheduler>,
    requests: RequestReader,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    guard: Guard,
    limits: Limits,
    /// When the model was loaded, in seconds since 1970.
    started: f64,
}

impl Server {
    /// Opens the folder, starts the workers and listens.
    ///
    /// # Errors
    /// The address is not loopback and there is no token, or the address or the folder is in use or
    /// cannot be used.
    pub async fn bind(system: System, setup: Setup) -> Result<Self> {
        let guard = Guard::new(setup.address, setup.token)?;
        // Before the folder is created: a port in use leaves no folder behind
        let listener = TcpListener::bind(setup.address)
            .await
            .map_err(|error| listen_error(setup.address, &error))?;
        let address = listener
            .local_addr()
            .map_err(|error| listen_error(setup.address, &error))?;
        let store = Arc::new(Store::open(&setup.folder)?);
        let system = Arc::new(system);
        let metrics = Arc::new(Metrics::new());
        let workers = setup.workers.max(1);
        let scheduler = Arc::new(Scheduler::new(
            store.clone(),
            metrics.clone(),
            setup.limits.queue,
        ));
        system.watch_reading(ReadingLog);
        let requests = RequestReader::new(system.clone(), setup.limits)?;
        let threads = worker::start(workers, &system, &scheduler, &store, setup.limits)?;
        let app = App {
            scheduler: scheduler.clone(),
            requests,
            store,
            metrics,
            guard,
            limits: setup.limits,
            started: unix_seconds(),
        };
        Ok(Self {
            listener,
            address,
            scheduler,
            routes: routes(Arc::new(app)),
            workers: threads,
            limits: setup.limits,
            grace: setup.grace,
        })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` completes. Then queued jobs are interrupted, running searches get the
    /// grace period to finish, and waiting clients get a response.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) {
        let Self {
            listener,
            address: _,
            scheduler,
            routes,
            workers,
            limits,
            grace,
        } = self;
        let began = Instant::now();
        let closed = Arc::new(Notify::new());
        let closing = shut_down(scheduler.clone(), grace, closed.clone());
        let stop = async move {
            stop.await;
            tokio::spawn(closing);
        };
        tokio::select! {
            () = connections::serve(listener, routes, limits, stop) => {}
            // A client does not take its response
            () = closed.notified() => {}
        }
        // A worker that panicked has already logged it
        let _ = tokio::task::spawn_blocking(move || {
            scheduler.close();
            for worker in workers {
                let _ = worker.join();
            }
            scheduler.write_missed();
        })
        .await;
        tracing::info!(uptime = began.elapsed().as_secs(), "stopped");
    }
}

fn listen_error(address: SocketAddr, error: &std::io::Error) -> Error {
    Error::system(format!("cannot listen on {address}: {error}"))
        .with_hint("choose another --port; 0 selects a free one")
}

/// Time for clients to receive their responses after the grace period.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// Shuts the scheduler down. Notifies `closed` when remaining connections may be dropped.
async fn shut_down(scheduler: Arc<Scheduler>, grace: Duration, closed: Arc<Notify>) {
    tracing::info!(
        running = scheduler.running(),
        waiting = scheduler.waiting(),
        "stopping"
    );
    let closing = scheduler.clone();
    tokio::task::spawn_blocking(move || closing.close());
    tokio::time::sleep(grace).await;
    scheduler.stop_running();
    tokio::time::sleep(CLOSING_TIME).await;
    closed.notify_one();
}

fn routes(app: Arc<App>) -> Router {
    let protected = jobs::routes()
        .merge(openai::routes())
        .merge(edits::routes())
        .merge(sdapi::routes())
        .merge(metrics::routes())
        .layer(from_fn_with_state(app.clone(), guard::check_token));
    protected
        .merge(page::routes())
        .fallback(api_error::unknown_path)
        .method_not_allowed_fallback(api_error::wrong_method)
        .layer(from_fn_with_state(app.clone(), guard::check_host))
        .layer(from_fn_with_state(app.clone(), metrics::observe))
        .layer(DefaultBodyLimit::max(app.limits.body))
        .with_state(app)
}

/// Runs work that may wait for the disk or a lock outside the threads that respond to requests.
async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal(format!("a background task failed: {error}")))
}
