//! What the server counts, for Prometheus, and a line of the log for every request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    encoding::text::encode,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{App, store};

type Labels<const N: usize> = [(&'static str, String); N];

/// Counters, all from the start of the server.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Labels<3>, Counter>,
    jobs: Family<Labels<1>, Counter>,
    full: Counter,
    search: Histogram,
    waiting: Gauge,
    running: Gauge,
    memory: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let search = Histogram::new(exponential_buckets(0.01, 2.0, 17));
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            jobs: Family::default(),
            full: Counter::default(),
            search,
            waiting: Gauge::default(),
            running: Gauge::default(),
            memory: Gauge::default(),
        };
        for state in store::State::ALL.into_iter().filter(|state| state.over()) {
            drop(
                metrics
                    .jobs
                    .get_or_create(&[("state", state.name().to_owned())]),
            ); // there from the start, as 0
        }
        metrics.register();
        metrics
    }

    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("ttsvar");
        registry.register(
            "http_requests",
            "Requests by route, method and status",
            self.requests.clone(),
        );
        registry.register("jobs", "Jobs that are over, by state", self.jobs.clone());
        registry.register(
            "queue_full",
            "Requests refused because the queue was full",
            self.full.clone(),
        );
        registry.register_with_unit(
            "search",
            "Time of a search",
            Unit::Seconds,
            self.search.clone(),
        );
        registry.register(
            "searches_waiting",
            "Searches in the queue",
            self.waiting.clone(),
        );
        registry.register(
            "searches_running",
            "Searches under way",
            self.running.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Memory of this process",
            Unit::Bytes,
            self.memory.clone(),
        );
    }

    /// A job is over.
    pub(super) fn ended(&self, state: store::State) {
        self.jobs
            .get_or_create(&[("state", state.name().to_owned())])
            .inc();
    }

    /// The queue had no place.
    pub(super) fn full(&self) {
        self.full.inc();
    }

    /// A search is over.
    pub(super) fn took(&self, seconds: f64) {
        self.search.observe(seconds);
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let Metrics {
        registry,
        waiting,
        running,
        memory,
        ..
    } = &*app.metrics;
    waiting.set(app.desk.waiting() as i64);
    running.set(app.desk.running() as i64);
    memory.set(resident_bytes().unwrap_or(0) as i64);
    let mut text = String::new();
    let registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = encode(&mut text, &registry); // writing to a string cannot fail
    const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, KIND)], text).into_response()
}

/// The memory that this process has now; none where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}

/// Counts and logs a request.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| path.as_str())
        .to_owned();
    let (method, path) = (
        request.method().to_string(),
        request.uri().path().to_owned(),
    );
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let labels = [
        ("route", route),
        ("method", known(&method)),
        ("status", status.to_string()),
    ];
    app.metrics.requests.get_or_create(&labels).inc();
    tracing::info!(
        method,
        path,
        status,
        seconds = began.elapsed().as_secs_f64(),
        "request"
    );
    response
}

/// The method, or one name for all that nobody needs, so that clients cannot make up new counters.
fn known(method: &str) -> String {
    if ["GET", "POST", "DELETE", "HEAD"].contains(&method) {
        method
    } else {
        "other"
    }
    .to_owned()
}
