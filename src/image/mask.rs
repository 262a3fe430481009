//! Masks: a set of an image's pixels, one bit each.

/// A set of pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    bits: Vec<u64>, // row by row without gaps
}

impl Mask {
    /// The pixels for which `inside(number)` holds, counted row by row from the top.
    pub fn new(width: usize, height: usize, inside: impl Fn(usize) -> bool) -> Self {
        let mut bits = vec![0; (width * height).div_ceil(64)];
        for (i, word) in bits.iter_mut().enumerate() {
            let end = (width * height).min(64 * (i + 1));
            *word = (64 * i..end).fold(0, |word, pixel| {
                word | u64::from(inside(pixel)) << (pixel % 64)
            });
        }
        Self {
            width,
            height,
            bits,
        }
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Returns whether a pixel, counted row by row, is inside.
    pub fn holds(&self, pixel: usize) -> bool {
        self.bits[pixel / 64] >> (pixel % 64) & 1 == 1
    }

    /// Pixels inside.
    pub fn area(&self) -> usize {
        self.bits
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// The tightest box: left, top, right, bottom, the latter two outside. `None` for an empty
    /// mask.
    pub fn bounds(&self) -> Option<[usize; 4]> {
        let mut bounds: Option<[usize; 4]> = None;
        for (i, &word) in self.bits.iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                let pixel = 64 * i + rest.trailing_zeros() as usize;
                rest &= rest - 1;
                let x = pixel % self.width;
                let y = pixel / self.width;
                let [left, top, right, bottom] = bounds.unwrap_or([x, y, x + 1, y + 1]);
                bounds = Some([left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)]);
            }
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_knows_its_area_and_bounds() {
        let mask = Mask::new(13, 11, |pixel| {
            (3..7).contains(&(pixel % 13)) && (2..10).contains(&(pixel / 13))
        });
        assert_eq!((mask.area(), mask.bounds()), (32, Some([3, 2, 7, 10])));
        assert!(mask.holds(2 * 13 + 3) && !mask.holds(2 * 13 + 7));
        assert_eq!(Mask::new(5, 5, |_| false).bounds(), None);
    }
}
