//! The server under load, held against the command line on the same prompts in the same run:
//! `cargo bench --bench load -- --clients 32 --seconds 60`.
//!
//! The command line paints the list before and after, so that a machine whose speed drifts does not
//! favour one side. Every client asks for its next picture as soon as it has the last one; no two
//! requests are for the same picture.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// What can be set, and to what it is set unless it is.
struct Settings {
    clients: usize,
    seconds: u64,
    /// Prompts that the command line paints, each time.
    prompts: usize,
    method: String,
    n: usize,
}

impl Settings {
    fn read() -> Self {
        let typed: Vec<String> = std::env::args().collect();
        let said = |name: &str| {
            typed
                .iter()
                .position(|word| word == name)
                .and_then(|at| typed.get(at + 1))
                .cloned()
        };
        let number = |name: &str, usual: u64| {
            said(name).map_or(usual, |text| text.parse().expect("a number"))
        };
        Self {
            clients: number("--clients", 32) as usize,
            seconds: number("--seconds", 60),
            prompts: number("--prompts", 128) as usize,
            method: said("--method").unwrap_or_else(|| "tts-var".to_owned()),
            n: number("--n", 1) as usize,
        }
    }
}

/// A picture that was asked for.
struct Asked {
    client: usize,
    status: u16,
    seconds: f64,
}

fn main() -> ExitCode {
    let settings = Settings::read();
    let folder = tempfile::tempdir().expect("a folder");
    let before = command_line(&settings, folder.path(), "before");
    let (asked, memory) = serve(&settings, folder.path());
    let after = command_line(&settings, folder.path(), "after");
    let met = report(
        &settings,
        &asked,
        &memory,
        (before + after) / 2.0,
        (before, after),
    );
    if met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The prompts, over and over: shapes that the demo knows.
fn prompt(number: usize) -> String {
    let colours = ["red", "blue", "green", "yellow", "orange", "purple"];
    let shapes = ["circle", "square", "triangle", "star", "ring", "cross"];
    let pick = |words: [&'static str; 6], at: usize| words[at % 6];
    let (a, b) = (pick(colours, number), pick(colours, number / 6 + 2));
    let (c, d) = (pick(shapes, number / 2), pick(shapes, number / 3 + 1));
    if number.is_multiple_of(2) {
        format!("a {a} {c}")
    } else {
        format!("a {a} {c} and a {b} {d}")
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ttsvar"))
}

/// Images per second of `generate --prompts`.
fn command_line(settings: &Settings, folder: &Path, name: &str) -> f64 {
    let list = folder.join("prompts.txt");
    let prompts: Vec<String> = (0..settings.prompts).map(prompt).collect();
    fs::write(&list, prompts.join("\n")).expect("a list of prompts");
    let mut command = program();
    command.args([
        "generate",
        "--quiet",
        "--seed",
        "0",
        "--method",
        &settings.method,
    ]);
    command
        .args(["--n", &settings.n.to_string(), "--prompts"])
        .arg(&list)
        .arg("--out")
        .arg(folder.join(name));
    let began = Instant::now();
    assert!(
        command
            .stdout(Stdio::null())
            .status()
            .expect("the program")
            .success(),
        "the command line fails"
    );
    let rate = settings.prompts as f64 / began.elapsed().as_secs_f64();
    eprintln!("command line, {name}: {rate:.2} images/s");
    rate
}

/// Every request of every client, and the server's memory second by second.
fn serve(settings: &Settings, folder: &Path) -> (Vec<Asked>, Vec<u64>) {
    let mut command = program();
    command
        .args(["serve", "--quiet", "--port", "0", "--folder"])
        .arg(folder.join("jobs"))
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("the server");
    let mut url = String::new();
    BufReader::new(child.stdout.take().expect("its output"))
        .read_line(&mut url)
        .expect("its address");
    let url = format!("{}/v1/images/generations", url.trim());
    let (next, end) = (
        AtomicU64::new(0),
        Instant::now() + Duration::from_secs(settings.seconds),
    );
    let found = std::thread::scope(|scope| {
        let client = |client| {
            let (url, next) = (&url, &next);
            scope.spawn(move || ask(settings, client, url, next, end))
        };
        let clients: Vec<_> = (0..settings.clients).map(client).collect();
        let memory = watch(&child, end);
        (
            clients
                .into_iter()
                .flat_map(|client| client.join().expect("a client"))
                .collect(),
            memory,
        )
    });
    let _ = child.kill();
    let _ = child.wait();
    found
}

/// One client: a picture after the other until the time is over.
fn ask(
    settings: &Settings,
    client: usize,
    url: &str,
    next: &AtomicU64,
    end: Instant,
) -> Vec<Asked> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut asked = vec![];
    while Instant::now() < end {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let text = prompt(number as usize % settings.prompts);
        let search = json!({ "method": settings.method, "n": settings.n });
        let body = json!({ "prompt": text, "seed": number, "search": search });
        let began = Instant::now();
        let mut response = agent.post(url).send_json(&body).expect("an answer");
        let status = response.status().as_u16();
        let body: Value = response.body_mut().read_json().expect("JSON");
        assert!(
            status != 200
                || body["data"][0]["b64_json"]
                    .as_str()
                    .is_some_and(|image| image.len() > 100),
            "{body}"
        );
        asked.push(Asked {
            client,
            status,
            seconds: began.elapsed().as_secs_f64(),
        });
        if status == 429 {
            let seconds = response
                .headers()
                .get("retry-after")
                .and_then(|value| value.to_str().ok()?.parse().ok());
            std::thread::sleep(Duration::from_secs(
                seconds.expect("a 429 says when to come back"),
            ));
        }
    }
    asked
}

/// Resident bytes of the server, once a second.
fn watch(child: &Child, end: Instant) -> Vec<u64> {
    let mut memory = vec![];
    while Instant::now() < end {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        });
        memory.push(line.unwrap_or(0));
        std::thread::sleep(Duration::from_secs(1));
    }
    memory
}

/// Prints the numbers and whether they are good enough: .8 of the command line, every client
/// served, no failure, memory that grows by 5 % at most over the last two thirds of the time.
fn report(
    settings: &Settings,
    asked: &[Asked],
    memory: &[u64],
    line: f64,
    (before, after): (f64, f64),
) -> bool {
    let count = |status: u16| asked.iter().filter(|one| one.status == status).count();
    let (served, full) = (count(200), count(429));
    let failures = asked.len() - served - full;
    let mut seconds: Vec<f64> = asked
        .iter()
        .filter(|one| one.status == 200)
        .map(|one| one.seconds)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let quantile = |share: f64| {
        seconds
            .get((share * (seconds.len().max(1) - 1) as f64).round() as usize)
            .copied()
    };
    let mut clients: BTreeMap<usize, usize> =
        (0..settings.clients).map(|client| (client, 0)).collect();
    for one in asked.iter().filter(|one| one.status == 200) {
        *clients.entry(one.client).or_default() += 1;
    }
    let (least, most) = (
        clients.values().min().copied().unwrap_or(0),
        clients.values().max().copied().unwrap_or(0),
    );
    let rate = served as f64 / settings.seconds as f64;
    let (start, end) = (memory[memory.len() / 3], memory[memory.len() - 1]);
    let growth = end as f64 / start.max(1) as f64 - 1.0;
    let row = |name: &str, value: &dyn Display| println!("| {name} | {value} |");
    row(
        "clients, seconds, search",
        &format!(
            "{}, {}, {} N = {}",
            settings.clients, settings.seconds, settings.method, settings.n
        ),
    );
    row(
        "command line, images/s (before, after)",
        &format!("{line:.2} ({before:.2}, {after:.2})"),
    );
    row("server, images/s", &format!("{rate:.2}"));
    row("server over command line", &format!("{:.2}", rate / line));
    row(
        "p50, p99 of a request, s",
        &format!(
            "{:.2}, {:.2}",
            quantile(0.5).unwrap_or(0.0),
            quantile(0.99).unwrap_or(0.0)
        ),
    );
    row(
        "pictures a client, least and most",
        &format!("{least}, {most}"),
    );
    row("429, other failures", &format!("{full}, {failures}"));
    row(
        "memory after a third and at the end, MB",
        &format!(
            "{:.0}, {:.0} ({:+.1} %)",
            start as f64 / 1e3,
            end as f64 / 1e3,
            100.0 * growth
        ),
    );
    rate >= 0.8 * line && least >= 1 && failures == 0 && growth <= 0.05
}
