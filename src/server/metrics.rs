//! Metrics for Prometheus, and one line of the log per request.

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

use super::{App, job::JobState};
use crate::process;

type Labels<const N: usize> = [(&'static str, String); N];

/// The metrics, counted from the start of the server.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Labels<3>, Counter>,
    jobs: Family<Labels<1>, Counter>,
    queue_full: Counter,
    search_seconds: Histogram,
    waiting: Gauge,
    running: Gauge,
    memory: Gauge,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            jobs: Family::default(),
            queue_full: Counter::default(),
            search_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 17)),
            waiting: Gauge::default(),
            running: Gauge::default(),
            memory: Gauge::default(),
        };
        // Counters of all final states exist from the start, as 0
        for state in JobState::ALL.into_iter().filter(|state| state.is_over()) {
            drop(metrics.jobs.get_or_create(&state_label(state)));
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
        registry.register("jobs", "Finished jobs by state", self.jobs.clone());
        registry.register(
            "queue_full",
            "Requests refused because the queue was full",
            self.queue_full.clone(),
        );
        registry.register_with_unit(
            "search",
            "Running time of searches",
            Unit::Seconds,
            self.search_seconds.clone(),
        );
        registry.register(
            "searches_waiting",
            "Searches in the queue",
            self.waiting.clone(),
        );
        registry.register(
            "searches_running",
            "Searches that are running",
            self.running.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of this process",
            Unit::Bytes,
            self.memory.clone(),
        );
    }

    /// Counts a job that is over.
    pub(super) fn count_job(&self, state: JobState) {
        self.jobs.get_or_create(&state_label(state)).inc();
    }

    /// Counts a request that was refused because the queue was full.
    pub(super) fn count_full_queue(&self) {
        self.queue_full.inc();
    }

    /// Records the running time of a search.
    pub(super) fn record_search(&self, seconds: f64) {
        self.search_seconds.observe(seconds);
    }
}

fn state_label(state: JobState) -> Labels<1> {
    [("state", state.name().to_owned())]
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let metrics = &app.metrics;
    metrics.waiting.set(app.scheduler.waiting() as i64);
    metrics.running.set(app.scheduler.running() as i64);
    metrics
        .memory
        .set(process::resident_bytes().unwrap_or(0) as i64);
    let mut text = String::new();
    let registry = metrics
        .registry
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let _ = encode(&mut text, &registry); // writing to a string cannot fail
    ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counts and logs a request.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", |path| path.as_str())
        .to_owned();
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let labels = [
        ("route", route),
        ("method", method_label(&method).to_owned()),
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

/// The method, or `other` for unusual ones, so that clients cannot create new counters at will.
fn method_label(method: &str) -> &str {
    match method {
        "GET" | "POST" | "DELETE" | "HEAD" => method,
        _ => "other",
    }
}
