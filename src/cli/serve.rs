//! `ttsvar serve`: searches over HTTP.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use tokio::{runtime, sync::Notify};

use super::{
    arguments::{self, Global},
    console::Console,
    interrupt,
};
use crate::{
    Error, Result,
    server::{Limits, Server, Setup},
    system::MemoryLimit,
};

/// Threads that respond to requests. The searches have their own threads.
const HTTP_THREADS: usize = 2;

/// Serves until Ctrl-C or SIGTERM.
pub(super) fn run(typed: &arguments::Serve, global: &Global, console: &Console) -> Result<()> {
    if typed.workers == Some(0) {
        return Err(
            Error::input("--workers is 0, but searches need at least 1 worker")
                .with_hint("leave it out to run one per core"),
        );
    }
    start_log(console);
    let system = console.open_unwatched(&global.system_within(&typed.system, typed.limit))?;
    let workers = typed.workers.unwrap_or_else(rayon::current_num_threads);
    let setup = Setup {
        folder: typed.folder.clone(),
        address: SocketAddr::new(typed.host, typed.port),
        token: typed.token.clone().filter(|token| !token.is_empty()),
        workers,
        limits: limits(typed, workers),
        grace: Duration::from_secs(typed.grace),
    };
    let stop = Arc::new(Notify::new());
    let interrupted = stop.clone();
    interrupt::first(move || interrupted.notify_one());
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(HTTP_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Error::system(format!("cannot start the server's threads: {error}")))?;
    let served = runtime.block_on(async {
        let server = Server::bind(system, setup).await?;
        console.result(&format_address(console, server.address()))?;
        server.run(async move { stop.notified().await }).await;
        Ok(())
    });
    // A read that the system does not finish must not keep the program
    runtime.shutdown_timeout(LEFT_BEHIND);
    served
}

/// Time for background work that remains when the server has stopped.
const LEFT_BEHIND: Duration = Duration::from_secs(2);

/// The line that reports the server's address, as a URL that other machines can open if they can
/// reach the server.
fn format_address(console: &Console, address: SocketAddr) -> String {
    let url = format!("http://{}", reachable(address));
    if console.json {
        serde_json::json!({ "url": url }).to_string()
    } else {
        url
    }
}

/// An address under which a server can be reached that listens on all of this machine's addresses:
/// the one with which this machine reaches others, or else loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let (any, elsewhere, loopback): (IpAddr, IpAddr, IpAddr) = if address.is_ipv4() {
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1); // RFC 5737: for documentation
        (
            Ipv4Addr::UNSPECIFIED.into(),
            elsewhere.into(),
            Ipv4Addr::LOCALHOST.into(),
        )
    } else {
        let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1); // RFC 3849
        (
            Ipv6Addr::UNSPECIFIED.into(),
            elsewhere.into(),
            Ipv6Addr::LOCALHOST.into(),
        )
    };
    // Connecting a datagram socket sends nothing; the system only chooses a route
    let own = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    });
    let own = own.map_or(loopback, |own| own.ip());
    SocketAddr::new(own, address.port())
}

fn limits(typed: &arguments::Serve, workers: usize) -> Limits {
    let memory = typed.limit.memory.map(|bytes| MemoryLimit {
        bytes,
        searches: workers,
    });
    let typed = &typed.limits;
    Limits {
        memory,
        queue: typed.queue,
        body: typed.max_body,
        prompt: typed.max_prompt,
        rows: typed.max_rows,
        images: typed.max_pictures,
        time: Duration::from_secs(typed.max_seconds),
        connections: typed.max_connections,
        idle: Duration::from_secs(typed.max_idle),
    }
}

/// Sends the log to standard error: as text, or with `--json` as one object per line. With
/// `--quiet` it contains only warnings and errors.
fn start_log(console: &Console) {
    let level = if console.quiet {
        tracing::Level::WARN
    } else {
        tracing::Level::INFO
    };
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false);
    // Fails only if a log has been set up already; then that one is used
    let _ = if console.json {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(console.terminal).try_init()
    };
}
