//! Chooses the state dict of a network in a checkpoint that may hold several: the model, its moving
//! average, the state of an optimizer.
//!
//! A state dict is a prefix of tensor names. It fits a network if it has the tensors that every
//! checkpoint of that network has; neither the number nor the order of tensors matters.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use candle_core::Tensor;

use crate::{
    Error, Result,
    nn::{OpenMatrix, Signature, StateDictChoice, TensorInfo, TensorSource},
};

/// What a caller looks for in a checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Prefixes under which published files have the tensors (`trainer.gpt_fsdp`), the preferred
    /// first.
    pub usual: &'a [&'a str],
    /// The tensors by which the network is recognised. Without them, the first usual prefix that
    /// exists is taken, and otherwise the whole file.
    pub signature: Option<&'a Signature>,
    /// The state dict that the user chose, if several fit.
    pub state_dict: Option<&'a str>,
}

impl<'a, const N: usize> From<&'a [&'a str; N]> for Wanted<'a> {
    fn from(usual: &'a [&'a str; N]) -> Self {
        Self {
            usual,
            ..Self::default()
        }
    }
}

impl<'a> From<&'a [&'a str]> for Wanted<'a> {
    fn from(usual: &'a [&'a str]) -> Self {
        Self {
            usual,
            ..Self::default()
        }
    }
}

/// Parts of names that wrappers around modules leave anywhere in a name: `torch.compile`, fully
/// sharded data parallel, activation checkpoints, Opacus.
const WRAPPERS: [&str; 5] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_module",
];

/// Words in prefixes that containers of a whole network have.
const CONTAINERS: [&str; 22] = [
    "model",
    "module",
    "state",
    "dict",
    "net",
    "network",
    "backbone",
    "params",
    "weights",
    "online",
    "trainer",
    "gpt",
    "generator",
    "netg",
    "unet",
    "transformer",
    "vae",
    "local",
    "target",
    "best",
    "current",
    "wo",
];

/// Words in prefixes that contain an average over training steps.
const AVERAGES: [&str; 10] = [
    "ema", "swa", "average", "averaged", "avg", "shadow", "polyak", "teacher", "moving", "mean",
];

/// Words in prefixes that contain numbers by the names of the weights which are not weights.
const STATISTICS: [&str; 19] = [
    "optimizer",
    "optimizers",
    "optim",
    "opt",
    "adam",
    "adamw",
    "momentum",
    "momentums",
    "velocity",
    "moment",
    "moments",
    "exp",
    "sq",
    "variance",
    "grad",
    "grads",
    "gradient",
    "gradients",
    "fisher",
];

/// Most prefixes of a file that are looked at, so that a hostile file cannot make that long.
const MOST_STATE_DICTS: usize = 256;

/// How sure it is that a prefix has the weights which the user means, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Where published files have them.
    Usual(usize),
    TopLevel,
    Model,
    Average,
    Student,
    /// Never taken without being asked for.
    Statistics,
}

fn rank(prefix: &str, usual: &[&str]) -> Rank {
    let name = prefix.trim_end_matches('.');
    if let Some(place) = usual.iter().position(|usual| *usual == name) {
        return Rank::Usual(place);
    }
    if name.is_empty() {
        return Rank::TopLevel;
    }
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(['.', '_', '-']).collect();
    let has = |known: &[&str]| words.iter().any(|word| known.contains(word));
    // `exp_avg` is an average, but of gradients.
    if has(&["exp", "sq", "grad", "optimizer"]) {
        Rank::Statistics
    } else if has(&AVERAGES) {
        Rank::Average
    } else if has(&STATISTICS) {
        Rank::Statistics
    } else if has(&["student"]) {
        Rank::Student
    } else {
        Rank::Model
    }
}

/// Restricts a source to the state dict that the caller wants. `dictionaries` are the prefixes at
/// which the file itself has a dictionary.
///
/// If no state dict fits, the source is returned as it is, so that the network names the tensor
/// that it lacks.
///
/// # Errors
/// Several state dicts fit and nothing tells which is meant, or only the state of an optimizer
/// does.
pub(super) fn select(
    source: Arc<dyn TensorSource>,
    wanted: &Wanted,
    dictionaries: &HashSet<String>,
) -> Result<Arc<dyn TensorSource>> {
    let names = Names::new(&*source);
    let usual = |source| match names.first_below(wanted.usual) {
        Some(prefix) => Arc::new(StateDict::new(source, &names, &prefix, None)),
        None => source,
    };
    let Some(signature) = wanted.signature else {
        return Ok(usual(source));
    };
    let mut fitting = names.fitting(signature, wanted.usual, dictionaries);
    fitting.sort_by_cached_key(|prefix| (rank(prefix, wanted.usual), prefix.clone()));
    let Some(chosen) = choose(&fitting, wanted, &source.origin())? else {
        return Ok(usual(source));
    };
    let shown = |prefix: &String| prefix.trim_end_matches('.').to_owned();
    let others: Vec<String> = fitting
        .iter()
        .filter(|prefix| *prefix != chosen)
        .map(shown)
        .collect();
    let choice = StateDictChoice {
        origin: source.origin(),
        chosen: shown(chosen),
        is_usual: matches!(rank(chosen, wanted.usual), Rank::Usual(_) | Rank::TopLevel),
        is_asked_for: wanted
            .state_dict
            .is_some_and(|name| is_called(chosen, name)),
        others,
    };
    if chosen.is_empty() && choice.others.is_empty() && !names.wrapped {
        return Ok(source);
    }
    Ok(Arc::new(StateDict::new(
        source,
        &names,
        chosen,
        Some(choice),
    )))
}

/// The state dict to read among those that fit, which are sorted by rank.
fn choose<'f>(fitting: &'f [String], wanted: &Wanted, origin: &str) -> Result<Option<&'f String>> {
    if let Some(name) = wanted.state_dict {
        let exactly = fitting
            .iter()
            .find(|prefix| prefix.trim_end_matches('.') == name);
        let called = || fitting.iter().find(|prefix| is_called(prefix, name));
        if let Some(prefix) = exactly.or_else(called) {
            return Ok(Some(prefix));
        }
    }
    let Some(first) = fitting.first() else {
        return Ok(None);
    };
    let best = rank(first, wanted.usual);
    let equal: Vec<&String> = fitting
        .iter()
        .take_while(|prefix| rank(prefix, wanted.usual) == best)
        .collect();
    if equal.len() == 1 && best != Rank::Statistics {
        return Ok(Some(first));
    }
    let names: Vec<String> = equal
        .iter()
        .map(|prefix| format!("`{}`", prefix.trim_end_matches('.').escape_debug()))
        .collect();
    let first = first.trim_end_matches('.').escape_debug();
    let message = match best {
        Rank::Statistics => format!(
            "expected the weights of a model, found only the state of an optimizer under {}",
            names.join(", ")
        ),
        _ => format!(
            "expected one state dict that fits, found {}: {}",
            names.len(),
            names.join(", ")
        ),
    };
    Err(Error::file(origin, message).with_hint(format!(
        "choose one by its name: `--state-dict {first}`, or `state_dict = \"{first}\"` in bundle.toml"
    )))
}

/// Returns whether `name` stands for this prefix: as one or several of its parts.
fn is_called(prefix: &str, name: &str) -> bool {
    format!(".{prefix}").contains(&format!(".{}.", name.trim_matches('.')))
}

/// The names of a source without the parts that wrappers leave in them.
struct Names {
    /// Names as networks know them, and as the file has them, in the file's order.
    all: Vec<(String, String)>,
    known: HashSet<String>,
    /// True if a wrapper left a part in any name.
    wrapped: bool,
}

impl Names {
    fn new(source: &dyn TensorSource) -> Self {
        let mut all = Vec::new();
        let mut known = HashSet::new();
        let mut wrapped = false;
        for stored in source.names() {
            let parts = stored.split('.');
            let kept: Vec<&str> = parts.filter(|part| !WRAPPERS.contains(part)).collect();
            let name = kept.join(".");
            wrapped |= name != stored;
            if known.insert(name.clone()) {
                all.push((name, stored));
            }
        }
        Self {
            all,
            known,
            wrapped,
        }
    }

    /// The first of these prefixes under which there are tensors, with its dot.
    fn first_below(&self, prefixes: &[&str]) -> Option<String> {
        let mut prefixes = prefixes.iter().map(|prefix| format!("{prefix}."));
        prefixes.find(|prefix| self.all.iter().any(|(name, _)| name.starts_with(prefix)))
    }

    /// The prefixes under which the file has one of the signature's sets of tensors.
    fn fitting(
        &self,
        signature: &Signature,
        usual: &[&str],
        dictionaries: &HashSet<String>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for set in signature.layouts {
            let Some(first) = set.first() else { continue };
            for (name, _) in &self.all {
                let Some(prefix) = name.strip_suffix(first) else {
                    continue;
                };
                let whole = |prefix: &str| {
                    set.iter()
                        .all(|name| self.known.contains(&format!("{prefix}{name}")))
                };
                let is_prefix = prefix.is_empty() || prefix.ends_with('.');
                if !is_prefix || looked_at >= MOST_STATE_DICTS || !whole(prefix) {
                    continue;
                }
                looked_at += 1;
                let is_new = !found.iter().any(|other| other == prefix);
                if is_new && self.may_hold_a_model(prefix, usual, dictionaries) {
                    found.push(prefix.to_owned());
                }
            }
        }
        found
    }

    /// Returns whether a prefix holds a whole model rather than a part of a larger one, such as the
    /// vision encoder of a CLIP: a dictionary of the file, a usual place, a prefix of all names, or
    /// one made of words that containers have.
    fn may_hold_a_model(
        &self,
        prefix: &str,
        usual: &[&str],
        dictionaries: &HashSet<String>,
    ) -> bool {
        if prefix.is_empty() || usual.contains(&prefix.trim_end_matches('.')) {
            return true;
        }
        let ends = prefix.rmatch_indices('.').map(|(at, _)| at + 1);
        let dictionary = ends
            .map(|end| &prefix[..end])
            .find(|prefix| dictionaries.contains(*prefix))
            .unwrap_or_default();
        let inside = &prefix[dictionary.len()..];
        let words = inside.trim_end_matches('.').to_lowercase();
        let is_container = words.split(['.', '_', '-']).all(|word| {
            let lists: [&[&str]; 4] = [&CONTAINERS, &AVERAGES, &STATISTICS, &["student", ""]];
            lists.iter().any(|words| words.contains(&word))
        });
        is_container
            || self
                .all
                .iter()
                .filter(|(name, _)| name.starts_with(dictionary))
                .all(|(name, _)| name.starts_with(prefix))
    }
}

/// The tensors of a source whose names have a prefix, without it.
struct StateDict {
    source: Arc<dyn TensorSource>,
    names: Vec<String>,
    /// Names as the file has them.
    stored: HashMap<String, String>,
    choice: Option<StateDictChoice>,
}

impl StateDict {
    fn new(
        source: Arc<dyn TensorSource>,
        names: &Names,
        prefix: &str,
        choice: Option<StateDictChoice>,
    ) -> Self {
        let below = names.all.iter().filter_map(|(name, stored)| {
            let name = name.strip_prefix(prefix)?;
            Some((name.to_owned(), stored.clone()))
        });
        let below: Vec<(String, String)> = below.collect();
        Self {
            source,
            names: below.iter().map(|(name, _)| name.clone()).collect(),
            stored: below.into_iter().collect(),
            choice,
        }
    }

    /// The name that a tensor has in the file.
    fn stored(&self, name: &str) -> Result<&str> {
        let stored = self.stored.get(name);
        stored
            .map(String::as_str)
            .ok_or_else(|| super::absent(self, name))
    }
}

impl TensorSource for StateDict {
    fn origin(&self) -> String {
        self.source.origin()
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.source.info(self.stored.get(name)?)
    }

    fn load(&self, name: &str) -> Result<Tensor> {
        self.source.load(self.stored(name)?)
    }

    fn open_matrix(&self, name: &str) -> Result<OpenMatrix<'_>> {
        self.source.open_matrix(self.stored(name)?)
    }

    fn saved_as(&self) -> Option<&str> {
        self.source.saved_as()
    }

    fn state_dict(&self) -> Option<&StateDictChoice> {
        self.choice.as_ref()
    }
}
