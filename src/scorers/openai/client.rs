//! Requests to a vision server, repeated while it is busy or broken.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;
use ureq::{
    Agent,
    http::{HeaderMap, StatusCode},
};

use super::{VisionServer, answer, refused, settings::ApiKey};
use crate::{Error, Result};

/// How often a request is sent, at most.
const ATTEMPTS: u32 = 6;

/// Waits between attempts, at most; also what a server may ask for.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Limit for connecting.
const CONNECT: Duration = Duration::from_secs(10);

/// How often waits look whether the work was stopped.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Bytes of an answer, at most.
const LARGEST: u64 = 4 << 20;

/// A client.
pub(super) struct Client {
    agent: Agent,
    address: String,
    key: Option<ApiKey>,
    delay: Duration,
}

/// A question without an answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No other question would be answered either.
    Fatal(Error),
    /// This question was not answered, in all attempts.
    Lost(Error),
}

/// A failed attempt.
enum Attempt {
    /// Another one would fail too.
    Fatal(Error),
    /// Another one may succeed, after the wait that the server asks for.
    Again(Error, Option<Duration>),
}

impl Client {
    pub(super) fn new(server: &VisionServer) -> Result<Self> {
        let url = server.url.as_deref().unwrap_or_default();
        let config = Agent::config_builder()
            .max_redirects(0) // the key belongs to this server only
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(server.time_limit()))
            .build();
        Ok(Self {
            agent: config.into(),
            address: format!("{}/chat/completions", url.trim_end_matches('/')),
            key: server.key.clone(),
            delay: server.delay.unwrap_or(Duration::from_millis(500)),
        })
    }

    /// Sends a request until the answer says how likely the right one is; returns that probability.
    pub(super) fn ask(
        &self,
        request: &Value,
        right: &str,
        stop: &AtomicBool,
    ) -> Result<f32, Failure> {
        let mut delay = self.delay;
        let mut attempt = 1;
        loop {
            let (error, asked) = match self.attempt(request, right) {
                Ok(probability) => return Ok(probability),
                Err(Attempt::Fatal(error)) => return Err(Failure::Fatal(error)),
                Err(Attempt::Again(error, asked)) => (error, asked),
            };
            if attempt == ATTEMPTS || stop.load(Ordering::Relaxed) {
                return Err(Failure::Lost(error));
            }
            wait(asked.unwrap_or(delay).min(LONGEST_DELAY), stop);
            delay *= 2;
            attempt += 1;
        }
    }

    fn attempt(&self, request: &Value, right: &str) -> Result<f32, Attempt> {
        let again = |what: String| Attempt::Again(self.error(&what), None);
        let mut post = self.agent.post(&self.address);
        if let Some(key) = &self.key {
            post = post.header("Authorization", format!("Bearer {}", key.secret()));
        }
        let answered = post.send_json(request);
        let mut response = answered.map_err(|error| {
            let error = self.error(&format!("cannot be reached: {error}"));
            // The address is in the hint, which `serve` does not show to its clients.
            let hint = format!(
                "check --openai-url, and that a server is running at {}",
                self.without_key(&self.address)
            );
            Attempt::Again(error.with_hint(hint), None)
        })?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(LARGEST);
        let text = body.read_to_string();
        if !status.is_success() {
            let text = text.unwrap_or_default();
            return Err(self.status_error(status, response.headers(), &text));
        }
        let text = text.map_err(|error| again(format!("broke off its answer: {error}")))?;
        answer::probability(&text, right).ok_or_else(|| {
            let start = self.start_of(&text);
            again(format!("gave an unexpected answer: {start}"))
        })
    }

    fn status_error(&self, status: StatusCode, headers: &HeaderMap, text: &str) -> Attempt {
        let error = self.error(&format!(
            "answered {}: {}",
            status.as_u16(),
            self.start_of(text)
        ));
        let busy = [408, 409, 425, 429].contains(&status.as_u16());
        if busy || status.is_server_error() {
            return Attempt::Again(error, retry_after(headers));
        }
        Attempt::Fatal(match status.as_u16() {
            401 | 403 => error.with_hint("set OPENAI_API_KEY to a key of this server"),
            404 => {
                error.with_hint("check --openai-url, which often ends in /v1, and --openai-model")
            }
            _ => error,
        })
    }

    /// An error about the server.
    fn error(&self, what: &str) -> Error {
        refused(self.without_key(what))
    }

    /// The start of an answer in one line. The key goes first, so that no part of it is left.
    fn start_of(&self, answer: &str) -> String {
        shortened(&self.without_key(answer))
    }

    /// A text without the key, should a server repeat it.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) if !key.secret().is_empty() => text.replace(key.secret(), "(the key)"),
            _ => text.to_owned(),
        }
    }
}

/// The wait that a server asks for, in seconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers
        .get("retry-after")?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The start of a text in one line.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 200;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", line[..end].escape_debug()),
        None => line.escape_debug().to_string(),
    }
}

/// Waits, but not for longer than the work goes on.
fn wait(delay: Duration, stop: &AtomicBool) {
    let end = Instant::now() + delay;
    while !stop.load(Ordering::Relaxed) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(TICK));
    }
}
