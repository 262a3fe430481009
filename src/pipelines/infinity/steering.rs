//! Steers candidates to layouts: at one coarse scale, the tokens of a region attend to the text of
//! its concept instead of the whole prompt.

use candle_core::{Device, Tensor};
use ttsvar_search::{
    Layout, Region, Steering,
    rng::{Lineage, Stream},
};

use crate::{
    Error, Result,
    models::infinity::{Config, RegionText, Route, Routing},
    options::{Places, Steer, SteerOptions},
    pipelines::costs::SteeringCosts,
    text::layout::{beginning, layout_of_relations, open_layouts},
};

/// Tokens of the scale that is steered, about: a grid of 4 x 4. Finer grids and several scales
/// destroy images, coarser ones do nothing (SynVAR, arXiv 2608.07948; `docs/steering.md`).
const STEERED_TOKENS: usize = 16;

/// By how much a grid may have fewer or more tokens.
const MOST_APART: f64 = 2.0;

/// Concepts of a prompt that says where they are, for estimates.
const USUAL_CONCEPTS: usize = 2;

/// Tokens of the text of a region, for estimates.
const USUAL_REGION_TEXT: usize = 8;

/// The scale whose grid (rows, columns) is nearest to 4 x 4 tokens; of two, the coarser. `None` if
/// none is near, or it has a single row or column.
pub fn steered_scale(grids: &[(usize, usize)]) -> Option<usize> {
    let apart = |(rows, columns): (usize, usize)| {
        let ratio = (rows * columns) as f64 / STEERED_TOKENS as f64;
        ratio.max(ratio.recip())
    };
    let mut nearest = None;
    for (scale, grid) in grids.iter().enumerate() {
        let near = grid.0.min(grid.1) > 1 && apart(*grid) <= MOST_APART;
        let nearer = nearest.is_none_or(|known: usize| apart(*grid) < apart(grids[known]));
        if near && nearer {
            nearest = Some(scale);
        }
    }
    nearest
}

/// The scales that settings steer.
fn steered_scales(options: &SteerOptions, grids: &[(usize, usize)]) -> Result<Vec<usize>> {
    if let Some(scales) = &options.scales {
        return Ok(scales.clone());
    }
    let scale = steered_scale(grids).ok_or_else(|| {
        Error::input("steering needs a scale with about 4 x 4 tokens, and this model has none")
            .with_hint("name scales in a steering file, such as `scales = [2]`")
    })?;
    Ok(vec![scale])
}

/// How the candidates of a prompt are steered; `None` if that is off.
///
/// # Errors
/// A concept is not in the prompt, there are more of them than cells, or one has no cell.
pub(super) fn steering(
    steer: &Steer,
    prompt: &str,
    grids: &[(usize, usize)],
) -> Result<Option<Steering>> {
    let Some(options) = steer.options() else {
        return Ok(None);
    };
    let steering = steering_by(options, prompt, grids);
    steering.map(Some).map_err(|error| options.located(error))
}

/// How the candidates of a prompt are steered by these settings.
fn steering_by(options: &SteerOptions, prompt: &str, grids: &[(usize, usize)]) -> Result<Steering> {
    let scales = steered_scales(options, grids)?;
    let steered: Vec<(usize, usize)> = scales.iter().map(|scale| grids[*scale]).collect();
    let layouts = if options.concepts.is_empty() {
        let mut layouts = layouts_of(prompt, options.places);
        layouts.retain(|layout| check_cells(layout, &steered).is_ok());
        layouts
    } else {
        check_concepts(&options.concepts, prompt)?;
        check_cells(&options.concepts, &steered)?;
        vec![options.concepts.clone()]
    };
    Ok(Steering { scales, layouts })
}

/// The layouts among which the candidates of a prompt choose.
fn layouts_of(prompt: &str, places: Places) -> Vec<Layout> {
    match (layout_of_relations(prompt), places) {
        (Some(layout), _) => vec![layout],
        (None, Places::Drawn) => open_layouts(prompt),
        (None, Places::Certain) => vec![],
    }
}

/// Checks that the text of each region is a part of the prompt.
fn check_concepts(layout: &[Region], prompt: &str) -> Result<()> {
    let normal = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        words.join(" ")
    };
    let prompt = normal(prompt);
    for region in layout {
        if !has_words(&prompt, &normal(&region.text)) {
            let text = &region.text;
            return Err(Error::input(format!(
                "the layout has a concept that is not in the prompt: `{text}`"
            ))
            .with_hint(
                "copy the text of each concept from the prompt, word for word, \
                 or turn steering off with --steer off",
            ));
        }
    }
    Ok(())
}

/// Returns whether a text has these words, not as parts of longer ones.
fn has_words(text: &str, words: &str) -> bool {
    text.match_indices(words).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + words.len()..].chars().next();
        let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
        ends(before) && ends(after)
    })
}

/// Checks that every region has a token of its own on each grid.
fn check_cells(layout: &[Region], grids: &[(usize, usize)]) -> Result<()> {
    for grid in grids {
        let (rows, columns) = *grid;
        let found = layout.len();
        if found > rows * columns {
            return Err(Error::input(format!(
                "the layout has {found} concepts, but the steered grid has {rows} x {columns} cells"
            ))
            .with_hint("leave out the concepts that matter least"));
        }
        let shares = shares(layout, *grid, 0.0);
        let empty = shares
            .iter()
            .position(|of_region| of_region.iter().all(|share| *share == 0.0));
        if let Some(number) = empty {
            let text = &layout[number].text;
            return Err(Error::input(format!(
                "the box of `{text}` fills no cell of the steered {rows} x {columns} grid"
            ))
            .with_hint(format!(
                "make it larger: a cell is {:.2} wide and {:.2} high, and a box must cover more than \
                 half of it",
                1.0 / columns as f64,
                1.0 / rows as f64
            )));
        }
    }
    Ok(())
}

/// The share of each token of a grid (rows, columns) that attends to each region, by region and
/// token. The rest attends to the whole prompt.
///
/// Without an edge, a region has the cells that it fills by more than half. With one, its share
/// falls from 1 to 0 over the edge, but not towards the border of the image. Where regions overlap,
/// they have equal parts.
fn shares(layout: &[Region], grid: (usize, usize), edge: f64) -> Vec<Vec<f32>> {
    let (rows, columns) = grid;
    let mut shares = vec![];
    for region in layout {
        let [left, top, right, bottom] = region.bounds;
        let mut of_region = Vec::with_capacity(rows * columns);
        for row in 0..rows {
            let down = share([top, bottom], row, rows, edge);
            for column in 0..columns {
                let across = share([left, right], column, columns, edge);
                let both = across * down;
                of_region.push(if edge > 0.0 {
                    both
                } else {
                    f64::from(both > 0.5)
                });
            }
        }
        shares.push(of_region);
    }
    for token in 0..rows * columns {
        let total: f64 = shares.iter().map(|of_region| of_region[token]).sum();
        if total > 1.0 {
            shares
                .iter_mut()
                .for_each(|of_region| of_region[token] /= total);
        }
    }
    let narrow = |of_region: Vec<f64>| of_region.into_iter().map(|share| share as f32).collect();
    shares.into_iter().map(narrow).collect()
}

/// The share of a region from `begin` to `end` in one of `cells` cells along a side: how much of it
/// the region fills, or with an edge, how far inside its centre is.
fn share([begin, end]: [f64; 2], cell: usize, cells: usize, edge: f64) -> f64 {
    let size = 1.0 / cells as f64;
    let from = cell as f64 * size;
    if edge <= 0.0 {
        let filled = (end.min(from + size) - begin.max(from)).max(0.0);
        // Rounding must not decide about cells that are filled by half.
        return (filled / size * 1e9).round() / 1e9;
    }
    let centre = from + size / 2.0;
    let inside = |distance: f64| (0.5 + distance / edge).clamp(0.0, 1.0);
    let after_begin = if begin <= 0.0 {
        1.0
    } else {
        inside(centre - begin)
    };
    let before_end = if end >= 1.0 {
        1.0
    } else {
        inside(end - centre)
    };
    after_begin * before_end
}

/// The texts that are encoded for the layouts of a prompt, each once.
pub(super) fn region_texts(steering: &Steering, prompt: &str) -> Vec<String> {
    let mut texts = vec![];
    for region in steering.layouts.iter().flatten() {
        let text = region_text(region, prompt);
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The text that is encoded for a region: `a photo of a red circle`.
fn region_text(region: &Region, prompt: &str) -> String {
    let beginning = beginning(prompt);
    let text = region.text.trim();
    match text.starts_with(beginning) {
        true => text.to_owned(),
        false => format!("{beginning} {text}"),
    }
}

/// The layouts of a prompt, ready for the network.
pub(super) struct PreparedLayouts {
    scales: Vec<usize>,
    share: f64,
    texts: Vec<RegionText>,
    /// Of each steered scale, of each layout.
    routes: Vec<Vec<Route>>,
    layouts: usize,
}

impl PreparedLayouts {
    /// Prepares layouts for grids; `texts` belong to [`region_texts`], in their order.
    pub(super) fn new(
        steering: &Steering,
        options: &SteerOptions,
        prompt: &str,
        texts: Vec<RegionText>,
        grids: &[(usize, usize)],
        device: &Device,
    ) -> Result<Self> {
        let known = region_texts(steering, prompt);
        let place = |region: &Region| {
            let text = region_text(region, prompt);
            known.iter().position(|known| *known == text).unwrap_or(0)
        };
        let mut routes = vec![];
        for scale in &steering.scales {
            let mut of_scale = vec![];
            for layout in &steering.layouts {
                let texts: Vec<usize> = layout.iter().map(place).collect();
                let shares = shares(layout, grids[*scale], options.edge);
                of_scale.push(route(&texts, &shares, device)?);
            }
            routes.push(of_scale);
        }
        Ok(Self {
            scales: steering.scales.clone(),
            share: options.share,
            texts,
            routes,
            layouts: steering.layouts.len(),
        })
    }

    /// The layout of candidate `number`, drawn from its random stream.
    pub(super) fn draw(&self, seed: u64, number: usize) -> Option<usize> {
        let steered_before = |count: usize| (count as f64 * self.share).floor();
        let steered = steered_before(number + 1) > steered_before(number);
        if !steered || self.layouts == 0 {
            return None;
        }
        Some(Stream::layout(seed, Lineage::root(number)).below(self.layouts))
    }

    /// Returns whether a scale is steered.
    pub(super) fn steers(&self, scale: usize) -> bool {
        self.scales.contains(&scale)
    }

    /// The route of a layout at a scale.
    pub(super) fn route(&self, scale: usize, layout: Option<usize>) -> Option<&Route> {
        let place = self.scales.iter().position(|steered| *steered == scale)?;
        self.routes[place].get(layout?)
    }

    /// Routes the rows of a scale, if any has a route.
    pub(super) fn routing<'r>(&'r self, rows: &'r [Option<&'r Route>]) -> Option<Routing<'r>> {
        rows.iter().any(Option::is_some).then_some(Routing {
            texts: &self.texts,
            rows,
        })
    }

    /// Tokens of the texts to which a route leads.
    pub(super) fn route_tokens(&self, route: &Route) -> usize {
        let tokens = route
            .regions
            .iter()
            .map(|(text, _)| self.texts[*text].tokens());
        tokens.sum()
    }
}

/// The route of a layout whose regions have these texts and shares.
fn route(texts: &[usize], shares: &[Vec<f32>], device: &Device) -> Result<Route> {
    let tokens = shares.first().map_or(0, Vec::len);
    let weights = |shares: &[f32]| Tensor::from_slice(shares, (1, tokens, 1), device);
    let mut whole = vec![1.0; tokens];
    for of_region in shares {
        for (whole, share) in whole.iter_mut().zip(of_region) {
            *whole = f32::max(*whole - share, 0.0);
        }
    }
    let mut regions = vec![];
    for (text, of_region) in texts.iter().zip(shares) {
        regions.push((*text, weights(of_region)?));
    }
    Ok(Route {
        whole: weights(&whole)?,
        regions,
    })
}

/// What steering adds to the cost of a search for a prompt of the usual number of concepts, unless
/// the settings name them.
pub(super) fn steering_costs(
    steer: &Steer,
    grids: &[(usize, usize)],
    config: &Config,
) -> Option<SteeringCosts> {
    let options = steer.options()?;
    let texts = match options.concepts.len() {
        0 => USUAL_CONCEPTS,
        given => given,
    };
    let mut scales = vec![];
    for scale in steered_scales(options, grids).ok()? {
        let (rows, columns) = grids[scale];
        let text = texts * USUAL_REGION_TEXT;
        scales.push((scale, config.region_flops(rows * columns, text)));
    }
    Some(SteeringCosts {
        scales,
        texts,
        tokens: USUAL_REGION_TEXT,
        text_flops: config.region_text_flops(USUAL_REGION_TEXT),
        share: options.share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::infinity::{Pixels, Schedule, TEMPLATES};

    fn region(text: &str, bounds: [f64; 4]) -> Region {
        let text = text.to_owned();
        Region { text, bounds }
    }

    #[test]
    fn every_released_schedule_has_a_scale_of_about_16_tokens() {
        for aspect in TEMPLATES {
            for pixels in Pixels::all() {
                let grids = Schedule::released(aspect, pixels).unwrap().grids;
                let (rows, columns) = grids[steered_scale(&grids).unwrap()];
                assert!(
                    (10..=28).contains(&(rows * columns)),
                    "{aspect}: {rows} x {columns}"
                );
                assert!(rows.min(columns) > 1, "{aspect}: {rows} x {columns}");
            }
        }
        let of = |aspect| {
            let grids = Schedule::released(aspect, Pixels::P1M).unwrap().grids;
            grids[steered_scale(&grids).unwrap()]
        };
        assert_eq!(of(1.0), (4, 4));
        assert_eq!(of(0.75), (3, 4));
        assert_eq!(of(3.0), (6, 2));
    }

    #[test]
    fn a_schedule_without_such_a_scale_is_not_steered() {
        assert_eq!(steered_scale(&[(1, 1), (8, 8)]), None);
        assert_eq!(steered_scale(&[(1, 1), (1, 16)]), None);
        assert_eq!(steered_scale(&[]), None);
        let demo = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (8, 8)];
        assert_eq!(steered_scale(&demo), Some(3));
    }

    #[test]
    fn hard_edges_divide_the_cells_and_leave_a_middle_line() {
        let halves = [
            region("a", [0.0, 0.0, 0.5, 1.0]),
            region("b", [0.5, 0.0, 1.0, 1.0]),
        ];
        let even = shares(&halves, (1, 4), 0.0);
        assert_eq!(even, [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]);
        let odd = shares(&halves, (1, 3), 0.0);
        assert_eq!(odd, [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]);
    }

    #[test]
    fn soft_edges_fade_between_regions_only() {
        let halves = [
            region("a", [0.0, 0.0, 0.5, 1.0]),
            region("b", [0.5, 0.0, 1.0, 1.0]),
        ];
        let soft = shares(&halves, (1, 4), 0.5);
        assert_eq!(soft, [[1.0, 0.75, 0.25, 0.0], [0.0, 0.25, 0.75, 1.0]]);
    }

    #[test]
    fn shares_of_a_token_never_exceed_one() {
        let overlapping = [
            region("a", [0.0, 0.0, 1.0, 1.0]),
            region("b", [0.25, 0.25, 0.75, 0.75]),
        ];
        let shares = shares(&overlapping, (4, 4), 0.0);
        assert_eq!((shares[0][0], shares[1][0]), (1.0, 0.0));
        assert_eq!((shares[0][5], shares[1][5]), (0.5, 0.5));
    }

    #[test]
    fn concepts_are_whole_words_of_the_prompt() {
        let check = |text: &str, prompt: &str| {
            check_concepts(&[region(text, [0.0, 0.0, 1.0, 1.0])], prompt)
        };
        assert!(check("a  Red circle", "A red Circle and a cat").is_ok());
        assert!(check("a cat", "a cat.").is_ok());
        assert!(check("a cat", "a cathedral").is_err());
        assert!(check("a dog", "a cat").is_err());
    }

    #[test]
    fn layouts_that_do_not_fit_the_grid_are_refused() {
        let narrow = region("a", [0.0, 0.0, 0.1, 1.0]);
        let error = check_cells(&[narrow], &[(4, 4)]).unwrap_err();
        assert!(error.to_string().contains("fills no cell"), "{error}");
        let full = vec![region("a", [0.0, 0.0, 1.0, 1.0]); 17];
        let error = check_cells(&full, &[(4, 4)]).unwrap_err();
        assert!(error.to_string().contains("17 concepts"), "{error}");
    }
}
