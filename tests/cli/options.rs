//! Every option through the command line, the defaults of a bundle and the record of an image.

use std::fs;

use serde_json::{Map, Value};
use ttsvar::request::Recorded;

use crate::{
    desk::{Desk, demo},
    support::option_cases::{REFUSED_BY_DEMO, assert_recorded, cases},
};

/// The options as arguments; a plan and a layout go into files of the folder.
fn arguments(desk: &Desk, case: &Map<String, Value>) -> Vec<String> {
    let mut arguments = vec![];
    for (name, value) in case {
        let flag = format!("--{}", name.replace('_', "-"));
        if let Value::Bool(value) = value {
            arguments.push(format!("{flag}={value}"));
            continue;
        }
        arguments.push(flag);
        arguments.push(match value {
            Value::String(text) => text.clone(),
            Value::Object(_) if name == "steer" => {
                desk.write("layout.json", value.to_string());
                "layout.json".to_owned()
            }
            Value::Object(_) => {
                let plan: ttsvar::search::Plan = serde_json::from_value(value.clone()).unwrap();
                desk.write("plan.toml", plan.to_toml());
                "plan.toml".to_owned()
            }
            Value::Array(list) => {
                let values: Vec<String> = list.iter().map(Value::to_string).collect();
                values.join(",")
            }
            other => other.to_string(),
        });
    }
    arguments
}

fn generate(desk: &Desk, out: &str, arguments: &[String]) -> Recorded {
    let mut all = vec!["generate", "a red circle", "--out", out];
    all.extend(arguments.iter().map(String::as_str));
    desk.run(&all);
    Recorded::open(&desk.path(out)).unwrap()
}

#[test]
fn every_option_goes_through_the_command_line() {
    for case in cases() {
        let desk = Desk::new();
        let recorded = generate(&desk, "a.png", &arguments(&desk, &case));
        assert_recorded(&recorded, &case);
    }
    for (name, value, part) in REFUSED_BY_DEMO {
        let flag = format!("--{}={value}", name.replace('_', "-"));
        let refused = Desk::new().refuses(&["generate", "a ring", &flag]);
        assert!(refused.contains(part), "{refused}");
    }
}

#[test]
fn every_option_goes_through_a_record() {
    for case in cases() {
        let desk = Desk::new();
        generate(&desk, "a.png", &arguments(&desk, &case));
        desk.run(&["generate", "--from", "a.png", "--out", "b.png"]);
        assert_recorded(&Recorded::open(&desk.path("b.png")).unwrap(), &case);
        assert_eq!(desk.read("a.png"), desk.read("b.png"));
    }
}

#[test]
fn every_option_goes_through_the_defaults_of_a_bundle() {
    let demo = demo();
    let description = fs::read_to_string(demo.join("bundle.toml")).unwrap();
    let (head, _) = description.split_once("[defaults]").unwrap();
    let mut all = cases();
    for (name, value, _) in REFUSED_BY_DEMO {
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        all.push(Map::from_iter([(name.to_owned(), value)]));
    }
    for case in all {
        let desk = Desk::new();
        desk.copy(&demo, "bundle");
        let defaults = toml::to_string(&Map::from_iter([(
            "defaults".to_owned(),
            case.clone().into(),
        )]));
        desk.write("bundle/bundle.toml", format!("{head}{}", defaults.unwrap()));
        let mut refused = REFUSED_BY_DEMO.iter();
        if let Some((_, _, part)) = refused.find(|(name, ..)| case.contains_key(*name)) {
            let refused = desk.refuses(&["generate", "a ring", "--model", "bundle"]);
            assert!(refused.contains(part), "{refused}");
            continue;
        }
        let model = ["--model".to_owned(), "bundle".to_owned()];
        let mut recorded = generate(&desk, "a.png", &model);
        if !case.contains_key("seed") {
            recorded.options.seed = None;
        }
        assert_recorded(&recorded, &case);
    }
}

#[test]
fn a_damaged_record_is_refused_by_the_key_at_fault() {
    let desk = Desk::new();
    generate(&desk, "a.png", &[]);
    for (key, value) in [
        ("cfg", Value::from("strong")),
        ("tau", Value::from(0)),
        ("top_k", Value::from(-1)),
        ("method", Value::from("fastest")),
        ("dtype", Value::from("f8")),
        ("scorers", Value::from(7)),
        ("colour", Value::from("red")),
    ] {
        let mut png = desk.png("a.png");
        let text = png
            .text
            .iter_mut()
            .find(|(name, _)| name == "ttsvar:settings");
        let (_, text) = text.unwrap();
        let mut settings: Map<String, Value> = serde_json::from_str(text).unwrap();
        settings.insert(key.to_owned(), value);
        *text = serde_json::to_string(&settings).unwrap();
        png.save(desk.path("damaged.png")).unwrap();
        let refused = desk.refuses(&["generate", "--from", "damaged.png"]);
        assert!(
            refused.contains("damaged") && refused.contains(key),
            "{refused}"
        );
    }
}
