//! Jobs: submitting, watching, cancelling, deleting, and sharing a search.

use serde_json::{Value, json};
use ttsvar::{image::Png, search::Trace};

use crate::{ENDLESS, Served, endless, names};

fn watched(seed: u64) -> Value {
    json!({
        "prompt": "a red circle",
        "seed": seed,
        "previews": true,
        "search": { "method": "tts-var", "n": 1 },
    })
}

#[test]
fn a_watcher_receives_all_events_in_order() {
    let served = Served::new(&[]);
    let id = served.submit(&watched(3));
    let events = served.watch(&id, "0");
    let received = names(&events);
    let received: Vec<&str> = received
        .into_iter()
        .filter(|name| *name != "queued")
        .collect();
    let scale = ["scale", "candidates", "previews"];
    assert_eq!(received[0], "started");
    assert_eq!(
        received
            .iter()
            .filter(|name| scale.contains(name))
            .copied()
            .collect::<Vec<_>>(),
        scale.repeat(7)
    );
    assert_eq!(
        received.iter().filter(|name| **name == "selection").count(),
        4
    );
    assert_eq!(received[received.len() - 2..], ["winner", "done"]);

    let trace = served.get(&format!("/v1/jobs/{id}/trace"));
    let trace = Trace::from_json(&trace.text()).unwrap();
    let winner = events.iter().find(|event| event.event == "winner").unwrap();
    assert_eq!(winner.data["id"], trace.winner);
    let done = events.last().unwrap();
    assert_eq!(
        (&*done.id, &done.data["state"], &done.data["id"]),
        ("end", &json!("done"), &json!(id))
    );
    let selections = events.iter().filter(|event| event.event == "selection");
    for (event, stage) in selections.zip(&trace.stages) {
        assert_eq!(event.data["select"], stage.select);
        let children = event.data["fates"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|fate| fate["children"].as_array().unwrap());
        let mut children: Vec<usize> = children
            .map(|child| child.as_u64().unwrap() as usize)
            .collect();
        children.sort_unstable();
        assert_eq!(children, stage.children);
    }
    for event in events.iter().filter(|event| event.event == "previews") {
        let sheet = Png::decode(&served.get(event.data["url"].as_str().unwrap()).bytes)
            .unwrap()
            .image;
        assert_eq!(
            (sheet.width(), sheet.height()),
            (64 * event.data["ids"].as_array().unwrap().len(), 64)
        );
    }
}

#[test]
fn a_finished_job_has_a_report_with_its_stored_images() {
    let served = Served::new(&[]);
    let plain = json!({ "prompt": "a red circle", "seed": 3, "search": { "method": "raw" } });
    let [plain, rich] = [plain, watched(3)].map(|body| {
        let id = served.submit(&body);
        served.until(&id, "done");
        let url = served.get(&format!("/v1/jobs/{id}")).json()["report_url"]
            .as_str()
            .unwrap()
            .to_owned();
        served.get(&url)
    });
    for report in [&plain, &rich] {
        assert!(
            report.status == 200 && report.text().contains("a red circle"),
            "{}",
            report.text()
        );
        assert!(
            report.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("sandbox")
        );
    }
    let images = |text: &str| text.matches("data:image/png").count();
    assert!(images(&plain.text()) >= 1 && images(&rich.text()) > images(&plain.text()) + 7);
    assert_eq!(served.get("/v1/jobs/none/report").status, 404);
}

#[test]
fn a_watcher_that_reconnects_receives_the_rest() {
    let served = Served::new(&[]);
    let id = served.submit(&watched(4));
    let all = served.watch(&id, "0");
    let all: Vec<_> = all.iter().filter(|event| event.event != "queued").collect();
    let rest = served.watch(&id, &all[9].id);
    assert_eq!(
        rest.iter().map(|event| &event.id).collect::<Vec<_>>(),
        all[10..].iter().map(|event| &event.id).collect::<Vec<_>>()
    );
    assert_eq!(rest[0].data, all[10].data);
    let over = served.send(
        "GET",
        &format!("/v1/jobs/{id}/events"),
        &[("last-event-id", "end")],
        "",
    );
    assert_eq!((over.status, over.bytes.len()), (204, 0));
    let wrong = served.send(
        "GET",
        &format!("/v1/jobs/{id}/events"),
        &[("last-event-id", "x")],
        "",
    );
    assert_eq!(wrong.status, 400);
}

#[test]
fn jobs_are_cancelled_while_they_run_and_while_they_wait() {
    let served = Served::new(&ENDLESS);
    let running = served.submit(&endless(1));
    let waiting = served.submit(&endless(2));
    served.until(&running, "running");
    for id in [&waiting, &running] {
        let answer = served.post(&format!("/v1/jobs/{id}/cancel"), &json!({}));
        assert_eq!(
            (answer.status, &answer.json()["state"]),
            (200, &json!("cancelled"))
        );
    }
    assert_eq!(
        served.watch(&running, "0").last().unwrap().event,
        "cancelled"
    );
    let again = served.post(&format!("/v1/jobs/{running}/cancel"), &json!({}));
    assert_eq!((again.status, &*again.code()), (409, "job_over"));
    assert_eq!(served.get(&format!("/v1/jobs/{running}/image")).status, 404);
    // The worker is free again
    let next = served.submit(&json!({ "prompt": "a red circle", "search": { "method": "raw" } }));
    served.until(&next, "done");
}

#[test]
fn jobs_that_want_the_same_search_share_it() {
    let served = Served::new(&ENDLESS);
    let before = served.submit(&endless(1));
    let same = json!({ "prompt": "a red circle", "seed": 9, "search": { "method": "raw" } });
    let first = served.submit(&same);
    let (second, third) = (served.submit(&same), served.submit(&same));
    let other = served
        .submit(&json!({ "prompt": "a red circle", "seed": 10, "search": { "method": "raw" } }));
    served.post(&format!("/v1/jobs/{first}/cancel"), &json!({}));
    served.post(&format!("/v1/jobs/{before}/cancel"), &json!({}));
    for id in [&second, &third, &other] {
        served.until(id, "done");
    }
    assert_eq!(served.state(&first), "cancelled");
    let image = |id: &str| served.get(&format!("/v1/jobs/{id}/image")).bytes;
    assert!(image(&second) == image(&third) && image(&second) != image(&other));
    // The endless search, the shared one and the other one
    let metrics = served.get("/metrics").text();
    assert!(
        metrics.contains("ttsvar_search_seconds_count 3\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ttsvar_jobs_total{state=\"done\"} 3\n"),
        "{metrics}"
    );
}

#[test]
fn a_job_that_shares_a_search_outlives_the_one_that_started_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &ENDLESS);
    let plan = json!({ "start": 1, "rounds": 60, "enough": 1e9, "stage": [] });
    let body = json!({
        "prompt": "a red circle",
        "seed": 9,
        "previews": true,
        "search": { "plan": plan },
    });
    let (first, second) = (served.submit(&body), served.submit(&body));
    served.until_begun(&second);
    assert_eq!(
        served
            .send("DELETE", &format!("/v1/jobs/{first}"), &[], "")
            .status,
        204
    );
    // Contact sheets have addresses of the watched job, while it runs and afterwards
    let events = served.watch(&second, "0");
    assert_eq!(events.last().unwrap().event, "done");
    let sheets: Vec<&str> = events
        .iter()
        .filter_map(|event| event.data["url"].as_str())
        .collect();
    assert_eq!(sheets.len(), 60 * 7);
    assert!(sheets.iter().all(|url| url.contains(&second)), "{sheets:?}");
    assert_eq!(served.get(sheets[0]).status, 200);
    let again = served.watch(&second, "0");
    assert_eq!(
        again
            .iter()
            .filter_map(|event| event.data["url"].as_str())
            .collect::<Vec<_>>(),
        sheets
    );
    let there = |id: &str| folder.path().join("jobs").join(id).exists();
    let began = std::time::Instant::now();
    while there(&first) {
        assert!(
            began.elapsed().as_secs() < 60,
            "the files of a deleted job remain"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(there(&second));
}

#[test]
fn contact_sheets_of_a_shared_search_exist_while_it_runs() {
    let served = Served::new(&ENDLESS);
    let plan = json!({ "start": 1, "rounds": 60000, "enough": 1e9, "stage": [] });
    let body = json!({
        "prompt": "a red circle",
        "seed": 9,
        "previews": true,
        "search": { "plan": plan },
    });
    let (first, second) = (served.submit(&body), served.submit(&body));
    served.until(&second, "running");
    let found = |id: &str| served.get(&format!("/v1/jobs/{id}/previews/0")).status;
    let began = std::time::Instant::now();
    while found(&first) != 200 {
        assert!(began.elapsed().as_secs() < 60, "no contact sheet");
    }
    assert_eq!(found(&second), 200);
}

#[test]
fn jobs_are_listed_newest_first_and_can_be_deleted() {
    let served = Served::new(&[]);
    let ids: Vec<String> = (0..3)
        .map(|seed| {
            let id = served.submit(
                &json!({ "prompt": "a red circle", "seed": seed, "search": { "method": "raw" } }),
            );
            served.until(&id, "done");
            id
        })
        .collect();
    let listed = |query: &str| {
        let body = served.get(&format!("/v1/jobs{query}")).json();
        let ids = body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), body["has_more"].as_bool().unwrap())
    };
    assert_eq!(
        listed("?limit=2"),
        (vec![ids[2].clone(), ids[1].clone()], true)
    );
    assert_eq!(
        listed(&format!("?before={}", ids[1])),
        (vec![ids[0].clone()], false)
    );
    assert_eq!(
        served
            .send("DELETE", &format!("/v1/jobs/{}", ids[1]), &[], "")
            .status,
        204
    );
    assert_eq!(served.get(&format!("/v1/jobs/{}", ids[1])).status, 404);
    assert_eq!(listed("").0.len(), 2);
}

#[test]
fn metrics_are_served_for_prometheus() {
    let served = Served::new(&[]);
    served.get("/v1/jobs");
    served.get("/v1/jobs/none");
    let answer = served.get("/metrics");
    assert!(
        answer.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let text = answer.text();
    for line in [
        "ttsvar_http_requests_total{route=\"/v1/jobs\",method=\"GET\",status=\"200\"} 1\n",
        "ttsvar_http_requests_total{route=\"/v1/jobs/{id}\",method=\"GET\",status=\"404\"} 1\n",
        "ttsvar_jobs_total{state=\"failed\"} 0\n",
        "ttsvar_searches_waiting 0\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
