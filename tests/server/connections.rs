//! Connections whose clients do nothing, and those of proxies.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{ENDLESS, Served, endless};

const HALF_A_HEADER: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ";
const HALF_A_BODY: &[u8] = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\
    Content-Type: application/json\r\nContent-Length: 9000\r\n\r\n{";

/// Waits until the server closes a connection. Returns the seconds that it took.
fn until_closed(stream: &mut TcpStream) -> f64 {
    let began = Instant::now();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut received = vec![];
    match stream.read_to_end(&mut received) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("still open"),
        _ => began.elapsed().as_secs_f64(),
    }
}

#[test]
fn connections_on_which_nothing_happens_are_closed() {
    let served = Served::new(&["--max-idle", "1"]);
    let mut silent = served.connect();
    let mut half = served.connect();
    half.write_all(HALF_A_HEADER).unwrap();
    let mut kept = served.connect();
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    for stream in [&mut silent, &mut half, &mut kept] {
        let seconds = until_closed(stream);
        assert!(seconds < 10.0, "closed after {seconds} s");
    }
    // A search or a stream of events may take longer
    let served = Served::new(&[&ENDLESS[..], &["--max-idle", "1"]].concat());
    let id = served.submit(&endless(1));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| served.watch(&id, "0"));
        std::thread::sleep(Duration::from_millis(2500));
        assert!(!watcher.is_finished(), "the stream of events was cut");
        served.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
        assert_eq!(watcher.join().unwrap().last().unwrap().event, "cancelled");
    });
}

#[test]
fn a_body_that_does_not_arrive_is_not_awaited_for_longer_than_a_client_may_be() {
    let served = Served::new(&["--max-idle", "1"]);
    let mut half = served.connect();
    half.write_all(HALF_A_BODY).unwrap();
    half.set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = [0; 12];
    half.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[test]
fn any_number_of_seconds_is_a_limit() {
    let most = u64::MAX.to_string();
    let flags = [
        "--max-idle",
        &most,
        "--grace",
        &most,
        "--max-seconds",
        &most,
    ];
    let served = Served::new(&flags);
    let id = served.submit(&json!({ "prompt": "a red circle", "method": "raw" }));
    served.until(&id, "done");
    assert_eq!(served.end(), Some(0));
}

#[test]
fn clients_that_hold_all_connections_do_not_keep_others_out() {
    let served = Served::new(&["--max-connections", "20"]);
    let held_by = |bytes: &[u8]| {
        let mut held = vec![];
        for _ in 0..60 {
            let mut stream = served.connect();
            stream.write_all(bytes).unwrap();
            held.push(stream);
        }
        let began = Instant::now();
        let answer = served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The helper waits for a second of silence
        assert!(began.elapsed() < Duration::from_secs(5));
        held
    };
    let silent = held_by(b"");
    let half = held_by(HALF_A_HEADER);
    let half_bodies = held_by(HALF_A_BODY);
    let kept = held_by(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop((silent, half, half_bodies, kept));
    assert_eq!(served.get("/healthz").status, 200);
}

#[test]
fn clients_that_read_nothing_do_not_keep_others_out() {
    let served = Served::new(&["--max-connections", "20", "--max-idle", "1"]);
    let script = "GET /page/style.css HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let many = script.repeat(2000);
    let mut held = vec![];
    for _ in 0..30 {
        let mut stream = served.connect();
        stream.set_nonblocking(true).unwrap();
        // As much as the connection takes; nothing of the responses is read
        let _ = stream.write(many.as_bytes());
        held.push(stream);
    }
    let answer = served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn too_many_requests_at_once_are_refused_and_their_searches_go_on() {
    let served = Served::new(&[&ENDLESS[..], &["--max-connections", "4"]].concat());
    let id = served.submit(&endless(1));
    let watch = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut watchers = vec![];
    for _ in 0..4 {
        let mut stream = served.connect();
        stream.write_all(watch.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        watchers.push(stream);
    }
    let answer = served.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(
        answer.contains("\"code\":\"too_many_connections\""),
        "{answer}"
    );
    drop(watchers);
    let began = Instant::now();
    while !served
        .raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .starts_with("HTTP/1.1 200")
    {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(served.state(&id), "running");
}

#[test]
fn idle_connections_do_not_delay_the_shutdown() {
    let served = Served::new(&[]);
    let silent = served.connect();
    let mut half = served.connect();
    half.write_all(HALF_A_HEADER).unwrap();
    assert_eq!(served.get("/healthz").status, 200);
    let began = Instant::now();
    assert_eq!(served.end(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    drop((silent, half));
}

#[test]
fn proxies_pass_events_on_at_once() {
    let served = Served::new(&[]);
    let id = served.submit(&json!({ "prompt": "a red circle", "method": "raw" }));
    let answer = served.get(&format!("/v1/jobs/{id}/events"));
    assert_eq!(answer.headers["x-accel-buffering"], "no");
}

#[test]
fn the_page_works_below_a_path_of_a_proxy() {
    let served = Served::new(&[]);
    let page = served.get("/").text();
    for attribute in ["href=\"", "src=\""] {
        for url in page.split(attribute).skip(1) {
            assert!(!url.starts_with('/'), "an absolute address: {url}");
        }
    }
    assert!(page.contains("href=\"page/style.css\""), "{page}");
}
