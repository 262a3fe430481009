//! `ttsvar serve`: searches over HTTP.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{runtime, sync::Notify};

use super::{
    arguments::{self, Global, ServeLimits},
    console::Console,
    interrupt,
};
use crate::{
    Error, Result,
    server::{Limits, Server, Setup},
};

/// Threads that answer; the searches have threads of their own.
const ANSWERING: usize = 2;

/// Serves until Ctrl-C.
pub(super) fn run(typed: &arguments::Serve, global: &Global, console: &Console) -> Result<()> {
    log(console);
    let system = global.system(&typed.system).open()?;
    let setup = Setup {
        folder: typed.folder.clone(),
        address: SocketAddr::new(typed.host, typed.port),
        token: typed.token.clone().filter(|token| !token.is_empty()),
        workers: typed.workers.unwrap_or_else(rayon::current_num_threads),
        limits: limits(&typed.limits),
        grace: Duration::from_secs(typed.grace),
    };
    let stop = Arc::new(Notify::new());
    let bell = stop.clone();
    interrupt::first(move || bell.notify_one());
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(ANSWERING)
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| Error::system(format!("cannot start the server's threads: {error}")))?;
    runtime.block_on(async {
        let server = Server::bind(system, setup).await?;
        console.result(&address(console, server.address()))?;
        server.run(async move { stop.notified().await }).await
    })
}

fn address(console: &Console, address: SocketAddr) -> String {
    let url = format!("http://{address}");
    if console.json {
        serde_json::json!({ "url": url }).to_string()
    } else {
        url
    }
}

fn limits(typed: &ServeLimits) -> Limits {
    Limits {
        queue: typed.queue,
        body: typed.max_body,
        prompt: typed.max_prompt,
        rows: typed.max_rows,
        pictures: typed.max_pictures,
        time: Duration::from_secs(typed.max_seconds),
    }
}

/// The log goes to standard error: words, or with `--json` an object a line; with `--quiet` only
/// what went wrong.
fn log(console: &Console) {
    let level = if console.quiet {
        tracing::Level::WARN
    } else {
        tracing::Level::INFO
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false);
    // Fails only where a log is set up already; then that one is used.
    let _ = if console.json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(console.terminal).try_init()
    };
}
