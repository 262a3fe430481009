//! GenEval's rules against verdicts of its own program.

use serde::Deserialize;
use serde_json::{Value, json};
use ttsvar::{
    detectors::{ColourNamer, Object, open},
    eval::geneval::{
        ConfidentObjects, CropOptions, Metadata, RuleOptions, evaluate,
        geometry::{overlap, relations},
        names::{COLOURS, OBJECTS, TASKS, colour, object},
    },
    image::Mask,
    search::Image,
};

use crate::support::{golden, json as file};

const FIXTURE: &str = "geneval-verdicts";
const OVERLAPS: f64 = 1e-9;

/// The published options with what a fixture or one of its cases says instead.
fn options(mut of: RuleOptions, said: &Value) -> RuleOptions {
    for (name, value) in said.as_object().into_iter().flatten() {
        let number = value.as_f64().unwrap() as f32;
        match name.as_str() {
            "threshold" => of.threshold = number,
            "counting_threshold" => of.counting_threshold = number,
            "max_objects" => of.max_objects = value.as_u64().unwrap() as usize,
            "max_overlap" => of.max_overlap = number,
            "position_threshold" => of.position_threshold = number,
            other => panic!("unknown option {other}"),
        }
    }
    of
}

/// The objects of a case, class by class in the detector's order, and the colour that each would be
/// given.
fn objects(detections: &Value) -> (Vec<Object>, Vec<Option<usize>>) {
    let mut found = vec![];
    for (class, rows) in detections.as_object().unwrap() {
        for row in rows.as_array().unwrap() {
            let bounds = [0, 1, 2, 3].map(|i| row[i].as_f64().unwrap() as f32);
            let one = Object {
                class: object(class).unwrap(),
                score: row[4].as_f64().unwrap() as f32,
                bounds,
                mask: None,
            };
            found.push((one, row[5].as_str().map(|name| colour(name).unwrap())));
        }
    }
    found.into_iter().unzip()
}

fn row(object: &Object) -> Value {
    let mut row: Vec<f32> = object.bounds.to_vec();
    row.push(object.score);
    json!(row.into_iter().map(f64::from).collect::<Vec<_>>())
}

fn rows(objects: &[&Object]) -> Value {
    objects.iter().map(|object| row(object)).collect()
}

#[test]
fn parity_geneval_verdicts_of_every_case() {
    let recorded = file(FIXTURE, "cases.json");
    let defaults = options(RuleOptions::default(), &recorded["defaults"]);
    let cases = recorded["cases"].as_array().unwrap();
    let mut right: Vec<(&str, bool)> = vec![];
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let expected = &case["expected"];
        let metadata = Metadata::read(&case["metadata"].to_string())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let options = options(defaults, &case["options"]);
        let (found, own_colours) = objects(&case["detections"]);
        let kept = ConfidentObjects::new(&found, metadata.tag, &options);
        let of_class = |(class, own): (usize, &[&Object])| (OBJECTS[class].to_owned(), rows(own));
        assert_eq!(
            Value::Object(kept.classes().map(of_class).collect()),
            expected["kept"],
            "{name}: kept"
        );
        let mut calls = vec![];
        let judgement = evaluate(&metadata, &kept, &options, |class, objects| {
            let at = |object: &&Object| {
                found
                    .iter()
                    .position(|one| std::ptr::eq(one, *object))
                    .unwrap()
            };
            let answers: Vec<usize> = objects
                .iter()
                .map(|object| own_colours[at(object)].unwrap())
                .collect();
            let words: Vec<&str> = answers.iter().map(|colour| COLOURS[*colour]).collect();
            calls.push(
                json!({"classname": OBJECTS[class], "boxes": rows(objects), "answers": words}),
            );
            Ok(answers)
        })
        .unwrap();
        assert_eq!(json!(judgement.correct), expected["correct"], "{name}");
        let texts = expected["reason_alternatives"].as_array().unwrap();
        assert!(
            texts.iter().any(|text| *text == judgement.reason),
            "{name}: `{}` is none of {texts:?}",
            judgement.reason
        );
        assert_eq!(
            json!(calls),
            expected["color_calls"],
            "{name}: colours asked for"
        );
        right.push((metadata.tag, judgement.correct));
    }
    println!("{} cases agree", cases.len());
    summary(&right, &recorded["summary"]);
}

/// The overall result is the mean of the tasks, not of the pictures.
fn summary(right: &[(&str, bool)], expected: &Value) {
    let share = |task: &str| {
        let own: Vec<bool> = right
            .iter()
            .filter(|(tag, _)| *tag == task)
            .map(|(_, right)| *right)
            .collect();
        own.iter().filter(|right| **right).count() as f64 / own.len() as f64
    };
    let recorded = expected["per_task"].as_object().unwrap();
    let mut mean = 0.0;
    for (task, expected) in recorded {
        assert!(TASKS.contains(&task.as_str()), "{task}");
        assert_eq!(share(task), expected.as_f64().unwrap(), "{task}");
        mean += share(task) / recorded.len() as f64;
    }
    assert!((mean - expected["overall_mean_of_tasks"].as_f64().unwrap()).abs() < 1e-12);
}

#[derive(Deserialize)]
struct Unit {
    a: [f64; 4],
    b: [f64; 4],
    iou: Option<f64>,
    relations: Option<Vec<String>>,
}

#[test]
fn parity_geneval_verdicts_of_boxes() {
    let units = file(FIXTURE, "units.json");
    let slack = file(FIXTURE, "config.json")["position_threshold"]
        .as_f64()
        .unwrap();
    let read = |name: &str| -> Vec<Unit> { serde_json::from_value(units[name].clone()).unwrap() };
    let mut worst = 0f64;
    for unit in read("iou") {
        worst = worst.max((overlap(unit.a, unit.b) - unit.iou.unwrap()).abs());
    }
    println!("overlaps differ by at most {worst:.1e} (limit {OVERLAPS:.0e})");
    assert!(worst <= OVERLAPS);
    for unit in read("relative_position") {
        let mut found: Vec<String> = relations(unit.a, unit.b, slack)
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut expected = unit.relations.unwrap();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{:?} {:?}", unit.a, unit.b);
    }
}

#[test]
fn parity_geneval_verdicts_of_names() {
    let names = std::fs::read_to_string(golden(FIXTURE).join("object_names.txt")).unwrap();
    assert_eq!(names.lines().collect::<Vec<_>>(), OBJECTS);
}

/// A picture whose pixels are all one number or another, as a mask.
fn mask(path: &str) -> Mask {
    let image = ttsvar::image::open(golden(FIXTURE).join(path)).unwrap();
    Mask::new(image.width(), image.height(), |pixel| {
        image.pixels()[3 * pixel] > 127
    })
}

#[test]
fn parity_geneval_verdicts_of_crops() {
    let source = ttsvar::image::open(golden(FIXTURE).join("crops/source_160x120.png")).unwrap();
    for crop in file(FIXTURE, "crops.json").as_array().unwrap() {
        let name = crop["file"].as_str().unwrap();
        let bounds = [0, 1, 2, 3].map(|i| crop["box"][i].as_f64().unwrap() as f32);
        let object = Object {
            class: 0,
            score: 1.0,
            bounds,
            mask: crop["mask"].as_str().map(mask),
        };
        let background = match crop["options"]["bgcolor"].as_str() {
            Some("original") => None,
            Some(colour) => Some(rgb(colour)),
            None => CropOptions::default().background,
        };
        let cut = CropOptions {
            background,
            to_box: crop["options"]["crop"] != "0",
        };
        let found = cut.crop(&source, &object);
        let expected = ttsvar::image::open(golden(FIXTURE).join(name)).unwrap();
        assert_eq!(
            json!([found.width(), found.height()]),
            crop["size"],
            "{name}"
        );
        assert!(found == expected, "{name}: pixels differ");
    }
}

/// `#999` or `#a0b1c2`.
fn rgb(colour: &str) -> [u8; 3] {
    let digits: Vec<u8> = colour[1..]
        .chars()
        .map(|digit| digit.to_digit(16).unwrap() as u8)
        .collect();
    [0, 1, 2].map(|i| {
        if digits.len() == 3 {
            17 * digits[i]
        } else {
            16 * digits[2 * i] + digits[2 * i + 1]
        }
    })
}

/// The colour classifier, with the weights of the sibling recording.
#[test]
fn parity_geneval_color_tiny() {
    const FIXTURE: &str = "geneval-color-tiny";
    const PIXELS: f32 = 1e-5;
    const LOGITS: f32 = 5e-3;
    let recorded = file(FIXTURE, "golden.json");
    let tensors = crate::support::tensors(FIXTURE, "golden.safetensors");
    let folder = golden(FIXTURE).join(recorded["clip_model_dir"].as_str().unwrap());
    let words =
        |name: &str| -> Vec<String> { serde_json::from_value(recorded[name].clone()).unwrap() };
    let colours = words("colors");
    let namer = open::clip_colours(&folder, &candle_core::Device::Cpu).unwrap();
    let namer = namer.with_vocabulary(colours.clone(), words("templates"));
    let cut = CropOptions {
        background: file(FIXTURE, "config.json")["background"].as_str().map(rgb),
        to_box: true,
    };
    for (i, case) in recorded["cases"].as_array().unwrap().iter().enumerate() {
        let open = |name: &Value| {
            ttsvar::image::open(golden(FIXTURE).join(name.as_str().unwrap())).unwrap()
        };
        let (image, class) = (open(&case["image"]), case["classname"].as_str().unwrap());
        let crop = |object: &Value| {
            let bounds = [0, 1, 2, 3].map(|side| object["box"][side].as_f64().unwrap() as f32);
            let mask = object["mask"].is_string().then(|| {
                let image = open(&object["mask"]);
                Mask::new(image.width(), image.height(), |pixel| {
                    image.pixels()[3 * pixel] > 127
                })
            });
            cut.crop(
                &image,
                &Object {
                    class: 0,
                    score: 1.0,
                    bounds,
                    mask,
                },
            )
        };
        let crops: Vec<Image> = case["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(crop)
            .collect();
        let pixels = namer.pixels(&crops).unwrap();
        let name = format!("pixels_{i}_obj0");
        crate::support::assert_close(&name, &pixels.get(0).unwrap(), &tensors[&name], PIXELS, 0.);
        let name = format!("classifier_{i}");
        crate::support::assert_close(
            &name,
            &namer.colour_embeddings(class).unwrap().t().unwrap(),
            &tensors[&name],
            LOGITS,
            0.,
        );
        let name = format!("logits_{i}");
        crate::support::assert_close(
            &name,
            &namer.logits(class, &pixels).unwrap(),
            &tensors[&name],
            LOGITS,
            0.,
        );
        let answers = namer.colours(class, &crops).unwrap();
        let words: Vec<&String> = answers.iter().map(|colour| &colours[*colour]).collect();
        assert_eq!(json!(words), case["answers"], "colours of case {i}");
    }
}
