//! Finite scalar quantization (arXiv 2309.15505): each value of a vector is rounded to one of a few
//! levels, and all of them together are the digits of a token, the first the least significant.

use crate::{Error, Result};

/// How much of the outermost levels the range extends beyond them.
const BEYOND: f64 = 1e-3;

/// The most tokens: ids are 32-bit numbers.
const MOST: usize = u32::MAX as usize;

/// The levels of each value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fsq {
    levels: Vec<usize>,
}

impl Fsq {
    /// A quantizer of vectors with so many values as there are `levels`.
    ///
    /// # Errors
    /// There are none, a value has fewer than two, or there are too many tokens.
    pub fn new(levels: Vec<usize>) -> Result<Self> {
        let tokens = levels
            .iter()
            .try_fold(1usize, |tokens, level| tokens.checked_mul(*level));
        let fits = tokens.is_some_and(|tokens| tokens <= MOST);
        if levels.is_empty() || levels.iter().any(|level| *level < 2) || !fits {
            return Err(Error::input(format!(
                "the levels of the tokens are {levels:?}, expected two or more for each value and \
                 at most {MOST} tokens"
            )));
        }
        Ok(Self { levels })
    }

    /// Values of a code.
    pub fn width(&self) -> usize {
        self.levels.len()
    }

    /// Different tokens.
    pub fn tokens(&self) -> usize {
        self.levels.iter().product()
    }

    /// Brings each value of vectors into the range of its levels.
    pub fn bounded(&self, z: &[f32]) -> Vec<f32> {
        let levels = self.levels.iter().cycle();
        z.iter()
            .zip(levels)
            .map(|(z, levels)| bounded(*z, *levels))
            .collect()
    }

    /// The tokens of vectors, one behind the other.
    pub fn quantize(&self, z: &[f32]) -> Vec<u32> {
        let bounded = self.bounded(z);
        let vectors = bounded.chunks_exact(self.width());
        vectors.map(|vector| self.token(vector)).collect()
    }

    /// The token of a bounded vector.
    fn token(&self, bounded: &[f32]) -> u32 {
        let mut place = 1;
        let mut token = 0;
        for (value, levels) in bounded.iter().zip(&self.levels) {
            let digit = value.round_ties_even() as i64 + (levels / 2) as i64;
            token += digit.clamp(0, *levels as i64 - 1) as usize * place;
            place *= levels;
        }
        token as u32
    }

    /// The codes of tokens, one behind the other; a token beyond the last counts as the last.
    pub fn codes(&self, tokens: &[u32]) -> Vec<f32> {
        let mut codes = Vec::with_capacity(tokens.len() * self.width());
        for token in tokens {
            let mut rest = (*token as usize).min(self.tokens() - 1);
            for levels in &self.levels {
                let half = (levels / 2) as f32;
                codes.push(((rest % levels) as f32 - half) / half);
                rest /= levels;
            }
        }
        codes
    }
}

/// A value in the range of its levels.
fn bounded(z: f32, levels: usize) -> f32 {
    let half = (levels - 1) as f64 * (1.0 + BEYOND) / 2.0;
    let offset = if levels.is_multiple_of(2) { 0.5 } else { 0.0 };
    let shift = (offset / half).atanh();
    ((f64::from(z) + shift).tanh() * half - offset) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_tokens_are_inverse() {
        let fsq = Fsq::new(vec![8, 5, 2]).unwrap();
        let tokens: Vec<u32> = (0..80).collect();
        let halves = [4.0, 2.0, 1.0];
        let codes = fsq.codes(&tokens);
        let whole: Vec<f32> = codes
            .chunks(3)
            .flat_map(|code| [0, 1, 2].map(|i| code[i] * halves[i]))
            .collect();
        let back: Vec<u32> = whole.chunks(3).map(|code| fsq.token(code)).collect();
        assert_eq!(back, tokens);
        assert_eq!(
            fsq.codes(&[1])[..],
            [-0.75, -1.0, -1.0],
            "the first is the least"
        );
    }

    #[test]
    fn impossible_levels_are_refused() {
        for levels in [vec![], vec![4, 1], vec![1 << 20, 1 << 20]] {
            assert!(Fsq::new(levels).is_err());
        }
    }
}
