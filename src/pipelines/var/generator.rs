//! VAR as a model family.

use candle_core::Device;
use ttsvar_search::Pipeline;

use super::{Architecture, ClassModel, Settings, VarNetworks, VarOutline, VarPipeline};
use crate::{
    Error, Result,
    hub::{Bundle, Description},
    loading::{Dtype, Evict, Evictable, LoadReport, Loaded, Loader},
    models::{var::Var, vq_vae},
    nn::Weights,
    options::Options,
    pipelines::{
        Conditioning, Editor, Family, Generator, ImageSize, Networks, Outline, PipelineContext,
        check_single_size, codebook::CodebookEditor, described_classes, refuse_decoder_options,
        refuse_options, steers,
    },
    text::Classes,
};

/// The family of class-conditional VAR, d16 to d36.
pub struct VarFamily;

impl Family for VarFamily {
    fn takes_classes(&self) -> bool {
        true
    }

    fn classes(&self, bundle: &Bundle) -> Result<Option<Classes>> {
        let source = bundle.generator_weights(&Var::SIGNATURE)?;
        let count = Var::classes(&Weights::new(source, Dtype::F32, &Device::Cpu))?;
        described_classes(&bundle.description, count).map(Some)
    }

    fn resolve(&self, options: Options, defaults: &Options) -> Result<Options> {
        // A merge replaces a preset by its values.
        let preset = options.sampling.is_some();
        let options = options.or(defaults);
        refuse_decoder_options("VAR", &options)?;
        refuse_options(
            "VAR",
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
        let name = &description.name;
        let arch = Architecture::named(name)
            .ok_or_else(|| Error::internal(format!("the sizes of `{name}` are not known")))?;
        let grid = arch.grids().last().copied().unwrap_or((1, 1));
        check_single_size(name, grid, arch.decoder().patch(), options)?;
        Ok(Box::new(VarOutline::new(arch, options, dtype)?))
    }

    fn advice(&self, _: &Description, _: &Options) -> Option<String> {
        None
    }

    fn load(
        &self,
        bundle: &Bundle,
        loader: &Loader,
        _: bool,
        report: &mut LoadReport,
    ) -> Result<Box<dyn Generator>> {
        let of_model = bundle.clone();
        let load = move |loader: &Loader| load_networks(&of_model, loader);
        let networks = Evictable::new("transformer and decoder", loader, true, report, load)?;
        let config = networks.measured().transformer.config();
        Ok(Box::new(VarGenerator {
            classes: described_classes(&bundle.description, config.classes)?,
            name: bundle.description.name.clone(),
            editor: CodebookEditor {
                bundle: bundle.clone(),
                loader: loader.clone(),
            },
            networks,
        }))
    }
}

fn load_networks(bundle: &Bundle, loader: &Loader) -> Result<Loaded<VarNetworks>> {
    let transformer = bundle.generator_weights(&Var::SIGNATURE)?;
    let tokenizer = bundle.vae_weights(&vq_vae::SIGNATURE)?;
    let given = bundle.description.generator.scales.as_deref();
    let origin = transformer.origin();
    let transformer = loader.load(transformer, "", &[], |w| load_transformer(w, given))?;
    check_grids(&origin, &transformer.network, given)?;
    let tokenizer = loader.load(tokenizer, "", &vq_vae::UNUSED, vq_vae::load_for_images)?;
    let loaded = transformer.and(tokenizer, VarNetworks::new);
    loaded.network.check()?;
    Ok(loaded)
}

/// A checkpoint tells its token grids; one without that buffer needs them from the description.
fn load_transformer(w: &Weights, given: Option<&[(usize, usize)]>) -> Result<Var> {
    match given {
        Some(grids) if !w.has("lvl_1L") => Var::load_with_grids(w, grids.to_vec()),
        _ => Var::load(w),
    }
}

/// The grids of the description must be those of the checkpoint.
fn check_grids(origin: &str, network: &Var, given: Option<&[(usize, usize)]>) -> Result<()> {
    let found = &network.config().grids;
    match given {
        Some(expected) if expected != found => {
            let expected = sides(expected);
            let found = sides(found);
            Err(Error::input(format!(
                "{origin}: expected token grids with sides {expected}, found {found}"
            ))
            .with_hint(
                "var_d36.pth is for 512 x 512 pixels, the other files are for 256 x 256; \
                 a bundle.toml may leave `scales` out",
            ))
        }
        _ => Ok(()),
    }
}

/// The longer sides of token grids as text.
fn sides(grids: &[(usize, usize)]) -> String {
    let sides = grids
        .iter()
        .map(|(rows, columns)| rows.max(columns).to_string());
    sides.collect::<Vec<_>>().join(", ")
}

/// A VAR with its files.
struct VarGenerator {
    name: String,
    editor: CodebookEditor,
    networks: Evictable<VarNetworks>,
    classes: Classes,
}

impl VarGenerator {
    /// The token grid of the last scale.
    fn grid(&self) -> (usize, usize) {
        let grids = &self.networks.measured().transformer.config().grids;
        grids.last().copied().unwrap_or((1, 1))
    }
}

impl Generator for VarGenerator {
    fn conditioning(&self) -> Conditioning<'_> {
        Conditioning::Class {
            classes: &self.classes,
        }
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
        check_single_size(
            &self.name,
            self.grid(),
            self.networks.measured().decoder.patch(),
            options,
        )?;
        if let Some(class) = &options.class {
            self.classes.find(class.as_str())?;
        }
        let model = ClassModel::new(&self.networks, Settings::from_options(options))?
            .with_rows_at_once(context.rows_at_once.unwrap_or(usize::MAX))
            .with_hidden_block(context.hidden_block)?
            .with_edit(context.edit.clone())?;
        let networks = Networks::new(&self.networks(), &self.evictable(), &context);
        Ok(Box::new(VarPipeline::new(model, &self.classes, networks)))
    }

    fn editor(&self) -> Option<&dyn Editor> {
        Some(&self.editor)
    }

    fn networks(&self) -> Vec<&dyn Evict> {
        vec![&self.networks]
    }

    fn prompt_bytes(&self) -> u64 {
        0
    }

    fn evictable(&self) -> Vec<&dyn Evict> {
        vec![]
    }
}
