//! A model of classes over HTTP.

use serde_json::{Value, json};
use ttsvar::{options::ClassChoice, request::Recorded};

use crate::{Served, support::var};

#[test]
fn a_class_stands_in_place_of_a_prompt() {
    let bundle = tempfile::tempdir().unwrap();
    var::write_bundle(bundle.path(), "");
    let served = Served::new(&["--model", bundle.path().to_str().unwrap()]);
    let model = &served.get("/v1/models").json()["data"][0];
    assert_eq!(model["classes"][3], "class 3");
    assert_eq!(model["classes"].as_array().unwrap().len(), 20);
    assert_eq!(model["sizes"], json!(["160x160"]));

    let search = json!({ "method": "raw", "seed": 5 });
    let id = served.submit(&json!({ "class": 3, "search": search }));
    served.until(&id, "done");
    let image = served.get(&format!("/v1/jobs/{id}/image")).bytes;
    let path = bundle.path().join("image.png");
    std::fs::write(&path, &image).unwrap();
    let recorded = Recorded::open(&path).unwrap();
    assert_eq!(recorded.prompt, "a photo of a class 3");
    assert_eq!(recorded.options.class, Some(ClassChoice::from(3)));

    // By name, and with the blank prompt that clients of OpenAI's interface must send.
    let body = json!({ "prompt": "", "class": "Class 3", "method": "raw", "seed": 5 });
    let answer = served.post("/v1/images/generations", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());

    let refused = |body: Value| {
        let answer = served.post("/v1/jobs", &body);
        assert_eq!(answer.status, 400, "{}", answer.text());
        let error = answer.json()["error"].clone();
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        (text("param"), text("code"), text("message"))
    };
    let (param, code, _) = refused(json!({}));
    assert_eq!(
        (param.as_str(), code.as_str()),
        ("class", "missing_required_parameter")
    );
    let (param, _, message) = refused(json!({ "prompt": "a cat", "class": 3 }));
    assert_eq!(param, "prompt");
    assert!(
        message.contains("a class, not a prompt") && !message.contains("--"),
        "{message}"
    );
    let (param, _, message) = refused(json!({ "search": { "class": 20 } }));
    assert_eq!(param, "search.class");
    assert!(message.contains("from 0 to 19"), "{message}");
    let (param, _, _) = refused(json!({ "class": [3] }));
    assert_eq!(param, "class");
}

#[test]
fn a_model_of_prompts_refuses_classes() {
    let served = Served::new(&[]);
    let model = &served.get("/v1/models").json()["data"][0];
    assert_eq!(model["classes"], Value::Null);
    for body in [
        json!({ "class": 3 }),
        json!({ "prompt": "a ring", "class": 3 }),
    ] {
        let answer = served.post("/v1/jobs", &body);
        assert_eq!(answer.status, 400);
        let error = answer.json()["error"].clone();
        assert_eq!(error["param"], "class");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("a prompt, not a class"), "{message}");
    }
}
