//! The catalogue of released weights: their files, their places of publication and their formats.
//!
//! Sizes that are not known are left out.

use std::{fmt, path::PathBuf};

use super::{
    blob::{Folder, Location},
    cache,
};

/// A released model.
#[derive(Debug)]
pub struct Entry {
    /// Its name, also that of the sub-folder that may hold its files.
    pub name: &'static str,
    /// Other sub-folders that may hold its files.
    pub folders: &'static [&'static str],
    /// Its files, each as a list of alternative names.
    pub files: &'static [&'static [&'static str]],
    /// Its place of publication.
    pub source: Source,
    /// Millions of parameters, as its authors state; none if that is not known or it has no
    /// weights.
    pub millions: Option<u32>,
    /// The size of its files in gigabytes, if it is not that of 4 bytes per parameter.
    pub gigabytes: Option<f64>,
    /// The licence of the weights as its authors state it, if that is known here.
    pub licence: Option<&'static str>,
    /// The layout of the tensors in the files.
    pub kind: &'static str,
    /// Its purpose.
    pub used: Use,
    /// A shorter name under which it is downloaded together with what it needs.
    pub alias: Option<&'static str>,
    /// Other entries that it requires.
    pub needs: &'static [&'static str],
}

/// A place of publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository of Hugging Face, `owner/name`.
    HuggingFace(&'static str),
    /// Another place, described in words.
    Elsewhere(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace(repository) => write!(f, "Hugging Face {repository}"),
            Self::Elsewhere(place) => f.write_str(place),
        }
    }
}

/// The purpose of a released model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Generates images.
    Generator,
    /// Encodes prompts.
    Text,
    /// Scores images.
    Scorer,
    /// Computes features of images.
    Features,
    /// Evaluates finished images.
    Evaluation,
}

const INFINITY: Source = Source::HuggingFace("FoundationVision/Infinity");
const INFINITY_FOLDERS: &[&str] = &["infinity", "Infinity", "generator"];
/// The other parts of a search with a released Infinity: text encoder, features and the default
/// scorer.
const SYSTEM: &[&str] = &[
    "flan-t5-xl",
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
const VAR: Source = Source::HuggingFace("FoundationVision/var");
const VAR_FOLDERS: &[&str] = &["var", "VAR", "generator"];
const VAR_KIND: &str = "plain state dict; classes of ImageNet, 256 px";
/// The other parts of a search with a released VAR: features and the default scorer.
const VAR_SYSTEM: &[&str] = &[
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
const HART: Source = Source::HuggingFace("mit-han-lab/hart-0.7b-1024px");
/// The other parts of a search with HART: text encoder, features and the default scorer.
const HART_SYSTEM: &[&str] = &[
    "qwen2-vl-1.5b-instruct",
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
/// The other parts of a search with a released Switti: decoder, text encoders, features and the
/// default scorer.
const SWITTI_SYSTEM: &[&str] = &[
    "vqvae-switti",
    "clip-vit-large-patch14",
    "clip-vit-bigg-14",
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
const FLEXAR_FOLDER: &[&[&str]] = &[&["config.yaml"], &["model.safetensors"]];
/// The other parts of a search with a FlexAR of texts: tokenizer, text encoder, features and the
/// default scorer.
const FLEXAR_SYSTEM: &[&str] = &[
    "flextok-d18-d28-dfn",
    "flan-t5-xl",
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
/// The same for the FlexAR of classes.
const FLEXAR_CLASS_SYSTEM: &[&str] = &[
    "flextok-d18-d28-in1k",
    "dinov2-with-registers-large",
    "image-reward",
    "bert-base-uncased",
];
const T5_WEIGHTS: &[&str] = &[
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
    "model.safetensors",
];
const HF_FOLDER: &[&[&str]] = &[
    &["config.json"],
    &["model.safetensors", "pytorch_model.bin"],
];
const CLIP_FLANT5_FOLDER: &[&[&str]] = &[
    &["config.json"],
    &[
        "model.safetensors",
        "pytorch_model.bin",
        "model.safetensors.index.json",
        "pytorch_model.bin.index.json",
    ],
];
const CLIP_FOLDER: &[&[&str]] = &[
    &["config.json"],
    &["tokenizer.json"],
    &["model.safetensors", "pytorch_model.bin"],
];

/// Where torch.hub keeps checkpoints, from different folders on.
const TORCH_HUB: [&str; 3] = ["checkpoints", "hub/checkpoints", "torch/hub/checkpoints"];

/// Names of files that many models have.
const SHARED_NAMES: [&str; 3] = ["config.json", "config.yaml", "tokenizer.json"];

/// Files by which a folder is known to be one model.
const FOLDER_NAMES: [&str; 2] = ["config.json", "config.yaml"];

const VAR_VAE: &[&str] = &["vae_ch160v4096z32.pth"];

/// A released VAR.
const fn var(
    name: &'static str,
    files: &'static [&'static [&'static str]],
    millions: u32,
    kind: &'static str,
) -> Entry {
    Entry {
        name,
        folders: VAR_FOLDERS,
        files,
        source: VAR,
        millions: Some(millions),
        gigabytes: None,
        licence: Some("MIT"),
        kind,
        used: Use::Generator,
        alias: None,
        needs: VAR_SYSTEM,
    }
}

/// A released Switti.
const fn switti(
    name: &'static str,
    folders: &'static [&'static str],
    repository: &'static str,
    kind: &'static str,
) -> Entry {
    Entry {
        name,
        folders,
        files: HF_FOLDER,
        source: Source::HuggingFace(repository),
        millions: Some(2470),
        gigabytes: None,
        licence: None,
        kind,
        used: Use::Generator,
        alias: None,
        needs: SWITTI_SYSTEM,
    }
}

/// A released FlexAR, which is of use only with a FlexTok.
const fn flexar(
    name: &'static str,
    folders: &'static [&'static str],
    repository: &'static str,
    millions: u32,
    kind: &'static str,
    needs: &'static [&'static str],
) -> Entry {
    Entry {
        name,
        folders,
        files: FLEXAR_FOLDER,
        source: Source::HuggingFace(repository),
        millions: Some(millions),
        gigabytes: None,
        licence: Some("Apache-2.0, but of use only with FlexTok, which is for research"),
        kind,
        used: Use::Generator,
        alias: None,
        needs,
    }
}

/// A released FlexTok.
const fn flextok(
    name: &'static str,
    folders: &'static [&'static str],
    repository: &'static str,
    kind: &'static str,
) -> Entry {
    Entry {
        name,
        folders,
        files: HF_FOLDER,
        source: Source::HuggingFace(repository),
        millions: Some(2500),
        gigabytes: None,
        licence: Some("Apple ML Research Model licence: research only"),
        kind,
        used: Use::Generator,
        alias: None,
        needs: &[],
    }
}

const FLEXAR_KIND: &str = "folder; 256 px; draws the tokens of flextok from a text";

/// Every released model that is known by name.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "infinity-2b",
        folders: INFINITY_FOLDERS,
        files: &[
            &["infinity_2b_reg.pth"],
            &["infinity_vae_d32reg.pth", "infinity_vae_d32_reg.pth"],
        ],
        source: INFINITY,
        millions: Some(2000),
        gigabytes: Some(9.3),
        licence: Some("MIT"),
        kind: "plain state dict; VAE under `vae`",
        used: Use::Generator,
        alias: None,
        needs: SYSTEM,
    },
    Entry {
        name: "infinity-8b",
        folders: INFINITY_FOLDERS,
        files: &[
            &["infinity_8b_weights"],
            &["infinity_vae_d56_f8_14_patchify.pth"],
        ],
        source: INFINITY,
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "sharded safetensors; patchify, VAE patch 8, 14 bits",
        used: Use::Generator,
        alias: None,
        needs: SYSTEM,
    },
    Entry {
        name: "infinity-8b-512",
        folders: INFINITY_FOLDERS,
        files: &[
            &["infinity_8b_512x512_weights"],
            &["infinity_vae_d56_f8_14_patchify.pth"],
        ],
        source: INFINITY,
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "as infinity-8b, for 512 px",
        used: Use::Generator,
        alias: None,
        needs: SYSTEM,
    },
    Entry {
        name: "infinity-vae",
        folders: INFINITY_FOLDERS,
        files: &[
            &["infinity_vae_d16.pth"],
            &["infinity_vae_d24.pth"],
            &["infinity_vae_d32.pth"],
            &["infinity_vae_d64.pth"],
        ],
        source: INFINITY,
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "the other tokenizers, each with its number of bits; under `vae`",
        used: Use::Generator,
        alias: None,
        needs: &[],
    },
    var("var-d16", &[&["var_d16.pth"], VAR_VAE], 310, VAR_KIND),
    var("var-d20", &[&["var_d20.pth"], VAR_VAE], 600, VAR_KIND),
    var("var-d24", &[&["var_d24.pth"], VAR_VAE], 1000, VAR_KIND),
    var("var-d30", &[&["var_d30.pth"], VAR_VAE], 2000, VAR_KIND),
    var(
        "var-d36",
        &[&["var_d36.pth"], VAR_VAE],
        2300,
        "plain state dict; classes of ImageNet, 512 px, shared AdaLN",
    ),
    Entry {
        name: "hart",
        folders: &["hart-0.7b-1024px"],
        files: &[
            &["llm/ema_model.bin"],
            &["tokenizer/pytorch_model.bin", "tokenizer/model.safetensors"],
            &["llm/config.json"],
        ],
        source: HART,
        millions: Some(732),
        gigabytes: None,
        licence: None,
        kind: "averaged weights, 1024 px; `vae` in the tokenizer",
        used: Use::Generator,
        alias: None,
        needs: HART_SYSTEM,
    },
    Entry {
        name: "qwen2-vl-1.5b-instruct",
        folders: &["Qwen2-VL-1.5B-Instruct"],
        files: &[
            &["config.json"],
            &["tokenizer.json"],
            &["tokenizer_config.json"],
            &[
                "model.safetensors.index.json",
                "pytorch_model.bin.index.json",
                "model.safetensors",
                "pytorch_model.bin",
            ],
        ],
        source: Source::HuggingFace("mit-han-lab/Qwen2-VL-1.5B-Instruct"),
        millions: Some(1544),
        gigabytes: None,
        licence: None,
        kind: "folder; text encoder of hart",
        used: Use::Text,
        alias: None,
        needs: &[],
    },
    switti(
        "switti",
        &["Switti"],
        "yresearch/Switti",
        "folder; 512 px; keeps no keys and values",
    ),
    switti(
        "switti-ar",
        &["Switti-AR"],
        "yresearch/Switti-AR",
        "folder; 512 px; sees earlier scales",
    ),
    switti(
        "switti-1024",
        &["Switti-1024"],
        "yresearch/Switti-1024",
        "folder; 1024 px; keeps no keys and values",
    ),
    switti(
        "switti-1024-ar",
        &["Switti-1024-AR"],
        "yresearch/Switti-1024-AR",
        "folder; 1024 px; sees earlier scales",
    ),
    Entry {
        name: "vqvae-switti",
        folders: &["VQVAE-Switti"],
        files: HF_FOLDER,
        source: Source::HuggingFace("yresearch/VQVAE-Switti"),
        millions: None,
        gigabytes: None,
        licence: None,
        kind: "folder; decoder of all sizes of switti",
        used: Use::Generator,
        alias: None,
        needs: &[],
    },
    flexar(
        "flexar-113m",
        &["FlexAR-113M-T2I"],
        "EPFL-VILAB/FlexAR-113M-T2I",
        113,
        FLEXAR_KIND,
        FLEXAR_SYSTEM,
    ),
    flexar(
        "flexar-382m",
        &["FlexAR-382M-T2I"],
        "EPFL-VILAB/FlexAR-382M-T2I",
        382,
        FLEXAR_KIND,
        FLEXAR_SYSTEM,
    ),
    flexar(
        "flexar-1b",
        &["FlexAR-1B-T2I"],
        "EPFL-VILAB/FlexAR-1B-T2I",
        1150,
        FLEXAR_KIND,
        FLEXAR_SYSTEM,
    ),
    flexar(
        "flexar-3b",
        &["FlexAR-3B-T2I"],
        "EPFL-VILAB/FlexAR-3B-T2I",
        3058,
        FLEXAR_KIND,
        FLEXAR_SYSTEM,
    ),
    flexar(
        "flexar-1b-class",
        &["FlexAR-1B-C2I"],
        "EPFL-VILAB/FlexAR-1B-C2I",
        1150,
        "folder; 256 px; draws the tokens of flextok from a class of ImageNet",
        FLEXAR_CLASS_SYSTEM,
    ),
    flextok(
        "flextok-d18-d28-dfn",
        &["flextok_d18_d28_dfn"],
        "EPFL-VILAB/flextok_d18_d28_dfn",
        "folder; tokenizer of flexar for texts",
    ),
    flextok(
        "flextok-d18-d28-in1k",
        &["flextok_d18_d28_in1k"],
        "EPFL-VILAB/flextok_d18_d28_in1k",
        "folder; tokenizer of flexar for classes",
    ),
    Entry {
        name: "clip-vit-bigg-14",
        folders: &["CLIP-ViT-bigG-14-laion2B-39B-b160k"],
        files: &[
            &["config.json"],
            &["tokenizer.json"],
            &[
                "model.safetensors.index.json",
                "pytorch_model.bin.index.json",
                "model.safetensors",
                "pytorch_model.bin",
            ],
        ],
        source: Source::HuggingFace("laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
        millions: Some(2540),
        gigabytes: None,
        licence: None,
        kind: "folder; second text encoder of switti",
        used: Use::Text,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "flan-t5-xl",
        folders: &["flan-t5-xl-official", "text"],
        files: &[&["config.json"], &["tokenizer.json"], T5_WEIGHTS],
        source: Source::HuggingFace("google/flan-t5-xl"),
        millions: None,
        gigabytes: Some(11.4),
        licence: Some("Apache-2.0"),
        kind: "folder; two shards, as safetensors and as .bin; the encoder is used",
        used: Use::Text,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "image-reward",
        folders: &["ImageReward", "scorer"],
        files: &[&["ImageReward.pt"]],
        source: Source::HuggingFace("THUDM/ImageReward"),
        millions: None,
        gigabytes: Some(1.8),
        licence: Some("Apache-2.0"),
        kind: "flat dict; 16 vision and 12 text heads",
        used: Use::Scorer,
        alias: None,
        needs: &["bert-base-uncased"],
    },
    Entry {
        name: "bert-base-uncased",
        folders: &["image-reward", "ImageReward", "scorer", "blip-vqa", "BLIP"],
        files: &[&["vocab.txt"]],
        source: Source::HuggingFace("google-bert/bert-base-uncased"),
        millions: None,
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "WordPiece vocabulary of ImageReward and BLIP, which add [DEC] and [ENC]; \
            no weights needed",
        used: Use::Scorer,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "dinov2-l-reg",
        folders: &["dinov2", "features"],
        files: &[&["dinov2_vitl14_reg4_pretrain.pth"]],
        source: Source::Elsewhere("facebookresearch/dinov2, model zoo"),
        millions: Some(300),
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "flat dict; 16 heads",
        used: Use::Features,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "dinov2-with-registers-large",
        folders: &["dinov2-large"],
        files: HF_FOLDER,
        source: Source::HuggingFace("facebook/dinov2-with-registers-large"),
        millions: Some(300),
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "folder",
        used: Use::Features,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "hps-v2.1",
        folders: &["HPSv2"],
        files: &[&["HPS_v2.1_compressed.pt"]],
        source: Source::HuggingFace("xswu/HPSv2"),
        millions: None,
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "under `state_dict`; open_clip ViT-H-14, 16 vision and 16 text heads",
        used: Use::Scorer,
        alias: Some("hps"),
        needs: &["clip-bpe"],
    },
    Entry {
        name: "clip-vit-large-patch14",
        folders: &["clip-l"],
        files: CLIP_FOLDER,
        source: Source::HuggingFace("openai/clip-vit-large-patch14"),
        millions: Some(428),
        gigabytes: None,
        licence: Some("MIT"),
        kind: "folder; 16 vision and 12 text heads",
        used: Use::Scorer,
        alias: Some("clip"),
        needs: &[],
    },
    Entry {
        name: "clip-bpe",
        folders: &["hps-v2.1", "HPSv2", "clip-vit-large-patch14", "clip-l"],
        files: &[&["merges.txt", "bpe_simple_vocab_16e6.txt.gz"]],
        source: Source::HuggingFace("openai/clip-vit-large-patch14"),
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "vocabulary of HPSv2, the same as CLIP's; no weights needed",
        used: Use::Scorer,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "pickscore-v1",
        folders: &["PickScore_v1"],
        files: HF_FOLDER,
        source: Source::HuggingFace("yuvalkirstain/PickScore_v1"),
        millions: Some(986),
        gigabytes: Some(3.9),
        licence: Some("none stated for the weights; MIT for the code"),
        kind: "folder; CLIP ViT-H-14, 16 vision and 16 text heads",
        used: Use::Scorer,
        alias: Some("pick"),
        needs: &["clip-tokenizer"],
    },
    Entry {
        name: "clip-tokenizer",
        folders: &[
            "pickscore-v1",
            "PickScore_v1",
            "clip-vit-large-patch14",
            "clip-l",
        ],
        files: &[&["tokenizer.json"]],
        source: Source::HuggingFace("laion/CLIP-ViT-H-14-laion2B-s32B-b79K"),
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "tokenizer of PickScore, the same as CLIP's; no weights needed",
        used: Use::Scorer,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "clip-flant5-xl",
        folders: &[],
        files: CLIP_FLANT5_FOLDER,
        source: Source::HuggingFace("zhiqiulin/clip-flant5-xl"),
        millions: Some(3160),
        gigabytes: Some(6.3),
        licence: Some("Apache-2.0, but research use only according to its authors"),
        kind: "folder; one bfloat16 file of 6.3 GB with the vision tower",
        used: Use::Scorer,
        alias: Some("vqa"),
        needs: &["flan-t5-tokenizer"],
    },
    Entry {
        name: "clip-flant5-xxl",
        folders: &[],
        files: CLIP_FLANT5_FOLDER,
        source: Source::HuggingFace("zhiqiulin/clip-flant5-xxl"),
        millions: None,
        gigabytes: None,
        licence: Some("Apache-2.0, but research use only according to its authors"),
        kind: "folder; shards with the vision tower",
        used: Use::Scorer,
        alias: Some("vqa-xxl"),
        needs: &["flan-t5-tokenizer"],
    },
    Entry {
        name: "flan-t5-tokenizer",
        folders: &["flan-t5-xl", "flan-t5-xl-official", "flan-t5-xxl", "text"],
        files: &[&["tokenizer.json"]],
        source: Source::HuggingFace("google/flan-t5-xl"),
        millions: None,
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "tokenizer of CLIP-FlanT5, the same for all sizes; no weights needed",
        used: Use::Scorer,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "clip-vit-base-patch32",
        folders: &["clip-b-32"],
        files: CLIP_FOLDER,
        source: Source::HuggingFace("openai/clip-vit-base-patch32"),
        millions: Some(151),
        gigabytes: None,
        licence: Some("MIT"),
        kind: "folder; 12 vision and 8 text heads",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "aesthetic-v2.5",
        folders: &["aesthetic-predictor-v2-5"],
        files: &[&["aesthetic_predictor_v2_5.pth"]],
        source: Source::Elsewhere("GitHub discus0434/aesthetic-predictor-v2-5"),
        millions: None,
        gigabytes: None,
        licence: None,
        kind: "bfloat16 head",
        used: Use::Scorer,
        alias: Some("aesthetic"),
        needs: &["siglip-so400m-patch14-384"],
    },
    Entry {
        name: "siglip-so400m-patch14-384",
        folders: &[],
        files: HF_FOLDER,
        source: Source::HuggingFace("google/siglip-so400m-patch14-384"),
        millions: Some(878),
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "folder; encoder of aesthetic-v2.5, 16 heads",
        used: Use::Scorer,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "blip-vqa",
        folders: &["BLIP"],
        files: &[&["model_base_vqa_capfilt_large.pth"]],
        source: Source::Elsewhere("salesforce/BLIP"),
        millions: Some(385),
        gigabytes: None,
        licence: Some("BSD-3-Clause"),
        kind: "under `model`; 12 heads",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "mask2former-swin-s",
        folders: &["mask2former"],
        files: &[&["mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth"]],
        source: Source::Elsewhere("OpenMMLab model zoo, mmdetection v2.0"),
        millions: Some(69),
        gigabytes: None,
        licence: Some("Apache-2.0"),
        kind: "what GenEval uses",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "mask2former-swin-small-coco-instance",
        folders: &[],
        files: HF_FOLDER,
        source: Source::HuggingFace("facebook/mask2former-swin-small-coco-instance"),
        millions: Some(69),
        gigabytes: None,
        licence: None,
        kind: "folder",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "geneval-prompts",
        folders: &["geneval"],
        files: &[&["evaluation_metadata.jsonl"]],
        source: Source::Elsewhere("GitHub djghosh13/geneval, folder prompts"),
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "553 lines; for `eval geneval --prompts`",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
    Entry {
        name: "t2i-compbench-prompts",
        folders: &["T2I-CompBench"],
        files: &[
            &["color_val.txt"],
            &["shape_val.txt"],
            &["texture_val.txt"],
            &["spatial_val.txt"],
            &["non_spatial_val.txt"],
            &["numeracy_val.txt"],
            &["complex_val.txt"],
            &["complex_val_spatial.txt"],
            &["complex_val_action.txt"],
        ],
        source: Source::Elsewhere("GitHub Karine-Huang/T2I-CompBench, folder examples/dataset"),
        millions: None,
        gigabytes: None,
        licence: Some("MIT"),
        kind: "one text file per category; for `eval compbench --prompts`",
        used: Use::Evaluation,
        alias: None,
        needs: &[],
    },
];

/// A file of a released model, and where it was found.
#[derive(Clone, Debug)]
pub struct Presence {
    /// Its name: the one found, otherwise the preferred one.
    pub file: &'static str,
    /// Its path, or `None` if it is missing.
    pub found: Option<PathBuf>,
}

/// The name that `ttsvar convert` gives the converted form of a weight file, which is used in its
/// place; `None` for other files. In folders of a model it is that of the usual whole file.
pub fn converted_name(name: &str) -> Option<String> {
    const ENDINGS: [&str; 5] = [".pth", ".pt", ".bin", ".safetensors", ".gguf"];
    let whole = name.strip_suffix(".index.json").unwrap_or(name);
    let stem = ENDINGS
        .iter()
        .find_map(|ending| whole.strip_suffix(ending))?;
    let stem = match stem {
        "pytorch_model" => "model",
        stem => stem,
    };
    Some(format!("{stem}.gguf"))
}

/// The file or folder of this name, or what `ttsvar convert` made of it.
pub(super) fn find_or_converted(folder: &Folder, name: &str) -> Option<Location> {
    folder
        .find(name)
        .or_else(|| folder.find(&converted_name(name)?))
}

/// The entry of this name.
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

/// Returns whether a released file or folder has this name.
pub(super) fn is_known(name: &str) -> bool {
    ENTRIES.iter().any(|entry| {
        let files = entry.files.iter().flat_map(|names| names.iter());
        entry.name == name
            || entry.folders.contains(&name)
            || files.copied().any(|file| file == name)
    })
}

/// The entry of this name or alias followed by those that it needs; empty if there is none.
pub fn with_needs(name: &str) -> Vec<&'static Entry> {
    let named = |entry: &&Entry| entry.name == name || entry.alias == Some(name);
    let Some(first) = ENTRIES.iter().find(named) else {
        return vec![];
    };
    let needs = first.needs.iter().filter_map(|need| entry(need));
    std::iter::once(first).chain(needs).collect()
}

/// The names of entries as text, with sizes if they are known: `a (about 1.7 GB), b and c`.
pub fn list_names(entries: &[&Entry]) -> String {
    let mut names = vec![];
    for entry in entries {
        let name = entry.name;
        names.push(match entry.size() {
            Some(size) => format!("{name} ({size})"),
            None => name.to_owned(),
        });
    }
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}

impl Entry {
    /// The presence of each of the files.
    pub fn presence(&self, folder: &Folder) -> Vec<Presence> {
        let present = |names: &'static [&'static str]| {
            let found = names
                .iter()
                .find_map(|name| Some((*name, self.find(folder, name)?)));
            match found {
                Some((file, location)) => Presence {
                    file,
                    found: Some(location.path()),
                },
                None => Presence {
                    file: names.first().copied().unwrap_or_default(),
                    found: None,
                },
            }
        };
        self.files.iter().map(|names| present(names)).collect()
    }

    /// The files with their paths, if all of them are present.
    pub fn complete_in(&self, folder: &Folder) -> Option<Vec<(&'static str, PathBuf)>> {
        let presence = self.presence(folder).into_iter();
        presence
            .map(|file| Some((file.file, file.found?)))
            .collect()
    }

    /// Finds one of the files in a sub-folder named after the model, or directly in `folder` unless
    /// its name is common to many models (`config.json`).
    pub fn find(&self, folder: &Folder, file: &str) -> Option<Location> {
        let mut places = self.places(folder);
        if !SHARED_NAMES.contains(&file) && !self.is_folder() {
            places.push(folder.clone());
        }
        places
            .into_iter()
            .find_map(|place| find_or_converted(&place, file))
    }

    /// Finds the complete model: its single file, or the folder that holds all of its files, which
    /// is a sub-folder or `folder` itself.
    pub fn whole(&self, folder: &Folder) -> Option<Location> {
        if let [names] = self.files
            && !self.is_folder()
        {
            return names.iter().find_map(|name| self.find(folder, name));
        }
        let mut places = self.places(folder);
        places.push(folder.clone());
        let whole = |place: &Folder| {
            self.files.iter().all(|names| {
                names
                    .iter()
                    .any(|name| find_or_converted(place, name).is_some())
            })
        };
        places.into_iter().find(whole).map(Location::Folder)
    }

    /// The size of its files as text; if it is not known, with 4 bytes per parameter.
    pub fn size(&self) -> Option<String> {
        let gigabytes = match (self.gigabytes, self.millions) {
            (Some(gigabytes), _) => gigabytes,
            (None, millions) => f64::from(millions?) * 4.0 / 1000.0,
        };
        let digits = if gigabytes < 1.0 { 2 } else { 1 };
        Some(format!("about {gigabytes:.digits$} GB"))
    }

    /// True if it is a folder whose files have names that are common to many models.
    pub fn is_folder(&self) -> bool {
        let mut files = self.files.iter().copied().flatten();
        files.any(|name| FOLDER_NAMES.contains(name))
    }

    /// The sub-folders of the caches of Python libraries that may hold its files: those of
    /// huggingface_hub, which once knew repositories without an owner, and of torch.hub. A cache may
    /// lie inside a folder `hub`.
    fn cache_folders(&self) -> Vec<String> {
        let Source::HuggingFace(repository) = self.source else {
            return TORCH_HUB.map(str::to_owned).to_vec();
        };
        let whole = repository.replace('/', "--");
        let (_, name) = repository.split_once('/').unwrap_or(("", repository));
        let mut folders = vec![];
        for name in [whole.as_str(), name] {
            folders.push(format!("models--{name}"));
            folders.push(format!("hub/models--{name}"));
        }
        folders
    }

    /// The sub-folders of `folder` that may hold its files, including the snapshots of a Hugging
    /// Face cache.
    pub fn places(&self, folder: &Folder) -> Vec<Folder> {
        let names = std::iter::once(self.name).chain(self.folders.iter().copied());
        let names = names.map(str::to_owned).chain(self.cache_folders());
        let found = names.filter_map(|name| match folder.find(&name) {
            Some(Location::Folder(place)) => Some(place),
            _ => None,
        });
        let with_snapshots = found.flat_map(|place| {
            let snapshots = cache::snapshots(&place);
            std::iter::once(place).chain(snapshots)
        });
        with_snapshots.collect()
    }

    /// The files that are missing where some are present, each with its folder; empty if the model
    /// is complete or not there at all.
    pub fn missing_parts(&self, folder: &Folder) -> Vec<PathBuf> {
        if self.whole(folder).is_some() {
            return vec![];
        }
        let missing = |place: &Folder| {
            let absent = |names: &&&[&str]| {
                let mut names = names.iter();
                names.all(|name| find_or_converted(place, name).is_none())
            };
            let names = self.files.iter().filter(absent);
            let first = names.filter_map(|names| names.first());
            first
                .map(|name| place.path().join(name))
                .collect::<Vec<_>>()
        };
        let some = |missing: &Vec<PathBuf>| missing.len() < self.files.len();
        let places = self.places(folder);
        let found = places.iter().map(missing).filter(some);
        found.min_by_key(Vec::len).unwrap_or_default()
    }
}
