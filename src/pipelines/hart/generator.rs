//! HART as a model family.

use std::sync::Arc;

use ttsvar_search::Pipeline;

use super::{
    Architecture, HartNetworks, HartPipeline, INSTRUCTION, Qwen2Text, Settings, TextModel,
    outline::HartOutline, text::EvictableText,
};
use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, Evictable, LoadReport, Loaded, Loader},
    models::{hart::Hart, qwen2::Qwen2Encoder, vq_vae},
    nn::Weights,
    options::Options,
    pipelines::{
        Conditioning, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        check_single_size, refuse_decoder_options, refuse_options, steers,
    },
    text::Qwen2Tokenizer,
};

/// The family of HART.
pub struct HartFamily;

impl Family for HartFamily {
    fn takes_classes(&self) -> bool {
        false
    }

    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options> {
        // A merge replaces a preset by its values.
        let preset = options.sampling.is_some();
        let options = options.or(defaults);
        refuse_decoder_options("HART", &options)?;
        refuse_options(
            "HART",
            [
                ("--negative", options.negative.is_some()),
                ("--steer", steers(&options)),
                ("--sampling", preset),
                ("--cfg-layer", options.cfg_layer.is_some()),
            ],
        )?;
        let released = Settings::default();
        Ok(options.or(&Options {
            cfg: Some(released.cfg),
            tau: Some(released.tau),
            top_p: Some(released.top_p),
            more_smooth: Some(released.more_smooth),
            ..Options::default()
        }))
    }

    fn outline(
        &self,
        description: &Description,
        options: &Options,
        dtype: Dtype,
    ) -> Result<Box<dyn Outline>> {
        let name = &description.name;
        let arch = Architecture::named(name)
            .ok_or_else(|| Error::internal(format!("the sizes of `{name}` are not known")))?;
        let grids = arch.transformer().grids;
        let grid = grids.last().copied().unwrap_or((1, 1));
        check_single_size(name, grid, arch.decoder().patch(), options)?;
        Ok(Box::new(HartOutline::new(arch, options, dtype)?))
    }

    fn advice(&self, _: &Description, _: &Options) -> Option<String> {
        None
    }

    fn load(
        &self,
        bundle: &Bundle,
        loader: &Loader,
        resident: bool,
        report: &mut LoadReport,
    ) -> Result<Box<dyn Generator>> {
        let transformer = bundle.generator_weights(&Hart::SIGNATURE)?;
        let config = bundle.generator_config()?.json()?;
        let tokenizer = bundle.vae_weights(&vq_vae::SIGNATURE)?;
        let transformer = loader.load(transformer, "", &[], |w| Hart::load(w, &config))?;
        report.add(&transformer);
        let tokenizer = loader.load(tokenizer, "", &vq_vae::UNUSED, vq_vae::load_for_images)?;
        report.add(&tokenizer);
        let (quantizer, decoder) = tokenizer.network;
        let networks = HartNetworks {
            transformer: transformer.network,
            quantizer,
            decoder,
        };
        networks.check()?;
        let tokens = networks.transformer.config().context_tokens;
        let text = load_text(bundle, loader, tokens)?;
        report.add(&text);
        Ok(Box::new(HartGenerator {
            name: bundle.description.name.clone(),
            bytes: transformer.bytes + tokenizer.bytes,
            text: evictable_text(text, tokens, bundle, loader, resident)?,
            networks,
        }))
    }
}

fn load_text(bundle: &Bundle, loader: &Loader, tokens: usize) -> Result<Loaded<Qwen2Text>> {
    let json = bundle.tokenizer()?;
    let settings = bundle.tokenizer_config()?;
    let tokenizer = Arc::new(Qwen2Tokenizer::open(&json, settings.as_ref(), tokens)?);
    let config = bundle.text_config()?.json()?;
    let load = |weights: &Weights| {
        let encoder = Qwen2Encoder::load(weights, &config)?;
        Ok(Qwen2Text { tokenizer, encoder })
    };
    let source = bundle.text_weights(&Qwen2Encoder::SIGNATURE)?;
    // Published files may hold a head for words and a vision tower too.
    loader.load(source, "layers", &[], load)
}

/// The text encoder with a function that loads it again.
fn evictable_text(
    text: Loaded<Qwen2Text>,
    tokens: usize,
    bundle: &Bundle,
    loader: &Loader,
    resident: bool,
) -> Result<EvictableText> {
    let sizes = text.network.encoder.sizes().clone();
    let tokenizer = text.network.tokenizer.clone();
    let instruction = tokenizer.encode(INSTRUCTION)?;
    let bundle = bundle.clone();
    let loader = loader.clone();
    let reload = move || load_text(&bundle, &loader, tokens);
    Ok(EvictableText {
        encoder: Evictable::new(text, resident, reload),
        sizes,
        tokenizer,
        tokens: instruction.len() + tokens,
    })
}

/// A loaded HART with its text encoder.
struct HartGenerator {
    name: String,
    networks: HartNetworks,
    text: EvictableText,
    /// Bytes of transformer and tokenizer.
    bytes: u64,
}

impl HartGenerator {
    /// The token grid of the last scale.
    fn grid(&self) -> (usize, usize) {
        let grids = &self.networks.transformer.config().grids;
        grids.last().copied().unwrap_or((1, 1))
    }
}

impl Generator for HartGenerator {
    fn conditioning(&self) -> Conditioning<'_> {
        Conditioning::Text { words: None }
    }

    fn image_sizes(&self) -> Vec<ImageSize> {
        let (rows, columns) = self.grid();
        let patch = self.networks.decoder.patch();
        vec![ImageSize {
            width: columns * patch,
            height: rows * patch,
            pixels: None,
        }]
    }

    fn pipeline(
        &self,
        options: &Options,
        context: PipelineContext,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let patch = self.networks.decoder.patch();
        check_single_size(&self.name, self.grid(), patch, options)?;
        let model = TextModel::new(&self.networks, Settings::from_options(options))?
            .with_rows_at_once(context.rows_at_once.unwrap_or(usize::MAX))
            .with_hidden_block(context.hidden_block)?;
        let mut networks = Networks {
            resident: self.bytes + context.resident,
            encoding: 0,
            scoring: context.scoring,
        };
        match self.text.encoder.is_resident() {
            true => networks.resident += self.text.encoder.bytes(),
            false => networks.encoding = self.text.encoder.bytes(),
        }
        Ok(Box::new(HartPipeline::new(model, &self.text, networks)?))
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        vec![&self.text.encoder]
    }
}
