//! The fields of requests: numbers, names, ignored fields, and what the answers say of them.

use serde_json::{Value, json};

use crate::Served;

/// Both routes that take searches.
const ROUTES: [&str; 2] = ["/v1/images/generations", "/v1/jobs"];

/// The image of a request, as base64.
fn image(served: &Served, body: &Value) -> String {
    let answer = served.post("/v1/images/generations", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()["data"][0]["b64_json"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A request for an image with seed 7 and without a search, changed by `with`.
fn raw(with: Value) -> Value {
    let mut body = json!({ "prompt": "a red circle", "seed": 7, "method": "raw" });
    let with = with.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(with);
    body
}

#[test]
fn whole_numbers_may_be_written_with_a_fraction() {
    let served = Served::new(&[]);
    let expected = image(&served, &raw(json!({})));
    let send = |numbers: &str| {
        let body = format!("{{\"prompt\": \"a red circle\", {numbers}}}");
        let json = [("content-type", "application/json")];
        let answer = served.send("POST", "/v1/images/generations", &json, &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let data = answer.json()["data"].clone();
        (data.as_array().unwrap().len(), data[0]["b64_json"].clone())
    };
    for numbers in [
        r#""method": "raw", "seed": 7.0"#,
        r#""method": "raw", "seed": 0.7e1, "n": 1.0"#,
        r#""search": {"method": "raw", "n": 1.0, "seed": 7.0, "top_k": 9.00e2}"#,
    ] {
        assert_eq!(send(numbers), (1, json!(expected)), "{numbers}");
    }
    let wide = r#""seed": 7, "plan": {"start": 3.0, "stage": [{"scale": 4e0, "width": 1.0,
        "select": {"top": 1.0}}]}"#;
    let whole = wide.replace(".0", "").replace("4e0", "4");
    assert_eq!(send(wide), send(&whole));
    assert_eq!(send(r#""method": "raw", "n": 0.2e1"#).0, 2);
}

#[test]
fn a_seed_of_minus_one_is_any_seed() {
    let served = Served::new(&[]);
    for body in [
        json!({ "prompt": "a red circle", "seed": -1, "method": "raw" }),
        json!({ "prompt": "a red circle", "seed": -1.0, "method": "raw" }),
        json!({ "prompt": "a red circle", "search": { "seed": -1, "method": "raw" } }),
    ] {
        let seed = || {
            let job = served.post("/v1/jobs", &body);
            assert_eq!(job.status, 202, "{}", job.text());
            job.json()["seed"].as_u64().unwrap()
        };
        assert_ne!(seed(), seed());
    }
    let body = json!({ "prompt": "a", "seed": -1, "search": { "seed": 7, "method": "raw" } });
    assert_eq!(served.post("/v1/jobs", &body).json()["seed"], 7);
}

#[test]
fn wrong_values_are_named_with_their_field_and_range() {
    let served = Served::new(&[]);
    let seeds = "expected an integer from 0 to 18446744073709551615, or -1";
    let cases = [
        (
            json!({ "seed": -2 }),
            "seed",
            format!("seed is -2, {seeds}"),
        ),
        (
            json!({ "seed": 1.5 }),
            "seed",
            format!("seed is 1.5, {seeds}"),
        ),
        (
            json!({ "seed": "7" }),
            "seed",
            format!("seed is \"7\", {seeds}"),
        ),
        (json!({ "seed": 1e300 }), "seed", seeds.to_owned()),
        (
            json!({ "seed": [1] }),
            "seed",
            format!("seed is a list, {seeds}"),
        ),
        (
            json!({ "search": [["n", 2]] }),
            "search",
            "search is a list, expected an object".to_owned(),
        ),
        (
            json!({ "search": "n=2" }),
            "search",
            "search is \"n=2\", expected an object".to_owned(),
        ),
        (
            json!({ "search": { "n": "2" } }),
            "search.n",
            "n is \"2\", expected a non-negative integer".to_owned(),
        ),
        (
            json!({ "search": { "top_k": -1 } }),
            "search.top_k",
            "top_k is -1, expected a non-negative integer".to_owned(),
        ),
        (json!({ "cfg": [] }), "cfg", "expected a number".to_owned()),
        (
            json!({ "tau": 0 }),
            "tau",
            "tau must be 0.000001 or more".to_owned(),
        ),
        (
            json!({ "top_p": 2 }),
            "top_p",
            "top_p must be from 0 to 1".to_owned(),
        ),
        (
            json!({ "steer": "atuo" }),
            "steer",
            "unknown value `atuo`".to_owned(),
        ),
        (
            json!({ "steer": { "concept": [{ "text": "a ring", "box": [0, 0, 2, 1] }] } }),
            "steer",
            "expected left < right and top < bottom, from 0 to 1".to_owned(),
        ),
        (
            json!({ "search": { "steer": { "concept": [{ "text": "x", "box": [0, 0, 1, 1] }] } } }),
            "search.steer",
            "a concept that is not in the prompt: `x`".to_owned(),
        ),
        (
            json!({ "cfg": [1, "x"] }),
            "cfg",
            "cfg at scale 1 is \"x\", expected a number".to_owned(),
        ),
        (
            json!({ "tau": [1, 0] }),
            "tau",
            "tau at scale 1 must be 0.000001 or more".to_owned(),
        ),
        (
            json!({ "top_p": [0.9, 2] }),
            "top_p",
            "top_p at scale 1 must be from 0 to 1".to_owned(),
        ),
        (
            json!({ "search": { "tau": [1, 1, 1, 1, 1, 1, 1, 1] } }),
            "search.tau",
            "tau has 8 values, but the model has 7 scales".to_owned(),
        ),
        (
            json!({ "sampling": "sotto" }),
            "sampling",
            "unknown value `sotto`".to_owned(),
        ),
        (
            json!({ "token_statistics": 1 }),
            "token_statistics",
            "token_statistics is 1, expected true or false".to_owned(),
        ),
        (
            json!({ "cfg_layer": 0 }),
            "cfg_layer",
            "1 or more".to_owned(),
        ),
        (
            json!({ "method": 5 }),
            "method",
            "method is 5, expected a string".to_owned(),
        ),
        (
            json!({ "method": "bon" }),
            "method",
            "unknown value `bon`".to_owned(),
        ),
        (
            json!({ "negative": 5 }),
            "negative",
            "negative is 5, expected a string".to_owned(),
        ),
        (
            json!({ "prompt": null }),
            "prompt",
            "prompt is missing".to_owned(),
        ),
        (
            json!({ "prompt": [] }),
            "prompt",
            "prompt is a list, expected a string".to_owned(),
        ),
        (
            json!({ "size": 64 }),
            "size",
            "size is 64, expected a string".to_owned(),
        ),
        (
            json!({ "previews": 1 }),
            "previews",
            "expected true or false".to_owned(),
        ),
        (
            json!({ "plan": [] }),
            "plan",
            "the plan itself is a list".to_owned(),
        ),
        (
            json!({ "plan": { "start": "8" } }),
            "plan",
            "start is \"8\", expected a non-negative integer".to_owned(),
        ),
        (
            json!({ "plan": { "start": 2, "stage": [
                { "scale": 4, "width": 1, "select": { "cluster": "x" } },
            ] } }),
            "plan",
            "unknown value `x`".to_owned(),
        ),
        (
            json!({ "plan": "start = -1" }),
            "plan",
            "expected a non-negative integer".to_owned(),
        ),
        (
            json!({ "pixels": "0.06M" }),
            "pixels",
            "only generates images of".to_owned(),
        ),
        (
            json!({ "negative": "b".repeat(1001) }),
            "negative",
            "1001 characters".to_owned(),
        ),
        (
            json!({ "search": { "negative": "b".repeat(1001) } }),
            "search.negative",
            "1001 characters".to_owned(),
        ),
        (
            json!({ "background": "transparent" }),
            "background",
            "produces opaque".to_owned(),
        ),
        (
            json!({ "search": { "method": "raw", "schedule": "paper" } }),
            "search.schedule",
            "schedule is an option of method tts-var".to_owned(),
        ),
        (
            json!({ "enough": 1, "search": { "method": "raw" } }),
            "search",
            "enough is an option of method sequential or auto, not of raw".to_owned(),
        ),
    ];
    for route in ROUTES {
        for (with, param, message) in &cases {
            let mut body = json!({ "prompt": "a red circle" });
            let with = with.as_object().unwrap().clone();
            body.as_object_mut().unwrap().extend(with);
            let answer = served.post(route, &body);
            let text = answer.text();
            assert_eq!(answer.status, 400, "{body}: {text}");
            answer.code();
            let error = &answer.json()["error"];
            assert_eq!(error["param"], **param, "{body}: {text}");
            let said = error["message"].as_str().unwrap();
            assert!(said.contains(message), "{said}, not {message}");
            for foreign in [
                "usize",
                "u64",
                "f32",
                "struct",
                "column",
                "--",
                "invalid type",
            ] {
                assert!(!said.contains(foreign), "{said}");
            }
        }
    }
}

#[test]
fn unknown_fields_are_refused_with_a_suggestion() {
    let served = Served::new(&[]);
    for route in ROUTES {
        for (name, meant) in [
            ("seeed", Some("seed")),
            ("metod", Some("method")),
            ("guidance_scale", Some("cfg")),
            ("negativeprompt", Some("negative_prompt")),
            ("frobnicate", None),
            ("qqq", None),
        ] {
            for (body, param) in [
                (json!({ "prompt": "a", name: 4 }), name.to_owned()),
                (
                    json!({ "prompt": "a", "search": { name: 4 } }),
                    format!("search.{name}"),
                ),
            ] {
                let answer = served.post(route, &body);
                assert_eq!(
                    (answer.status, &*answer.code()),
                    (400, "unknown_parameter"),
                    "{body}"
                );
                let error = answer.json()["error"].clone();
                assert_eq!(error["param"], param);
                let message = error["message"].as_str().unwrap();
                assert!(message.contains(&format!("`{param}`")), "{message}");
                let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
                assert_eq!(
                    message.contains("did you mean"),
                    hint.is_some(),
                    "{message}"
                );
                assert!(message.contains(&hint.unwrap_or_default()), "{message}");
            }
        }
    }
    let job = served.post("/v1/jobs", &json!({ "prompt": "a", "n": 4 }));
    assert_eq!((job.status, &*job.code()), (400, "invalid_value"));
    assert!(job.text().contains("`search.n`"), "{}", job.text());
    served.submit(&json!({ "prompt": "a", "n": 1.0, "method": "raw" }));
}

#[test]
fn fields_of_openai_without_a_meaning_here_are_listed() {
    let served = Served::new(&[]);
    let body = raw(json!({
        "user": "me", "quality": "hd", "style": "vivid", "moderation": "low",
        "output_compression": 100, "output_format": "png", "background": "auto",
    }));
    let ignored = json!([
        "user",
        "quality",
        "style",
        "moderation",
        "output_compression"
    ]);
    let sorted = |list: &Value| {
        let mut names: Vec<String> = serde_json::from_value(list.clone()).unwrap();
        names.sort();
        names
    };
    for (route, status) in [(ROUTES[0], 200), (ROUTES[1], 202)] {
        let answer = served.post(route, &body);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(sorted(&answer.json()["ignored"]), sorted(&ignored));
        let answer = served.post(route, &raw(json!({})));
        assert_eq!(answer.json()["ignored"], json!([]));
    }
}

#[test]
fn a_negative_prompt_has_its_effect_under_both_names() {
    let served = Served::new(&[]);
    let without = image(&served, &raw(json!({})));
    let with = image(&served, &raw(json!({ "negative": "a blue square" })));
    assert_ne!(without, with);
    for body in [
        raw(json!({ "negative_prompt": "a blue square" })),
        raw(json!({ "negative_prompt": " a blue square ", "negative": null })),
        raw(json!({ "search": { "negative_prompt": "a blue square" } })),
        raw(json!({ "search": { "negative": "a blue square" } })),
    ] {
        assert_eq!(image(&served, &body), with, "{body}");
    }
    assert_eq!(
        image(&served, &raw(json!({ "negative_prompt": " " }))),
        without
    );
}

#[test]
fn an_option_may_be_given_twice_with_the_same_value_only() {
    let served = Served::new(&[]);
    for (top, inside) in [
        (json!({ "seed": 7 }), json!({ "seed": 8 })),
        (
            json!({ "negative": "a" }),
            json!({ "negative_prompt": "b" }),
        ),
        (json!({ "method": "raw" }), json!({ "method": "beam" })),
        (json!({ "tau": 0.5 }), json!({ "tau": 0.6 })),
    ] {
        for (search, status) in [(&inside, 400), (&top, 200)] {
            let mut body = raw(top.clone());
            body["search"] = search.clone();
            let answer = served.post("/v1/images/generations", &body);
            assert_eq!(answer.status, status, "{body}: {}", answer.text());
        }
    }
    let json = [("content-type", "application/json")];
    let body = r#"{"prompt": "a", "seed": 1, "seed": 2}"#;
    let answer = served.send("POST", "/v1/jobs", &json, body);
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("`seed` is given twice"),
        "{}",
        answer.text()
    );
}

#[test]
fn bodies_that_are_no_objects_are_refused() {
    let served = Served::new(&[]);
    let json = [("content-type", "application/json")];
    let deep = "[".repeat(100_000);
    for (body, code) in [
        (r#"["a red circle"]"#, "invalid_value"),
        ("\"a red circle\"", "invalid_value"),
        ("null", "invalid_value"),
        ("", "invalid_json"),
        ("{\"prompt\": \"a\"", "invalid_json"),
        (&deep[..60_000], "invalid_json"),
    ] {
        for route in ROUTES {
            let answer = served.send("POST", route, &json, body);
            assert_eq!(
                (answer.status, &*answer.code()),
                (400, code),
                "{}",
                answer.text()
            );
        }
    }
}

#[test]
fn long_values_are_not_repeated_in_full() {
    let served = Served::new(&[]);
    let long = "x".repeat(50_000);
    for body in [
        json!({ "prompt": "a", "seed": long }),
        json!({ "prompt": "a", "search": { "method": long } }),
        json!({ "prompt": "a", "plan": { "start": long } }),
        json!({ "prompt": "a", "size": long }),
        json!({ "prompt": "a", long.clone(): 1 }),
    ] {
        let answer = served.post("/v1/jobs", &body);
        assert_eq!(answer.status, 400);
        answer.code();
        assert!(answer.bytes.len() < 2000, "{} bytes", answer.bytes.len());
    }
}

#[test]
fn a_body_that_is_announced_as_too_long_is_refused_at_once() {
    let served = Served::new(&[]);
    let request = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\
        Content-Type: application/json\r\nContent-Length: 999999999\r\n\r\n{";
    let answer = served.raw(request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("up to 65536 bytes"), "{answer}");
}

#[test]
fn one_model_can_be_asked_for() {
    let served = Served::new(&[]);
    let list = served.get("/v1/models").json();
    let one = served.get("/v1/models/demo");
    assert_eq!((one.status, &one.json()), (200, &list["data"][0]));
    let none = served.get("/v1/models/gpt-image-1");
    assert_eq!((none.status, &*none.code()), (404, "model_not_found"));
}

#[test]
fn anyone_may_ask_for_health_and_version() {
    let served = Served::new(&["--token", "a-long-secret"]);
    for path in ["/healthz", "/health"] {
        let answer = served.get(path);
        assert_eq!((answer.status, &*answer.text()), (200, "ok\n"));
    }
    assert_eq!(
        served.get("/version").json()["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn answers_have_the_warnings_of_the_trace() {
    let served = Served::new(&[]);
    // All candidates are alike when only the most likely values are drawn
    let body = json!({
        "prompt": "a red circle", "seed": 3, "top_k": 1, "tau": 1e-6, "search": { "method": "tts-var" },
    });
    let answer = served.post("/v1/images/generations", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let image = &answer.json()["data"][0];
    let warnings = image["warnings"].as_array().unwrap();
    assert!(!warnings.is_empty());
    let id = image["job"].as_str().unwrap();
    let trace = served.get(&format!("/v1/jobs/{id}/trace")).json();
    let recorded = trace["warnings"].as_array().unwrap();
    assert_eq!(recorded.len(), warnings.len());
    for (warning, recorded) in warnings.iter().zip(recorded) {
        assert_eq!(warning["kind"], recorded["kind"]);
        assert!(warning["message"].is_string() && warning["advice"].is_string());
    }
    let job = served.get(&format!("/v1/jobs/{id}")).json();
    assert_eq!(job["warnings"], image["warnings"]);
    let listed = served.get("/v1/jobs").json();
    assert_eq!(listed["data"][0]["warnings"], image["warnings"]);
    let events = served.watch(id, "0");
    assert_eq!(events.last().unwrap().data["warnings"], image["warnings"]);
    let quiet = served.post("/v1/images/generations", &raw(json!({})));
    assert_eq!(quiet.json()["data"][0]["warnings"], json!([]));
}

#[test]
fn previews_for_watchers_do_not_count_as_cost_of_the_search() {
    let served = Served::new(&[]);
    let cost = |previews: bool| {
        let body = json!({
            "prompt": "a ring", "seed": 3, "previews": previews, "search": { "method": "tts-var" },
        });
        let id = served.submit(&body);
        served.until(&id, "done");
        served.get(&format!("/v1/jobs/{id}/trace")).json()["cost"].clone()
    };
    let [watched, alone] = [cost(true), cost(false)];
    assert_eq!(watched["decodes"], alone["decodes"]);
    assert_eq!(
        (&watched["previews"], &alone["previews"]),
        (&json!(16), &json!(0))
    );
    for part in ["generator", "scorer", "features"] {
        assert_eq!(watched["flops"][part], alone["flops"][part], "{part}");
    }
    assert!(watched["flops"]["previews"].as_f64() > Some(0.0));
    assert!(watched["seconds"]["previews"].as_f64() > Some(0.0));
}
