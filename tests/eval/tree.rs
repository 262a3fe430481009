//! The picture of a search: it shows what was decoded, costs no decode, stays within a sane size.

use ttsvar::{
    report::{Album, tree},
    search::{Image, Method, Outcome, Plan, Search, Silent, run},
};

use crate::support::toy::{Judge, Toy, brightness, extractors};

const SCALES: usize = 13;

fn grown(plan: &Plan) -> (Outcome, Image) {
    let (pipeline, scorer, extractors) = (Toy::new(SCALES), Judge(brightness), extractors());
    let mut album = Album::default();
    let outcome = run(
        &Search::new(&pipeline, &scorer, &extractors),
        &"a grey line".into(),
        plan,
        7,
        &mut album,
    );
    let outcome = outcome.unwrap();
    let picture = tree::picture(&outcome.trace, &album);
    (outcome, picture)
}

fn colours(image: &Image) -> std::collections::BTreeSet<[u8; 3]> {
    image
        .pixels()
        .chunks_exact(3)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

#[test]
fn watching_costs_no_decode_and_changes_nothing() {
    let plan = Plan::tts_var(SCALES, 1, Default::default()).unwrap();
    let (watched, _) = grown(&plan);
    let (pipeline, scorer, extractors) = (Toy::new(SCALES), Judge(brightness), extractors());
    let search = Search::new(&pipeline, &scorer, &extractors);
    let alone = run(&search, &"a grey line".into(), &plan, 7, &mut Silent).unwrap();
    assert_eq!(watched.trace.cost.decodes, 21);
    assert_eq!(alone.trace.cost.decodes, 21);
    assert_eq!(watched.winner().image, alone.winner().image);
}

#[test]
fn every_method_has_a_picture_of_sane_size() {
    for method in Method::ALL {
        for n in [1, 2, 8, 64, 300] {
            let Ok(plan) = method.plan(SCALES, n) else {
                continue;
            };
            let (_, picture) = grown(&plan);
            let (width, height) = (picture.width(), picture.height());
            assert!(
                (600..=2900).contains(&width) && (200..=6000).contains(&height),
                "{method} {n}: {width} x {height}"
            );
        }
    }
}

#[test]
fn the_same_search_gives_the_same_picture() {
    let plan = Plan::tts_var(SCALES, 2, Default::default()).unwrap();
    assert_eq!(grown(&plan).1, grown(&plan).1);
}

#[test]
fn the_winner_is_framed_and_the_fallen_are_not() {
    const GOLD: [u8; 3] = [214, 72, 10];
    let (_, picture) = grown(&Plan::best_of_n(SCALES, 5).unwrap());
    assert!(colours(&picture).contains(&GOLD));
}
