//! Warnings about prompts: what a text encoder or a scorer does not read, and words that the
//! generator does not know, are in the trace and among the events.

use ttsvar::{
    options::Options,
    request::Session,
    search::{Event, Outcome, Warning},
    system::System,
};

fn session<'a>(system: &'a System, options: Options) -> Session<'a> {
    let options = Options {
        method: Some("raw".parse().unwrap()),
        n: Some(1),
        ..options
    };
    Session::new(system, &options).unwrap()
}

/// The outcome of a search, and the warnings among its events.
fn generate(session: &Session, prompt: &str) -> (Outcome, Vec<Warning>) {
    let mut seen = vec![];
    let mut listener = |event: &Event<'_>| {
        if let Event::Warned(warning) = event {
            seen.push((*warning).clone());
        }
        Ok(())
    };
    let outcome = session.run(prompt, 1, &mut listener).unwrap();
    (outcome, seen)
}

/// Reader, limit and dropped text of each warning about a prompt that is cut.
fn cuts(warnings: &[Warning]) -> Vec<(&str, usize, &str, bool)> {
    let mut cuts = vec![];
    for warning in warnings {
        if let Warning::CutPrompt {
            reader,
            limit,
            dropped,
            negative,
        } = warning
        {
            cuts.push((reader.as_str(), *limit, dropped.trim(), *negative));
        }
    }
    cuts
}

#[test]
fn a_prompt_that_is_read_to_its_end_causes_no_warning() {
    let demo = System::builder("demo").open().unwrap();
    let (outcome, seen) = generate(&session(&demo, Options::default()), "a red circle");
    assert_eq!((outcome.trace.warnings, seen), (vec![], vec![]));
}

#[test]
fn every_reader_names_what_it_drops() {
    let demo = System::builder("demo").open().unwrap();
    let session = session(&demo, Options::default());
    // 33 words of one token each fit between the two marks of ImageReward's 35 tokens.
    let fitting = vec!["red"; 33].join(" ");
    let (outcome, _) = generate(&session, &fitting);
    assert_eq!(cuts(&outcome.trace.warnings), []);
    let (outcome, seen) = generate(&session, &format!("{fitting} blue star"));
    let expected = ("the scorer demo-reward", 35, "blue star", false);
    assert_eq!(cuts(&outcome.trace.warnings), [expected]);
    assert_eq!(seen, outcome.trace.warnings);
    let text = outcome.trace.warnings[0].to_string();
    assert_eq!(
        text,
        "the scorer demo-reward reads only the first 35 tokens of the prompt; \
         it drops: blue star"
    );

    let long = format!("{} and a blue star", vec!["a red circle"; 300].join(" "));
    let (outcome, _) = generate(&session, &long);
    let found = cuts(&outcome.trace.warnings);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].0, found[0].1), ("the text encoder T5", 512));
    for (_, _, dropped, negative) in found {
        assert!(long.ends_with(dropped) && dropped.len() < long.len() && !negative);
    }
    let trace = ttsvar::search::Trace::from_json(&outcome.trace.to_json()).unwrap();
    assert_eq!(trace.warnings, outcome.trace.warnings);
}

#[test]
fn negative_prompts_are_checked_where_they_count() {
    let demo = System::builder("demo").open().unwrap();
    let negative = format!("{} dragon", vec!["a red circle"; 300].join(" "));
    let options = |cfg: &str| Options {
        negative: Some(negative.clone()),
        cfg: Some(cfg.parse().unwrap()),
        ..Options::default()
    };
    let (outcome, _) = generate(&session(&demo, options("1,2,1")), "a star");
    let found = cuts(&outcome.trace.warnings);
    assert!(found.len() == 1 && found[0].3 && negative.ends_with(found[0].2));
    let unknown = Warning::UnknownWords {
        words: vec!["dragon".to_owned()],
        known: demo.words().unwrap().to_vec(),
        negative: true,
    };
    assert!(outcome.trace.warnings.contains(&unknown));
    // Without guidance, the negative prompt is not read.
    let (outcome, _) = generate(&session(&demo, options("1,1")), "a star");
    assert_eq!(outcome.trace.warnings, []);
}

#[test]
fn unknown_words_are_in_the_trace() {
    let demo = System::builder("demo").open().unwrap();
    let (outcome, seen) = generate(&session(&demo, Options::default()), "a red Zorble, zorble");
    assert_eq!(seen, outcome.trace.warnings);
    assert!(matches!(
        &seen[..],
        [Warning::UnknownWords { words, negative: false, .. }] if *words == ["zorble"]
    ));
    assert!(seen[0].advice().starts_with("it knows these words: a, "));
}
