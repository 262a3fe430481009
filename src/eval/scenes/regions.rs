//! The regions of an image that are not background, and the ways to see them as objects.

use std::array::from_fn;

use ttsvar_search::Image;

use super::{
    detector::nearest,
    masks::{Mask, around, components, grow, pulled_apart},
    words::Colour,
    world::SIZE,
};

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

/// Share of a region's certain pixels with one colour above which the region has that colour.
const ONE_COLOUR: f64 = 0.7;

/// Minimum distance from the background that counts as fully covered in a shaded region, as a share
/// of the region's 90th percentile. Fainter pixels are rims or traces.
const FAINT: f32 = 0.55;

/// Distance from the background that is noise.
const NOISE: f32 = 10.0;

/// The connected parts of an image that differ from the background.
pub(super) struct Patches {
    pixels: Pixels,
    patches: Vec<Patch>,
}

/// A part of an image that holds one object, or several that touch.
pub(super) struct Patch {
    mask: Mask,
    /// The pixels into which rims of its objects may reach: its own and those of no patch.
    allowed: Mask,
}

/// A patch as seen at first sight.
pub(super) struct FirstSight {
    /// One object, or objects of different colours that touch.
    pub regions: Vec<Region>,
    /// True if no colour dominates, so that there is one region for each.
    pub by_colour: bool,
}

impl Patches {
    /// Finds the patches of a 64 x 64 image, from the top.
    pub(super) fn find(image: &Image) -> Self {
        let pixels = Pixels::new(image);
        let stands_out = pixels.far.iter().map(|far| *far > STANDS_OUT).collect();
        let masks = components(&stands_out, LEAST_PIXELS);
        let free: Mask = (0..SIZE * SIZE)
            .map(|i| !masks.iter().any(|mask| mask[i]))
            .collect();
        let patch = |mask: Mask| Patch {
            allowed: either(&mask, &free),
            mask,
        };
        Self {
            pixels,
            patches: masks.into_iter().map(patch).collect(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Patch> {
        self.patches.iter()
    }

    /// A patch as one object, or as one object per colour if no colour dominates.
    pub(super) fn first_sight(&self, patch: &Patch) -> FirstSight {
        let split = self.pixels.split(&patch.mask);
        let by_colour = split.is_some();
        let parts = split.unwrap_or_else(|| vec![patch.mask.clone()]);
        let regions = parts
            .iter()
            .filter_map(|part| self.pixels.measure(part, &patch.allowed))
            .collect();
        FirstSight { regions, by_colour }
    }

    /// The area of a patch as [`Patches::second_sights`] see it.
    pub(super) fn area(&self, patch: &Patch) -> f32 {
        self.pixels.shaded(&patch.mask, &patch.allowed).iter().sum()
    }

    /// Other ways to see a patch: as one object whose colour changes, as one object per colour, and
    /// as objects that touch in a narrow place.
    pub(super) fn second_sights(&self, patch: &Patch) -> Vec<Vec<Region>> {
        let mut ways = vec![vec![patch.mask.clone()], self.pixels.colours(&patch.mask)];
        ways.extend(pulled_apart(&patch.mask));
        let background: Mask = (0..SIZE * SIZE)
            .map(|i| patch.allowed[i] && !patch.mask[i])
            .collect();
        let measure = |parts: Vec<Mask>| {
            let allowed = |part| either(part, &background);
            let regions = parts
                .iter()
                .filter_map(|part| self.pixels.measure_shaded(part, &allowed(part)));
            regions.collect()
        };
        ways.into_iter().map(measure).collect()
    }
}

/// The pixels of either mask.
fn either(a: &Mask, b: &Mask) -> Mask {
    a.iter().zip(b).map(|(a, b)| *a || *b).collect()
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
        let limit = 0.75 * self.ninetieth(region);
        (0..region.len())
            .filter(|&i| region[i] && f64::from(self.far[i]) >= limit)
            .collect()
    }

    /// The 90th percentile of the distances from the background, interpolated linearly.
    fn ninetieth(&self, region: &Mask) -> f64 {
        let members = (0..region.len()).filter(|&i| region[i]);
        let mut far: Vec<f32> = members.map(|i| self.far[i]).collect();
        far.sort_by(f32::total_cmp);
        let place = 0.9 * (far.len() - 1) as f64;
        let low = place as usize;
        let high = f64::from(far[(low + 1).min(far.len() - 1)]);
        f64::from(far[low]) + (high - f64::from(far[low])) * place.fract()
    }

    /// Splits touching objects of different colours into separate regions; `None` if one colour
    /// dominates.
    fn split(&self, region: &Mask) -> Option<Vec<Mask>> {
        let core = self.core(region);
        let counts = self.count_colours(&core);
        let most = counts.iter().max().copied().unwrap_or(0);
        if most as f64 >= ONE_COLOUR * core.len() as f64 {
            return None;
        }
        Some(self.parts_by_colour(region, counts))
    }

    /// The pixels of each colour that a region has enough of, each pixel with its nearest colour.
    fn colours(&self, region: &Mask) -> Vec<Mask> {
        let members: Vec<usize> = (0..region.len()).filter(|&i| region[i]).collect();
        self.parts_by_colour(region, self.count_colours(&members))
    }

    fn count_colours(&self, pixels: &[usize]) -> [usize; 8] {
        let mut counts = [0; 8];
        for &i in pixels {
            counts[nearest(self.rgb[i]) as usize] += 1;
        }
        counts
    }

    fn parts_by_colour(&self, region: &Mask, counts: [usize; 8]) -> Vec<Mask> {
        let mut parts = vec![];
        for colour in Colour::ALL {
            if counts[colour as usize] >= LEAST_PIXELS {
                let mask: Mask = (0..region.len())
                    .map(|i| region[i] && nearest(self.rgb[i]) == colour)
                    .collect();
                parts.extend(components(&mask, LEAST_PIXELS));
            }
        }
        parts
    }

    /// Measures a region; `None` if it is too small. Its rim may reach into `allowed` pixels.
    fn measure(&self, part: &Mask, allowed: &Mask) -> Option<Region> {
        let rgb = median(self.core(part).into_iter().map(|i| self.rgb[i]));
        Region::new(self.along(rgb, part, allowed), rgb)
    }

    /// As [`Pixels::measure`], for a region whose colour changes from place to place: it has the
    /// most frequent one.
    fn measure_shaded(&self, part: &Mask, allowed: &Mask) -> Option<Region> {
        let core = self.core(part);
        let counts = self.count_colours(&core);
        let most = Colour::ALL
            .into_iter()
            .max_by_key(|c| counts[*c as usize])?;
        let of_colour = core.into_iter().filter(|&i| nearest(self.rgb[i]) == most);
        let rgb = median(of_colour.map(|i| self.rgb[i]));
        Region::new(self.shaded(part, allowed), rgb)
    }

    /// Coverage by a region of one colour: how far a pixel is on the way from the background to it.
    fn along(&self, rgb: [f32; 3], part: &Mask, allowed: &Mask) -> Vec<f32> {
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
        (0..SIZE * SIZE).map(cover).collect()
    }

    /// Coverage by a region whose colour changes, as an eye sees it: the distance from the background
    /// as a share of the largest one nearby, of which the square root is taken, since a tip with a
    /// quarter of the contrast is still seen.
    fn shaded(&self, part: &Mask, allowed: &Mask) -> Vec<f32> {
        let grown = grow(&grow(part));
        let floor = FAINT * self.ninetieth(part) as f32;
        let cover = |i: usize| {
            if !grown[i] || !allowed[i] {
                return 0.0;
            }
            let near = around(i).filter(|&near| part[near]);
            let largest = near.map(|near| self.far[near]).fold(floor, f32::max);
            ((self.far[i] - NOISE) / (largest - NOISE))
                .clamp(0.0, 1.0)
                .sqrt()
        };
        (0..SIZE * SIZE).map(cover).collect()
    }
}

impl Region {
    /// The region with this coverage; `None` if it is too small.
    fn new(cover: Vec<f32>, rgb: [f32; 3]) -> Option<Self> {
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
