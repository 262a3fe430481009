//! Statistics of drawn tokens in the trace, with the demo.

use ttsvar::{
    options::Options,
    request::Session,
    search::{Outcome, Silent, Trace},
    system::System,
};

const SCALES: usize = 7;

fn search(options: Options) -> Outcome {
    let demo = System::builder("demo").open().unwrap();
    let session = Session::new(&demo, &options).unwrap();
    session.run("a red circle", 7, &mut Silent).unwrap()
}

/// The scales that a candidate draws: up to the stage that it reaches.
fn drawn(trace: &Trace, id: usize) -> Vec<usize> {
    let mut stages = trace.stages.iter().filter(|stage| stage.ids.contains(&id));
    let last = stages.next().map_or(SCALES - 1, |stage| stage.scale);
    (trace.candidates[id].scale..=last).collect()
}

#[test]
fn every_candidate_has_statistics_of_the_scales_that_it_drew() {
    let asked = search(Options {
        token_statistics: Some(true),
        ..Options::default()
    });
    let trace = &asked.trace;
    for candidate in &trace.candidates {
        let scales: Vec<usize> = candidate.tokens.iter().map(|drawn| drawn.scale).collect();
        assert_eq!(scales, drawn(trace, candidate.id));
        for tokens in &candidate.tokens {
            assert!((0.0..=1.0).contains(&tokens.entropy), "{tokens:?}");
            assert!(tokens.log_likelihood <= 0.0, "{tokens:?}");
        }
    }
    let read = Trace::from_json(&trace.to_json()).unwrap();
    assert_eq!(read.candidates, trace.candidates);
    let mean = trace.mean_tokens(SCALES - 1).unwrap();
    assert!(mean.entropy > 0.01, "{mean:?}");
    // Drawn bits are as likely as the entropy says, on average.
    let nats = mean.entropy * std::f32::consts::LN_2;
    assert!((nats + mean.log_likelihood).abs() < 0.05, "{mean:?}");
}

#[test]
fn statistics_change_nothing_else() {
    let silent = search(Options::default());
    assert!(!silent.trace.to_json().contains("\"tokens\""));
    assert_eq!(silent.trace.mean_tokens(0), None);
    let mut asked = search(Options {
        token_statistics: Some(true),
        ..Options::default()
    });
    assert_eq!(asked.winner().image, silent.winner().image);
    for candidate in &mut asked.trace.candidates {
        candidate.tokens.clear();
    }
    assert_eq!(asked.trace.candidates, silent.trace.candidates);
    assert_eq!(asked.trace.stages, silent.trace.stages);
}

#[test]
fn the_entropy_vanishes_with_the_temperature_where_it_does() {
    let outcome = search(Options {
        method: Some("raw".parse().unwrap()),
        tau: Some("1,1,1e-6".parse().unwrap()),
        top_p: Some(0.0.into()),
        token_statistics: Some(true),
        ..Options::default()
    });
    let tokens = &outcome.trace.candidates[0].tokens;
    assert!(tokens[..2].iter().all(|drawn| drawn.entropy > 0.0));
    for drawn in &tokens[2..] {
        assert!(
            drawn.entropy < 1e-6 && drawn.log_likelihood > -1e-6,
            "{drawn:?}"
        );
    }
}
