//! Searches within a bound on memory: what is given up, and that no picture changes.

use ttsvar::{
    bundle::{DEMO, DType, Device, System, most_rows},
    search::{DecodeSize, Method, Plan, Search, Silent, run},
};

const N: usize = 2;

fn sparing() -> System {
    System::open_sparingly(DEMO, None, DType::F32, &Device::Cpu).unwrap()
}

fn plan(system: &System) -> (Plan, usize) {
    let scales = system.pipeline(&system.settings()).unwrap().scales().len();
    (Method::TtsVar.plan(scales, N).unwrap(), scales)
}

/// The predicted peak with settings as the bundle has them.
fn peak(system: &System) -> u64 {
    let (plan, scales) = plan(system);
    let pipeline = system.pipeline(&system.settings()).unwrap();
    pipeline
        .estimate(
            &plan.widths(scales),
            &plan.decodes(scales),
            DecodeSize::Full,
        )
        .peak_bytes
}

/// The least that the search can be brought to, by halving what lies between.
fn least(system: &System) -> u64 {
    let (plan, scales) = plan(system);
    let fits = |limit| {
        system
            .fit(
                &system.settings(),
                [&plan.widths(scales), &plan.decodes(scales)],
                limit,
            )
            .is_ok()
    };
    let (mut below, mut enough) = (0, peak(system));
    while enough - below > 1000 {
        let middle = below + (enough - below) / 2;
        if fits(middle) {
            enough = middle
        } else {
            below = middle
        }
    }
    enough
}

fn winner(system: &System, settings: &ttsvar::bundle::Settings) -> Vec<u8> {
    let pipeline = system.pipeline(settings).unwrap();
    let search = Search::new(pipeline.as_ref(), system.scorer(), system.extractors());
    let outcome = run(
        &search,
        &"a red circle and a blue square".into(),
        &plan(system).0,
        3,
        &mut Silent,
    )
    .unwrap();
    outcome.winner().image.pixels().to_vec()
}

#[test]
fn a_search_in_the_least_memory_paints_the_same_picture() {
    let (free, bound) = (System::open(DEMO, None, &Device::Cpu).unwrap(), sparing());
    let (plan, scales) = plan(&bound);
    let [widths, decodes] = [plan.widths(scales), plan.decodes(scales)];
    let fit = bound
        .fit(&bound.settings(), [&widths, &decodes], least(&bound))
        .unwrap();
    println!("{fit}");
    assert_eq!(fit.on_demand, ["text encoder", "scorer", "features"]);
    assert!(fit.settings.rows_at_once < Some(8 * N));
    assert_eq!(
        winner(&bound, &fit.settings),
        winner(&free, &free.settings())
    );
}

#[test]
fn with_room_enough_nothing_is_given_up() {
    let bound = sparing();
    let (plan, scales) = plan(&bound);
    let all = peak(&System::open(DEMO, None, &Device::Cpu).unwrap());
    let fit = bound
        .fit(
            &bound.settings(),
            [&plan.widths(scales), &plan.decodes(scales)],
            all,
        )
        .unwrap();
    assert_eq!((fit.settings, fit.on_demand.len()), (bound.settings(), 0));
}

/// Sixty-four finished images at once take more than a decode does.
#[test]
fn rows_go_before_networks_do() {
    let bound = sparing();
    let (_, scales) = plan(&bound);
    let plan = Method::BestOfN.plan(scales, 64).unwrap();
    let [widths, decodes] = [plan.widths(scales), plan.decodes(scales)];
    let free = System::open(DEMO, None, &Device::Cpu).unwrap();
    let all = free
        .pipeline(&free.settings())
        .unwrap()
        .estimate(&widths, &decodes, DecodeSize::Full)
        .peak_bytes;
    let fit = bound
        .fit(&bound.settings(), [&widths, &decodes], all - 1)
        .unwrap();
    assert!(
        fit.settings.rows_at_once.is_some() && fit.on_demand.is_empty(),
        "{fit}"
    );
}

#[test]
fn what_cannot_fit_is_refused_with_the_least_that_would_do() {
    let bound = sparing();
    let (plan, scales) = plan(&bound);
    let error = bound
        .fit(
            &bound.settings(),
            [&plan.widths(scales), &plan.decodes(scales)],
            1_000_000,
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("MB at least, but only 1.0 MB may be used"),
        "{error}"
    );
    assert!(error.hint().is_some_and(|hint| hint.contains("fewer rows")));
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
