//! Stages that look ahead: what they see, what they cost, and that candidates are not changed by it.

use ttsvar::search::{DecodeSize, Method, Outcome, Plan, Search, Select, Silent, Stage, run};

use crate::support::toy::{Judge, Toy, brightness, extractors, greys};

const SCALES: usize = 7;

fn search(plan: &Plan) -> Outcome {
    let toy = Toy::new(SCALES);
    let judge = Judge(brightness);
    let extractors = extractors();
    let search = Search::new(&toy, &judge, &extractors);
    run(&search, &"light".into(), plan, 5, &mut Silent).unwrap()
}

/// Four candidates of which one is kept after scale 2.
fn plan(ahead: usize) -> Plan {
    let stage = Stage::new(2, 1, Select::Top { k: 1 }).looking(ahead);
    Plan::new(4, vec![stage]).unwrap()
}

#[test]
fn a_stage_scores_what_its_candidates_become() {
    let all = search(&Plan::best_of_n(SCALES, 4).unwrap());
    let finished: Vec<Vec<u8>> = all.finished.iter().map(|one| greys(&one.image)).collect();
    for ahead in [0, 1, 3, 4, 100] {
        let drawn = (3 + ahead).min(SCALES);
        let expected = finished.iter().map(|greys| {
            let mut seen = greys.clone();
            seen[drawn..].fill(0);
            brightness(0, &seen)
        });
        let outcome = search(&plan(ahead));
        let stage = &outcome.trace.stages[0];
        assert_eq!(
            stage.scores,
            expected.collect::<Vec<_>>(),
            "{ahead} scales ahead"
        );
        // The one that is kept ends as it would have without the look.
        let kept = stage.kept[0];
        assert_eq!(greys(&outcome.winner().image), finished[kept]);
    }
}

#[test]
fn the_cost_counts_what_was_drawn_for_the_score() {
    let cost = |ahead: usize| {
        let plan = plan(ahead);
        let workload = plan.workload(SCALES, DecodeSize::Full);
        (search(&plan).trace.cost, workload.widths)
    };
    let (plain, widths) = cost(0);
    assert_eq!(plain.rows, [4, 4, 4, 1, 1, 1, 1]);
    assert_eq!(plain.passes, [1, 4, 4, 1, 1, 1, 1]);
    assert_eq!(widths, [4, 4, 4, 1, 1, 1, 1]);
    let (ahead, widths) = cost(2);
    assert_eq!(ahead.rows, plain.rows);
    assert_eq!(ahead.passes, [1, 4, 4, 5, 5, 1, 1]);
    assert_eq!(widths, [4, 4, 4, 5, 5, 1, 1]);
    assert_eq!(ahead.images, plain.images);
    assert_eq!(ahead.flops.generator, plain.flops.generator + 8.0);
}

#[test]
fn plans_with_a_look_ahead_are_written_and_read_back() {
    let plan = Plan::lookahead(SCALES, 4).unwrap();
    assert!(plan.stages().iter().all(|stage| stage.ahead == 1));
    assert_eq!(Plan::from_toml(&plan.to_toml()).unwrap(), plan);
    assert_eq!(plan.stages()[0].description(), "top 2, 1 scale ahead");
    let same = Method::Lookahead.plan(SCALES, 4).unwrap();
    assert_eq!(same, plan);
    for stage in [
        "select = { drop = \"random\" }",
        "select = { cluster = \"latent\" }",
        "select = { top = 1 }\nverifier = \"latent\"",
    ] {
        let text = format!("start = 2\n[[stage]]\nscale = 1\nwidth = 1\n{stage}\nahead = 1");
        let error = Plan::from_toml(&text).unwrap_err().to_string();
        assert_eq!(
            error,
            "scale 1: `ahead` belongs to a stage that uses images"
        );
    }
}
