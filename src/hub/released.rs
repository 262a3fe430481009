//! The built-in descriptions of released models, for folders without a `bundle.toml`.

use super::{
    catalog,
    description::{
        Description, Features, FeaturesFamily, Generator, GeneratorFamily, Scorer, Text, TextFamily,
    },
};
use crate::options::Options;

/// Names of the built-in descriptions of released models.
pub const NAMES: [&str; 18] = [
    "infinity-2b",
    "infinity-8b",
    "infinity-8b-512",
    "var-d16",
    "var-d20",
    "var-d24",
    "var-d30",
    "var-d36",
    "hart",
    "switti",
    "switti-ar",
    "switti-1024",
    "switti-1024-ar",
    "flexar-113m",
    "flexar-382m",
    "flexar-1b",
    "flexar-3b",
    "flexar-1b-class",
];

/// Sides of the token grids of VAR's released models: 256 and 512 pixels.
const VAR_GRIDS: [[usize; 10]; 2] = [
    [1, 2, 3, 4, 5, 6, 8, 10, 13, 16],
    [1, 2, 3, 4, 6, 9, 13, 18, 24, 32],
];

/// The scorer of the released bundles.
pub const IMAGE_REWARD: &str = "image-reward";
/// The scorer of the demo: ImageReward's network, trained by this project.
pub const DEMO_REWARD: &str = "demo-reward";
const FLAN_T5: &str = "flan-t5-xl";
const QWEN2: &str = "qwen2-vl-1.5b-instruct";
const CLIP_L: &str = "clip-vit-large-patch14";
const BIG_G: &str = "clip-vit-bigg-14";
pub(super) const SWITTI_VAE: &str = "vqvae-switti";
const FLEXTOK: &str = "flextok-d18-d28-dfn";
const FLEXTOK_CLASS: &str = "flextok-d18-d28-in1k";
pub(super) const DINOV2: &str = "dinov2-l-reg";
pub(super) const DINOV2_FOLDER: &str = "dinov2-with-registers-large";

/// The family of a released model.
fn released_family(name: &str) -> GeneratorFamily {
    match name {
        "hart" => GeneratorFamily::Hart,
        name if name.starts_with("switti") => GeneratorFamily::Switti,
        name if name.starts_with("var-") => GeneratorFamily::Var,
        "flexar-1b-class" => GeneratorFamily::FlexArClass,
        name if name.starts_with("flexar-") => GeneratorFamily::FlexAr,
        _ => GeneratorFamily::Infinity,
    }
}

/// The text encoder of a released model of a family.
fn released_text(family: GeneratorFamily) -> Option<Text> {
    let (family, weights, second) = match family {
        GeneratorFamily::Var | GeneratorFamily::FlexArClass => return None,
        GeneratorFamily::Infinity | GeneratorFamily::FlexAr => (TextFamily::T5, FLAN_T5, None),
        GeneratorFamily::Hart => (TextFamily::Qwen2, QWEN2, None),
        GeneratorFamily::Switti => (TextFamily::ClipPair, CLIP_L, Some(BIG_G)),
    };
    Some(Text {
        family,
        weights: weights.to_owned(),
        second: second.map(str::to_owned),
        words: None,
    })
}

/// The built-in description of a released model.
pub fn description(name: &str) -> Option<Description> {
    let known = NAMES
        .contains(&name)
        .then(|| catalog::entry(name))
        .flatten()?;
    let file = |index: usize| Some((*known.files.get(index)?.first()?).to_owned());
    let family = released_family(name);
    let generator = Generator {
        family,
        weights: match family {
            GeneratorFamily::Switti | GeneratorFamily::FlexAr | GeneratorFamily::FlexArClass => {
                name.to_owned()
            }
            _ => file(0)?,
        },
        vae: match family {
            GeneratorFamily::Switti => SWITTI_VAE.to_owned(),
            GeneratorFamily::FlexAr => FLEXTOK.to_owned(),
            GeneratorFamily::FlexArClass => FLEXTOK_CLASS.to_owned(),
            _ => file(1)?,
        },
        vae_groups: None,
        prefixes: None,
        scales: (family == GeneratorFamily::Var).then(|| var_grids(name)),
        rope_grid: None,
        classes: None,
    };
    let text = released_text(family);
    let parts = match &text {
        None => "ImageReward and DINOv2".to_owned(),
        Some(text) => {
            let encoders: Vec<&str> = text.folders().collect();
            format!("{}, ImageReward and DINOv2", encoders.join(", "))
        }
    };
    let features = Features {
        family: FeaturesFamily::Dinov2,
        weights: "dinov2_vitl14_reg4_pretrain.pth".into(),
        heads: None,
        size: None,
    };
    Some(Description {
        name: name.into(),
        about: format!("{name} as published, with {parts}"),
        version: String::new(),
        generator,
        text,
        scorer: vec![Scorer {
            family: IMAGE_REWARD.to_owned(),
            weights: "ImageReward.pt".to_owned(),
            config: None,
            vocab: Some("vocab.txt".to_owned()),
            heads: None,
            encoder: None,
        }],
        features: Some(features),
        verifier: None,
        state_dict: None,
        defaults: match family {
            GeneratorFamily::Var => var_defaults(),
            GeneratorFamily::Infinity => infinity_defaults(name),
            GeneratorFamily::Hart => hart_defaults(),
            GeneratorFamily::Switti => switti_defaults(name),
            GeneratorFamily::FlexAr => flexar_defaults(3.0),
            GeneratorFamily::FlexArClass => flexar_defaults(1.5),
        },
    })
}

/// The token grids (rows, columns) of a released VAR.
pub fn var_grids(name: &str) -> Vec<(usize, usize)> {
    let sides = match name {
        "var-d36" => VAR_GRIDS[1],
        _ => VAR_GRIDS[0],
    };
    sides.into_iter().map(|side| (side, side)).collect()
}

/// The options of VAR's released demo (`demo_sample.ipynb`).
fn var_defaults() -> Options {
    Options {
        cfg: Some(4.0.into()),
        top_k: Some(900),
        top_p: Some(0.95.into()),
        lambda: Some(10.0),
        ..Options::default()
    }
}

/// The options of HART's official commands (`sample.py`).
fn hart_defaults() -> Options {
    Options {
        cfg: Some(4.5.into()),
        more_smooth: Some(true),
        lambda: Some(10.0),
        ..Options::default()
    }
}

/// The options of Switti's official commands: its README for 1024 pixels, its notebook
/// (`inference_example.ipynb`) for 512. The temperature follows from the guidance.
fn switti_defaults(name: &str) -> Options {
    let guidance = match name.contains("1024") {
        true => "6,6,6,6,6,6,6,6,6,6,6,0",
        false => "0,0,6,6,6,6,6,6,0",
    };
    Options {
        cfg: guidance.parse().ok(),
        top_k: Some(400),
        top_p: Some(0.95.into()),
        more_smooth: Some(true),
        lambda: Some(10.0),
        ..Options::default()
    }
}

/// The options of FlexAR's released configurations (`config.yaml`, `generation`).
fn flexar_defaults(cfg: f32) -> Options {
    Options {
        cfg: Some(cfg.into()),
        decoder_steps: Some(25),
        decoder_cfg: Some(7.5),
        lambda: Some(10.0),
        ..Options::default()
    }
}

/// The options of Infinity-2B in the TTS-VAR paper. The temperature of 8B is that of its official
/// notebooks (`interactive_infer_8b.ipynb`, `interactive_infer_8b_512.ipynb`), which have the same
/// guidance.
fn infinity_defaults(name: &str) -> Options {
    let pixels = match name {
        "infinity-8b-512" => "0.25M",
        _ => "1M",
    };
    let tau = match name {
        "infinity-2b" => 0.5,
        _ => 1.0,
    };
    Options {
        cfg: Some(3.0.into()),
        tau: Some(tau.into()),
        top_p: Some(0.97.into()),
        pixels: Some(pixels.to_owned()),
        lambda: Some(10.0),
        ..Options::default()
    }
}
