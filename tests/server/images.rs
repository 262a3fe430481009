//! The OpenAI-compatible endpoint.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;

use crate::Served;

#[test]
fn images_equal_those_of_the_command_line_to_the_last_byte() {
    let served = Served::new(&[]);
    let search = json!({ "method": "tts-var", "n": 1 });
    let body = json!({
        "prompt": "a blue star",
        "n": 2,
        "seed": 41,
        "size": "64x64",
        "model": "demo",
        "response_format": "b64_json",
        "user": "somebody",
        "search": search,
    });
    let answer = served.post("/v1/images/generations", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let data = body["data"].as_array().unwrap();
    assert_eq!(data.len(), 2);
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    let folder = tempfile::tempdir().unwrap();
    for (image, seed) in data.iter().zip([41, 42]) {
        assert_eq!(image["seed"], seed);
        let path = folder.path().join(format!("{seed}.png"));
        let flags = [
            "generate",
            "a blue star",
            "--quiet",
            "--method",
            "tts-var",
            "--n",
            "1",
            "--seed",
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_ttsvar"));
        let out = command
            .args(flags)
            .arg(seed.to_string())
            .arg("--out")
            .arg(&path)
            .output()
            .unwrap();
        assert!(out.status.success(), "{out:?}");
        let generated = BASE64_STANDARD
            .decode(image["b64_json"].as_str().unwrap())
            .unwrap();
        assert!(
            generated == std::fs::read(&path).unwrap(),
            "seed {seed}: not the image of the command line"
        );
    }
}

#[test]
fn the_model_supplies_the_defaults() {
    let served = Served::new(&[]);
    let answer = served.post("/v1/images/generations", &json!({ "prompt": "a red ring" }));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let job = answer.json()["data"][0]["job"].as_str().unwrap().to_owned();
    let job = served.get(&format!("/v1/jobs/{job}")).json();
    assert_eq!(
        (&job["state"], &job["size"]),
        (&json!("done"), &json!("64x64"))
    );
    let models = served.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "demo");
    assert!(models["data"][0]["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(models["data"][0]["sizes"], json!(["64x64"]));
    let details = models["data"][0]["method_details"].as_array().unwrap();
    let max_n: Vec<(&str, u64)> = details
        .iter()
        .map(|method| {
            let name = method["name"].as_str().unwrap();
            assert!(method["description"].is_string(), "{name}");
            (name, method["max_n"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("raw", 1),
        ("best-of-n", 64),
        ("importance", 64),
        ("beam", 64),
        ("lookahead", 64),
        ("draft", 64),
        ("sequential", 64),
        ("auto", 64),
        ("tts-var", 8),
    ];
    assert_eq!(max_n, expected);
}

#[test]
fn the_seed_may_be_an_option_of_the_search() {
    let served = Served::new(&[]);
    let generate = |body| {
        let answer = served.post("/v1/images/generations", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"].clone()
    };
    let search = json!({ "method": "raw", "seed": 5 });
    let inside = generate(json!({ "prompt": "a red ring", "n": 2, "search": search }));
    let seeds: Vec<&serde_json::Value> = inside
        .as_array()
        .unwrap()
        .iter()
        .map(|image| &image["seed"])
        .collect();
    assert_eq!(seeds, [5, 6]);
    let search = json!({ "method": "raw" });
    let outside = generate(json!({ "prompt": "a red ring", "seed": 5, "search": search }));
    assert_eq!(inside[0]["b64_json"], outside[0]["b64_json"]);
}

#[test]
fn a_plan_can_be_text_or_json() {
    let served = Served::new(&[]);
    let text = "start = 3\n[[stage]]\nscale = 4\nwidth = 1\nselect = { top = 1 }\n";
    let object =
        json!({ "start": 3, "stage": [{ "scale": 4, "width": 1, "select": { "top": 1 } }] });
    let generate = |plan| {
        let body = json!({ "prompt": "a red ring", "seed": 5, "search": { "plan": plan } });
        let answer = served.post("/v1/images/generations", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["data"][0]["b64_json"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(generate(json!(text)), generate(object));
}

#[test]
fn jobs_of_a_client_that_disconnects_are_cancelled() {
    let served = Served::new(&crate::ENDLESS);
    let impatient =
        ureq::Agent::config_builder().timeout_global(Some(std::time::Duration::from_millis(300)));
    let impatient: ureq::Agent = impatient.build().into();
    let body = crate::endless(1).to_string();
    let sent = impatient
        .post(format!("{}/v1/images/generations", served.url))
        .content_type("application/json");
    sent.send(body).unwrap_err();
    let jobs = served.get("/v1/jobs").json();
    served.until(jobs["data"][0]["id"].as_str().unwrap(), "cancelled");
}
