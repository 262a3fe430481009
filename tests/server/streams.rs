//! Streams of OpenAI's interface, and several images of one search.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use ttsvar::image::Png;

use crate::{SentEvent, Served, endless, events, names};

fn png(value: &Value) -> Vec<u8> {
    BASE64_STANDARD
        .decode(value["b64_json"].as_str().unwrap())
        .unwrap()
}

/// The events of a request for images.
fn stream(served: &Served, body: &Value) -> Vec<SentEvent> {
    let answer = served.post("/v1/images/generations", body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    events(&answer.text())
}

const PARTIAL: &str = "image_generation.partial_image";
const COMPLETED: &str = "image_generation.completed";

#[test]
fn a_stream_has_partial_images_and_the_same_image() {
    let served = Served::new(&[]);
    let mut body = json!({
        "prompt": "a blue star", "seed": 3, "n": 2,
        "search": { "method": "tts-var", "n": 1 },
    });
    let plain = served.post("/v1/images/generations", &body).json();
    body["stream"] = json!(true);
    assert_eq!(names(&stream(&served, &body)), [COMPLETED, COMPLETED]);
    body["partial_images"] = json!(3);
    let events = stream(&served, &body);
    let of_one = [PARTIAL, PARTIAL, PARTIAL, COMPLETED];
    assert_eq!(names(&events), [of_one, of_one].concat());
    let scales: Vec<u64> = events
        .iter()
        .flat_map(|event| event.data["scale"].as_u64())
        .collect();
    assert_eq!(scales, [1, 3, 5, 1, 3, 5]);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.data["type"], event.event);
        assert_eq!(event.data["size"], "64x64");
        if event.event == PARTIAL {
            assert_eq!(event.data["partial_image_index"], number % 4);
        }
        let image = Png::decode(&png(&event.data)).unwrap().image;
        assert_eq!((image.width(), image.height()), (64, 64));
    }
    for (number, event) in [&events[3], &events[7]].into_iter().enumerate() {
        let image = &plain["data"][number];
        assert!(png(&event.data) == png(image), "image {number}");
        for field in ["seed", "score", "warnings"] {
            assert_eq!(event.data[field], image[field], "{field}");
        }
        assert_eq!(event.data["usage"]["total_tokens"], 0);
    }
}

#[test]
fn a_search_in_rounds_has_no_more_partial_images_than_asked() {
    let served = Served::new(&[]);
    let search = json!({ "method": "sequential", "n": 3, "enough": 1e6 });
    let body = json!({
        "prompt": "a blue star", "seed": 3, "stream": true, "partial_images": 2, "search": search,
    });
    assert_eq!(
        names(&stream(&served, &body)),
        [PARTIAL, PARTIAL, COMPLETED]
    );
}

#[test]
fn a_search_that_fails_ends_the_stream_with_an_error() {
    let served = Served::new(&[
        "--workers",
        "1",
        "--max-rows",
        "60000",
        "--max-seconds",
        "1",
    ]);
    let mut body = endless(1);
    body["stream"] = json!(true);
    let events = stream(&served, &body);
    assert_eq!(names(&events), ["error"]);
    assert_eq!(events[0].data["error"]["code"], "timeout");
    body["prompt"] = json!(" ");
    let refused = served.post("/v1/images/generations", &body);
    assert_eq!(
        (refused.status, refused.code()),
        (400, "invalid_value".to_owned())
    );
}

#[test]
fn images_that_share_a_search_are_its_best() {
    let served = Served::new(&[]);
    let body = json!({
        "prompt": "a blue star", "seed": 4, "n": 3,
        "search": { "method": "best-of-n", "n": 4, "share": true },
    });
    let answer = served.post("/v1/images/generations", &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = answer.json();
    let data = found["data"].as_array().unwrap();
    assert_eq!(data.len(), 3);
    assert!(
        data.iter()
            .all(|image| image["job"] == data[0]["job"] && image["seed"] == 4)
    );
    let scores: Vec<f64> = data
        .iter()
        .map(|image| image["score"].as_f64().unwrap())
        .collect();
    assert!(
        scores[0] >= scores[1] && scores[1] >= scores[2],
        "{scores:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_ttsvar"))
        .args([
            "generate",
            "a blue star",
            "--quiet",
            "--seed",
            "4",
            "--best",
            "3",
        ])
        .args(["--method", "best-of-n", "--n", "4", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let job = data[0]["job"].as_str().unwrap();
    for (number, image) in data.iter().enumerate() {
        let path = folder
            .path()
            .join(format!("a-blue-star-{}.png", number + 1));
        let written = std::fs::read(path).unwrap();
        assert!(png(image) == written, "image {number}");
        let fetched = served.get(&format!("/v1/jobs/{job}/images/{}", number + 1));
        assert!(fetched.bytes == written, "image {number}");
    }
    for rank in ["0", "4", "best"] {
        let missing = served.get(&format!("/v1/jobs/{job}/images/{rank}"));
        assert_eq!(missing.status, 404, "{rank}");
    }
    let again = served.submit(&body);
    served.until(&again, "done");
    assert_eq!(served.get(&format!("/v1/jobs/{again}")).json()["best"], 3);
    let third = served.get(&format!("/v1/jobs/{again}/images/3"));
    assert!(third.bytes == png(&data[2]));
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    let events = stream(&served, &streamed);
    assert_eq!(names(&events), [COMPLETED; 3]);
    assert!(
        events
            .iter()
            .zip(data)
            .all(|(event, image)| png(&event.data) == png(image))
    );
}

#[test]
fn a_search_that_finishes_fewer_images_is_refused_or_says_so() {
    let served = Served::new(&[]);
    let request = |search: Value| {
        let body = json!({ "prompt": "a blue star", "seed": 4, "n": 3, "search": search });
        served.post("/v1/images/generations", &body)
    };
    let refused = request(json!({ "method": "raw", "share": true }));
    assert_eq!(refused.status, 400);
    let error = &refused.json()["error"];
    assert_eq!(error["param"], "n");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("at most 1 image; choose a larger `search.n`"),
        "{message}"
    );
    let early = json!({ "method": "sequential", "n": 4, "enough": -100, "share": true });
    let data = request(early).json()["data"].clone();
    assert_eq!(data.as_array().unwrap().len(), 1);
    assert_eq!(
        data[0]["warnings"][0]["message"],
        "the search finished 1 of 3 images to keep"
    );
}
