//! OpenAI's endpoint for edits: a form with an image, a mask and a prompt.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use ttsvar::{eval::scenes::world::Scene, image::Png, search::Image};

use crate::{Served, events, names};

const BOUNDARY: &str = "a-boundary";

/// The body of a form: name, file name (empty for a text), content.
fn form(fields: &[(&str, &str, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![];
    for (name, file, content) in fields {
        let mut head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"");
        if !file.is_empty() {
            head += &format!("; filename=\"{file}\"\r\nContent-Type: image/png");
        }
        body.extend(head.as_bytes());
        body.extend(b"\r\n\r\n");
        body.extend(content);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

fn scene() -> Vec<u8> {
    Png::new(Scene::new(800_000_003).render()).encode().unwrap()
}

fn mask(side: usize) -> Vec<u8> {
    let value = |i: usize| if i % side >= side / 2 { 255 } else { 0 };
    let pixels = (0..side * side).flat_map(|i| [value(i); 3]).collect();
    Png::new(Image::new(side, side, pixels)).encode().unwrap()
}

/// The fields of an edit, with one of them replaced or left out.
fn fields(change: &str, to: Option<Vec<u8>>) -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut fields = vec![
        ("image", "scene.png", scene()),
        ("mask", "mask.png", mask(64)),
        (
            "prompt",
            "",
            text("a photo of a red circle and a green star"),
        ),
        ("n", "", text("2")),
        ("seed", "", text("4")),
        ("size", "", text("64x64")),
        (
            "search",
            "",
            json!({ "method": "best-of-n", "n": 2 })
                .to_string()
                .into_bytes(),
        ),
    ];
    fields.retain(|(name, ..)| *name != change || to.is_some());
    for field in &mut fields {
        if field.0 == change {
            field.2 = to.clone().unwrap();
        }
    }
    fields
}

#[test]
fn a_part_of_an_image_is_generated_again() {
    let served = Served::new(&[]);
    let send = || {
        let answer = served.post_form("/v1/images/edits", BOUNDARY, form(&fields("", None)));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let body = send();
    let data = body["data"].as_array().unwrap();
    assert_eq!((data.len(), &data[0]["seed"]), (2, &json!(4)));
    let decode = |i: usize| {
        let png = BASE64_STANDARD
            .decode(data[i]["b64_json"].as_str().unwrap())
            .unwrap();
        Png::decode(&png).unwrap().image
    };
    assert_ne!(decode(0), decode(1));
    let scene = Png::decode(&scene()).unwrap().image;
    let left = |image: &Image| -> Vec<u8> {
        let rows = image.pixels().chunks(3 * 64);
        rows.flat_map(|row| row[..3 * 16].to_vec()).collect()
    };
    let (edited, original) = (left(&decode(0)), left(&scene));
    let pairs = edited.iter().zip(&original);
    let apart = pairs.map(|(a, b)| f64::from(a.abs_diff(*b)));
    assert!(apart.sum::<f64>() / f64::from(3 * 16 * 64) < 6.0);
    assert_eq!(send()["data"][0]["b64_json"], data[0]["b64_json"]);
}

#[test]
fn an_edit_may_be_a_job_or_a_stream_and_give_options_one_by_one() {
    let served = Served::new(&[]);
    let text = |text: &str| text.as_bytes().to_vec();
    let mut fields = fields("search", None);
    fields.retain(|(name, ..)| *name != "n");
    fields.push(("search[method]", "", text("best-of-n")));
    fields.push(("search[n]", "", text("2")));
    let answer = served.post_form("/v1/images/edits", BOUNDARY, form(&fields));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let image = answer.json()["data"][0]["b64_json"].clone();
    let job = served.post_form("/v1/jobs", BOUNDARY, form(&fields));
    assert_eq!(job.status, 202, "{}", job.text());
    let job = job.json();
    assert!(job["settings"]["edit"].is_string(), "{job}");
    let id = job["id"].as_str().unwrap();
    served.until(id, "done");
    let done = served.get(&format!("/v1/jobs/{id}/image")).bytes;
    assert_eq!(json!(BASE64_STANDARD.encode(done)), image);
    fields.push(("stream", "", text("true")));
    fields.push(("partial_images", "", text("1")));
    let stream = served.post_form("/v1/images/edits", BOUNDARY, form(&fields));
    let events = events(&stream.text());
    assert_eq!(
        names(&events),
        ["image_edit.partial_image", "image_edit.completed"]
    );
    assert_eq!(events[1].data["b64_json"], image);
    fields.retain(|(name, ..)| *name != "image");
    let refused = served.post_form("/v1/jobs", BOUNDARY, form(&fields[..1]));
    assert_eq!(refused.status, 400, "{}", refused.text());
    let long = served.post("/v1/jobs", &json!({ "prompt": "a".repeat(70_000) }));
    assert_eq!(long.status, 413, "{}", long.text());
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let served = Served::new(&[]);
    let text = |text: &str| Some(text.as_bytes().to_vec());
    let cases = [
        ("image", None, 400, "image"),
        ("mask", None, 400, "mask"),
        ("prompt", None, 400, "prompt"),
        ("image", text("no image"), 400, "image"),
        ("mask", text(""), 400, "mask"),
        ("mask", Some(mask(32)), 400, "image"),
        ("n", text("two"), 400, "n"),
        ("size", text("1024x1024"), 400, "size"),
        ("search", text("{\"tau\": -1}"), 400, "search.tau"),
    ];
    for (field, to, status, place) in cases {
        let body = form(&fields(field, to));
        let answer = served.post_form("/v1/images/edits", BOUNDARY, body);
        assert_eq!(answer.status, status, "{field}: {}", answer.text());
        assert_eq!(
            answer.json()["error"]["param"],
            place,
            "{field}: {}",
            answer.text()
        );
    }
    let json = served.post("/v1/images/edits", &json!({ "prompt": "a star" }));
    assert_eq!(json.status, 400, "{}", json.text());
    let torn = &form(&fields("", None))[..900];
    let torn = served.post_form("/v1/images/edits", BOUNDARY, torn.to_vec());
    assert_eq!(torn.status, 400, "{}", torn.text());
}
