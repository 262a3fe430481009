//! What is refused: with which status, by which code, for which field.

use serde_json::{Value, json};

use crate::{ENDLESS, Served, endless, refused};

#[test]
fn requests_that_cannot_be_done_are_refused_by_name() {
    let served = Served::new(&[]);
    let wrong = [
        (json!({}), "invalid_json", Value::Null),
        (json!({ "prompt": 7 }), "invalid_json", Value::Null),
        (json!({ "prompt": " " }), "invalid_value", json!("prompt")),
        (
            json!({ "prompt": "a\0b" }),
            "invalid_value",
            json!("prompt"),
        ),
        (
            json!({ "prompt": "a".repeat(1001) }),
            "invalid_value",
            json!("prompt"),
        ),
        (
            json!({ "prompt": "a", "size": "1024x1024" }),
            "invalid_value",
            json!("size"),
        ),
        (
            json!({ "prompt": "a", "size": "large" }),
            "invalid_value",
            json!("size"),
        ),
        (
            json!({ "prompt": "a", "n": 0 }),
            "invalid_value",
            json!("n"),
        ),
        (
            json!({ "prompt": "a", "n": 11 }),
            "invalid_value",
            json!("n"),
        ),
        (
            json!({ "prompt": "a", "seed": -1 }),
            "invalid_json",
            Value::Null,
        ),
        (
            json!({ "prompt": "a", "response_format": "url" }),
            "invalid_value",
            json!("response_format"),
        ),
        (
            json!({ "prompt": "a", "stream": true }),
            "invalid_value",
            json!("stream"),
        ),
        (
            json!({ "prompt": "a", "output_format": "jpeg" }),
            "invalid_value",
            json!("output_format"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "magic" } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "width": 2 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "raw", "n": 2 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "tts-var", "n": 9 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "auto", "n": 65 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "n": u64::MAX } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "tau": 0 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "preview": 0 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "plan": "start = 0" } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "plan": "start = 1", "n": 1 } }),
            "invalid_value",
            json!("search"),
        ),
    ];
    for (body, code, param) in wrong {
        let answer = served.post("/v1/images/generations", &body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, code),
            "{body}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    let answer = served.post(
        "/v1/images/generations",
        &json!({ "prompt": "a", "model": "dall-e-3" }),
    );
    assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"));
    assert_eq!(served.get("/v1/jobs").json()["data"], json!([]));
}

#[test]
fn sizes_that_are_there_are_named() {
    let answer = Served::new(&[]).post("/v1/jobs", &json!({ "prompt": "a", "size": "1x1" }));
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(message, "size is `1x1`, but `demo` generates 64x64");
}

#[test]
fn requests_of_the_wrong_form_are_refused() {
    let served = Served::new(&["--max-body", "100"]);
    let json = [("content-type", "application/json")];
    let long = format!("{{\"prompt\": \"{}\"}}", "a".repeat(200));
    let cases = [
        (
            "POST",
            "/v1/jobs",
            &json[..],
            long.as_str(),
            413,
            "unreadable_body",
        ),
        ("POST", "/v1/jobs", &json[..], "{", 400, "invalid_json"),
        (
            "POST",
            "/v1/jobs",
            &[("content-type", "text/plain")][..],
            "{}",
            415,
            "wrong_content_type",
        ),
        ("POST", "/v1/nothing", &json[..], "{}", 404, "not_found"),
        (
            "PUT",
            "/v1/jobs",
            &json[..],
            "{}",
            405,
            "method_not_allowed",
        ),
        (
            "GET",
            "/v1/jobs?limit=many",
            &[][..],
            "",
            400,
            "invalid_value",
        ),
        ("GET", "/v1/jobs/none", &[][..], "", 404, "job_not_found"),
        (
            "GET",
            "/v1/jobs/..%2F..%2Findex.sqlite/image",
            &[][..],
            "",
            404,
            "job_not_found",
        ),
        (
            "POST",
            "/v1/jobs/none/cancel",
            &[][..],
            "",
            404,
            "job_not_found",
        ),
        (
            "GET",
            "/v1/jobs/none/events",
            &[][..],
            "",
            404,
            "job_not_found",
        ),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = served.send(method, path, headers, body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{method} {path}"
        );
    }
}

#[test]
fn a_job_is_no_request_of_another_kind() {
    let served = Served::new(&[]);
    for wrong in [
        json!({ "n": 4 }),
        json!({ "method": "raw" }),
        json!({ "preview": true }),
    ] {
        let mut body = json!({ "prompt": "a" });
        body.as_object_mut()
            .unwrap()
            .extend(wrong.as_object().unwrap().clone());
        let answer = served.post("/v1/jobs", &body);
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "invalid_json"),
            "{body}"
        );
        assert!(answer.text().contains("unknown field"), "{}", answer.text());
    }
    let answer = served.post("/v1/jobs", &json!({ "prompt": "a", "model": "dall-e-3" }));
    assert_eq!((answer.status, &*answer.code()), (404, "model_not_found"));
    let open = json!({ "prompt": "a", "model": "demo", "search": null, "size": null, "seed": null, "previews": null });
    served.until(&served.submit(&open), "done");
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let served = Served::new(&[&ENDLESS[..], &["--queue", "1"]].concat());
    let running = served.submit(&endless(1));
    served.until(&running, "running");
    let waiting = served.submit(&endless(2));
    let answer = served.post("/v1/jobs", &endless(3));
    assert_eq!((answer.status, &*answer.code()), (429, "queue_full"));
    assert!(
        answer.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    assert_eq!(served.state(&waiting), "queued");
    assert_eq!(
        served.get(&format!("/v1/jobs/{waiting}")).json()["before"],
        0
    );
    let two = json!({ "prompt": "a", "n": 2 });
    assert_eq!(served.post("/v1/images/generations", &two).status, 429);
    assert!(
        served
            .get("/metrics")
            .text()
            .contains("ttsvar_queue_full_total 2")
    );
}

#[test]
fn a_search_that_takes_too_long_ends() {
    let served = Served::new(&["--max-seconds", "0"]);
    let answer = served.post(
        "/v1/images/generations",
        &json!({ "prompt": "a red circle" }),
    );
    assert_eq!((answer.status, &*answer.code()), (504, "timeout"));
}

#[test]
fn the_token_opens_everything_but_the_page() {
    let mut served = Served::new(&["--token", "a-long-secret"]);
    for path in ["/v1/jobs", "/v1/models", "/metrics", "/v1/jobs/x/image"] {
        let answer = served.get(path);
        assert_eq!(
            (answer.status, &*answer.code()),
            (401, "invalid_token"),
            "{path}"
        );
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert_eq!(
        served
            .post("/v1/images/generations", &json!({ "prompt": "a" }))
            .status,
        401
    );
    assert_eq!(
        (served.get("/").status, served.get("/healthz").status),
        (200, 200)
    );
    served.token = Some("a-long-secre".to_owned());
    assert_eq!(served.get("/v1/jobs").status, 401);
    served.token = Some("a-long-secret".to_owned());
    assert_eq!(served.get("/v1/jobs").status, 200);
}

#[test]
fn without_a_token_the_server_is_for_this_machine() {
    let (code, words) = refused(&["--host", "0.0.0.0", "--port", "0"]);
    assert_eq!(code, Some(2));
    assert!(words.contains("a token is needed"), "{words}");
    let served = Served::new(&[]);
    let answer = served.send("GET", "/v1/jobs", &[("host", "evil.example")], "");
    assert_eq!((answer.status, &*answer.code()), (421, "wrong_host"));
}

#[test]
fn a_folder_or_a_port_that_is_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let (code, words) = refused(&["--port", "0", "--folder", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(
        words.contains("another server keeps its jobs there"),
        "{words}"
    );
    let other = tempfile::tempdir().unwrap();
    let port = served.url.rsplit(':').next().unwrap();
    let (code, words) = refused(&["--port", port, "--folder", other.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(words.contains("cannot listen on"), "{words}");
}

#[test]
fn the_page_is_kept_in_bounds() {
    let served = Served::new(&[]);
    let page = served.get("/");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}
