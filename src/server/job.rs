//! A job: its state, its row in the index, and its form for clients.

use std::fmt;

use rusqlite::{Row, types::FromSql};
use serde::Serialize;
use serde_json::{Map, Value, json};
use ttsvar_search::{Trace, Warning, number};

use super::request::SearchRequest;
use crate::{clock::unix_seconds, request::new_seed};

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum JobState {
    /// It is waiting.
    Queued,
    /// Its search is running.
    Running,
    /// It has an image.
    Done,
    /// Its search failed.
    Failed,
    /// A client cancelled it.
    Cancelled,
    /// The server ended before it was done.
    Interrupted,
}

impl JobState {
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Interrupted,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }

    /// Returns whether the state is final.
    pub(super) fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Its search ended with an error, or its files could not be written.
    Search,
    /// Its search took longer than the server allows.
    TimedOut,
}

impl Failure {
    const ALL: [Self; 2] = [Self::Search, Self::TimedOut];

    /// The name in the index, which is also the code of the error that clients receive.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Search => "search_failed",
            Self::TimedOut => "timeout",
        }
    }
}

/// A job, as the index stores it and clients receive it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    pub id: String,
    pub state: JobState,
    /// Seconds since 1970.
    pub created: f64,
    pub started: Option<f64>,
    pub finished: Option<f64>,
    pub prompt: String,
    pub score: Option<f64>,
    pub error: Option<String>,
    /// Why it failed. `None` for other jobs, and for those of earlier versions of this program.
    pub failure: Option<Failure>,
    /// The request: negative, seed, size, previews, settings and plan.
    pub facts: Map<String, Value>,
    /// The warnings of the finished search.
    pub warnings: Vec<Value>,
}

impl Job {
    /// A job that is waiting.
    pub(super) fn new(request: &SearchRequest) -> Self {
        let (width, height) = request.size;
        let mut facts = Map::from_iter([("seed".to_owned(), request.seed.into())]);
        if let Some(negative) = &request.options.negative {
            facts.insert("negative".to_owned(), negative.as_str().into());
        }
        facts.insert("size".to_owned(), format!("{width}x{height}").into());
        facts.insert("previews".to_owned(), request.previews.into());
        if request.best > 1 {
            facts.insert("best".to_owned(), request.best.into());
        }
        facts.insert("settings".to_owned(), request.settings.clone().into());
        facts.insert("plan".to_owned(), json!(request.plan));
        Self {
            id: new_id(),
            state: JobState::Queued,
            created: now(),
            started: None,
            finished: None,
            prompt: request.prompt.clone(),
            score: None,
            error: None,
            failure: None,
            facts,
            warnings: vec![],
        }
    }

    /// The job as clients receive it.
    pub(super) fn to_json(&self) -> Value {
        let id = &self.id;
        let mut job = json!({
            "object": "job",
            "id": id,
            "state": self.state,
            "prompt": self.prompt,
            "created": self.created,
            "started": self.started,
            "finished": self.finished,
            "score": self.score,
            "warnings": self.warnings,
            "error": self.error,
        });
        for (name, value) in &self.facts {
            job[name] = value.clone();
        }
        job["events"] = format!("/v1/jobs/{id}/events").into();
        if self.state == JobState::Done {
            for file in ["image", "trace", "report"] {
                job[format!("{file}_url")] = format!("/v1/jobs/{id}/{file}").into();
            }
        }
        job
    }

    /// Reads a row of the index.
    ///
    /// # Errors
    /// A column has another type or an impossible value; the text names it.
    pub(super) fn from_row(row: &Row<'_>) -> Result<Self, String> {
        let state = short_text(row, "state")?;
        let state = JobState::ALL
            .into_iter()
            .find(|known| known.name() == state);
        Ok(Self {
            id: job_id(row)?,
            state: state.ok_or("state is not that of a job")?,
            created: time(row, "created")?.ok_or("created is null")?,
            started: time(row, "started")?,
            finished: time(row, "finished")?,
            prompt: short_text(row, "prompt")?,
            score: column(row, "score")?,
            error: match column::<Option<String>>(row, "error")? {
                None => None,
                Some(_) => Some(short_text(row, "error")?),
            },
            failure: match column::<Option<String>>(row, "failure")? {
                None => None,
                Some(name) => Some(
                    Failure::ALL
                        .into_iter()
                        .find(|known| known.name() == name)
                        .ok_or("failure is not that of a job")?,
                ),
            },
            facts: serde_json::from_str(&short_text(row, "facts")?)
                .map_err(|error| format!("facts: {error}"))?,
            warnings: match column::<Option<String>>(row, "warnings")? {
                None => vec![],
                Some(warnings) => {
                    serde_json::from_str(&warnings).map_err(|error| format!("warnings: {error}"))?
                }
            },
        })
    }
}

/// The part of a finished search that the index keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct JobResult {
    /// The winner's score.
    pub score: Option<f32>,
    /// The warnings of the search.
    pub warnings: Vec<Value>,
    /// The error that ended the search.
    pub error: Option<String>,
    /// Why it failed.
    pub failure: Option<Failure>,
}

impl JobResult {
    /// The result that a trace records.
    pub(super) fn from_trace(trace: &Trace) -> Self {
        let mut finals = trace.finals.iter();
        let winner = finals.find(|finished| finished.id == trace.winner);
        Self {
            score: winner.map(|winner| winner.score),
            warnings: trace.warnings.iter().map(warning_json).collect(),
            ..Self::default()
        }
    }

    /// The result of a job that failed.
    pub(super) fn failed(failure: Failure, error: String) -> Self {
        Self {
            error: Some(error),
            failure: Some(failure),
            ..Self::default()
        }
    }

    /// The score as the index keeps it.
    pub(super) fn stored_score(&self) -> Option<f64> {
        number::to_json(self.score?).as_f64()
    }

    /// The result with a warning if fewer images are there than were to be kept.
    pub(super) fn with_images(mut self, found: usize, wanted: usize) -> Self {
        if found < wanted {
            self.warnings.push(json!({
                "kind": "fewer_images",
                "message": format!("the search finished {found} of {wanted} images to keep"),
                "advice": "use method best-of-n to finish every candidate",
            }));
        }
        self
    }
}

/// A warning with the keys that it has in a trace, and its text.
fn warning_json(warning: &Warning) -> Value {
    let mut json = json!(warning);
    json["message"] = warning.to_string().into();
    json["advice"] = warning.advice().into();
    json
}

/// Bytes of the longest text in a row: far more than a request may have.
const MAX_TEXT: usize = 4 << 20;

fn column<T: FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
    row.get(name).map_err(|error| format!("{name}: {error}"))
}

fn short_text(row: &Row<'_>, name: &str) -> Result<String, String> {
    let text = row
        .get_ref(name)
        .map_err(|error| error.to_string())?
        .as_str()
        .map_err(|error| format!("{name}: {error}"))?;
    if text.len() > MAX_TEXT {
        return Err(format!("{name} has {} bytes", text.len()));
    }
    Ok(text.to_owned())
}

/// Seconds since 1970.
fn time(row: &Row<'_>, name: &str) -> Result<Option<f64>, String> {
    let time: Option<f64> = column(row, name)?;
    match time {
        Some(time) if !(0.0..1e12).contains(&time) => Err(format!("{name} is {time}")),
        time => Ok(time),
    }
}

/// The id of a row. Ids become parts of paths.
pub(super) fn job_id(row: &Row<'_>) -> Result<String, String> {
    let id = short_text(row, "id")?;
    let plain = !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain {
        Ok(id)
    } else {
        Err("id is not that of a job".to_owned())
    }
}

/// Seconds since 1970, in whole milliseconds.
pub(super) fn now() -> f64 {
    (unix_seconds() * 1000.0).floor() / 1000.0
}

/// A new id: the time, so that ids grow, followed by random digits, so that they are hard to guess.
fn new_id() -> String {
    format!(
        "{:011x}{:08x}{:08x}",
        (now() * 1000.0) as u64,
        new_seed(),
        new_seed()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time() {
        let first = new_id();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(first < new_id() && first.len() == 27);
    }
}
