//! From the queries of a Mask2Former to objects, as mmdetection does it: the best pairs of query
//! and class, masks at the size of the image, tight boxes. Nothing is suppressed.
//!
//! Reference: mmdetection 2.28, `MaskFormerFusionHead.instance_postprocess`, `mask2bbox`.

use candle_core::Tensor;
use rayon::prelude::*;

use super::Object;
use crate::{Error, Result, image::Mask, nn::bilinear};

/// The most objects that are reported per image (mmdetection's `max_per_image`).
pub const MOST: usize = 100;

/// Sizes of an image, each (height, width), on its way through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// As it was given.
    pub original: (usize, usize),
    /// As it was resized.
    pub valid: (usize, usize),
    /// As the network saw it, with a border at the right and below.
    pub padded: (usize, usize),
}

/// The objects of the `most` most likely pairs of query and class, the most certain first.
///
/// `class_logits` is (Q, K + 1), the last column for "nothing"; `mask_logits` is (Q, h, w).
///
/// # Errors
/// The tensor library fails, or a logit is NaN.
pub fn instances(
    class_logits: &Tensor,
    mask_logits: &Tensor,
    size: Geometry,
    most: usize,
) -> Result<Vec<Object>> {
    let logits: Vec<Vec<f32>> = class_logits.to_vec2()?;
    let best = best_pairs(&logits, most)?;
    let mut queries: Vec<usize> = best.iter().map(|pair| pair.query).collect();
    queries.sort_unstable();
    queries.dedup();
    // One query at a time on each thread, so the memory is limited to one full-size map per thread.
    let covered = |query: &usize| Cover::new(&mask_logits.get(*query)?, size);
    let covers = queries
        .par_iter()
        .map(covered)
        .collect::<Result<Vec<_>>>()?;
    let object = |pair: &Pair| {
        let cover = &covers[queries
            .binary_search(&pair.query)
            .expect("every query was covered")];
        Object {
            class: pair.class,
            score: pair.share * cover.certainty,
            bounds: cover.bounds,
            mask: Some(cover.mask.clone()),
        }
    };
    let mut objects: Vec<Object> = best.iter().map(object).collect();
    objects.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(objects)
}

/// A rectangle that a network might have found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Number of its class.
    pub class: usize,
    /// Confidence of the network.
    pub score: f32,
    /// Left, top, right, bottom in pixels of the image; right and bottom are outside.
    pub bounds: [usize; 4],
}

/// The objects of a network that found exactly these rectangles, one query each, among `classes`
/// classes, at a quarter of the padded size: for tests of what comes behind a network.
///
/// # Errors
/// The tensor library fails.
pub fn from_rectangles(drawn: &[Drawn], classes: usize, size: Geometry) -> Result<Vec<Object>> {
    const STRIDE: usize = 4;
    const INSIDE: f32 = 1000.0; // a sigmoid of 1, up to the rim
    let rows = size.padded.0 / STRIDE;
    let columns = size.padded.1 / STRIDE;
    let mut class_logits = vec![];
    let mut mask_logits = vec![];
    for one in drawn {
        let share = |class: usize| match class {
            _ if class == one.class => one.score,
            _ if class == classes => 1.0 - one.score,
            _ => 0.0,
        };
        class_logits.extend((0..=classes).map(|class| share(class).max(f32::MIN_POSITIVE).ln()));
        for cell in 0..rows * columns {
            let place = |at: usize, valid: usize, original: usize| {
                (at as f32 + 0.5) * STRIDE as f32 * original as f32 / valid as f32
            };
            let x = place(cell % columns, size.valid.1, size.original.1);
            let y = place(cell / columns, size.valid.0, size.original.0);
            let [left, top, right, bottom] = one.bounds.map(|side| side as f32);
            let inside = x > left && x < right && y > top && y < bottom;
            mask_logits.push(if inside { INSIDE } else { -INSIDE });
        }
    }
    let device = candle_core::Device::Cpu;
    let class_logits = Tensor::from_vec(class_logits, (drawn.len(), classes + 1), &device)?;
    let mask_logits = Tensor::from_vec(mask_logits, (drawn.len(), rows, columns), &device)?;
    instances(&class_logits, &mask_logits, size, MOST)
}

/// A query as an object of a class.
struct Pair {
    query: usize,
    class: usize,
    share: f32,
}

/// The most likely pairs; among equals the earlier query and class first.
fn best_pairs(logits: &[Vec<f32>], most: usize) -> Result<Vec<Pair>> {
    if logits.iter().flatten().any(|logit| logit.is_nan()) {
        return Err(Error::input("the detector returned NaN for an image")
            .with_hint("its weights are damaged, or not those of a Mask2Former"));
    }
    let mut pairs = vec![];
    for (query, logits) in logits.iter().enumerate() {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = logits.iter().map(|logit| (logit - top).exp()).collect();
        let total: f32 = powers.iter().sum();
        let real = &powers[..powers.len().saturating_sub(1)]; // all but "nothing"
        pairs.extend(real.iter().enumerate().map(|(class, power)| Pair {
            query,
            class,
            share: power / total,
        }));
    }
    pairs.sort_by(|a, b| b.share.total_cmp(&a.share));
    pairs.truncate(most);
    Ok(pairs)
}

/// The mask of a query.
struct Cover {
    mask: Mask,
    bounds: [f32; 4],
    /// Mean probability of the pixels inside.
    certainty: f32,
}

impl Cover {
    /// Logits (h, w).
    fn new(logits: &Tensor, size: Geometry) -> Result<Self> {
        let x = bilinear(&logits.unsqueeze(0)?.unsqueeze(0)?, size.padded)?;
        let x = x
            .narrow(2, 0, size.valid.0)?
            .narrow(3, 0, size.valid.1)?
            .contiguous()?;
        let values: Vec<f32> = bilinear(&x, size.original)?.flatten_all()?.to_vec1()?;
        let (height, width) = size.original;
        let mask = Mask::new(width, height, |pixel| values[pixel] > 0.0);
        let inside = values.iter().filter(|logit| **logit > 0.0);
        let sum: f64 = inside
            .map(|&logit| 1.0 / (1.0 + f64::from(-logit).exp()))
            .sum();
        const EPS: f64 = 1e-6; // of the original, against a division by 0
        let bounds = mask.bounds().unwrap_or([0; 4]).map(|side| side as f32);
        Ok(Self {
            certainty: (sum / (mask.area() as f64 + EPS)) as f32,
            bounds,
            mask,
        })
    }
}
