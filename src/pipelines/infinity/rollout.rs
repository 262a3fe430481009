//! One scale of the candidates of a prompt.

use candle_core::{DType, Device, Tensor};
use ttsvar_search::rng::Stream;

use super::{ImageModel, draw_bits, sampling::draw_bits_noting, steering::PreparedLayouts};
use crate::{
    Result,
    models::infinity::{Route, ScaleRun, Text},
    pipelines::{
        costs::StepCosts,
        rollout::{ModelRollout, ScaleModel, ScaleOutput, ScaleStep},
        rows::Row,
        truncation::DrawSums,
    },
};

/// Candidates of one prompt.
pub type InfinityRollout<'a> = ModelRollout<'a, ImageModel<'a>>;

/// The texts of a prompt, prepared for the transformer.
pub struct Conditions {
    /// The text of each guidance branch.
    pub(super) texts: Vec<Text>,
    /// The layouts to which candidates are steered.
    pub(super) layouts: Option<PreparedLayouts>,
}

impl Conditions {
    /// The route of a candidate at a scale.
    fn route(&self, scale: usize, row: &Row) -> Option<&Route> {
        self.layouts.as_ref()?.route(scale, row.layout)
    }
}

impl ImageModel<'_> {
    /// The input of one branch: (R, L, C)
    fn input(&self, text: &Text, step: &ScaleStep<Conditions>) -> Result<Tensor> {
        let transformer = self.transformer.get()?;
        match step.tokens {
            None => transformer.first_input(text),
            Some(tokens) => transformer.next_input(tokens, step.scale),
        }
    }
}

impl ScaleModel for ImageModel<'_> {
    type Conditions = Conditions;
    /// The bits of all tokens.
    type Drawn = Vec<u8>;

    fn grids(&self) -> &[(usize, usize)] {
        &self.grids
    }

    fn channels(&self) -> usize {
        self.latent.channels
    }

    fn latent_size(&self) -> (usize, usize) {
        self.latent.size()
    }

    fn patch(&self) -> usize {
        self.decoder.measured().patch()
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn dtype(&self) -> DType {
        self.transformer.measured().dtype()
    }

    fn hidden_block(&self) -> Option<usize> {
        self.hidden_block
    }

    fn wants_statistics(&self) -> bool {
        self.settings.token_statistics
    }

    fn tau(&self, scale: usize) -> f32 {
        self.settings.tau.at(scale)
    }

    fn text_tokens(&self, conditions: &Conditions) -> Vec<usize> {
        let texts = conditions.texts.iter();
        texts.map(|text| text.normed.dims()[1]).collect()
    }

    fn layout(&self, conditions: &Conditions, seed: u64, number: usize) -> Option<usize> {
        conditions.layouts.as_ref()?.draw(seed, number)
    }

    fn steers(&self, conditions: &Conditions, scale: usize) -> bool {
        let layouts = conditions.layouts.as_ref();
        layouts.is_some_and(|layouts| layouts.steers(scale))
    }

    /// Operations of attending to the texts of regions.
    fn steering_flops(&self, conditions: &Conditions, scale: usize, states: &[Row]) -> f64 {
        let Some(layouts) = &conditions.layouts else {
            return 0.0;
        };
        let tokens = self.tokens(scale);
        let routes = states.iter().filter_map(|row| conditions.route(scale, row));
        let config = self.config();
        let flops = |route| config.region_flops(tokens, layouts.route_tokens(route));
        routes.map(flops).sum()
    }

    fn input_tokens(&self, scale: usize, sum: &Tensor) -> Result<Tensor> {
        Ok(self.latent.tokens(sum, self.grids[scale])?)
    }

    fn forward(
        &self,
        step: &ScaleStep<Conditions>,
        watch: &mut dyn FnMut(usize, usize, &Tensor),
    ) -> Result<ScaleOutput> {
        let conditions = step.conditions;
        let texts = &conditions.texts[..step.branches];
        let input = texts.iter().map(|text| self.input(text, step));
        let input = input.collect::<Result<Vec<_>>>()?;
        let routes = step
            .rows
            .iter()
            .map(|row| conditions.route(step.scale, row));
        let routes: Vec<_> = routes.collect();
        let layouts = conditions.layouts.as_ref();
        let run = ScaleRun {
            input: &input,
            texts,
            seen: step.seen,
            routing: layouts.and_then(|layouts| layouts.routing(&routes)),
            rope: &self.ropes[step.scale],
            guidance: self.settings.guidance(step.scale),
            keep: step.keep,
        };
        let (logits, kv) = self.transformer.get()?.forward(run, watch)?;
        Ok(ScaleOutput {
            logits,
            kv,
            last: vec![],
        })
    }

    fn draw(
        &self,
        scale: usize,
        logits: &[f32],
        stream: &mut Stream,
        sums: Option<&mut DrawSums>,
    ) -> Vec<u8> {
        let sampling = self.settings.sampling(scale);
        let Some(sums) = sums else {
            return draw_bits(logits, &sampling, stream);
        };
        let note = |probabilities: &[f32], bit| sums.add(probabilities, usize::from(bit));
        draw_bits_noting(logits, &sampling, stream, note)
    }

    fn add(
        &self,
        scale: usize,
        sum: Option<&Tensor>,
        bits: &Vec<u8>,
        _: Option<&[Tensor]>,
    ) -> Result<Tensor> {
        let codes = self.latent.codes(bits, self.grids[scale])?;
        let add = |codes: &Tensor| Ok(self.latent.add(sum, codes)?);
        match &self.edit {
            Some(edit) => edit.add(scale, &codes, add),
            None => add(&codes),
        }
    }

    fn decode(&self, latent: &Tensor) -> Result<Tensor> {
        let decoder = self.decoder.get()?;
        let decoded = decoder.forward(latent)?;
        match &self.edit {
            Some(edit) => edit.composed(decoded, |latent| decoder.forward(latent)),
            None => Ok(decoded),
        }
    }
}
