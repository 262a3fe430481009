//! Damaged folders: rows of the index, files of jobs, and leftovers of a kill.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::json;

use crate::{ENDLESS, Served, endless, failed_start, support::make_fifo};

/// Starts a server in a folder, finishes `count` jobs, and stops it. Returns their ids.
fn finished_jobs(folder: &Path, count: u64) -> Vec<String> {
    let served = Served::at(folder, &[]);
    let ids = (0..count).map(|seed| {
        let body = json!({ "prompt": "a red circle", "seed": seed, "method": "raw" });
        let id = served.submit(&body);
        served.until(&id, "done");
        id
    });
    let ids = ids.collect();
    assert_eq!(served.end(), Some(0));
    ids
}

fn change(folder: &Path, sql: &str, id: &str) {
    let index = Connection::open(folder.join("index.sqlite")).unwrap();
    assert_eq!(index.execute(sql, [id]).unwrap(), 1, "{sql}");
}

fn listed(served: &Served) -> Vec<String> {
    let answer = served.get("/v1/jobs?limit=100");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = answer.json()["data"].as_array().unwrap().clone();
    data.iter()
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_damaged_row_hides_no_other_job() {
    let folder = tempfile::tempdir().unwrap();
    let ids = finished_jobs(folder.path(), 3);
    let whole = [ids[2].clone(), ids[0].clone()];
    let damages = [
        "facts = '{'",
        "facts = '[]'",
        "facts = 7",
        "facts = x'00ff'",
        "state = 'melted'",
        "state = 5",
        "state = x'ff'",
        "created = 'yesterday'",
        "created = -5",
        "created = 9e999",
        "started = 'x'",
        "finished = x'00'",
        "prompt = x'ff'",
        "prompt = 7",
        "score = 'high'",
        "error = x'ff'",
        "warnings = '{'",
        "warnings = 3",
        "failure = 'boredom'",
        "facts = '{', state = 'queued'",
        "prompt = x'ff', state = 'running'",
        "prompt = printf('%.*c', 9000000, 'x')",
        "facts = '{\"a\":' || printf('%.*c', 100000, '[')",
    ];
    let backup = fs::read(folder.path().join("index.sqlite")).unwrap();
    for damage in damages {
        let sql = format!("UPDATE jobs SET {damage} WHERE id = ?1");
        change(folder.path(), &sql, &ids[1]);
        let served = Served::at(folder.path(), &[]);
        let seen = listed(&served);
        let others: Vec<&String> = seen.iter().filter(|id| **id != ids[1]).collect();
        assert_eq!(others, whole.each_ref(), "{damage}");
        let two = served.get("/v1/jobs?limit=2").json();
        assert_eq!(two["data"].as_array().unwrap().len(), 2, "{damage}");
        for id in &whole {
            assert_eq!(served.get(&format!("/v1/jobs/{id}/image")).status, 200);
        }
        let damaged = served.get(&format!("/v1/jobs/{}", ids[1]));
        assert!(damaged.status == 500 || damaged.status == 200, "{damage}");
        if damaged.status == 500 {
            assert_eq!(damaged.code(), "internal");
        }
        let next = json!({ "prompt": "a blue ring", "method": "raw" });
        served.until(&served.submit(&next), "done");
        served.kill();
        for name in ["index.sqlite-wal", "index.sqlite-shm"] {
            let _ = fs::remove_file(folder.path().join(name));
        }
        fs::write(folder.path().join("index.sqlite"), &backup).unwrap();
    }
}

#[test]
fn a_row_whose_id_is_no_id_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let ids = finished_jobs(folder.path(), 2);
    for id in ["'../../etc'", "''", "x'ff00'", "'~~~'"] {
        let sql = format!(
            "INSERT INTO jobs (id, state, created, prompt, facts) \
             SELECT {id}, 'running', created, prompt, facts FROM jobs WHERE id = ?1"
        );
        change(folder.path(), &sql, &ids[0]);
    }
    let served = Served::at(folder.path(), &[]);
    assert_eq!(listed(&served), [ids[1].clone(), ids[0].clone()]);
}

#[test]
fn a_damaged_row_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let ids = finished_jobs(folder.path(), 1);
    change(
        folder.path(),
        "UPDATE jobs SET facts = '{' WHERE id = ?1",
        &ids[0],
    );
    let served = Served::at(folder.path(), &[]);
    let path = format!("/v1/jobs/{}", ids[0]);
    assert_eq!(served.get(&path).status, 500);
    assert_eq!(served.send("DELETE", &path, &[], "").status, 204);
    assert_eq!(served.get(&path).status, 404);
    assert!(!folder.path().join("jobs").join(&ids[0]).exists());
}

#[test]
fn an_index_of_an_earlier_version_is_extended() {
    let folder = tempfile::tempdir().unwrap();
    let ids = finished_jobs(folder.path(), 1);
    let index = Connection::open(folder.path().join("index.sqlite")).unwrap();
    for column in ["warnings", "failure"] {
        let sql = format!("ALTER TABLE jobs DROP COLUMN {column}");
        index.execute_batch(&sql).unwrap();
    }
    drop(index);
    let served = Served::at(folder.path(), &[]);
    assert_eq!(listed(&served), ids);
    let job = served.get(&format!("/v1/jobs/{}", ids[0])).json();
    assert_eq!(job["warnings"], json!([]));
}

#[test]
fn damaged_files_of_a_job_harm_only_that_job() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let submit = |previews: bool| {
        let body = json!({ "prompt": "a red circle", "method": "raw", "previews": previews });
        let id = served.submit(&body);
        served.until(&id, "done");
        id
    };
    let (damaged, whole) = (submit(true), submit(false));
    let job = folder.path().join("jobs").join(&damaged);
    let report = || served.get(&format!("/v1/jobs/{damaged}/report")).status;
    assert_eq!(report(), 200);
    let events = "{\"event\":\"a\\nb\",\"data\":{}}\nnonsense\n\
        {\"event\":\"previews\",\"data\":{\"sheet\":\"x\"}}\n\
        {\"event\":\"previews\",\"data\":{\"scale\":0,\"ids\":[9,9,9],\"sheet\":0}}\n\
        {\"event\":\"previews\",\"data\":{\"scale\":0,\"ids\":[],\"sheet\":0}}\n\
        {\"event\":\"winner\",\"data\":{\"id\":0}}\n";
    fs::write(job.join("events.jsonl"), events).unwrap();
    let sent = served.watch(&damaged, "0");
    assert_eq!(sent.last().unwrap().event, "done");
    assert_eq!(sent[sent.len() - 2].event, "winner");
    assert_eq!(report(), 200);
    fs::write(job.join("previews-0.png"), "no image").unwrap();
    assert_eq!(report(), 200);
    fs::write(job.join("trace.json"), "{\"schema\":\"ttsvar.trace/1\"}").unwrap();
    assert_eq!(report(), 500);
    assert_eq!(served.get(&format!("/v1/jobs/{whole}/report")).status, 200);
}

#[test]
fn a_fifo_in_place_of_a_file_of_the_server_is_reported_at_the_start() {
    for name in ["lock", "index.sqlite"] {
        let folder = tempfile::tempdir().unwrap();
        make_fifo(&folder.path().join(name));
        let folder = folder.path().to_str().unwrap();
        let (code, message) = failed_start(&["--port", "0", "--folder", folder]);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains("not a regular file"), "{message}");
    }
    // In place of a trace, whose job was running: the job is interrupted
    let folder = tempfile::tempdir().unwrap();
    let ids = finished_jobs(folder.path(), 1);
    change(
        folder.path(),
        "UPDATE jobs SET state = 'running' WHERE id = ?1",
        &ids[0],
    );
    let trace = folder.path().join("jobs").join(&ids[0]).join("trace.json");
    fs::remove_file(&trace).unwrap();
    make_fifo(&trace);
    let served = Served::at(folder.path(), &[]);
    assert_eq!(served.state(&ids[0]), "interrupted");
}

#[test]
fn a_fifo_or_a_folder_in_place_of_an_image_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let body = json!({ "prompt": "a red circle", "method": "raw" });
    let id = served.submit(&body);
    served.until(&id, "done");
    let image = folder.path().join("jobs").join(&id).join("image.png");
    let path = format!("/v1/jobs/{id}/image");
    let refused = || {
        let began = Instant::now();
        let answer = served.get(&path);
        assert_eq!((answer.status, &*answer.code()), (500, "internal"));
        assert!(
            answer.text().contains("not a regular file"),
            "{}",
            answer.text()
        );
        assert!(began.elapsed() < Duration::from_secs(5));
    };
    fs::remove_file(&image).unwrap();
    fs::create_dir(&image).unwrap();
    refused();
    fs::remove_dir(&image).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &image).unwrap();
    refused();
    fs::remove_file(&image).unwrap();
    make_fifo(&image);
    refused();
    let began = Instant::now();
    assert_eq!(served.end(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn leftovers_of_a_kill_are_removed_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = folder.path().join("jobs");
    let served = Served::at(folder.path(), &ENDLESS);
    let mut body = json!({ "prompt": "a ring", "method": "raw", "previews": true });
    let done = served.submit(&body);
    served.until(&done, "done");
    body = endless(1);
    body["previews"] = true.into();
    let killed = served.submit(&body);
    while !jobs.join(&killed).join("previews-3.png").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    served.kill();
    for place in [folder.path(), &*jobs.join(&done), &*jobs.join(&killed)] {
        fs::write(place.join(".ttsvar-a1B2c3.part"), "half an image").unwrap();
    }
    let orphan = jobs.join("0123456789abcdef");
    fs::create_dir(&orphan).unwrap();
    fs::write(orphan.join("previews-0.png"), "x").unwrap();
    let kept = jobs.join("0000000000000000");
    fs::create_dir(&kept).unwrap();
    fs::write(
        kept.join("image.png"),
        "an image that the index does not know",
    )
    .unwrap();

    let served = Served::at(folder.path(), &ENDLESS);
    assert_eq!(served.state(&killed), "interrupted");
    let names = |folder: &Path| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(!jobs.join(&killed).exists() && !orphan.exists());
    assert_eq!(names(&kept), ["image.png"]);
    assert!(names(&jobs.join(&done)).contains(&"previews-0.png".to_owned()));
    assert!(
        !names(&jobs.join(&done))
            .iter()
            .any(|name| name.contains(".part"))
    );
    assert!(
        !names(folder.path())
            .iter()
            .any(|name| name.contains(".part"))
    );
    assert_eq!(
        served.get(&format!("/v1/jobs/{done}/previews/0")).status,
        200
    );
}

#[test]
fn previews_of_a_cancelled_job_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &ENDLESS);
    let mut body = endless(1);
    body["previews"] = true.into();
    let id = served.submit(&body);
    let job = folder.path().join("jobs").join(&id);
    while !job.join("previews-3.png").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    served.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
    let began = Instant::now();
    while fs::read_dir(&job).is_ok_and(|mut files| files.next().is_some()) {
        assert!(began.elapsed() < Duration::from_secs(60), "previews remain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn jobs_end_even_if_the_index_does_not_take_their_final_state() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &ENDLESS);
    let index = Connection::open(folder.path().join("index.sqlite")).unwrap();
    let refuse = "CREATE TRIGGER full BEFORE UPDATE OF finished ON jobs \
                  BEGIN SELECT RAISE(ABORT, 'the disk is full'); END";
    index.execute_batch(refuse).unwrap();
    let body = json!({ "prompt": "a red circle", "seed": 1, "method": "raw" });
    let answer = served.post("/v1/images/generations", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let done = answer.json()["data"][0]["job"].as_str().unwrap().to_owned();
    assert_eq!(served.state(&done), "done");
    let cancelled = served.submit(&endless(2));
    served.until(&cancelled, "running");
    let answer = served.post(&format!("/v1/jobs/{cancelled}/cancel"), &json!({}));
    assert_eq!(
        (answer.status, &answer.json()["state"]),
        (200, &json!("cancelled"))
    );
    let events = served.watch(&cancelled, "0");
    assert_eq!(events.last().unwrap().event, "cancelled");
    assert_eq!(listed(&served), [cancelled.clone(), done.clone()]);
    let stored = |id: &String| -> String {
        let sql = "SELECT state FROM jobs WHERE id = ?1";
        index.query_row(sql, [id], |row| row.get(0)).unwrap()
    };
    assert_eq!([&done, &cancelled].map(stored), ["running", "running"]);
    index.execute_batch("DROP TRIGGER full").unwrap();
    let next = served.submit(&json!({ "prompt": "a blue ring", "method": "raw" }));
    served.until(&next, "done");
    assert_eq!(
        [&done, &cancelled, &next].map(stored),
        ["done", "cancelled", "done"]
    );
}

#[test]
fn while_the_index_is_busy_other_requests_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let index = Connection::open(folder.path().join("index.sqlite")).unwrap();
    index.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let submitted = [1, 2].map(|seed| {
            let body = json!({ "prompt": "a red circle", "seed": seed, "method": "raw" });
            let served = &served;
            scope.spawn(move || served.post("/v1/jobs", &body).status)
        });
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        for path in ["/metrics", "/sdapi/v1/progress", "/metrics", "/healthz"] {
            assert_eq!(served.get(path).status, 200, "{path}");
        }
        // A job waits for the index for up to 5 s
        let seconds = began.elapsed().as_secs_f64();
        assert!(seconds < 3.0, "answered after {seconds} s");
        index.execute_batch("COMMIT").unwrap();
        for submitted in submitted {
            assert_eq!(submitted.join().unwrap(), 202);
        }
    });
}
