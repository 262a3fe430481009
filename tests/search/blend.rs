//! Searches that several scorers judge: what is recorded, what does not change, what is refused.

use ttsvar::{
    eval::pool::Pool,
    search::{
        Method, Outcome, Plan, PlanOptions, Potential, Prompt, Search, Silent, Trace,
        WeightedScorer, run,
    },
};

use crate::support::toy::{Judge, Toy, brightness, extractors};

const SCALES: usize = 13;

/// Likes images that begin dark; in a unit of its own.
fn dark_start(_: usize, greys: &[u8]) -> f32 {
    300.0 - 100.0 * f32::from(greys[0]) / 255.0
}

fn follow(weights: [f64; 2], plan: &Plan, seed: u64) -> Outcome {
    let (pipeline, extractors) = (Toy::new(SCALES), extractors());
    let (light, dark) = (Judge(brightness), Judge(dark_start));
    let scorers = vec![
        WeightedScorer {
            name: "light",
            weight: weights[0],
            scorer: &light,
        },
        WeightedScorer {
            name: "dark",
            weight: weights[1],
            scorer: &dark,
        },
    ];
    let search = Search::new(&pipeline, &light, &extractors).with_scorers(scorers);
    run(&search, &Prompt::from("light"), plan, seed, &mut Silent).unwrap()
}

/// The mixed score of a candidate after a scale, put together from the record alone.
fn mixed(trace: &Trace, id: usize, scale: usize) -> f32 {
    let total: f64 = trace.scorers.iter().map(|one| one.weight).sum();
    let share = |standard: &_| {
        let ttsvar::search::mixer::Standardization {
            scorer,
            weight,
            taken,
        } = standard;
        let part = trace
            .parts
            .iter()
            .find(|part| part.scale == scale && part.scorer == *scorer)
            .unwrap();
        let place = part.ids.iter().position(|other| *other == id).unwrap();
        let taken = taken.unwrap();
        weight * (f64::from(part.scores[place]) - taken.mean) / taken.deviation / total
    };
    trace.scorers.iter().map(share).sum::<f64>() as f32
}

#[test]
fn a_mix_is_recorded_so_that_every_score_can_be_put_together_again() {
    for (method, n, weights) in [
        (Method::TtsVar, 2, [1.0, 2.0]),
        (Method::Beam, 4, [3.0, 0.5]),
        (Method::BestOfN, 8, [1.0, 1.0]),
    ] {
        let plan = method.plan(SCALES, n).unwrap();
        let trace = follow(weights, &plan, 5).trace;
        assert_eq!(
            trace
                .scorers
                .iter()
                .map(|one| one.weight)
                .collect::<Vec<_>>(),
            weights
        );
        let first = trace.parts[0].scale;
        assert!(
            trace
                .scorers
                .iter()
                .all(|one| one.taken.unwrap().scale == first),
            "taken at the first scoring"
        );
        assert_eq!(
            trace.cost.scorings,
            trace.parts.iter().map(|part| part.ids.len()).sum::<usize>()
        );
        let last = SCALES - 1;
        for end in &trace.finals {
            assert_eq!(end.score, mixed(&trace, end.id, last), "{method}");
        }
        for choice in trace
            .stages
            .iter()
            .filter(|choice| !choice.scores.is_empty())
        {
            for (&id, &score) in choice.ids.iter().zip(&choice.scores) {
                assert_eq!(
                    score,
                    mixed(&trace, id, choice.scale),
                    "{method}, scale {}",
                    choice.scale
                );
            }
        }
        let said = trace.parts_of(trace.winner);
        assert_eq!(
            said.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            ["light", "dark"]
        );
        assert_eq!(Trace::from_json(&trace.to_json()).unwrap(), trace);
    }
}

#[test]
fn one_scorer_leaves_the_record_as_it_was() {
    let (pipeline, extractors) = (Toy::new(SCALES), extractors());
    let light = Judge(brightness);
    let plan = Method::TtsVar.plan(SCALES, 1).unwrap();
    let search = Search::new(&pipeline, &light, &extractors);
    let plain = run(&search, &Prompt::from("light"), &plan, 1, &mut Silent)
        .unwrap()
        .trace
        .to_json();
    assert!(
        !plain.contains("\"scorers\"") && !plain.contains("\"parts\""),
        "{plain}"
    );
}

#[test]
fn a_scorer_in_two_units_chooses_as_it_does_alone() {
    let (pipeline, extractors) = (Toy::new(SCALES), extractors());
    let light = Judge(brightness);
    let again = Judge(|place: usize, greys: &[u8]| 1000.0 * brightness(place, greys) - 7.0);
    let mix = [(0.5, &light as &dyn ttsvar::search::Scorer), (2.0, &again)];
    let scorers = mix
        .map(|(weight, scorer)| WeightedScorer {
            name: "x",
            weight,
            scorer,
        })
        .to_vec();
    for seed in 0..20 {
        let plan = Plan::best_of_n(SCALES, 8).unwrap();
        let search = Search::new(&pipeline, &light, &extractors);
        let alone = run(&search, &Prompt::from("light"), &plan, seed, &mut Silent).unwrap();
        let both = run(
            &search.with_scorers(scorers.clone()),
            &Prompt::from("light"),
            &plan,
            seed,
            &mut Silent,
        )
        .unwrap();
        assert_eq!(both.winner().image, alone.winner().image);
        let [first, last] =
            [both.trace.finals.first(), both.trace.finals.last()].map(|end| end.unwrap().score);
        assert!(
            both.trace
                .finals
                .iter()
                .map(|end| end.score)
                .sum::<f32>()
                .abs()
                < 1e-3,
            "{first} to {last}"
        );
    }
}

#[test]
fn weights_decide_between_scorers_that_disagree() {
    let plan = Plan::best_of_n(SCALES, 16).unwrap();
    let start = |outcome: &Outcome| outcome.winner().image.pixels()[0];
    let (mut darker, mut lighter) = (0, 0);
    for seed in 0..20 {
        let (dark, light) = (
            follow([1.0, 50.0], &plan, seed),
            follow([50.0, 1.0], &plan, seed),
        );
        darker += usize::from(start(&dark) < start(&light));
        lighter += usize::from(start(&dark) > start(&light));
    }
    assert!(darker > 15 && lighter < 3, "{darker} {lighter}");
}

#[test]
fn histories_of_a_mix_are_on_one_scale() {
    // With every potential the search runs, and a lineage's earlier scores stay what they were when
    // they were given.
    for potential in [
        Potential::Value,
        Potential::Diff,
        Potential::Max,
        Potential::Sum,
    ] {
        let choices = PlanOptions {
            potential: Some(potential),
            ..PlanOptions::default()
        };
        let plan = Method::TtsVar
            .plan(SCALES, 2)
            .unwrap()
            .with(choices, SCALES)
            .unwrap();
        let trace = follow([1.0, 1.0], &plan, 3).trace;
        for candidate in &trace.candidates {
            let own = candidate
                .history
                .iter()
                .rev()
                .take_while(|scored| scored.scale >= candidate.scale);
            for scored in own {
                assert_eq!(
                    scored.score,
                    mixed(&trace, candidate.id, scored.scale),
                    "{potential}"
                );
            }
        }
    }
}

#[test]
fn a_shared_pool_gives_what_each_search_would_find_alone() {
    let (pipeline, extractors) = (Toy::new(SCALES), extractors());
    let (light, dark) = (Judge(brightness), Judge(dark_start));
    let scorers = vec![
        WeightedScorer {
            name: "light",
            weight: 1.0,
            scorer: &light,
        },
        WeightedScorer {
            name: "dark",
            weight: 2.0,
            scorer: &dark,
        },
    ];
    let search = Search::new(&pipeline, &light, &extractors).with_scorers(scorers);
    let prompt = Prompt::from("light");
    let cases = [
        (Method::Raw, 1),
        (Method::BestOfN, 3),
        (Method::BestOfN, 8),
        (Method::Importance, 5),
    ];
    let plans = cases.map(|(method, n)| method.plan(SCALES, n).unwrap());
    let pool = Pool::new(&search, &prompt, &plans.each_ref(), 4).unwrap();
    for ((method, n), plan) in cases.into_iter().zip(&plans) {
        let shared = pool.run(plan).unwrap();
        let alone = run(&search, &prompt, plan, 4, &mut Silent).unwrap();
        assert_eq!(shared.trace.finals, alone.trace.finals, "{method} {n}");
        assert_eq!(
            shared.trace.scorers, alone.trace.scorers,
            "{method} {n}: taken over its own rows"
        );
        assert_eq!(shared.winner().image, alone.winner().image);
        assert_eq!(
            shared.trace.cost.flops.scorer,
            alone.trace.cost.flops.scorer
        );
    }
}

#[test]
fn a_mix_cannot_score_rounds() {
    let (pipeline, extractors) = (Toy::new(SCALES), extractors());
    let light = Judge(brightness);
    let scorers = vec![
        WeightedScorer {
            name: "light",
            weight: 1.0,
            scorer: &light
        };
        2
    ];
    let search = Search::new(&pipeline, &light, &extractors).with_scorers(scorers);
    let error = search
        .check(&Method::Auto.plan(SCALES, 4).unwrap())
        .unwrap_err();
    assert!(
        error.to_string().contains("rounds") && error.hint().unwrap().contains("one scorer"),
        "{error}"
    );
}
