//! FlexAR as two model families: of texts and of classes.

use std::sync::Arc;

use candle_core::Device;
use ttsvar_search::Pipeline;

use super::{
    Architecture, FlexModel, FlexNetworks, FlexPipeline, Settings, Source, outline::FlexOutline,
};
use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, Evictable, LoadReport, Loaded, Loader},
    models::{
        flexar::{self, FlexAr, FlexArConfig},
        flextok::{self, FlexTokConfig, FlowDecoder, Fsq},
        kl_vae::{self, DiffusersNames},
    },
    nn::Weights,
    options::Options,
    pipelines::{
        Conditioning, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        check_single_size, costs::USUAL_TEXT, described_classes, refuse_options, steers,
        t5_text::EvictableText,
    },
    text::Classes,
};

/// The family of FlexAR that draws the tokens of FlexTok, from texts or from classes.
pub struct FlexArFamily {
    /// Images are generated from classes.
    pub classes: bool,
}

impl Family for FlexArFamily {
    fn takes_classes(&self) -> bool {
        self.classes
    }

    fn classes(&self, bundle: &Bundle) -> Result<Option<Classes>> {
        if !self.classes {
            return Ok(None);
        }
        let source = bundle.generator_weights(&flexar::SIGNATURE)?;
        let weights = Weights::new(source, Dtype::F32, &Device::Cpu);
        let config = prior_config(bundle)?;
        let count = FlexAr::classes(&weights, &config)?;
        described_classes(&bundle.description, count).map(Some)
    }

    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options> {
        // A merge replaces a preset by its values.
        let preset = options.sampling.is_some();
        let options = options.or(defaults);
        refuse_options(
            "FlexAR",
            [
                ("--negative", self.classes && options.negative.is_some()),
                ("--steer", steers(&options)),
                ("--sampling", preset),
                ("--cfg-layer", options.cfg_layer.is_some()),
                ("--more-smooth", options.more_smooth.is_some()),
            ],
        )?;
        let settings = Settings::from_options(&options, self.classes);
        Ok(options.or(&settings.to_options()))
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
        check_single_size(name, arch.latent_size(), arch.vae().patch(), options)?;
        let prefixes = description.generator.prefixes.as_deref();
        Ok(Box::new(FlexOutline::new(arch, prefixes, options, dtype)?))
    }

    fn advice(&self, _: &Description, options: &Options) -> Option<String> {
        let few = options.decoder_steps.is_some_and(|steps| steps < 10);
        few.then(|| {
            "the released code decodes images in 20 to 25 steps; quality with fewer than 10 steps \
             was not measured"
                .to_owned()
        })
    }

    fn load(
        &self,
        bundle: &Bundle,
        loader: &Loader,
        resident: bool,
        report: &mut LoadReport,
    ) -> Result<Box<dyn Generator>> {
        let config = prior_config(bundle)?;
        report.notes.extend(other_tokenizer(bundle, &config));
        let of_bundle = bundle.clone();
        let load = move |loader: &Loader| load_networks(&of_bundle, loader);
        let name = "transformer and tokenizer";
        let networks = Evictable::new(name, loader, true, report, load)?;
        let classes_of_prior = networks.measured().prior.sizes().classes;
        let prompts = match (&config.text, classes_of_prior) {
            (Some(text), _) => {
                let text = EvictableText::open(bundle, loader, text.tokens, resident, report)?;
                Prompts::Texts(Box::new(text))
            }
            (None, Some(count)) => Prompts::Classes(described_classes(&bundle.description, count)?),
            (None, None) => return Err(Error::input("a model without texts and classes")),
        };
        let generator = FlexArGenerator {
            name: bundle.description.name.clone(),
            prefixes: bundle.description.generator.prefixes.clone(),
            networks,
            prompts,
        };
        generator.check()?;
        Ok(Box::new(generator))
    }
}

/// The transformer and the tokenizer, which belong together.
fn load_networks(bundle: &Bundle, loader: &Loader) -> Result<Loaded<FlexNetworks>> {
    let config = prior_config(bundle)?;
    let prior = bundle.generator_weights(&flexar::SIGNATURE)?;
    let load = |w: &Weights| FlexAr::load(w, &config);
    let prior = loader.load(prior, "", &flexar::UNUSED, load)?;
    let (path, settings) = bundle.vae_settings()?;
    let settings = FlexTokConfig::read(&path, &settings)?;
    let tokenizer = bundle.vae_weights(&flextok::SIGNATURE)?;
    let tokenizer = Arc::new(DiffusersNames::new(
        tokenizer,
        &format!("{}.", flextok::VAE),
    ));
    let groups = bundle.description.generator.vae_groups;
    let groups = groups.unwrap_or(kl_vae::PUBLISHED_GROUPS);
    let load = |w: &Weights| load_tokenizer(w, &settings, groups);
    // Checkpoints hold tensors that served the training; those of the VAE should all be read.
    let tokenizer = loader.load(tokenizer, "vae.", &flextok::UNUSED, load)?;
    let loaded = prior.and(tokenizer, |prior, (flow, vae)| FlexNetworks {
        prior,
        flow,
        vae,
        scaling_factor: settings.scaling_factor,
        projected_guidance: config.projected_guidance,
    });
    loaded.network.check()?;
    Ok(loaded)
}

/// A note if the transformer was trained with another tokenizer than that of the bundle.
fn other_tokenizer(bundle: &Bundle, config: &FlexArConfig) -> Option<String> {
    let name = |path: &str| {
        let last = path.trim_end_matches('/').rsplit('/').next();
        last.unwrap_or_default().to_lowercase().replace('_', "-")
    };
    let trained = config.tokenizer.as_deref()?;
    let used = &bundle.description.generator.vae;
    (name(trained) != name(used)).then(|| {
        let trained = trained.escape_debug();
        format!("the transformer was trained with the tokenizer `{trained}`, not with `{used}`")
    })
}

/// The settings of the transformer.
fn prior_config(bundle: &Bundle) -> Result<FlexArConfig> {
    let file = bundle.generator_yaml()?;
    FlexArConfig::read(&file.path().display().to_string(), &file.yaml()?)
}

fn load_tokenizer(
    w: &Weights,
    settings: &FlexTokConfig,
    groups: usize,
) -> Result<(FlowDecoder, kl_vae::Decoder)> {
    let fsq = Fsq::new(settings.levels.clone())?;
    let flow = FlowDecoder::load(&w.pp("decoder"), &settings.decoder, fsq)?;
    Ok((flow, kl_vae::Decoder::load(&w.pp(flextok::VAE), groups)?))
}

/// What prompts are made of.
enum Prompts {
    Texts(Box<EvictableText>),
    Classes(Classes),
}

/// A FlexAR with its tokenizer and their files.
struct FlexArGenerator {
    name: String,
    /// The number of tokens after each scale, if the bundle says so.
    prefixes: Option<Vec<usize>>,
    networks: Evictable<FlexNetworks>,
    prompts: Prompts,
}

impl FlexArGenerator {
    fn source(&self) -> Source<'_> {
        match &self.prompts {
            Prompts::Texts(text) => Source::Texts(&**text),
            Prompts::Classes(classes) => Source::Classes(classes),
        }
    }

    fn takes_classes(&self) -> bool {
        matches!(self.prompts, Prompts::Classes(_))
    }

    fn model(&self, settings: Settings) -> Result<FlexModel<'_>> {
        FlexModel::new(&self.networks, settings, self.prefixes.as_deref())
    }

    /// Checks that the text encoder and the prefixes fit.
    fn check(&self) -> Result<()> {
        let settings = Settings::from_options(&Options::default(), self.takes_classes());
        let model = self.model(settings)?;
        FlexPipeline::new(model, self.source(), Networks::default()).map(|_| ())
    }
}

impl Generator for FlexArGenerator {
    fn conditioning(&self) -> Conditioning<'_> {
        match &self.prompts {
            Prompts::Texts(_) => Conditioning::Text { words: None },
            Prompts::Classes(classes) => Conditioning::Class { classes },
        }
    }

    fn image_sizes(&self) -> Vec<ImageSize> {
        let networks = self.networks.measured();
        vec![ImageSize::single(
            networks.latent_size(),
            networks.vae.patch(),
        )]
    }

    fn pipeline(
        &self,
        options: &Options,
        context: PipelineContext,
    ) -> Result<Box<dyn Pipeline + '_>> {
        let measured = self.networks.measured();
        let patch = measured.vae.patch();
        check_single_size(&self.name, measured.latent_size(), patch, options)?;
        if let (Some(class), Prompts::Classes(classes)) = (&options.class, &self.prompts) {
            classes.find(class.as_str())?;
        }
        if context.hidden_block.is_some() {
            let message = "FlexAR has no hidden states for a latent verifier";
            return Err(Error::input(message).with_hint("use a verifier that reads latents alone"));
        }
        let settings = Settings::from_options(options, self.takes_classes());
        let model = self
            .model(settings)?
            .with_rows_at_once(context.rows_at_once.unwrap_or(usize::MAX));
        let networks = Networks::new(&self.networks(), &self.evictable(), &context);
        Ok(Box::new(FlexPipeline::new(model, self.source(), networks)?))
    }

    fn networks(&self) -> Vec<&dyn Evict> {
        vec![&self.networks]
    }

    fn prompt_bytes(&self) -> u64 {
        let width = self.networks.measured().prior.sizes().text_width;
        (USUAL_TEXT * width.unwrap_or(0) * size_of::<f32>()) as u64
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        match &self.prompts {
            Prompts::Texts(text) => vec![&text.encoder],
            Prompts::Classes(_) => vec![],
        }
    }
}
