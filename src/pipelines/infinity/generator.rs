//! Infinity as a model family.

use candle_core::Tensor;
use ttsvar_search::{Image, Pipeline};

use super::{
    ImageModel, InfinityOutline, InfinityPipeline, Settings, cells_per_token, pair::check_pair,
};
use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, Evictable, LoadReport, Loaded, Loader},
    models::{
        autoencoder::Decoder,
        bsq_vae::{self, BsqVae},
        infinity::{Infinity, Pixels, Schedule, TEMPLATES},
    },
    options::Options,
    pipelines::{
        Conditioning, Editor, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        check_single_size, costs::USUAL_TEXT, edit, refuse_decoder_options, refuse_options,
        t5_text::EvictableText,
    },
    text::T5Tokenizer,
};

/// The released model whose users find smaller images bad: FoundationVision/Infinity, issues 23 and
/// 90.
const TRAINED_AT_1M: &str = "infinity-2b";

/// The family of Infinity 2B and 8B.
pub struct InfinityFamily;

impl Family for InfinityFamily {
    fn takes_classes(&self) -> bool {
        false
    }

    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options> {
        let options = options.or(defaults);
        refuse_decoder_options("Infinity", &options)?;
        refuse_options(
            "Infinity",
            [("--more-smooth", options.more_smooth.is_some())],
        )?;
        pixels(&options)?;
        let released = Settings::default();
        Ok(options.or(&Options {
            cfg: Some(released.cfg),
            tau: Some(released.tau),
            top_p: Some(released.top_p),
            top_k: Some(released.top_k),
            ..Options::default()
        }))
    }

    fn outline(
        &self,
        description: &Description,
        options: &Options,
        dtype: Dtype,
    ) -> Result<Box<dyn Outline>> {
        let outline = InfinityOutline::released(&description.name, options, dtype)?;
        Ok(Box::new(outline))
    }

    fn advice(&self, description: &Description, options: &Options) -> Option<String> {
        let pixels = pixels(options).ok().flatten()?;
        let is_small = description.name == TRAINED_AT_1M && pixels != Pixels::P1M;
        is_small.then(|| {
            format!(
                "the released weights of {TRAINED_AT_1M} were trained for 1M pixels only; \
                 images of {pixels} are worse"
            )
        })
    }

    fn load(
        &self,
        bundle: &Bundle,
        loader: &Loader,
        resident: bool,
        report: &mut LoadReport,
    ) -> Result<Box<dyn Generator>> {
        check_scales(&bundle.description)?;
        let transformer = bundle.generator_weights(&Infinity::SIGNATURE)?;
        let decoder = bundle.vae_weights(&bsq_vae::SIGNATURE)?;
        check_pair(bundle, &*transformer, &*decoder)?;
        let of_bundle = bundle.clone();
        let load = move |loader: &Loader| load_transformer(&of_bundle, loader);
        let transformer = Evictable::new("transformer", loader, true, report, load)?;
        let of_bundle = bundle.clone();
        let load = move |loader: &Loader| load_decoder(&of_bundle, loader);
        let decoder = Evictable::new("decoder", loader, true, report, load)?;
        let cells = cells_per_token(transformer.measured(), decoder.measured())?;
        Ok(Box::new(InfinityGenerator {
            token: cells * decoder.measured().patch(),
            transformer,
            decoder,
            bundle: bundle.clone(),
            loader: loader.clone(),
            text: EvictableText::open(bundle, loader, T5Tokenizer::MAX_TOKENS, resident, report)?,
        }))
    }
}

fn load_transformer(bundle: &Bundle, loader: &Loader) -> Result<Loaded<Infinity>> {
    let source = bundle.generator_weights(&Infinity::SIGNATURE)?;
    loader.load(source, "", &[], Infinity::load)
}

fn load_decoder(bundle: &Bundle, loader: &Loader) -> Result<Loaded<Decoder>> {
    let source = bundle.vae_weights(&bsq_vae::SIGNATURE)?;
    let unused = ["encoder.", "quantize.", "quantizer."];
    loader.load(source, "", &unused, BsqVae::load_decoder)
}

/// Scale 0 has a single token, which the network makes from the text.
fn check_scales(description: &Description) -> Result<()> {
    let scales = description.generator.scales.as_deref();
    match scales.and_then(<[_]>::first) {
        Some((height, width)) if (*height, *width) != (1, 1) => {
            let message =
                format!("the first of `scales`: expected [1, 1], found [{height}, {width}]");
            Err(Error::input(message).with_hint(
                "Infinity makes scale 0 from the text as one token; begin `scales` with [1, 1]",
            ))
        }
        _ => Ok(()),
    }
}

/// An Infinity with its files.
struct InfinityGenerator {
    /// The files, for the encoder, which is loaded only for edits.
    bundle: Bundle,
    loader: Loader,
    transformer: Evictable<Infinity>,
    decoder: Evictable<Decoder>,
    text: EvictableText,
    /// Pixels along one side of a token.
    token: usize,
}

impl InfinityGenerator {
    /// The only words that the model knows; `None` if it takes any.
    fn words(&self) -> Option<&[String]> {
        self.bundle.description.text.as_ref()?.words.as_deref()
    }

    fn schedule(&self, options: &Options) -> Result<Schedule> {
        let generator = &self.bundle.description.generator;
        let Some(grids) = &generator.scales else {
            return released_schedule(options);
        };
        let last = grids.last().copied().unwrap_or((1, 1));
        check_single_size(&self.bundle.description.name, last, self.token, options)?;
        Ok(Schedule {
            grids: grids.clone(),
            rope_grid: generator.rope_grid.unwrap_or(last),
        })
    }

    fn image_size(&self, grid: (usize, usize), pixels: Option<Pixels>) -> ImageSize {
        let (rows, columns) = grid;
        ImageSize {
            width: columns * self.token,
            height: rows * self.token,
            pixels: pixels.map(|pixels| pixels.to_string()),
        }
    }
}

impl Generator for InfinityGenerator {
    fn conditioning(&self) -> Conditioning<'_> {
        Conditioning::Text {
            words: self.words(),
        }
    }

    fn image_sizes(&self) -> Vec<ImageSize> {
        if let Some(grids) = &self.bundle.description.generator.scales {
            let last = grids.last().into_iter();
            return last.map(|grid| self.image_size(*grid, None)).collect();
        }
        let mut sizes = vec![];
        for pixels in Pixels::all() {
            for aspect in TEMPLATES {
                if let Ok(schedule) = Schedule::released(aspect, pixels)
                    && let Some(grid) = schedule.grids.last()
                {
                    sizes.push(self.image_size(*grid, Some(pixels)));
                }
            }
        }
        sizes
    }

    fn pipeline(
        &self,
        options: &Options,
        context: PipelineContext,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let model = ImageModel::new(
            &self.transformer,
            &self.decoder,
            &self.schedule(options)?,
            Settings::from_options(options),
            &self.loader.device,
        )?;
        let model = model
            .with_rows_at_once(context.rows_at_once.unwrap_or(usize::MAX))
            .with_hidden_block(context.hidden_block)?
            .with_edit(context.edit.clone())?;
        let networks = Networks::new(&self.networks(), &self.evictable(), &context);
        let pipeline = InfinityPipeline::new(model, &self.text, networks)?;
        Ok(Box::new(pipeline.with_words(self.words())))
    }

    fn editor(&self) -> Option<&dyn Editor> {
        Some(self)
    }

    fn networks(&self) -> Vec<&dyn Evict> {
        vec![&self.transformer, &self.decoder]
    }

    fn prompt_bytes(&self) -> u64 {
        let width = self.transformer.measured().config().text_width;
        (USUAL_TEXT * width * size_of::<f32>()) as u64
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        vec![&self.text.encoder]
    }
}

impl Editor for InfinityGenerator {
    fn encode(&self, image: &Image) -> Result<Tensor> {
        let source = self.bundle.vae_weights(&bsq_vae::SIGNATURE)?;
        let weights = self.loader.weights(source, self.loader.dtype);
        let encoder = BsqVae::load_encoder(&weights)?;
        edit::latent(image, &weights, |pixels| encoder.forward(pixels))
    }
}

/// The size in `options`, if they have one.
///
/// # Errors
/// It is unknown.
fn pixels(options: &Options) -> Result<Option<Pixels>> {
    options.pixels.as_deref().map(str::parse).transpose()
}

/// The released schedule for the aspect and the size in `options`.
///
/// # Errors
/// The models do not support the aspect or the size.
pub fn released_schedule(options: &Options) -> Result<Schedule> {
    let aspect = options.aspect.as_ref().map_or(1.0, |aspect| aspect.ratio());
    Schedule::released(aspect, pixels(options)?.unwrap_or(Pixels::P1M))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::released;

    #[test]
    fn small_images_of_the_released_2b_are_advised_against() {
        let advice = |model: &str, pixels: Option<&str>| {
            let options = Options {
                pixels: pixels.map(str::to_owned),
                ..Options::default()
            };
            InfinityFamily.advice(&released::description(model).unwrap(), &options)
        };
        for pixels in ["0.06M", "0.25M", "0.60M"] {
            let text = advice("infinity-2b", Some(pixels)).unwrap();
            assert!(text.contains("1M") && text.contains(pixels), "{text}");
        }
        assert_eq!(advice("infinity-2b", Some("1M")), None);
        assert_eq!(advice("infinity-8b-512", Some("0.25M")), None);
    }

    #[test]
    fn an_unknown_size_is_answered_with_the_known_ones() {
        let options = Options {
            pixels: Some("512".to_owned()),
            ..Options::default()
        };
        let error = pixels(&options).unwrap_err();
        assert_eq!(error.to_string(), "unknown image size `512`");
        assert_eq!(
            error.hint().unwrap(),
            "at an aspect of 1:1, the sizes are 0.06M (256 x 256), 0.25M (512 x 512), \
             0.60M (768 x 768), 1M (1024 x 1024)"
        );
    }
}
