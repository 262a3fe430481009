//! Server-sent events of a job: those that have happened, those that follow, and its final state.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    App,
    api_error::ApiError,
    event_log::{Entry, EventLog},
    job::Job,
    jobs::JobId,
    run_blocking,
    scheduler::SearchJob,
    store::EVENTS,
};
use crate::Result;

/// The id of the last event of every job.
const END: &str = "end";

/// Number of events by which a client may lag before the server waits for it.
const MAX_LAG: usize = 16;

/// Time between two comments in a stream without events. They tell proxies that the connection is
/// in use, and let clients notice that they have been asked to stop.
const COMMENT_PAUSE: Duration = Duration::from_secs(5);

/// Tells proxies to pass on every event at once.
const UNBUFFERED: [(&str, &str); 1] = [("x-accel-buffering", "no")];

/// Handles `GET /v1/jobs/{id}/events`. With `Last-Event-ID` the stream resumes after that event;
/// after the last event the response is empty (204).
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    JobId(id): JobId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("0");
    if last == END {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let seen = last.parse().map_err(|_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_value",
            format!("Last-Event-ID must be the id of an event, found `{last}`"),
        )
    })?;
    app.job(&id).await?;
    Ok(event_stream(|client| async move {
        send_events(&app, &id, seen, &client).await
    }))
}

/// A stream of the events that `send` sends to a client.
pub(super) fn event_stream<S, F>(send: S) -> Response
where
    S: FnOnce(Client) -> F,
    F: Future<Output = Result<(), Disconnected>> + Send + 'static,
{
    let (sender, events) = mpsc::channel(MAX_LAG);
    let sending = send(Client { sender });
    tokio::spawn(async move {
        // A client that disconnects is not an error
        let _ = sending.await;
    });
    let keep_alive = KeepAlive::new().interval(COMMENT_PAUSE);
    let stream = Sse::new(ReceiverStream::new(events)).keep_alive(keep_alive);
    (UNBUFFERED, stream).into_response()
}

/// The client has disconnected.
pub(super) struct Disconnected;

/// The client's end of an event stream.
pub(super) struct Client {
    sender: Sender<Result<Event, Infallible>>,
}

impl Client {
    /// Completes when the client has disconnected.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    pub(super) async fn send(&self, event: Event) -> Result<(), Disconnected> {
        self.sender.send(Ok(event)).await.map_err(|_| Disconnected)
    }
}

/// Sends all events of a job after the first `seen`, and its final state.
async fn send_events(
    app: &Arc<App>,
    id: &str,
    seen: usize,
    client: &Client,
) -> Result<(), Disconnected> {
    if let Some(search) = app.scheduler.search(id) {
        send_live_events(app, id, &search, seen, client).await?;
    } else {
        let entries = stored_entries(app, id).await;
        for (index, entry) in entries.iter().enumerate().skip(seen) {
            client.send(to_event(id, index + 1, entry)).await?;
        }
    }
    // The job may have been deleted in the meantime
    let job = app.job(id).await.map_err(|_| Disconnected)?;
    let last = Event::default()
        .id(END)
        .event(job.state.name())
        .data(job.to_json().to_string());
    client.send(last).await
}

/// Sends events as they happen, until the job is over.
async fn send_live_events(
    app: &Arc<App>,
    id: &str,
    search: &SearchJob,
    mut seen: usize,
    client: &Client,
) -> Result<(), Disconnected> {
    let mut changes = search.log.subscribe();
    let mut reported = None;
    loop {
        // Checked before the log is read, so that its last entries are not missed
        let open = app.scheduler.search(id).is_some();
        for entry in search.log.after(seen) {
            seen += 1;
            client.send(to_event(id, seen, &entry)).await?;
        }
        if !open {
            return Ok(());
        }
        let ahead = app.scheduler.searches_ahead(id);
        if ahead.is_some() && ahead != reported {
            reported = ahead;
            let data = json!({ "before": ahead });
            let queued = Event::default().event("queued").data(data.to_string());
            client.send(queued).await?;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = client.closed() => return Err(Disconnected),
            () = tokio::time::sleep(Duration::from_millis(500)), if ahead.is_some() => {}
        }
    }
}

/// The stored events of a job that is over.
async fn stored_entries(app: &Arc<App>, id: &str) -> Vec<Entry> {
    let store = app.store.clone();
    let id = id.to_owned();
    run_blocking(move || {
        let lines = store.read(&id, EVENTS).ok().flatten().unwrap_or_default();
        EventLog::parse(&String::from_utf8_lossy(&lines))
    })
    .await
    .unwrap_or_default()
}

/// An entry as a client of job `id` receives it. The log itself contains no addresses, since
/// several jobs may share it.
fn to_event(id: &str, number: usize, entry: &Entry) -> Event {
    let mut data = entry.data.clone();
    if let Some(sheet) = data.get("sheet").and_then(Value::as_u64) {
        data["url"] = format!("/v1/jobs/{id}/previews/{sheet}").into();
    }
    Event::default()
        .id(number.to_string())
        .event(&entry.event)
        .data(data.to_string())
}

impl App {
    /// The job with this id.
    pub(super) async fn job(&self, id: &str) -> Result<Job, ApiError> {
        let store = self.store.clone();
        let wanted = id.to_owned();
        run_blocking(move || store.job(&wanted))
            .await??
            .ok_or_else(|| ApiError::job_not_found(id))
    }
}

/// Waits until a job is over and returns it.
pub(super) async fn wait_until_over(app: &Arc<App>, id: &str) -> Result<Job, ApiError> {
    if let Some(search) = app.scheduler.search(id) {
        let mut changes = search.log.subscribe();
        while app.scheduler.search(id).is_some() && changes.changed().await.is_ok() {}
    }
    app.job(id).await
}
