//! Every option through HTTP, read back from the image.

use serde_json::json;
use ttsvar::request::Recorded;

use crate::{
    Served,
    support::option_cases::{REFUSED_BY_DEMO, assert_recorded, cases},
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
    let (name, value) = REFUSED_BY_DEMO;
    let refused = served.post(
        "/v1/jobs",
        &json!({ "prompt": "a ring", "search": { name: value } }),
    );
    assert_eq!(refused.status, 400);
    assert!(
        refused.text().contains("one size only"),
        "{}",
        refused.text()
    );
}

#[test]
fn an_option_in_the_request_and_in_search_is_refused() {
    let served = Served::new(&[]);
    for name in ["seed", "negative"] {
        let value = if name == "seed" {
            json!(3)
        } else {
            json!("a ring")
        };
        let body = json!({ "prompt": "a star", name: value, "search": { name: value } });
        let refused = served.post("/v1/jobs", &body);
        assert_eq!(refused.status, 400);
        assert!(
            refused.text().contains("again in `search`"),
            "{}",
            refused.text()
        );
    }
}
