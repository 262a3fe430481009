//! The interface of AUTOMATIC1111's web UI.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use ttsvar::image::Png;

use crate::Served;

/// What a client sends for a prompt, with defaults that do not suit these models.
fn fields(more: Value) -> Value {
    let mut fields = json!({
        "prompt": "a red ring",
        "negative_prompt": "a blue star",
        "seed": 7,
        "steps": 20,
        "cfg_scale": 7.0,
        "width": 512,
        "height": 512,
        "sampler_name": "Euler a",
        "batch_size": 1,
        "n_iter": 1,
        "enable_hr": false,
        "styles": [],
        "override_settings": {},
        "override_settings_restore_afterwards": true,
        "alwayson_scripts": {},
    });
    for (name, value) in more.as_object().unwrap() {
        fields[name] = value.clone();
    }
    fields
}

/// The images and the `info` of a response.
fn images(served: &Served, fields: &Value) -> (Vec<Vec<u8>>, Value) {
    let answer = served.post("/sdapi/v1/txt2img", fields);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    let decode = |image: &Value| BASE64_STANDARD.decode(image.as_str().unwrap()).unwrap();
    let images = body["images"].as_array().unwrap().iter().map(decode);
    let info = serde_json::from_str(body["info"].as_str().unwrap()).unwrap();
    (images.collect(), info)
}

#[test]
fn the_image_is_that_of_the_other_interface() {
    let served = Served::new(&[]);
    let search = json!({ "method": "best-of-n", "n": 2, "cfg": 2.5 });
    let by_settings = fields(json!({ "override_settings": search }));
    let script = json!({ "ttsvar": { "args": [search] } });
    let by_script = fields(json!({ "alwayson_scripts": script }));
    let own = json!({
        "prompt": "a red ring", "negative_prompt": "a blue star", "seed": 7, "search": search,
    });
    let own = served.post("/v1/images/generations", &own).json();
    let own = own["data"][0]["b64_json"].as_str().unwrap();
    let own = BASE64_STANDARD.decode(own).unwrap();
    for fields in [by_settings, by_script] {
        let (images, info) = images(&served, &fields);
        assert!(images == [own.clone()], "another image");
        let png = Png::decode(&images[0]).unwrap();
        assert_eq!(png.text("parameters"), info["infotexts"][0].as_str());
        let expected = [
            ("prompt", json!("a red ring")),
            ("negative_prompt", json!("a blue star")),
            ("seed", json!(7)),
            ("cfg_scale", json!(2.5)),
            ("sampler_name", json!("best-of-n")),
            ("width", json!(64)),
            ("sd_model_name", json!("demo")),
        ];
        for (name, value) in expected {
            assert_eq!(info[name], value, "{name}");
        }
        let ignored = info["ignored"].as_array().unwrap();
        for name in ["steps", "cfg_scale", "sampler_name", "enable_hr"] {
            assert!(ignored.contains(&name.into()), "{name}: {ignored:?}");
        }
    }
}

#[test]
fn a_batch_has_consecutive_seeds() {
    let served = Served::new(&[]);
    let batch = json!({ "sampler_name": "raw", "batch_size": 2, "n_iter": 2, "seed": 5 });
    let (images, info) = images(&served, &fields(batch));
    assert_eq!(images.len(), 4);
    assert_eq!(info["all_seeds"], json!([5, 6, 7, 8]));
    assert_eq!(info["sampler_name"], "raw");
}

#[test]
fn settings_models_and_samplers_are_listed() {
    let served = Served::new(&[]);
    let get = |path: &str| served.get(&format!("/sdapi/v1/{path}")).json();
    assert_eq!(get("options")["sd_model_checkpoint"], "demo");
    assert_eq!(get("sd-models")[0]["model_name"], "demo");
    let samplers = get("samplers");
    let names = samplers.as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|one| one["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"tts-var") && names.contains(&"auto"),
        "{names:?}"
    );
    let idle = get("progress?skip_current_image=false");
    assert_eq!(
        (&idle["progress"], &idle["state"]["job_count"]),
        (&json!(0.0), &json!(0))
    );
    let chosen = served.post(
        "/sdapi/v1/options",
        &json!({ "sd_model_checkpoint": "demo" }),
    );
    assert_eq!((chosen.status, chosen.json()), (200, Value::Null));
    let other = served.post(
        "/sdapi/v1/options",
        &json!({ "sd_model_checkpoint": "sdxl" }),
    );
    assert_eq!(other.status, 404);
}

#[test]
fn progress_is_reported_with_previews_until_it_is_interrupted() {
    let served = Served::new(&[]);
    let wide = json!({
        "override_settings": { "method": "best-of-n", "n": 64, "live_previews_enable": true },
    });
    let wide = fields(wide);
    std::thread::scope(|scope| {
        let search = scope.spawn(|| served.post("/sdapi/v1/txt2img", &wide));
        let seen = (0..2000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let progress = served.get("/sdapi/v1/progress").json();
            progress["current_image"].is_string().then_some(progress)
        });
        let seen = seen.expect("progress with a preview");
        assert!(
            seen["progress"].as_f64().unwrap() > 0.0,
            "{}",
            seen["progress"]
        );
        assert_eq!(seen["state"]["sampling_steps"], 7);
        let preview = BASE64_STANDARD
            .decode(seen["current_image"].as_str().unwrap())
            .unwrap();
        assert!(Png::decode(&preview).unwrap().image.width() >= 64);
        assert_eq!(served.post("/sdapi/v1/interrupt", &json!({})).status, 200);
        assert_eq!(search.join().unwrap().status, 409);
    });
}

#[test]
fn wrong_fields_are_named_where_they_are_given() {
    let served = Served::new(&[]);
    let cases = [
        (
            json!({ "override_settings": { "tau": -1 } }),
            "override_settings.tau",
        ),
        (json!({ "override_settings": 3 }), "override_settings"),
        (
            json!({ "override_settings": { "sd_model_checkpoint": "sdxl" } }),
            "override_settings.sd_model_checkpoint",
        ),
        (
            json!({ "override_settings": { "live_previews_enable": 3 } }),
            "override_settings.live_previews_enable",
        ),
        (
            json!({ "alwayson_scripts": { "ttsvar": { "args": [{ "tau": -1 }] } } }),
            "alwayson_scripts.ttsvar.args.tau",
        ),
        (
            json!({ "sampler_name": "raw", "override_settings": { "enough": 1 } }),
            "override_settings",
        ),
        (json!({ "batch_size": 0 }), "batch_size"),
        (json!({ "batch_size": 20 }), "batch_size"),
        (json!({ "n_iter": 20 }), "n_iter"),
        (json!({ "batch_size": 1000, "n_iter": 1000 }), "batch_size"),
        (json!({ "width": "wide" }), "width"),
        (json!({ "prompt": " " }), "prompt"),
        (
            json!({ "alwayson_scripts": { "ttsvar": { "args": [1] } } }),
            "alwayson_scripts.ttsvar.args",
        ),
        (
            json!({ "alwayson_scripts": { "ttsvar": 1 } }),
            "alwayson_scripts.ttsvar.args",
        ),
    ];
    for (more, place) in cases {
        let answer = served.post("/sdapi/v1/txt2img", &fields(more.clone()));
        assert!(
            (400..500).contains(&answer.status),
            "{more}: {}",
            answer.text()
        );
        assert_eq!(answer.json()["error"]["param"], place, "{more}");
    }
    let message = |more: Value| {
        let answer = served.post("/sdapi/v1/txt2img", &fields(more));
        answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let twenty = message(json!({ "n_iter": 20 }));
    assert!(twenty.starts_with("n_iter is 20, but"), "{twenty}");
    let product = message(json!({ "batch_size": 4, "n_iter": 5 }));
    assert!(
        product.starts_with("batch_size times n_iter is 20, but"),
        "{product}"
    );
}
