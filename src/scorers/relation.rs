//! Relations: compares the things that a detector finds in an image with those that the prompt
//! names, by GenEval's rules, and gives the share of it that is right.
//!
//! Reference: djghosh13/geneval, `evaluation/evaluate_images.py`, whose verdicts are right or wrong.
//! Here they are graded, so that a search can follow them: a position counts in part if the direction
//! is nearly right. Another difference: of several things of a kind, the pair that fits a relation
//! best counts, not the most certain one.

use ttsvar_search::{Image, Scorer};

use super::{ScorerKind, ScorerNetwork, ScorerSettings, kind::unchanged};
use crate::{
    Error, Result,
    detectors::{Detector, Mask2FormerDetector, open},
    eval::{
        geneval::{geometry, names, prompts::RelativePosition},
        scenes::{self, words},
    },
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    loading::{Dtype, Loaded, LoadedFile, Loader},
    models::mask2former::Mask2Former,
    text::{
        atoms::{Atoms, Thing},
        relation::Link,
    },
};

/// Relations by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "relation",
        built_in: BuiltIn::StandIn,
        published: true,
        weights: "mask2former-swin-small-coco-instance",
        other_weights: Some("mask2former-swin-s"),
        vocabulary: None,
        encoder: None,
        heads: false,
        signature: &Mask2Former::SIGNATURE,
        encoder_signature: None,
        config: None,
    },
    variants: &[("relation", unchanged)],
    reads_prompt: true,
    answers: false,
    standardised: false,
    load,
};

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    if files.are_built_in() {
        let network = Box::new(RelationScorer::new(SceneShapes));
        return Ok(Loaded::without_weights(network, "the scenes detector"));
    }
    let path = files.weights_path()?;
    let (detector, weights) =
        open::coco_detector_of(&path, |file| loader.weights(file, Dtype::F32))?;
    Ok(Loaded {
        network: Box::new(RelationScorer::new(CocoObjects(detector))),
        bytes: weights.bytes_kept(),
        peak_bytes: weights.peak_bytes(),
        stored_bytes: weights.bytes_stored(),
        files: vec![LoadedFile::complete(path.display())],
    })
}

/// Finds the things of a vocabulary in images.
pub trait ThingFinder: Send + Sync {
    /// The number of the kind that a prompt calls so.
    fn kind(&self, thing: &Thing) -> Option<usize>;

    /// The number of a colour; `None` if it tells no such colour.
    fn colour(&self, name: &str) -> Option<usize>;

    /// The things in each image.
    ///
    /// # Errors
    /// The network fails.
    fn find(&self, images: &[Image]) -> Result<Vec<Vec<FoundThing>>>;

    /// The name of the network, if it stands in for the published detector.
    fn stands_in(&self) -> Option<&'static str>;

    /// Floating-point operations per image.
    fn flops(&self) -> f64;
}

/// A thing that was found in an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundThing {
    /// Number of its kind.
    pub kind: usize,
    /// Number of its colour, if the finder tells colours.
    pub colour: Option<usize>,
    /// Confidence, 0 to 1.
    pub certainty: f32,
    /// Left, top, right, bottom.
    pub bounds: [f32; 4],
}

/// Mask2Former with the classes of COCO. It tells no colours.
struct CocoObjects(Mask2FormerDetector);

/// Operations of Mask2Former with Swin-S on an image of 1333 x 800: twice the multiply-adds that
/// its paper states (arXiv 2112.01527, table 1).
const MASK2FORMER_FLOPS: f64 = 626e9;

/// GenEval's threshold: an object counts if its confidence is above this.
const LEAST_CERTAINTY: f32 = 0.3;

impl ThingFinder for CocoObjects {
    fn kind(&self, thing: &Thing) -> Option<usize> {
        thing.find(names::OBJECTS.into_iter())
    }

    fn colour(&self, _: &str) -> Option<usize> {
        None
    }

    fn find(&self, images: &[Image]) -> Result<Vec<Vec<FoundThing>>> {
        let mut all = vec![];
        for objects in self.0.detect(images)? {
            let certain = objects
                .iter()
                .filter(|object| object.score > LEAST_CERTAINTY);
            let things = certain.map(|object| FoundThing {
                kind: object.class,
                colour: None,
                certainty: object.score,
                bounds: object.bounds,
            });
            all.push(things.collect());
        }
        Ok(all)
    }

    fn stands_in(&self) -> Option<&'static str> {
        None
    }

    fn flops(&self) -> f64 {
        MASK2FORMER_FLOPS
    }
}

/// The rule-based detector of the demo's scenes, with which `eval scenes` evaluates.
struct SceneShapes;

impl ThingFinder for SceneShapes {
    fn kind(&self, thing: &Thing) -> Option<usize> {
        thing.find(words::Shape::ALL.into_iter().map(words::Shape::name))
    }

    fn colour(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        words::Colour::ALL
            .into_iter()
            .position(|colour| colour.name() == name)
    }

    fn find(&self, images: &[Image]) -> Result<Vec<Vec<FoundThing>>> {
        let mut all = vec![];
        for image in images {
            let shapes = scenes::detect(image);
            let things = shapes.iter().map(|shape| FoundThing {
                kind: shape.shape as usize,
                colour: Some(shape.colour as usize),
                certainty: 1.0,
                bounds: shape.bounds.map(|side| side as f32),
            });
            all.push(things.collect());
        }
        Ok(all)
    }

    fn stands_in(&self) -> Option<&'static str> {
        Some("scenes detector")
    }

    fn flops(&self) -> f64 {
        0.0
    }
}

/// A kind of thing that the prompt names, with its colour if the finder tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    kind: usize,
    colour: Option<usize>,
}

impl Wanted {
    /// Returns whether this is such a thing, of any colour if none is wanted.
    fn is(self, thing: &FoundThing) -> bool {
        let has_colour = self.colour.is_none() || thing.colour == self.colour;
        thing.kind == self.kind && has_colour
    }

    /// The things of this kind; those of the colour, if there are any.
    fn among(self, found: &[FoundThing]) -> Vec<&FoundThing> {
        let of_colour: Vec<&FoundThing> = found.iter().filter(|thing| self.is(thing)).collect();
        if !of_colour.is_empty() {
            return of_colour;
        }
        let of_kind = found.iter().filter(|thing| thing.kind == self.kind);
        of_kind.collect()
    }
}

/// Something that can be checked in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// There is such a thing.
    Present(Wanted),
    /// There are exactly so many; of any colour, as GenEval counts, unless the prompt also wants things
    /// of this kind in another colour.
    Count(Wanted, usize),
    /// There is one of the right colour.
    Coloured(Wanted),
    /// The first is in this position relative to the second.
    Position(Wanted, RelativePosition, Wanted),
}

impl Check {
    /// How far it holds, from 0 to 1; 1 exactly if GenEval's rule holds and the finder is certain.
    fn grade(self, found: &[FoundThing]) -> f32 {
        match self {
            Self::Present(wanted) => most_certain(wanted.among(found).into_iter()),
            Self::Count(wanted, count) => {
                let counted = found.iter().filter(|thing| wanted.is(thing));
                let off = counted.count().abs_diff(count);
                1.0 - (off as f32 / count as f32).min(1.0)
            }
            Self::Coloured(wanted) => {
                let things = wanted.among(found).into_iter();
                most_certain(things.filter(|thing| thing.colour == wanted.colour))
            }
            Self::Position(first, position, second) => {
                let mut best: f32 = 0.0;
                for a in first.among(found) {
                    for b in second.among(found) {
                        if !std::ptr::eq(a, b) {
                            let certainty = a.certainty.min(b.certainty);
                            best = best.max(certainty * grade_of_position(a, position, b));
                        }
                    }
                }
                best
            }
        }
    }
}

/// The confidence of the most certain thing; 0 without things.
fn most_certain<'t>(things: impl Iterator<Item = &'t FoundThing>) -> f32 {
    things.map(|thing| thing.certainty).fold(0.0, f32::max)
}

/// How far a thing is in a position relative to another: 1 where GenEval's rule holds, 0 for the
/// opposite direction, and in proportion to the direction between these.
fn grade_of_position(a: &FoundThing, position: RelativePosition, b: &FoundThing) -> f32 {
    /// Part of both lengths that GenEval subtracts from a distance.
    const SLACK: f32 = 0.1;
    /// The part of the direction beyond which GenEval's rule holds.
    const ENOUGH: f32 = 0.5;
    let Some([x, y]) = geometry::direction(a.bounds, b.bounds, SLACK) else {
        return 0.0;
    };
    let along = match position {
        RelativePosition::Left => -x,
        RelativePosition::Right => x,
        RelativePosition::Above => -y,
        RelativePosition::Below => y,
    };
    ((along + 1.0) / (ENOUGH + 1.0)).min(1.0)
}

/// The scorer.
pub struct RelationScorer {
    finder: Box<dyn ThingFinder>,
}

impl RelationScorer {
    /// Scores what a finder finds.
    pub fn new(finder: impl ThingFinder + 'static) -> Self {
        Self {
            finder: Box::new(finder),
        }
    }

    /// Everything in a prompt that the finder can check.
    fn checks(&self, prompt: &str) -> Result<Vec<Check>> {
        let atoms = Atoms::parse(prompt);
        let checks = atoms.map_or(vec![], |atoms| self.checks_of(&atoms));
        if checks.is_empty() {
            return Err(Error::input(
                "the scorer relation finds nothing in the prompt that it can check",
            )
            .with_hint(
                "it checks objects that its detector knows, their counts and positions, such as \
                 `a dog left of two cats`; for other prompts, choose another scorer",
            ));
        }
        Ok(checks)
    }

    fn checks_of(&self, atoms: &Atoms) -> Vec<Check> {
        let wanted = |thing: &Thing| {
            let colour = thing.colour.and_then(|name| self.finder.colour(name));
            let kind = self.finder.kind(thing)?;
            Some(Wanted { kind, colour })
        };
        let all: Vec<Option<Wanted>> = atoms.things.iter().map(wanted).collect();
        let in_other_colours = |wanted: Wanted| {
            let mut others = all.iter().flatten();
            others.any(|other| other.kind == wanted.kind && other.colour != wanted.colour)
        };
        let mut checks = vec![];
        for (thing, wanted) in atoms.things.iter().zip(&all) {
            let Some(wanted) = *wanted else { continue };
            checks.push(match thing.count {
                Some(count) if count > 1 => {
                    let colour = wanted.colour.filter(|_| in_other_colours(wanted));
                    Check::Count(Wanted { colour, ..wanted }, count)
                }
                _ => Check::Present(wanted),
            });
            if wanted.colour.is_some() {
                checks.push(Check::Coloured(wanted));
            }
        }
        for (first, link, second) in &atoms.relations {
            if let (Some(first), Some(second)) = (all[*first], all[*second])
                && let Some(position) = position(*link)
            {
                checks.push(Check::Position(first, position, second));
            }
        }
        checks
    }
}

/// The position that a link asks for.
fn position(link: Link) -> Option<RelativePosition> {
    match link {
        Link::LeftOf => Some(RelativePosition::Left),
        Link::RightOf => Some(RelativePosition::Right),
        Link::Above => Some(RelativePosition::Above),
        Link::Below => Some(RelativePosition::Below),
        Link::Beside | Link::And => None,
    }
}

impl ScorerNetwork for RelationScorer {
    fn stands_in(&self) -> Option<&'static str> {
        self.finder.stands_in()
    }
}

impl Scorer for RelationScorer {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let checks = self.checks(prompt)?;
        let mut scores = vec![];
        for found in self.finder.find(images)? {
            let sum: f32 = checks.iter().map(|check| check.grade(&found)).sum();
            scores.push(sum / checks.len() as f32);
        }
        Ok(scores)
    }

    fn flops(&self, images: usize) -> f64 {
        images as f64 * self.finder.flops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds the same things in every image: kinds by their place in `dog, cat`.
    struct Fixed(Vec<FoundThing>);

    impl ThingFinder for Fixed {
        fn kind(&self, thing: &Thing) -> Option<usize> {
            thing.find(["dog", "cat"].into_iter())
        }

        fn colour(&self, name: &str) -> Option<usize> {
            ["red", "blue"].iter().position(|known| *known == name)
        }

        fn find(&self, images: &[Image]) -> Result<Vec<Vec<FoundThing>>> {
            Ok(vec![self.0.clone(); images.len()])
        }

        fn stands_in(&self) -> Option<&'static str> {
            None
        }

        fn flops(&self) -> f64 {
            0.0
        }
    }

    fn thing(kind: usize, colour: usize, certainty: f32, x: f32, y: f32) -> FoundThing {
        FoundThing {
            kind,
            colour: Some(colour),
            certainty,
            bounds: [x - 5.0, y - 5.0, x + 5.0, y + 5.0],
        }
    }

    fn score(things: &[FoundThing], prompt: &str) -> f32 {
        let image = Image::new(1, 1, vec![0; 3]);
        let scorer = RelationScorer::new(Fixed(things.to_vec()));
        scorer.score(prompt, &[image]).unwrap()[0]
    }

    #[test]
    fn things_of_a_kind_are_counted_by_colour_if_the_prompt_wants_several() {
        let [red, blue] = [0, 1];
        let dog = |colour, x| thing(0, colour, 1.0, x, 30.0);
        let right = [dog(red, 10.0), dog(red, 30.0), dog(blue, 50.0)];
        let prompt = "two red dogs and a blue dog";
        assert_eq!(score(&right, prompt), 1.0);
        assert!(score(&right[1..], prompt) < 1.0);
        assert!(score(&[dog(red, 10.0), dog(blue, 30.0), dog(blue, 50.0)], prompt) < 1.0);
        // One colour alone: all things of the kind count.
        assert!(score(&right, "two red dogs") < 1.0);
    }

    #[test]
    fn the_score_is_one_if_everything_is_right() {
        let things = [thing(0, 0, 1.0, 10.0, 30.0), thing(1, 1, 1.0, 50.0, 30.0)];
        assert_eq!(score(&things, "a dog left of a cat"), 1.0);
        assert_eq!(score(&things, "a red dog and a blue cat"), 1.0);
        assert_eq!(score(&things, "a cat to the right of a dog"), 1.0);
    }

    #[test]
    fn what_is_wrong_costs_its_share() {
        let things = [thing(0, 0, 1.0, 10.0, 30.0), thing(1, 1, 1.0, 50.0, 30.0)];
        // The opposite direction less the slack: -38/40 for 1.5.
        let wrong = score(&things, "a dog right of a cat");
        assert!((wrong - (2.0 + 0.05 / 1.5) / 3.0).abs() < 1e-5, "{wrong}");
        let across = score(&things, "a dog above a cat");
        assert!(across > wrong && across < 1.0, "{across}");
        assert_eq!(score(&things, "two dogs"), 0.5);
        assert_eq!(score(&things, "a blue dog"), 0.5);
        assert_eq!(score(&[], "a dog left of a cat"), 0.0);
    }

    #[test]
    fn the_best_pair_counts_and_uncertainty_lowers_it() {
        let things = [
            thing(0, 0, 0.5, 90.0, 30.0),
            thing(0, 0, 0.8, 10.0, 30.0),
            thing(1, 1, 1.0, 50.0, 30.0),
        ];
        let found = score(&things, "a dog left of a cat");
        assert!((found - (0.8 + 1.0 + 0.8) / 3.0).abs() < 1e-6, "{found}");
    }

    #[test]
    fn two_of_a_kind_are_told_apart_by_their_colours() {
        let things = [thing(0, 0, 1.0, 10.0, 30.0), thing(0, 1, 1.0, 50.0, 30.0)];
        assert_eq!(score(&things, "a red dog left of a blue dog"), 1.0);
        assert!(score(&things, "a blue dog left of a red dog") < 0.9);
    }

    #[test]
    fn a_prompt_without_anything_to_check_is_refused() {
        let scorer = RelationScorer::new(Fixed(vec![]));
        for prompt in [
            "",
            "a spaceship",
            "the sound of silence",
            "an astronaut riding",
        ] {
            let error = scorer.checks(prompt).unwrap_err();
            assert!(error.to_string().contains("nothing in the prompt"));
        }
    }
}
