//! Switti as a model family.

use std::sync::Arc;

use ttsvar_search::Pipeline;

use super::{
    Architecture, Settings, SwittiNetworks, SwittiPipeline, TextModel, check_text,
    outline::SwittiOutline, text::EvictableText,
};
use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, Evictable, LoadReport, Loaded, Loader},
    models::{clip, switti::Switti, vq_vae},
    options::Options,
    pipelines::{
        Conditioning, Editor, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        Prepared, check_single_size, codebook::CodebookEditor, costs::USUAL_TEXT,
        refuse_decoder_options, refuse_options, steers,
    },
    text::ClipTokenizer,
};

/// The family of Switti, for 512 and 1024 pixels, plain or seeing earlier scales (`AR`).
pub struct SwittiFamily;

impl Family for SwittiFamily {
    fn takes_classes(&self) -> bool {
        false
    }

    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options> {
        // A merge replaces a preset by its values.
        let preset = options.sampling.is_some();
        let options = options.or(defaults);
        refuse_decoder_options("Switti", &options)?;
        refuse_options(
            "Switti",
            [
                ("--steer", steers(&options)),
                ("--sampling", preset),
                ("--cfg-layer", options.cfg_layer.is_some()),
            ],
        )?;
        let settings = Settings::from_options(&options);
        Ok(options.or(&Options {
            cfg: Some(settings.cfg),
            tau: Some(settings.tau),
            top_p: Some(settings.top_p),
            top_k: Some(settings.top_k),
            more_smooth: Some(settings.more_smooth),
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
        Ok(Box::new(SwittiOutline::new(arch, options, dtype)?))
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
        let text = open_text(bundle, loader, resident, report)?;
        check_text(networks.measured().transformer.config(), &text)?;
        Ok(Box::new(SwittiGenerator {
            name: bundle.description.name.clone(),
            editor: CodebookEditor {
                bundle: bundle.clone(),
                loader: loader.clone(),
            },
            text,
            networks,
        }))
    }
}

fn load_networks(bundle: &Bundle, loader: &Loader) -> Result<Loaded<SwittiNetworks>> {
    let transformer = bundle.generator_weights(&Switti::SIGNATURE)?;
    let config = bundle.generator_config()?.json()?;
    let tokenizer = bundle.vae_weights(&vq_vae::SIGNATURE)?;
    let transformer = loader.load(transformer, "", &[], |w| Switti::load(w, &config))?;
    let tokenizer = loader.load(tokenizer, "", &vq_vae::UNUSED, vq_vae::load_for_images)?;
    let loaded = transformer.and(tokenizer, SwittiNetworks::new);
    loaded.network.check()?;
    Ok(loaded)
}

/// The text encoders, which are read at their first use.
fn open_text(
    bundle: &Bundle,
    loader: &Loader,
    resident: bool,
    report: &mut LoadReport,
) -> Result<EvictableText> {
    let tokenizer = Arc::new(ClipTokenizer::open_clip(&bundle.tokenizer()?)?);
    let mut open = |name: &'static str, bundle: Bundle| -> Result<_> {
        let of_encoder = bundle.clone();
        let load = move |loader: &Loader| load_encoder(&of_encoder, loader);
        let encoder = Evictable::new(name, &loader.of_text(), resident, report, load)?;
        check_words(&bundle, encoder.measured(), &tokenizer)?;
        Ok(encoder)
    };
    let first = open("first text encoder", bundle.clone())?;
    let second = open("second text encoder", bundle.with_second_text()?)?;
    Ok(EvictableText {
        first,
        second,
        prepared: Prepared::default(),
        tokenizer,
    })
}

fn load_encoder(bundle: &Bundle, loader: &Loader) -> Result<Loaded<clip::TextModel>> {
    let config: clip::Config = bundle.text_config()?.json()?;
    let source = bundle.text_weights(&clip::TextModel::SIGNATURE)?;
    // Published files hold a vision encoder too.
    loader.load(source, "text_model", &[], |w| {
        clip::TextModel::load_alone(w, &config.text_config)
    })
}

/// Both encoders read the ids of one tokenizer.
fn check_words(
    bundle: &Bundle,
    encoder: &clip::TextModel,
    tokenizer: &ClipTokenizer,
) -> Result<()> {
    let words = encoder.words();
    let ids = tokenizer.size();
    if ids <= words {
        return Ok(());
    }
    let name = &bundle.description.name;
    Err(Error::input(format!(
        "`{name}`: the tokenizer has {ids} words, a text encoder {words}"
    ))
    .with_hint("both text encoders must have the vocabulary of the first one's tokenizer.json"))
}

/// A Switti with its files.
struct SwittiGenerator {
    name: String,
    editor: CodebookEditor,
    networks: Evictable<SwittiNetworks>,
    text: EvictableText,
}

impl SwittiGenerator {
    /// The token grid of the last scale.
    fn grid(&self) -> (usize, usize) {
        let grids = &self.networks.measured().transformer.config().grids;
        grids.last().copied().unwrap_or((1, 1))
    }
}

impl Generator for SwittiGenerator {
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
        Ok(Box::new(SwittiPipeline::new(model, &self.text, networks)?))
    }

    fn editor(&self) -> Option<&dyn Editor> {
        Some(&self.editor)
    }

    fn networks(&self) -> Vec<&dyn Evict> {
        vec![&self.networks]
    }

    fn prompt_bytes(&self) -> u64 {
        let config = self.networks.measured().transformer.config();
        (USUAL_TEXT * config.context_width * size_of::<f32>()) as u64
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        vec![&self.text.first, &self.text.second]
    }
}
