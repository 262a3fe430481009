//! The server over real HTTP: images, jobs, errors, watching, cancelling, and restarts.
#![cfg(unix)]

mod classes;
mod connections;
mod damage;
mod edits;
mod fields;
mod flexar;
mod images;
mod jobs;
mod options;
mod refusals;
mod restarts;
mod sdapi;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

/// A running server, killed when dropped.
pub struct Served {
    child: Child,
    url: String,
    agent: ureq::Agent,
    token: Option<String>,
    _folder: Option<tempfile::TempDir>,
}

/// A response.
pub struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|_| panic!("{}: {}", self.status, self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The code of an error.
    fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert!(
            error["message"].is_string()
                && error["type"].is_string()
                && error.get("param").is_some(),
            "{body}"
        );
        error["code"].as_str().unwrap().to_owned()
    }
}

/// An event as the client receives it.
#[derive(Debug)]
pub struct SentEvent {
    id: String,
    event: String,
    data: Value,
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
    command.env_remove("TTSVAR_TOKEN").arg("serve");
    command
}

impl Served {
    /// A server in a temporary folder.
    fn new(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut served = Self::at(folder.path(), flags);
        served._folder = Some(folder);
        served
    }

    fn at(folder: &Path, flags: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["--port", "0", "--quiet", "--folder"])
            .arg(folder)
            .args(flags)
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        assert!(url.starts_with("http://"), "no address: {:?}", child.wait());
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .into();
        Self {
            child,
            url: url.trim().to_owned(),
            agent,
            token: None,
            _folder: None,
        }
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = self
            .agent
            .run(request.body(body.as_ref().to_vec()).unwrap())
            .unwrap();
        let bytes = response.body_mut().read_to_vec().unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            bytes,
        }
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string(),
        )
    }

    /// Sends a form with files.
    fn post_form(&self, path: &str, boundary: &str, body: Vec<u8>) -> Answer {
        let content_type = format!("multipart/form-data; boundary={boundary}");
        self.send("POST", path, &[("content-type", &content_type)], body)
    }

    /// Sends bytes on a new connection. Returns everything that the server sends until it closes the
    /// connection or is silent for a second.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .unwrap();
        let mut received = vec![];
        let _ = stream.read_to_end(&mut received);
        String::from_utf8_lossy(&received).into_owned()
    }

    /// A new connection.
    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap()
    }

    /// Submits a job and returns its id.
    fn submit(&self, body: &Value) -> String {
        let answer = self.post("/v1/jobs", body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(answer.headers["location"], format!("/v1/jobs/{id}"));
        id
    }

    fn state(&self, id: &str) -> String {
        self.get(&format!("/v1/jobs/{id}")).json()["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until a job is in this state.
    fn until(&self, id: &str, state: &str) {
        let began = Instant::now();
        while self.state(id) != state {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "job {id} is {}, not {state}",
                self.state(id)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// All events of a job after the event `last`.
    fn watch(&self, id: &str, last: &str) -> Vec<SentEvent> {
        let answer = self.send(
            "GET",
            &format!("/v1/jobs/{id}/events"),
            &[("last-event-id", last)],
            "",
        );
        assert_eq!(answer.headers["content-type"], "text/event-stream");
        events(&answer.text())
    }

    /// Waits until a job is no longer queued.
    fn until_begun(&self, id: &str) {
        while self.state(id) == "queued" {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the server has ended.
    fn wait(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Shuts the server down and returns its exit code.
    fn end(self) -> Option<i32> {
        self.request_shutdown();
        self.wait()
    }

    fn request_shutdown(&self) {
        let id = Pid::from_raw(self.child.id() as i32);
        kill(id, Signal::SIGTERM).unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn events(text: &str) -> Vec<SentEvent> {
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(": ")
                .map(str::to_owned)
        });
        line.unwrap_or_default()
    };
    let blocks = text.split("\n\n").filter(|block| block.contains("event: "));
    let parse = |block: &str| SentEvent {
        id: field(block, "id"),
        event: field(block, "event"),
        data: serde_json::from_str(&field(block, "data")).unwrap(),
    };
    blocks.map(parse).collect()
}

fn names(events: &[SentEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event.as_str()).collect()
}

/// A job that runs until it is cancelled. Different seeds are different searches.
fn endless(seed: u64) -> Value {
    let plan = json!({ "start": 1, "rounds": 60000, "enough": 1e9, "stage": [] });
    json!({ "prompt": "a red circle", "seed": seed, "search": { "plan": plan } })
}

/// Flags of a server that accepts [`endless`] jobs and runs one at a time.
const ENDLESS: [&str; 4] = ["--workers", "1", "--max-rows", "60000"];

/// The exit code and error output of a server that fails to start.
fn failed_start(flags: &[&str]) -> (Option<i32>, String) {
    let mut child = command()
        .args(flags)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut message = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    (child.wait().unwrap().code(), message)
}
