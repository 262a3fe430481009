//! The self-test: the demo generates a known image, and the results must be as promised.

use std::time::Instant;

use ttsvar_search::{Image, Method, Outcome, Silent};

use crate::{
    Result,
    eval::scenes::{
        ScenePrompt, detect,
        words::{Colour, Shape},
    },
    image::Png,
    options::Options,
    request::Session,
    system::{DEMO, System},
    threads,
};

/// The prompt of [`KNOWN`].
pub(super) const PROMPT: ScenePrompt = ScenePrompt::Coloured(Shape::Circle, Colour::Red);

/// The seed of [`KNOWN`].
const SEED: u64 = 1;

/// Candidates of the search that generates it; the best one wins.
const CANDIDATES: usize = 4;

/// The image as generated on a machine with fused multiply-add.
const KNOWN: &[u8] = include_bytes!("known.png");

/// N of the search that is timed.
const TIMED: usize = 1;

/// Number of timed runs. The fastest counts: other programs can only slow it down.
const ROUNDS: usize = 3;

/// Seconds after which no further round starts.
const PATIENCE: f64 = 4.0;

/// The results.
#[derive(Clone, Debug)]
pub(super) struct SelfTest {
    /// Seconds to load the demo.
    pub loading: f64,
    /// The rule-based evaluator's verdict on the image, and its reason.
    pub right: bool,
    pub reason: String,
    /// Mean difference from [`KNOWN`], on a scale of 255; 0 only if all bits agree.
    pub difference: f64,
    /// Whether a candidate is identical alone on one thread and in a batch on all threads.
    pub batch_invariant: bool,
    /// Floating-point operations per second, over all threads.
    pub flops: f64,
}

/// Generates and measures; takes up to about ten seconds.
///
/// # Errors
/// The demo cannot be loaded or run.
pub(super) fn self_test() -> Result<SelfTest> {
    let began = Instant::now();
    let system = System::builder(DEMO).open()?;
    let loading = began.elapsed().as_secs_f64();
    let batch = generate(&system, Method::BestOfN, CANDIDATES)?;
    let alone = threads::pool(1)?.install(|| generate(&system, Method::Raw, 1))?;
    let image = &batch.winner().image;
    let (right, reason) = PROMPT.evaluate(&detect(image));
    Ok(SelfTest {
        loading,
        right,
        reason,
        difference: difference(image, &Png::decode(KNOWN)?.image),
        batch_invariant: alone.finished[0].image == batch.finished[0].image,
        flops: speed(&system)?,
    })
}

/// Floating-point operations per second of a search of the demo, over all threads.
///
/// # Errors
/// The demo cannot be loaded or run.
pub(in super::super) fn demo_speed() -> Result<f64> {
    speed(&System::builder(DEMO).open()?)
}

fn generate(system: &System, method: Method, n: usize) -> Result<Outcome> {
    let options = Options {
        method: Some(method),
        n: Some(n),
        ..Options::default()
    };
    Session::new(system, &options)?.run(&PROMPT.text(), SEED, &mut Silent)
}

/// Mean difference of two images, on a scale of 255; infinite if their sizes differ.
fn difference(a: &Image, b: &Image) -> f64 {
    if (a.width(), a.height()) != (b.width(), b.height()) {
        return f64::INFINITY;
    }
    let all: f64 = a
        .pixels()
        .iter()
        .zip(b.pixels())
        .map(|(a, b)| f64::from(a.abs_diff(*b)))
        .sum();
    all / a.pixels().len() as f64
}

fn speed(system: &System) -> Result<f64> {
    let began = Instant::now();
    let mut best = 0.0f64;
    for _ in 0..ROUNDS {
        let cost = generate(system, Method::TtsVar, TIMED)?.trace.cost;
        best = best.max(cost.flops.total() / cost.seconds.total.max(f64::MIN_POSITIVE));
        if began.elapsed().as_secs_f64() > PATIENCE {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_zero_for_equal_images_only() {
        let image = |grey| Image::new(2, 1, vec![grey; 6]);
        assert_eq!(difference(&image(7), &image(7)), 0.0);
        assert_eq!(difference(&image(7), &image(9)), 2.0);
        assert_eq!(
            difference(&image(7), &Image::new(1, 2, vec![7; 6])),
            f64::INFINITY
        );
    }

    #[test]
    fn the_known_image_matches_its_prompt() {
        assert!(
            PROMPT
                .evaluate(&detect(&Png::decode(KNOWN).unwrap().image))
                .0
        );
    }
}
