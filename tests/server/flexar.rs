//! FlexAR over HTTP.

use serde_json::json;
use ttsvar::request::Recorded;

use crate::{Served, support::flexar};

#[test]
fn a_search_over_prefixes_is_served() {
    let bundle = tempfile::tempdir().unwrap();
    flexar::write_bundle(bundle.path(), "t2i");
    let served = Served::new(&["--model", bundle.path().to_str().unwrap()]);
    let model = &served.get("/v1/models").json()["data"][0];
    assert_eq!(model["sizes"], json!(["80x80"]));

    let search = json!({
        "method": "lookahead", "n": 2, "seed": 5,
        "decoder_steps": 3, "preview_steps": 1, "decoder_cfg": 4, "as_released": true,
    });
    let id = served.submit(&json!({ "prompt": "two green stars", "search": search }));
    served.until(&id, "done");
    let image = served.get(&format!("/v1/jobs/{id}/image")).bytes;
    let path = bundle.path().join("image.png");
    std::fs::write(&path, &image).unwrap();
    let recorded = Recorded::open(&path).unwrap();
    assert_eq!(recorded.options.decoder_steps, Some(3));
    assert_eq!(recorded.options.preview_steps, Some(1));
    assert_eq!(recorded.options.decoder_cfg, Some(4.0));
    assert_eq!(recorded.options.as_released, Some(true));

    let search = json!({ "decoder_steps": 0 });
    let answer = served.post("/v1/jobs", &json!({ "prompt": "a star", "search": search }));
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(answer.json()["error"]["param"], "search.decoder_steps");
}
