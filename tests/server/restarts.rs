//! Restarts: the state that a server leaves behind, and what the next one makes of it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::{ENDLESS, Served, endless};

fn raw(seed: u64) -> serde_json::Value {
    json!({ "prompt": "a red circle", "seed": seed, "search": { "method": "raw" } })
}

#[test]
fn after_a_kill_finished_images_remain_and_open_jobs_are_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &ENDLESS);
    let done = served.submit(&raw(1));
    served.until(&done, "done");
    let image = served.get(&format!("/v1/jobs/{done}/image")).bytes;
    let (running, waiting) = (served.submit(&endless(1)), served.submit(&endless(2)));
    served.until(&running, "running");
    served.kill();

    let served = Served::at(folder.path(), &ENDLESS);
    assert_eq!(
        [&done, &running, &waiting].map(|id| served.state(id)),
        ["done", "interrupted", "interrupted"]
    );
    assert!(served.get(&format!("/v1/jobs/{done}/image")).bytes == image);
    let events = served.watch(&running, "0");
    assert_eq!(events.last().unwrap().event, "interrupted");
    let next = served.submit(&raw(2));
    served.until(&next, "done");
}

#[test]
fn an_image_that_was_written_just_before_the_kill_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let (whole, half) = (served.submit(&raw(1)), served.submit(&raw(2)));
    served.until(&whole, "done");
    served.until(&half, "done");
    let score = served.get(&format!("/v1/jobs/{whole}")).json()["score"]
        .as_f64()
        .unwrap();
    served.kill();
    // As if the kill had come between the last file and the index, and before the last file
    let index = rusqlite::Connection::open(folder.path().join("index.sqlite")).unwrap();
    index
        .execute(
            "UPDATE jobs SET state = 'running', score = NULL, finished = NULL",
            [],
        )
        .unwrap();
    drop(index);
    std::fs::remove_file(folder.path().join("jobs").join(&half).join("image.png")).unwrap();

    let served = Served::at(folder.path(), &[]);
    assert_eq!(
        [&whole, &half].map(|id| served.state(id)),
        ["done", "interrupted"]
    );
    assert_eq!(
        served.get(&format!("/v1/jobs/{whole}")).json()["score"]
            .as_f64()
            .unwrap(),
        score
    );
}

#[test]
fn a_server_that_shuts_down_finishes_its_running_search() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &["--workers", "1"]);
    let body = json!({ "prompt": "a red circle", "search": { "method": "auto", "n": 40 } });
    let id = served.submit(&body);
    let mut watcher = served.connect();
    let request = format!("GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    watcher.write_all(request.as_bytes()).unwrap();
    // Once there is an answer, the connection is the server's; before, a shutdown may reset it.
    let mut answer = vec![0; 12];
    watcher.read_exact(&mut answer).unwrap();
    served.until_begun(&id);
    served.request_shutdown();
    watcher.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("event: done"), "{answer}");
    assert_eq!(served.wait(), Some(0));
    assert_eq!(Served::at(folder.path(), &[]).state(&id), "done");
}

#[test]
fn a_response_that_is_being_sent_at_a_shutdown_is_sent_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let id = served.submit(&raw(1));
    served.until(&id, "done");
    // Far more than the system keeps for a client that does not read
    let bytes = vec![7; 32 << 20];
    let image = folder.path().join("jobs").join(&id).join("image.png");
    std::fs::write(image, &bytes).unwrap();
    let mut slow = served.connect();
    let request = format!("GET /v1/jobs/{id}/image HTTP/1.1\r\nHost: localhost\r\n\r\n");
    slow.write_all(request.as_bytes()).unwrap();
    let mut answer = vec![0; 12];
    slow.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    served.request_shutdown();
    while TcpStream::connect(served.url.strip_prefix("http://").unwrap()).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    slow.read_to_end(&mut answer).unwrap();
    assert!(answer.ends_with(&bytes), "{} bytes arrived", answer.len());
    assert_eq!(served.wait(), Some(0));
}

#[test]
fn a_search_that_outlasts_the_grace_period_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[&ENDLESS[..], &["--grace", "0"]].concat());
    let (running, waiting) = (served.submit(&endless(1)), served.submit(&endless(2)));
    served.until(&running, "running");
    assert_eq!(served.end(), Some(0));
    let served = Served::at(folder.path(), &ENDLESS);
    assert_eq!(
        [&running, &waiting].map(|id| served.state(id)),
        ["interrupted", "interrupted"]
    );
}
