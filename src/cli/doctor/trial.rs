//! The self-test: the demo paints a picture that is known, and the machine has to show what the
//! program promises.

use std::time::Instant;

use ttsvar_search::{Image, Method, Outcome, Silent};

use crate::{
    Error, Result,
    eval::scenes::{
        Ask, detect,
        words::{Colour, Shape},
    },
    image::Png,
    options::Options,
    request::Session,
    system::{DEMO, System},
};

/// What [`KNOWN`] shows: the prompt in the words of the demo's world.
pub(super) const ASKED: Ask = Ask::Coloured(Shape::Circle, Colour::Red);

/// The seed that it was painted with.
const SEED: u64 = 1;

/// Candidates of the search that paints it; the best one wins.
const CANDIDATES: usize = 4;

/// The picture as one machine painted it, with fused multiply-add.
const KNOWN: &[u8] = include_bytes!("known.png");

/// N of the search that is timed.
const TIMED: usize = 1;

/// How often it is timed; the fastest counts, since other programs only ever slow it down.
const ROUNDS: usize = 3;

/// Seconds after which no further round begins.
const PATIENCE: f64 = 4.0;

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    /// Seconds that loading the demo took.
    pub loading: f64,
    /// What the exact judge of the demo's world says of the picture: right or not, and the reason.
    pub right: bool,
    pub reason: String,
    /// Mean difference from [`KNOWN`], of 255; 0 only when all bits agree.
    pub difference: f64,
    /// Whether a candidate is the same alone on one thread as among others on all of them.
    pub same_in_company: bool,
    /// Floating-point operations in a second, all threads together.
    pub flops: f64,
}

/// Paints and measures, for ten seconds at most on a machine of this decade.
///
/// # Errors
/// The demo cannot be loaded or run.
pub(super) fn trial() -> Result<Trial> {
    let began = Instant::now();
    let system = System::builder(DEMO).open()?;
    let loading = began.elapsed().as_secs_f64();
    let among = paint(&system, Method::BestOfN, CANDIDATES)?;
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let alone = alone.map_err(|error| Error::system(format!("cannot start a thread: {error}")))?;
    let alone = alone.install(|| paint(&system, Method::Raw, 1))?;
    let picture = &among.winner().image;
    let (right, reason) = ASKED.judge(&detect(picture));
    Ok(Trial {
        loading,
        right,
        reason,
        difference: difference(picture, &Png::decode(KNOWN)?.image),
        same_in_company: alone.finished[0].image == among.finished[0].image,
        flops: speed(&system)?,
    })
}

fn paint(system: &System, method: Method, n: usize) -> Result<Outcome> {
    let options = Options {
        method: Some(method),
        n: Some(n),
        ..Options::default()
    };
    Session::new(system, &options)?.run(&ASKED.words(), SEED, &mut Silent)
}

/// Mean difference of two pictures, of 255; infinite when their sizes differ.
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
        let cost = paint(system, Method::TtsVar, TIMED)?.trace.cost;
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
    fn differences_are_zero_for_equal_pictures_only() {
        let picture = |grey| Image::new(2, 1, vec![grey; 6]);
        assert_eq!(difference(&picture(7), &picture(7)), 0.0);
        assert_eq!(difference(&picture(7), &picture(9)), 2.0);
        assert_eq!(
            difference(&picture(7), &Image::new(1, 2, vec![7; 6])),
            f64::INFINITY
        );
    }

    #[test]
    fn the_known_picture_shows_what_was_asked_for() {
        assert!(ASKED.judge(&detect(&Png::decode(KNOWN).unwrap().image)).0);
    }
}
