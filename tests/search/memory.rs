//! Searches within a memory limit: what is evicted, and that no image changes.

use ttsvar::{
    options::Options,
    request::Session,
    search::{Method, Silent},
    system::{DEMO, MemoryLimit, MemoryPlan, System, most_rows},
};

fn open() -> System {
    System::builder(DEMO).open().unwrap()
}

fn open_evicting() -> System {
    System::builder(DEMO).evict().open().unwrap()
}

fn session(system: &System, method: Method, n: usize) -> Session<'_> {
    let options = Options {
        method: Some(method),
        n: Some(n),
        ..Options::default()
    };
    Session::new(system, &options).unwrap()
}

/// The least memory that the search can be brought to, by bisection.
fn least(system: &System) -> u64 {
    let fits = |limit| {
        session(system, Method::TtsVar, 2)
            .fit_memory(MemoryLimit::single(limit))
            .is_ok()
    };
    let mut below = 0;
    let mut enough = session(system, Method::TtsVar, 2).estimate().peak_bytes;
    while enough - below > 1000 {
        let middle = below.midpoint(enough);
        if fits(middle) {
            enough = middle;
        } else {
            below = middle;
        }
    }
    enough
}

fn winner(session: &Session) -> Vec<u8> {
    let outcome = session
        .run("a red circle and a blue square", 3, &mut Silent)
        .unwrap();
    outcome.winner().image.pixels().to_vec()
}

#[test]
fn a_search_in_the_least_memory_finds_the_same_image() {
    let free = open();
    let bound = open_evicting();
    let limit = least(&bound);
    let mut small = session(&bound, Method::TtsVar, 2);
    let plan = small.fit_memory(MemoryLimit::single(limit)).unwrap();
    println!("{plan}");
    assert_eq!(
        plan.evicted,
        ["text encoder", "scorer", "verifier", "features"]
    );
    assert!(plan.rows_at_once < Some(16));
    assert_eq!(winner(&small), winner(&session(&free, Method::TtsVar, 2)));
}

#[test]
fn with_enough_memory_nothing_is_evicted() {
    let bound = open_evicting();
    let all = session(&open(), Method::TtsVar, 2).estimate().peak_bytes;
    let plan = session(&bound, Method::TtsVar, 2)
        .fit_memory(MemoryLimit::single(all))
        .unwrap();
    assert_eq!(plan, MemoryPlan::default());
}

/// Sixty-four finished images at once take more than a decode does.
#[test]
fn fewer_rows_run_at_once_before_networks_are_evicted() {
    let bound = open_evicting();
    let all = session(&open(), Method::BestOfN, 64).estimate().peak_bytes;
    let plan = session(&bound, Method::BestOfN, 64)
        .fit_memory(MemoryLimit::single(all - 1))
        .unwrap();
    assert!(
        plan.rows_at_once.is_some() && plan.evicted.is_empty(),
        "{plan}"
    );
}

#[test]
fn a_search_that_cannot_fit_is_refused_with_the_least_it_needs() {
    let bound = open_evicting();
    let error = session(&bound, Method::TtsVar, 2)
        .fit_memory(MemoryLimit::single(1_000_000))
        .unwrap_err();
    assert!(
        error.to_string().ends_with("MB, but the limit is 1.0 MB"),
        "{error}"
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("fewer candidates"))
    );
}

#[test]
fn as_many_rows_as_fit() {
    let peak = |rows: usize| Ok(10 * rows as u64);
    for (limit, rows) in [
        (9, None),
        (10, Some(1)),
        (39, Some(3)),
        (70, Some(7)),
        (1000, Some(7)),
    ] {
        assert_eq!(most_rows(7, limit, peak).unwrap(), rows, "{limit}");
    }
}
