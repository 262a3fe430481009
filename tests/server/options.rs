//! Every option through HTTP, read back from the image.

use serde_json::{Value, json};
use ttsvar::{image::Png, request::Recorded};

use crate::{
    Served,
    support::{
        option_cases::{REFUSED_BY_DEMO, assert_recorded, cases},
        vision::{likely, serve},
    },
};

#[test]
fn every_option_goes_through_http() {
    let served = Served::new(&[]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.png");
    for case in cases() {
        let id = served.submit(&json!({ "prompt": "a red circle", "search": case }));
        served.until(&id, "done");
        let image = served.get(&format!("/v1/jobs/{id}/image"));
        std::fs::write(&path, &image.bytes).unwrap();
        assert_recorded(&Recorded::open(&path).unwrap(), &case);
    }
    // At the top level, where `n` is the number of images
    for case in cases() {
        let mut body = json!({ "prompt": "a red circle" });
        for (name, value) in &case {
            match name.as_str() {
                "n" => body["search"] = json!({ "n": value }),
                _ => body[name] = value.clone(),
            }
        }
        let answer = served.post("/v1/images/generations", &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        let id = answer.json()["data"][0]["job"].as_str().unwrap().to_owned();
        let image = served.get(&format!("/v1/jobs/{id}/image"));
        std::fs::write(&path, &image.bytes).unwrap();
        assert_recorded(&Recorded::open(&path).unwrap(), &case);
    }
    for (name, value, part) in REFUSED_BY_DEMO {
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        let refused = served.post(
            "/v1/jobs",
            &json!({ "prompt": "a ring", "search": { name: value } }),
        );
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains(part), "{}", refused.text());
    }
}

/// As the page does with an image: the record has options of single stages only in the plan.
#[test]
fn the_plan_of_an_image_keeps_its_name() {
    let served = Served::new(&[]);
    let image = |body: &Value| {
        let id = served.submit(body);
        served.until(&id, "done");
        served.get(&format!("/v1/jobs/{id}/image")).bytes
    };
    let search = json!({ "method": "auto", "n": 4, "enough": 0.25, "above": 0.125, "tau": 0.75 });
    let first = image(&json!({ "prompt": "a red ring", "seed": 3, "search": search }));
    let record = Png::decode(&first).unwrap();
    let plan = record.text("ttsvar:plan").unwrap();
    assert!(plan.contains("enough = 0.25"), "{plan}");
    let mut again = json!({
        "prompt": "a red ring",
        "seed": 3,
        "search": { "plan": plan, "preview": record.text("ttsvar:preview"), "tau": 0.75 },
        "plan_of": { "method": "auto", "n": 4 },
    });
    assert!(image(&again) == first, "another image");
    for (name, param) in [
        (json!({ "methods": "auto" }), "plan_of.methods"),
        (json!({ "method": "automatic" }), "plan_of"),
        (json!("auto"), "plan_of"),
    ] {
        again["plan_of"] = name;
        let refused = served.post("/v1/jobs", &again);
        assert_eq!(refused.status, 400);
        assert_eq!(refused.json()["error"]["param"], param);
    }
    let alone = json!({ "prompt": "a red ring", "plan_of": { "method": "auto" } });
    let refused = served.post("/v1/jobs", &alone);
    assert!(
        refused.text().contains("there is no plan"),
        "{}",
        refused.text()
    );
}

#[test]
fn questions_go_through_http_and_the_trace_has_the_answers() {
    let vision = serve(|_| likely(0.25));
    let flags = ["--scorer", "openai", "--openai-cache", "none"];
    let server = ["--openai-url", &vision.address, "--openai-model", "m"];
    let served = Served::new(&[flags, server].concat());
    let questions = json!([
        { "prompt": "a red circle", "questions": ["Is it red?", ["How many?", "one"]] },
        { "prompt": "a star", "questions": ["Is it a star?"] },
    ]);
    let search = json!({
        "method": "raw",
        "seed": 1,
        "questions": questions,
        "question_mean": "geometric",
    });
    let id = served.submit(&json!({ "prompt": "a red circle", "search": search }));
    served.until(&id, "done");
    let trace = served.get(&format!("/v1/jobs/{id}/trace")).json();
    assert_eq!(trace["settings"]["questions"], json!([questions[0]]));
    assert_eq!(trace["settings"]["question_mean"], "geometric");
    let answers = &trace["answers"][0];
    assert_eq!(answers["scorer"], "openai (m)");
    assert_eq!(answers["questions"][1]["answer"], "one");
    assert_eq!(answers["candidates"][0]["probabilities"][0], 0.25);

    let search = json!({ "questions": [{ "prompt": "a star", "questions": [] }] });
    let refused = served.post("/v1/jobs", &json!({ "prompt": "a star", "search": search }));
    assert_eq!(refused.status, 400);
    let error = &refused.json()["error"];
    assert_eq!(error["param"], "search.questions");
}
