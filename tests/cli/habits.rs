//! What people type out of habit: names with slips, flags of other programs, flags without effect.

use serde_json::Value;

use crate::desk::Desk;

#[test]
fn a_name_with_a_slip_is_answered_with_the_right_one() {
    let desk = Desk::new();
    for (arguments, meant) in [
        (
            &["generate", "a ring", "--method", "bestofn"][..],
            "best-of-n",
        ),
        (&["generate", "a ring", "--method", "bon"], "best-of-n"),
        (&["plan", "TTSVAR"], "tts-var"),
        (&["plan", "--method", "ttsvar"], "tts-var"),
        (&["bench", "--method", "importence"], "importance"),
        (&["eval", "scenes", "--methods", "raw,tts_var"], "tts-var"),
        (&["generate", "a ring", "--features", "pca_raw"], "pca-raw"),
        (&["generate", "a ring", "--potential", "difff"], "diff"),
        (
            &["generate", "a ring", "--draw", "systematik"],
            "systematic",
        ),
        (&["generate", "a ring", "--schedule", "Paper"], "paper"),
        (
            &["generate", "a ring", "--model", "infinity2b"],
            "infinity-2b",
        ),
        (
            &["generate", "a ring", "--scorer", "imagereward"],
            "image-reward",
        ),
        (
            &["generate", "a ring", "--scorer", "hps=1,esthetic=2"],
            "aesthetic",
        ),
        (&["generate", "a ring", "--dtype", "BF16"], "bf16"),
        (&["generate", "a ring", "--dtype", "fp32"], "f32"),
        (&["bench", "--arch", "layer12"], "infinity-layer12"),
        (&["models", "fetch", "flan-t5-xll"], "flan-t5-xl"),
        (&["eval", "scenes", "--split", "tunning"], "tuning"),
        (&["genrate", "a ring"], "generate"),
        (&["help", "generat"], "generate"),
    ] {
        let refused = desk.refuses(arguments);
        assert!(
            refused.contains(&format!("did you mean `{meant}`?")),
            "{refused}"
        );
    }
}

#[test]
fn hints_name_the_help_that_lists_the_flag() {
    let desk = Desk::new();
    for (arguments, help) in [
        (
            &["generate", "a ring", "--seed", "-1x"][..],
            "ttsvar help generate",
        ),
        (
            &["generate", "a ring", "--memory", "lots"],
            "ttsvar help generate",
        ),
        (
            &["generate", "a ring", "--zoom", "20"],
            "ttsvar help generate",
        ),
        (
            &["bench", "preview", "--zoom", "20"],
            "ttsvar help bench preview",
        ),
        (
            &["eval", "geneval", "--samples", "x"],
            "ttsvar help eval geneval",
        ),
        (&["models", "fetch"], "ttsvar help models fetch"),
    ] {
        let refused = desk.refuses(arguments);
        assert!(
            refused.contains(&format!("hint: `{help}` lists")),
            "{refused}"
        );
        assert!(!refused.contains("-- --"), "{refused}");
    }
}

#[test]
fn minus_one_is_a_new_seed_and_p_the_prompt() {
    let desk = Desk::new();
    let seed = || {
        let out = desk.works(&[
            "generate", "-p", "a ring", "--method", "raw", "--seed", "-1", "--json",
        ]);
        let made: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(made["prompt"], "a ring");
        made["seed"].as_u64().unwrap()
    };
    assert_ne!(seed(), seed());
    let refused = desk.refuses(&["generate", "a ring", "--prompt", "a star"]);
    assert!(refused.contains("cannot be used with"), "{refused}");
}

#[test]
fn a_flag_without_effect_is_noted() {
    let desk = Desk::new();
    for (method, flags, note) in [
        (
            "raw",
            ["--features", "pool"],
            "--features has no effect: raw, N = 1 does not cluster",
        ),
        (
            "best-of-n",
            ["--lambda", "3"],
            "--lambda has no effect: best-of-n, N = 4 does not",
        ),
        ("beam", ["--draw", "systematic"], "--draw has no effect"),
        ("raw", ["--potential", "max"], "--potential has no effect"),
        ("best-of-n", ["--preview", "32"], "--preview has no effect"),
        (
            "raw",
            ["--threads", "100000"],
            "--threads is 100000, but this machine has",
        ),
    ] {
        for command in [
            &["generate", "a ring", "-o", "a.png"][..],
            &["plan"],
            &["bench"],
        ] {
            let method = ["--method", method];
            let said = desk.run(&[command, &method, &flags].concat());
            assert_eq!(said.code, Some(0), "{said:?}");
            assert!(said.err.contains(note), "{command:?}: {said:?}");
        }
    }
    let needed = [
        "--lambda",
        "3",
        "--features",
        "pool",
        "--preview",
        "32",
        "--draw",
        "systematic",
    ];
    let said = desk.run(&[&["plan", "tts-var"][..], &needed].concat());
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn a_released_model_is_planned_without_its_weights() {
    let plan = |flags: &[&str]| -> Value {
        let arguments = [&["plan", "tts-var", "--json", "-q", "--model"], flags].concat();
        serde_json::from_str(&Desk::new().works(&arguments)).unwrap()
    };
    let number = |plan: &Value, pointer: &str| plan.pointer(pointer).unwrap().as_f64().unwrap();
    let small = plan(&["infinity-2b", "--pixels", "0.25M"]);
    let large = plan(&["infinity-2b", "--pixels", "1M"]);
    let other = plan(&["infinity-8b"]);
    let half = plan(&["infinity-2b", "--pixels", "1M", "--dtype", "bf16"]);
    for part in ["/flops/total", "/flops/generator", "/peak_bytes"] {
        assert!(number(&small, part) < number(&large, part), "{part}");
        assert!(number(&large, part) < number(&other, part), "{part}");
    }
    assert!(number(&large, "/flops/scorer") > 0.0 && number(&large, "/flops/features") > 0.0);
    let ratio = number(&large, "/peak_bytes") / number(&half, "/peak_bytes");
    assert!((1.5..2.0).contains(&ratio), "{ratio}");
    // 2.2 billion values of the generator and 1.2 billion of the text encoder, in f32.
    assert!(
        (13e9..40e9).contains(&number(&large, "/peak_bytes")),
        "{large}"
    );
    let speed = number(&large, "/demo_flops_per_second");
    let seconds = number(&large, "/flops/total") / speed;
    assert!((seconds / number(&large, "/seconds") - 1.0).abs() < 1e-6);

    let desk = Desk::new();
    let limited = [
        "plan",
        "--model",
        "infinity-2b",
        "--dtype",
        "bf16",
        "--memory",
    ];
    let said = desk.run(&[&limited[..], &["14G"]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.err
            .contains("note: an estimate from the published size"),
        "{said:?}"
    );
    assert!(said.out.contains("on this machine, at "), "{said:?}");
    let refused = desk.refuses(&[&limited[..], &["1G"]].concat());
    assert!(refused.contains("the search needs at least"), "{refused}");
}
