//! Plan files: what they look like, and what is said about wrong ones.

use ttsvar::search::{Draw, MAX_ROWS, Method, Plan, PlanOptions, Schedule};

#[test]
fn a_plan_file_looks_like_this() {
    let choices = PlanOptions {
        draw: Some(Draw::Systematic),
        ..PlanOptions::default()
    };
    let plan = Plan::tts_var(13, 1, Schedule::Released)
        .unwrap()
        .with(choices, 13)
        .unwrap();
    insta::assert_snapshot!(plan.to_toml(), @r#"
    start = 8

    [[stage]]
    scale = 2
    width = 6
    select = { cluster = "pca" }

    [[stage]]
    scale = 5
    width = 4
    select = { cluster = "pca" }

    [[stage]]
    scale = 6
    width = 2
    select = { resample = "value", lambda = 10, draw = "systematic" }

    [[stage]]
    scale = 9
    width = 1
    select = { resample = "value", lambda = 10, draw = "systematic" }
    "#);
}

#[test]
fn what_is_left_out_is_the_papers() {
    let short = Plan::from_toml(
        "start = 2\n[[stage]]\nscale = 1\nwidth = 1\nselect = { resample = \"max\" }",
    )
    .unwrap();
    let long = "start = 2\n[[stage]]\nscale = 1\nwidth = 1\n\
                select = { resample = \"max\", lambda = 10.0, draw = \"multinomial\" }";
    assert_eq!(short, Plan::from_toml(long).unwrap());
}

/// One stage after the start line, in the words of a plan file.
fn stage(start: usize, lines: &str) -> String {
    format!("start = {start}\n[[stage]]\n{}", lines.replace(", ", "\n"))
}

fn refusal(text: &str) -> String {
    let error = Plan::from_toml(text)
        .and_then(|plan| plan.check(13))
        .expect_err(text);
    assert!(!error.to_string().contains('\n'), "one line: {error}");
    error.to_string()
}

#[test]
fn wrong_plans_are_refused_by_scale() {
    let cases = [
        (
            stage(8, "scale = 3, width = 6"),
            "scale 3: the stage has no `select`, but its width goes from 8 to 6",
        ),
        (
            stage(8, "scale = 3, width = 8"),
            "scale 3: the stage has no `select`",
        ),
        (
            stage(4, "scale = 2, width = 6, select = {cluster = \"pca\"}"),
            "scale 2: clustering cannot make 6 rows from 4",
        ),
        (
            stage(4, "scale = 2, width = 6, select = {resample = \"max\"}"),
            "scale 2: resampling cannot make 6 rows from 4",
        ),
        (
            stage(4, "scale = 2, width = 6, select = {top = 5}"),
            "scale 2: top 5 of 4 rows",
        ),
        (
            stage(4, "scale = 2, width = 2, select = {top = 3}"),
            "scale 2: top 3 keeps more rows than the stage's width of 2",
        ),
        (
            stage(4, "scale = 2, width = 2, select = {top = 0}"),
            "scale 2: top 0 of 4 rows",
        ),
        (
            stage(4, "scale = 2, width = 0, select = {top = 1}"),
            "scale 2: 0 rows, but a search needs at least 1",
        ),
        (
            stage(4, "scale = 13, width = 4, select = {top = 1}"),
            "scale 13: the model's last scale is 12",
        ),
        (
            stage(4, "scale = 2, width = 2, select = {}"),
            "scale 2: `select` must name exactly one way to choose, not 0",
        ),
        (
            "start = 0".to_owned(),
            "start: 0 rows, but a search needs at least 1",
        ),
        (
            format!("start = {}", MAX_ROWS + 1),
            "start: 65537 rows, but a batch has at most 65536",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(&text), expected, "{text}");
    }
}

#[test]
fn wrong_choices_are_refused() {
    let two = "start = 4\n[[stage]]\nscale = 3\nwidth = 4\nselect = {top = 1}\n[[stage]]\nscale = SCALE\nwidth = 4\n\
               select = {top = 1}";
    assert_eq!(
        refusal(&two.replace("SCALE", "3")),
        "scale 3: has two stages"
    );
    assert_eq!(
        refusal(&two.replace("SCALE", "1")),
        "scale 1: its stage comes after that of scale 3"
    );
    let select = |text: &str| {
        refusal(&format!(
            "start = 4\n[[stage]]\nscale = 2\nwidth = 2\nselect = {{ {text} }}"
        ))
    };
    assert_eq!(
        select("top = 1, cluster = \"pca\""),
        "scale 2: `select` must name exactly one way to choose, not 2"
    );
    assert_eq!(
        select("top = 1, lambda = 3"),
        "scale 2: `lambda` and `draw` belong to `resample`"
    );
    for lambda in ["nan", "inf", "-1"] {
        let refused = select(&format!("resample = \"value\", lambda = {lambda}"));
        assert!(refused.starts_with("scale 2: lambda is"), "{refused}");
    }
}

#[test]
fn texts_that_are_no_plans_are_refused_by_line() {
    for (text, line) in [
        ("start = 8\nstop = 3", 2),
        ("start = \"8\"", 1),
        ("start = -8", 1),
        ("width = 3", 1),
        (
            "start = 8\n[[stage]]\nscale = 1\nwidth = 6\nselect = { cluster = \"dino\" }",
            5,
        ),
        (
            "start = 8\n[[stage]]\nscale = 1\nwidth = 6\nselect = { cluster = \"pca\", colour = 1 }",
            5,
        ),
        ("start = 8\nstart =", 2),
    ] {
        let refused = refusal(text);
        assert!(
            refused.starts_with(&format!("plan file, line {line}: ")),
            "{text}: {refused}"
        );
    }
}

#[test]
fn methods_have_names() {
    let names: Vec<String> = Method::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "raw",
            "best-of-n",
            "importance",
            "beam",
            "lookahead",
            "draft",
            "sequential",
            "auto",
            "tts-var"
        ]
    );
    for (name, method) in names.iter().zip(Method::ALL) {
        assert_eq!(name.parse::<Method>().unwrap(), method);
    }
    let error = "beem".parse::<Method>().unwrap_err();
    assert_eq!(error.to_string(), "unknown method `beem`");
    let hint = error.hint().unwrap();
    assert!(
        names.iter().all(|name| hint.contains(name.as_str())),
        "{hint}"
    );
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    for method in Method::ALL {
        assert!(
            method.plan(13, 0).is_err()
                && method.plan(0, 1).is_err()
                && method.plan(13, usize::MAX).is_err()
        );
        for scales in 1..20 {
            method.plan(scales, 1).unwrap().check(scales).unwrap();
        }
    }
    assert!(Method::Raw.plan(13, 2).is_err());
}
