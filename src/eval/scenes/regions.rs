//! The regions of a picture that are not background.

use std::array::from_fn;

use ttsvar_search::Image;

use super::{judge::nearest, words::Colour, world::SIZE};

/// Something that stands out.
pub(super) struct Region {
    /// How far each pixel of the picture belongs to it, 0 to 1.
    pub cover: Vec<f32>,
    /// The sum of `cover`.
    pub area: f32,
    /// Centre, from the left and from the top.
    pub centre: (f64, f64),
    /// Left, top, right, bottom of the pixels that belong to it mostly.
    pub bounds: [usize; 4],
    /// Its colour.
    pub rgb: [f32; 3],
}

/// Pixels that a region has at least.
const LEAST_PIXELS: usize = 40;

/// Area that a region has at least, once its rim is counted by what it covers.
const LEAST_AREA: f32 = 60.0;

/// How far a colour is from the background at least, in levels.
const STANDS_OUT: f32 = 36.0;

/// For each pixel whether it belongs.
type Mask = Vec<bool>;

/// The regions of a 64 x 64 picture.
pub(super) fn regions(image: &Image) -> Vec<Region> {
    let picture = Picture::new(image);
    let found = components(&picture.far.iter().map(|far| *far > STANDS_OUT).collect());
    let taken: Mask = (0..SIZE * SIZE)
        .map(|i| found.iter().any(|region| region[i]))
        .collect();
    let mut regions = vec![];
    for region in &found {
        let allowed: Mask = region
            .iter()
            .zip(&taken)
            .map(|(own, taken)| *own || !taken)
            .collect();
        regions.extend(
            picture
                .split(region)
                .iter()
                .filter_map(|part| picture.measure(part, &allowed)),
        );
    }
    regions
}

struct Picture {
    rgb: Vec<[f32; 3]>,
    background: [f32; 3],
    /// How far each pixel is from the background.
    far: Vec<f32>,
}

impl Picture {
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

    /// The pixels of a region that are beyond doubt.
    fn core(&self, region: &Mask) -> Vec<usize> {
        let own = || (0..region.len()).filter(|&i| region[i]);
        let mut far: Vec<f32> = own().map(|i| self.far[i]).collect();
        far.sort_by(f32::total_cmp);
        // The 90th percentile, between neighbours in proportion
        let place = 0.9 * (far.len() - 1) as f64;
        let (low, part) = (place as usize, place.fract());
        let high = f64::from(far[(low + 1).min(far.len() - 1)]);
        let limit = 0.75 * (f64::from(far[low]) + (high - f64::from(far[low])) * part);
        own().filter(|&i| f64::from(self.far[i]) >= limit).collect()
    }

    /// Objects of different colours that touch become regions of their own.
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
        let of = |colour: Colour| {
            (0..region.len())
                .map(|i| region[i] && nearest(self.rgb[i]) == colour)
                .collect()
        };
        let colours = Colour::ALL
            .into_iter()
            .filter(|colour| counts[*colour as usize] >= LEAST_PIXELS);
        colours.flat_map(|colour| components(&of(colour))).collect()
    }

    /// Everything about a region; none when it is too small. Its rim may reach into `allowed`
    /// pixels.
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
        let (xs, ys) = (mostly.iter().map(|at| at.0), mostly.iter().map(|at| at.1));
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

/// The middle value of each channel.
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

/// The connected parts of a mask, from the top; parts that are too small are left out.
fn components(mask: &Mask) -> Vec<Mask> {
    let (mut left, mut found) = (mask.clone(), vec![]);
    for start in 0..left.len() {
        if !left[start] {
            continue;
        }
        let (mut part, mut front, mut size) = (vec![false; left.len()], vec![start], 0);
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

/// The mask and every pixel beside it.
fn grow(mask: &Mask) -> Mask {
    (0..mask.len())
        .map(|i| mask[i] || neighbours(i).any(|next| mask[next]))
        .collect()
}

/// The pixels above, below, left and right.
fn neighbours(i: usize) -> impl Iterator<Item = usize> {
    let (x, y) = (i % SIZE, i / SIZE);
    let all = [
        (y > 0).then(|| i - SIZE),
        (y + 1 < SIZE).then_some(i + SIZE),
        (x > 0).then(|| i - 1),
        (x + 1 < SIZE).then_some(i + 1),
    ];
    all.into_iter().flatten()
}
