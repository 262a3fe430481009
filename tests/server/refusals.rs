//! Refused requests: the status, code and field of each error.

use serde_json::json;

use crate::{ENDLESS, Served, endless, failed_start};

#[test]
fn invalid_requests_name_the_field() {
    let served = Served::new(&[]);
    let wrong = [
        (json!({}), "missing_required_parameter", json!("prompt")),
        (json!({ "prompt": 7 }), "invalid_value", json!("prompt")),
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
            json!({ "prompt": "a", "seed": -2 }),
            "invalid_value",
            json!("seed"),
        ),
        (
            json!({ "prompt": "a", "response_format": "url" }),
            "invalid_value",
            json!("response_format"),
        ),
        (
            json!({ "prompt": "a", "stream": true, "partial_images": 4 }),
            "invalid_value",
            json!("partial_images"),
        ),
        (
            json!({ "prompt": "a", "output_format": "jpeg" }),
            "invalid_value",
            json!("output_format"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "magic" } }),
            "invalid_value",
            json!("search.method"),
        ),
        (
            json!({ "prompt": "a", "search": { "width": 2 } }),
            "unknown_parameter",
            json!("search.width"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "raw", "n": 2 } }),
            "invalid_value",
            json!("search"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "tts-var", "n": 9 } }),
            "invalid_value",
            json!("search.n"),
        ),
        (
            json!({ "prompt": "a", "search": { "method": "auto", "n": 65 } }),
            "invalid_value",
            json!("search.n"),
        ),
        (
            json!({ "prompt": "a", "search": { "n": u64::MAX } }),
            "invalid_value",
            json!("search.n"),
        ),
        (
            json!({ "prompt": "a", "search": { "tau": 0 } }),
            "invalid_value",
            json!("search.tau"),
        ),
        (
            json!({ "prompt": "a", "search": { "preview": 0 } }),
            "invalid_value",
            json!("search.preview"),
        ),
        (
            json!({ "prompt": "a", "seed": 1, "search": { "seed": 2 } }),
            "invalid_value",
            json!("search.seed"),
        ),
        (
            json!({ "prompt": "a", "search": { "plan": "start = 0" } }),
            "invalid_value",
            json!("search.plan"),
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
fn the_model_of_a_job_must_be_the_loaded_one() {
    let served = Served::new(&[]);
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
fn the_time_to_retry_follows_from_measured_times_and_the_queue() {
    let served = Served::new(&[&ENDLESS[..], &["--queue", "3"]].concat());
    let retry_after = |images: u64| {
        let mut body = endless(100);
        body["n"] = images.into();
        let answer = served.post("/v1/images/generations", &body);
        assert_eq!((answer.status, &*answer.code()), (429, "queue_full"));
        let seconds: u64 = answer.headers["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let message = answer.text();
        assert!(message.contains(&format!("in {seconds} s")), "{message}");
        seconds
    };
    let running = served.submit(&endless(1));
    served.until(&running, "running");
    for seed in 2..5 {
        served.submit(&endless(seed));
    }
    let began = std::time::Instant::now();
    std::thread::sleep(std::time::Duration::from_secs(3));
    // No search has ended: the running one is expected to take as long again, and so are the next
    let (one, three) = (retry_after(1), retry_after(3));
    let most = began.elapsed().as_secs() + 30;
    assert!(
        (3..most).contains(&one) && (9..3 * most).contains(&three),
        "{one}, {three}"
    );
    // Now searches are known to take 3 s or more, and one has just begun
    served.post(&format!("/v1/jobs/{running}/cancel"), &json!({}));
    served.until(&running, "cancelled");
    while served
        .get("/metrics")
        .text()
        .contains("ttsvar_searches_waiting 3")
    {}
    served.submit(&endless(5));
    assert!((2..most).contains(&retry_after(1)));
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
    let answer = served.send("GET", "/v1/jobs", &[("host", "localhost:evil.com")], "");
    assert_eq!((answer.status, &*answer.code()), (421, "wrong_host"));
    let raw = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    let answer = served.raw(raw.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("\"code\":\"several_hosts\""), "{answer}");
    let raw = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = served.raw(raw.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[test]
fn other_websites_cannot_change_anything() {
    let served = Served::new(&ENDLESS);
    let id = served.submit(&endless(1));
    let cancel = format!("/v1/jobs/{id}/cancel");
    let json = ("content-type", "application/json");
    let evil = ("origin", "https://evil.example");
    let cases = [
        ("POST", &*cancel, &[evil][..], 403, "wrong_origin"),
        ("POST", &*cancel, &[evil, json][..], 403, "wrong_origin"),
        (
            "POST",
            &*cancel,
            &[("origin", "null")][..],
            403,
            "wrong_origin",
        ),
        ("POST", "/v1/jobs", &[evil, json][..], 403, "wrong_origin"),
        (
            "DELETE",
            &*format!("/v1/jobs/{id}"),
            &[evil][..],
            403,
            "wrong_origin",
        ),
        (
            "POST",
            &*cancel,
            &[("content-type", "text/plain")][..],
            415,
            "wrong_content_type",
        ),
    ];
    for (method, path, headers, status, code) in cases {
        let answer = served.send(method, path, headers, "{}");
        assert_eq!(
            (answer.status, &*answer.code()),
            (status, code),
            "{headers:?}"
        );
    }
    assert_ne!(served.state(&id), "cancelled");
    let own = ("origin", &*served.url.clone());
    assert_eq!(served.send("POST", &cancel, &[own, json], "{}").status, 200);
}

#[test]
fn ids_and_queries_that_are_not_text_are_refused_in_the_usual_form() {
    let served = Served::new(&[]);
    let cases = [
        ("/v1/jobs/%ff", 400, json!("id")),
        ("/v1/jobs/%ff/image", 400, json!("id")),
        ("/v1/jobs/%ff/events", 400, json!("id")),
        ("/v1/jobs/%ff/previews/0", 400, json!("id")),
        ("/v1/models/%ff", 400, json!("id")),
        ("/v1/models/dall-e-3", 404, json!("model")),
        ("/v1/jobs?limit=abc", 400, json!("limit")),
        ("/v1/jobs?limit=0", 400, json!("limit")),
        ("/v1/jobs?limit=101", 400, json!("limit")),
        ("/v1/jobs?limit=1.0", 400, json!("limit")),
        ("/v1/jobs?limit=-1", 400, json!("limit")),
        ("/v1/jobs?limit=", 400, json!("limit")),
        ("/v1/jobs?limit=1&limit=2", 400, json!("limit")),
        ("/v1/jobs?limt=1", 400, json!("limt")),
    ];
    for (path, status, param) in cases {
        let answer = served.get(path);
        answer.code();
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["param"]), (status, &param), "{path}");
        let message = error["message"].as_str().unwrap();
        for rust in ["usize", "u64", "String", "deserialize"] {
            assert!(!message.contains(rust), "{path}: {message}");
        }
    }
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
    let new = other.path().join("jobs");
    let port = served.url.rsplit(':').next().unwrap();
    let (code, message) = failed_start(&["--port", port, "--folder", new.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(message.contains("cannot listen on"), "{message}");
    assert!(!new.exists());
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
