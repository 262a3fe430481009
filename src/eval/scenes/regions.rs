//! The regions of an image that are not background.

use std::array::from_fn;

use ttsvar_search::Image;

use super::{detector::nearest, words::Colour, world::SIZE};

/// A region that differs from the background.
pub(super) struct Region {
    /// Coverage of each pixel of the image, 0 to 1.
    pub cover: Vec<f32>,
    /// The sum of `cover`.
    pub area: f32,
    /// Centre, from the left and from the top.
    pub centre: (f64, f64),
    /// Left, top, right, bottom of the pixels that it covers by more than half.
    pub bounds: [usize; 4],
    /// Its colour.
    pub rgb: [f32; 3],
}

/// Minimum number of pixels of a region.
const LEAST_PIXELS: usize = 40;

/// Minimum area of a region, with its rim counted by coverage.
const LEAST_AREA: f32 = 60.0;

/// Minimum distance of a colour from the background, in levels.
const STANDS_OUT: f32 = 36.0;

/// One flag per pixel.
type Mask = Vec<bool>;

/// Finds the regions of a 64 x 64 image.
pub(super) fn regions(image: &Image) -> Vec<Region> {
    let pixels = Pixels::new(image);
    let found = components(&pixels.far.iter().map(|far| *far > STANDS_OUT).collect());
    let taken: Mask = (0..SIZE * SIZE)
        .map(|i| found.iter().any(|region| region[i]))
        .collect();
    let mut regions = vec![];
    for region in &found {
        let allowed: Mask = region
            .iter()
            .zip(&taken)
            .map(|(member, taken)| *member || !taken)
            .collect();
        for part in pixels.split(region) {
            regions.extend(pixels.measure(&part, &allowed));
        }
    }
    regions
}

struct Pixels {
    rgb: Vec<[f32; 3]>,
    background: [f32; 3],
    /// Distance of each pixel from the background.
    far: Vec<f32>,
}

impl Pixels {
    fn new(image: &Image) -> Self {
        let rgb: Vec<[f32; 3]> = image
            .pixels()
            .chunks_exact(3)
            .map(|p| from_fn(|i| f32::from(p[i])))
            .collect();
        let rim = |i: &usize| {
            [i % SIZE, i / SIZE]
                .iter()
                .any(|at| !(2..SIZE - 2).contains(at))
        };
        let background = median((0..SIZE * SIZE).filter(rim).map(|i| rgb[i]));
        let far = rgb
            .iter()
            .map(|p| {
                (0..3)
                    .map(|i| (p[i] - background[i]).powi(2))
                    .sum::<f32>()
                    .sqrt()
            })
            .collect();
        Self {
            rgb,
            background,
            far,
        }
    }

    /// The pixels of a region that certainly belong to it.
    fn core(&self, region: &Mask) -> Vec<usize> {
        let members: Vec<usize> = (0..region.len()).filter(|&i| region[i]).collect();
        let mut far: Vec<f32> = members.iter().map(|&i| self.far[i]).collect();
        far.sort_by(f32::total_cmp);
        // The 90th percentile, interpolated linearly.
        let place = 0.9 * (far.len() - 1) as f64;
        let low = place as usize;
        let part = place.fract();
        let high = f64::from(far[(low + 1).min(far.len() - 1)]);
        let limit = 0.75 * (f64::from(far[low]) + (high - f64::from(far[low])) * part);
        members
            .into_iter()
            .filter(|&i| f64::from(self.far[i]) >= limit)
            .collect()
    }

    /// Splits touching objects of different colours into separate regions.
    fn split(&self, region: &Mask) -> Vec<Mask> {
        let core = self.core(region);
        let counts: [usize; 8] = from_fn(|c| {
            core.iter()
                .filter(|&&i| nearest(self.rgb[i]) as usize == c)
                .count()
        });
        let most = counts.iter().max().copied().unwrap_or(0);
        if most as f64 >= 0.7 * core.len() as f64 {
            return vec![region.clone()];
        }
        let mut parts = vec![];
        for colour in Colour::ALL {
            if counts[colour as usize] >= LEAST_PIXELS {
                let mask: Mask = (0..region.len())
                    .map(|i| region[i] && nearest(self.rgb[i]) == colour)
                    .collect();
                parts.extend(components(&mask));
            }
        }
        parts
    }

    /// Measures a region; `None` if it is too small. Its rim may reach into `allowed` pixels.
    fn measure(&self, part: &Mask, allowed: &Mask) -> Option<Region> {
        let rgb = median(self.core(part).into_iter().map(|i| self.rgb[i]));
        let axis: [f32; 3] = from_fn(|i| rgb[i] - self.background[i]);
        let length = axis.iter().map(|v| v * v).sum::<f32>() + 1e-6;
        let grown = grow(part);
        let cover = |i: usize| {
            let along = (0..3)
                .map(|c| (self.rgb[i][c] - self.background[c]) * axis[c])
                .sum::<f32>()
                / length;
            if grown[i] && allowed[i] {
                along.clamp(0.0, 1.0)
            } else {
                0.0
            }
        };
        let cover: Vec<f32> = (0..SIZE * SIZE).map(cover).collect();
        let area: f64 = cover.iter().map(|v| f64::from(*v)).sum();
        let mostly: Vec<(usize, usize)> = (0..cover.len())
            .filter(|&i| cover[i] > 0.5)
            .map(|i| (i % SIZE, i / SIZE))
            .collect();
        if area < f64::from(LEAST_AREA) || mostly.is_empty() {
            return None;
        }
        let weighed = |at: fn(usize) -> usize| {
            cover
                .iter()
                .enumerate()
                .map(|(i, v)| f64::from(*v) * (at(i) as f64 + 0.5))
                .sum::<f64>()
                / area
        };
        let centre = (weighed(|i| i % SIZE), weighed(|i| i / SIZE));
        let xs = mostly.iter().map(|at| at.0);
        let ys = mostly.iter().map(|at| at.1);
        let bounds = [
            xs.clone().min()?,
            ys.clone().min()?,
            xs.max()? + 1,
            ys.max()? + 1,
        ];
        Some(Region {
            cover,
            area: area as f32,
            centre,
            bounds,
            rgb,
        })
    }
}

/// The median of each channel.
fn median(pixels: impl Iterator<Item = [f32; 3]> + Clone) -> [f32; 3] {
    from_fn(|channel| {
        let mut values: Vec<f32> = pixels.clone().map(|pixel| pixel[channel]).collect();
        values.sort_by(f32::total_cmp);
        let half = values.len() / 2;
        match values.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => values[half],
            _ => (values[half - 1] + values[half]) / 2.0,
        }
    })
}

/// The connected parts of a mask, from the top, without parts that are too small.
fn components(mask: &Mask) -> Vec<Mask> {
    let mut left = mask.clone();
    let mut found = vec![];
    for start in 0..left.len() {
        if !left[start] {
            continue;
        }
        let mut part = vec![false; left.len()];
        let mut front = vec![start];
        let mut size = 0;
        left[start] = false;
        while let Some(i) = front.pop() {
            part[i] = true;
            size += 1;
            for next in neighbours(i) {
                if std::mem::take(&mut left[next]) {
                    front.push(next);
                }
            }
        }
        if size >= LEAST_PIXELS {
            found.push(part);
        }
    }
    found
}

/// The mask with its adjacent pixels.
fn grow(mask: &Mask) -> Mask {
    (0..mask.len())
        .map(|i| mask[i] || neighbours(i).any(|next| mask[next]))
        .collect()
}

/// The pixels above, below, left and right.
fn neighbours(i: usize) -> impl Iterator<Item = usize> {
    let x = i % SIZE;
    let y = i / SIZE;
    let all = [
        (y > 0).then(|| i - SIZE),
        (y + 1 < SIZE).then_some(i + SIZE),
        (x > 0).then(|| i - 1),
        (x + 1 < SIZE).then_some(i + 1),
    ];
    all.into_iter().flatten()
}
