//! Refused requests: the status, code and field of each error.

use serde_json::{Value, json};

use crate::{ENDLESS, Served, endless, failed_start};

#[test]
fn invalid_requests_name_the_field() {
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
            json!({ "prompt": "a", "seed": 1, "search": { "seed": 1 } }),
            "invalid_value",
            json!("seed"),
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
fn an_unknown_size_lists_the_available_ones() {
    let answer = Served::new(&[]).post("/v1/jobs", &json!({ "prompt": "a", "size": "1x1" }));
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(message, "size is `1x1`, but `demo` generates 64x64");
}

#[test]
fn malformed_requests_are_refused() {
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
fn unknown_fields_of_a_job_are_refused() {
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
    let nulls = json!({
        "prompt": "a",
        "model": "demo",
        "search": null,
        "size": null,
        "seed": null,
        "previews": null,
    });
    served.until(&served.submit(&nulls), "done");
}

#[test]
fn a_full_queue_reports_when_to_retry() {
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
fn a_search_that_exceeds_the_time_limit_ends() {
    let served = Served::new(&["--max-seconds", "0"]);
    let answer = served.post(
        "/v1/images/generations",
        &json!({ "prompt": "a red circle" }),
    );
    assert_eq!((answer.status, &*answer.code()), (504, "timeout"));
}

#[test]
fn everything_but_the_page_requires_the_token() {
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
fn without_a_token_only_this_machine_is_served() {
    let (code, message) = failed_start(&["--host", "0.0.0.0", "--port", "0"]);
    assert_eq!(code, Some(2));
    assert!(message.contains("a token is required"), "{message}");
    let served = Served::new(&[]);
    let answer = served.send("GET", "/v1/jobs", &[("host", "evil.example")], "");
    assert_eq!((answer.status, &*answer.code()), (421, "wrong_host"));
}

#[test]
fn a_folder_or_port_in_use_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::at(folder.path(), &[]);
    let (code, message) =
        failed_start(&["--port", "0", "--folder", folder.path().to_str().unwrap()]);
    assert_eq!(code, Some(2));
    assert!(
        message.contains("another server uses this folder"),
        "{message}"
    );
    let other = tempfile::tempdir().unwrap();
    let port = served.url.rsplit(':').next().unwrap();
    let (code, message) =
        failed_start(&["--port", port, "--folder", other.path().to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("cannot listen on"), "{message}");
}

#[test]
fn the_page_has_a_content_security_policy() {
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
