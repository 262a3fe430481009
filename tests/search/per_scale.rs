//! Guidance, temperature and top-p that differ between scales, with the demo.

use std::sync::OnceLock;

use proptest::prelude::*;
use ttsvar::{
    options::{Options, PerScale},
    request::Session,
    search::{Latent, Silent},
    system::System,
};

const SCALES: usize = 7;

fn demo() -> &'static System {
    static DEMO: OnceLock<System> = OnceLock::new();
    DEMO.get_or_init(|| System::builder("demo").open().unwrap())
}

fn list(written: &str) -> Option<PerScale> {
    Some(written.parse().unwrap())
}

fn guided(cfg: &str) -> Options {
    Options {
        cfg: list(cfg),
        ..Options::default()
    }
}

/// What two candidates have after each scale, and the branches that ran.
struct Course {
    latents: Vec<Vec<Latent>>,
    branches: Vec<usize>,
    flops: f64,
}

fn course(options: &Options, seed: u64) -> Course {
    let options = demo().resolve(options).unwrap();
    let pipeline = demo().pipeline(&options, None).unwrap();
    let mut rollout = pipeline.begin(&"two red stars".into(), 0..2, seed).unwrap();
    let mut latents = vec![];
    let mut branches = vec![];
    for scale in 0..SCALES {
        let counts = rollout.step().unwrap();
        assert_eq!(counts.passes, counts.states * pipeline.branches(scale));
        branches.push(counts.passes / counts.states);
        latents.push(rollout.latents(&[0, 1]).unwrap());
    }
    Course {
        latents,
        branches,
        flops: rollout.flops(),
    }
}

/// The first scale after which two courses differ.
fn first_difference(a: &Course, b: &Course) -> usize {
    let pairs = a.latents.iter().zip(&b.latents);
    pairs.take_while(|(a, b)| a == b).count()
}

#[test]
fn the_unconditional_branch_ends_with_the_last_guided_scale() {
    for cfg_layer in [None, Some(1), Some(3)] {
        let options = |cfg| Options {
            cfg_layer,
            ..guided(cfg)
        };
        let whole = course(&options("3"), 5);
        let ends = course(&options("3,3,3,3,3,1"), 5);
        assert_eq!(whole.branches, [2; SCALES]);
        assert_eq!(ends.branches, [2, 2, 2, 2, 2, 1, 1]);
        assert_eq!(first_difference(&whole, &ends), 5);
        // Scale 5 of the following runs has an unconditional branch, for scale 6 alone.
        let later = course(&options("3,3,3,3,3,1,2"), 5);
        assert_eq!(later.branches, [2; SCALES]);
        assert_eq!(first_difference(&ends, &later), 6);
        assert_eq!(later.flops, whole.flops);
    }
}

#[test]
fn what_ends_early_costs_what_its_branches_do() {
    let flops = |cfg| course(&guided(cfg), 2).flops;
    let (both, one, early) = (flops("3"), flops("1"), flops("3,3,3,3,3,1"));
    assert!(one < early && early < both, "{one} {early} {both}");
    let saved = 2.0 * 0.32e9; // of two candidates: half of the work at scales 5 and 6
    assert!(
        ((both - early) / saved - 1.0).abs() < 0.05,
        "{}",
        both - early
    );
    let peak = |cfg| {
        let session = Session::new(demo(), &guided(cfg)).unwrap();
        session.estimate()
    };
    let (both, early) = (peak("3"), peak("3,3,3,3,3,1"));
    assert!(early.peak_bytes <= both.peak_bytes);
    assert!(early.generator_flops < both.generator_flops);
}

#[test]
fn temperature_and_top_p_act_at_their_scales() {
    let options = |tau, top_p| Options {
        tau: list(tau),
        top_p: list(top_p),
        ..Options::default()
    };
    let plain = course(&options("0.7", "0.9"), 3);
    for (tau, top_p, scale) in [
        ("0.7,0.7,0.7,1.5", "0.9", 3),
        ("0.7", "0.9,0.9,0", 2),
        ("3,0.7", "0.9", 0),
    ] {
        let other = course(&options(tau, top_p), 3);
        assert_eq!(first_difference(&plain, &other), scale, "{tau} {top_p}");
    }
}

#[test]
fn a_list_longer_than_the_scales_is_refused() {
    let refused = |options| Session::new(demo(), &options).err().unwrap().to_string();
    let expected = "cfg has 8 values, but the model has 7 scales";
    assert_eq!(refused(guided("1,2,3,4,5,6,7,8")), expected);
    let options = Options {
        tau: list("1,1,1,-1"),
        ..Options::default()
    };
    let expected = "tau at scale 3 must be 0.000001 or more, found -1";
    assert_eq!(refused(options), expected);
}

#[test]
fn a_record_holds_a_number_or_a_list() {
    let settings = |options: Options| {
        let session = Session::new(demo(), &options).unwrap();
        let outcome = session.run("a star", 1, &mut Silent).unwrap();
        serde_json::Value::Object(outcome.trace.settings)
    };
    let options = Options {
        method: Some("raw".parse().unwrap()),
        tau: list("0.5"),
        ..guided("3,3,1")
    };
    let found = settings(options);
    assert_eq!(found["cfg"].to_string(), "[3.0,3.0,1.0]");
    assert_eq!(found["tau"].to_string(), "0.5");
    assert_eq!(found["top_p"].to_string(), "0.97");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_constant_list_is_the_number(
        seed: u64,
        (cfg, tau, top_p) in (0.5f32..5.0, 0.1f32..2.0, 0.5f32..1.0),
        length in 1..=SCALES,
    ) {
        let repeated = |value: f32| list(&vec![value.to_string(); length].join(","));
        let lists = Options {
            cfg: repeated(cfg),
            tau: repeated(tau),
            top_p: repeated(top_p),
            ..Options::default()
        };
        let numbers = Options {
            cfg: Some(cfg.into()),
            tau: Some(tau.into()),
            top_p: Some(top_p.into()),
            ..Options::default()
        };
        let (a, b) = (course(&lists, seed), course(&numbers, seed));
        prop_assert_eq!(first_difference(&a, &b), SCALES);
        prop_assert_eq!((a.branches, a.flops), (b.branches, b.flops));
    }

    #[test]
    fn no_list_of_ones_has_guidance(seed: u64, length in 1..=SCALES) {
        let ones = course(&guided(&vec!["1"; length].join(",")), seed);
        let one = course(&guided("1"), seed);
        prop_assert_eq!(first_difference(&ones, &one), SCALES);
        prop_assert_eq!(ones.branches, [1; SCALES]);
        prop_assert_eq!(ones.flops, one.flops);
    }
}
