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
        Conditioning, Editor, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        Prepared, check_single_size, codebook::CodebookEditor, refuse_decoder_options,
        refuse_options, steers,
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
        let of_model = bundle.clone();
        let load = move |loader: &Loader| load_networks(&of_model, loader);
        let networks = Evictable::new("transformer and decoder", loader, true, report, load)?;
        let tokens = networks.measured().transformer.config().context_tokens;
        Ok(Box::new(HartGenerator {
            name: bundle.description.name.clone(),
            editor: CodebookEditor {
                bundle: bundle.clone(),
                loader: loader.clone(),
            },
            text: open_text(tokens, bundle, loader, resident, report)?,
            networks,
        }))
    }
}

fn load_networks(bundle: &Bundle, loader: &Loader) -> Result<Loaded<HartNetworks>> {
    let transformer = bundle.generator_weights(&Hart::SIGNATURE)?;
    let config = bundle.generator_config()?.json()?;
    let tokenizer = bundle.vae_weights(&vq_vae::SIGNATURE)?;
    let transformer = loader.load(transformer, "", &[], |w| Hart::load(w, &config))?;
    let tokenizer = loader.load(tokenizer, "", &vq_vae::UNUSED, vq_vae::load_for_images)?;
    let loaded = transformer.and(tokenizer, HartNetworks::new);
    loaded.network.check()?;
    Ok(loaded)
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

/// The text encoder, which is read at its first use.
fn open_text(
    tokens: usize,
    bundle: &Bundle,
    loader: &Loader,
    resident: bool,
    report: &mut LoadReport,
) -> Result<EvictableText> {
    let bundle = bundle.clone();
    let load = move |loader: &Loader| load_text(&bundle, loader, tokens);
    let encoder = Evictable::new("text encoder", &loader.of_text(), resident, report, load)?;
    let tokenizer = encoder.measured().tokenizer.clone();
    let instruction = tokenizer.encode(INSTRUCTION)?;
    Ok(EvictableText {
        prepared: Prepared::default(),
        encoder,
        tokenizer,
        tokens: instruction.len() + tokens,
    })
}

/// A HART with its files.
struct HartGenerator {
    name: String,
    editor: CodebookEditor,
    networks: Evictable<HartNetworks>,
    text: EvictableText,
}

impl HartGenerator {
    /// The token grid of the last scale.
    fn grid(&self) -> (usize, usize) {
        let grids = &self.networks.measured().transformer.config().grids;
        grids.last().copied().unwrap_or((1, 1))
    }
}

impl Generator for HartGenerator {
    fn conditioning(&self) -> Conditioning<'_> {
        Conditioning::Text { words: None }
    }

    fn image_sizes(&self) -> Vec<ImageSize> {
        let token = self.networks.measured().decoder.patch();
        vec![ImageSize::single(self.grid(), token)]
    }

    fn pipeline(
        &self,
        options: &Options,
        context: PipelineContext,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let patch = self.networks.measured().decoder.patch();
        check_single_size(&self.name, self.grid(), patch, options)?;
        let model = TextModel::new(&self.networks, Settings::from_options(options))?
            .with_rows_at_once(context.rows_at_once.unwrap_or(usize::MAX))
            .with_hidden_block(context.hidden_block)?
            .with_edit(context.edit.clone())?;
        let networks = Networks::new(&self.networks(), &self.evictable(), &context);
        Ok(Box::new(HartPipeline::new(model, &self.text, networks)?))
    }

    fn editor(&self) -> Option<&dyn Editor> {
        Some(&self.editor)
    }

    fn networks(&self) -> Vec<&dyn Evict> {
        vec![&self.networks]
    }

    fn prompt_bytes(&self) -> u64 {
        let config = self.networks.measured().transformer.config();
        (config.context_tokens * config.context_width * size_of::<f32>()) as u64
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        vec![&self.text.encoder]
    }
}
