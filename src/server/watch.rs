//! Watching a job by server-sent events: what has happened, what happens, and at the end what
//! became of it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    App, aside,
    desk::Work,
    log::{Entry, Log},
    refusal::Refusal,
    store::{EVENTS, Job},
};
use crate::{Error, Result};

/// The id of the last event of every job.
const END: &str = "end";

/// Events that a watcher may be behind before the server waits for it.
const BEHIND: usize = 16;

/// `GET /v1/jobs/{id}/events`. `Last-Event-ID` goes on after that event; after the last one there
/// is nothing (204).
pub(super) async fn watch(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("0");
    if last == END {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let seen = last.parse().map_err(|_| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_value",
            format!("Last-Event-ID is `{last}`, no event of a job"),
        )
    })?;
    app.job(&id).await?;
    let (sender, events) = mpsc::channel(BEHIND);
    tokio::spawn(async move {
        let _ = tell(&app, &id, seen, &sender).await; // a watcher that left is no error
    });
    let keep = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(ReceiverStream::new(events))
        .keep_alive(keep)
        .into_response())
}

type Told = Result<Event, Infallible>;

/// The watcher has left.
struct Gone;

async fn tell(
    app: &Arc<App>,
    id: &str,
    mut seen: usize,
    watcher: &Sender<Told>,
) -> Result<(), Gone> {
    if let Some(work) = app.desk.work(id) {
        seen = tell_live(app, id, &work, seen, watcher).await?;
    } else {
        for (at, entry) in past(app, id).await.iter().enumerate().skip(seen) {
            send(watcher, event(id, at + 1, entry)).await?;
        }
    }
    let _ = seen;
    let job = app.job(id).await.map_err(|_| Gone)?; // forgotten meanwhile
    send(
        watcher,
        Event::default()
            .id(END)
            .event(job.state.name())
            .data(job.to_json().to_string()),
    )
    .await
}

/// Tells what happens until the job waits and runs no longer.
async fn tell_live(
    app: &Arc<App>,
    id: &str,
    work: &Work,
    mut seen: usize,
    watcher: &Sender<Told>,
) -> Result<usize, Gone> {
    let mut bell = work.log.bell();
    let mut place = None;
    loop {
        // Before the log is read, so that its last entries are not missed
        let open = app.desk.work(id).is_some();
        for entry in work.log.after(seen) {
            seen += 1;
            send(watcher, event(id, seen, &entry)).await?;
        }
        if !open {
            return Ok(seen);
        }
        let before = app.desk.before(id);
        if before.is_some() && before != place {
            place = before;
            let data = serde_json::json!({ "before": before });
            send(
                watcher,
                Event::default().event("queued").data(data.to_string()),
            )
            .await?;
        }
        tokio::select! {
            _ = bell.changed() => {}
            () = watcher.closed() => return Err(Gone),
            () = tokio::time::sleep(Duration::from_millis(500)), if before.is_some() => {}
        }
    }
}

/// What was told of a job that is over.
async fn past(app: &Arc<App>, id: &str) -> Vec<Entry> {
    let (store, id) = (app.store.clone(), id.to_owned());
    let lines = aside(move || store.read(&id, EVENTS)).await;
    let lines = lines
        .and_then(|lines| lines)
        .unwrap_or_default()
        .unwrap_or_default();
    Log::read(&String::from_utf8_lossy(&lines))
}

/// An entry as a watcher of job `id` hears it. A search may be that of several jobs, so that its
/// log names none.
fn event(id: &str, number: usize, entry: &Entry) -> Event {
    let mut data = entry.data.clone();
    if let Some(sheet) = data.get("sheet") {
        data["url"] = format!("/v1/jobs/{id}/previews/{sheet}").into();
    }
    Event::default()
        .id(number.to_string())
        .event(&entry.event)
        .data(data.to_string())
}

async fn send(watcher: &Sender<Told>, event: Event) -> Result<(), Gone> {
    watcher.send(Ok(event)).await.map_err(|_| Gone)
}

impl App {
    /// The job of an id.
    pub(super) async fn job(&self, id: &str) -> Result<Job, Refusal> {
        let (store, id) = (self.store.clone(), id.to_owned());
        aside(move || Ok::<_, Error>(store.job(&id)?.ok_or(id)))
            .await??
            .map_err(|id| Refusal::no_job(&id))
    }
}

/// Waits until a job is over.
pub(super) async fn over(app: &Arc<App>, id: &str) -> Result<Job, Refusal> {
    if let Some(work) = app.desk.work(id) {
        let mut bell = work.log.bell();
        while app.desk.work(id).is_some() && bell.changed().await.is_ok() {}
    }
    app.job(id).await
}
