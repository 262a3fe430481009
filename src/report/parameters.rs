//! How other programs record an image: the text `parameters` of AUTOMATIC1111's web UI, which image
//! viewers and sharing sites show, and the text `prompt` of ComfyUI, a workflow as JSON.
//!
//! The format of `parameters`: stable-diffusion-webui, `modules/processing.py` (`create_infotext`)
//! and `modules/infotext_utils.py` (`parse_generation_parameters`).

use serde_json::{Map, Value};

use super::Provenance;
use crate::image::Png;

/// Key of the text of AUTOMATIC1111's web UI.
const PARAMETERS: &str = "parameters";

/// Key of ComfyUI's text.
const WORKFLOW: &str = "prompt";

/// Start of the line with the negative prompt.
const NEGATIVE: &str = "Negative prompt:";

/// As the web UI does, a last line with fewer pairs counts as a part of the prompt.
const FEWEST_PAIRS: usize = 3;

/// Most links that are followed through a workflow, which may have loops.
const MOST_LINKS: usize = 64;

/// What programs agree on about an image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: Option<String>,
    /// Steps, or scales.
    pub steps: Option<u64>,
    /// The sampler, or the method of a search.
    pub sampler: Option<String>,
    /// Guidance.
    pub cfg: Option<f64>,
    /// The seed.
    pub seed: Option<u64>,
    /// Width and height in pixels.
    pub size: Option<(usize, usize)>,
    /// The model.
    pub model: Option<String>,
    /// The program and its version.
    pub program: Option<String>,
}

impl Parameters {
    /// The parameters of an image of this program, `size` (width, height).
    pub fn of(record: &Provenance, size: (usize, usize)) -> Self {
        let setting = |name: &str| record.settings.get(name);
        Self {
            prompt: record.prompt.clone(),
            negative: record.negative.clone(),
            steps: record.scores.last().map(|last| last.scale as u64 + 1),
            sampler: setting("method").and_then(Value::as_str).map(str::to_owned),
            // A list of values, one per scale, has no place here.
            cfg: setting("cfg").and_then(Value::as_f64),
            seed: Some(record.seed),
            size: Some(size),
            model: Some(record.model.clone()).filter(|model| !model.is_empty()),
            program: Some(format!("ttsvar {}", record.version)),
        }
    }

    /// What an image of another program records; `None` if it is nothing that can be read.
    pub fn read(png: &Png) -> Option<Self> {
        let text = png.text(PARAMETERS).and_then(Self::parse);
        text.or_else(|| png.text(WORKFLOW).and_then(Self::of_workflow))
    }

    /// Adds them to an image as the text `parameters`.
    pub fn beside(&self, png: Png) -> Png {
        png.with_text(PARAMETERS, self.to_text())
    }

    /// The text `parameters`: the prompt, the negative prompt, and a line of pairs.
    pub fn to_text(&self) -> String {
        let mut text = self.prompt.clone();
        if let Some(negative) = &self.negative {
            text += &format!("\n{NEGATIVE} {negative}");
        }
        let pairs: Vec<String> = self
            .pairs()
            .iter()
            .map(|(key, value)| format!("{key}: {}", quoted(value)))
            .collect();
        text + "\n" + &pairs.join(", ")
    }

    /// Everything but the prompts, with the names of the web UI.
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![];
        let mut add = |key, value: Option<String>| pairs.extend(value.map(|value| (key, value)));
        add("Steps", self.steps.map(|steps| steps.to_string()));
        add("Sampler", self.sampler.clone());
        add("CFG scale", self.cfg.map(|cfg| cfg.to_string()));
        add("Seed", self.seed.map(|seed| seed.to_string()));
        add(
            "Size",
            self.size.map(|(width, height)| format!("{width}x{height}")),
        );
        add("Model", self.model.clone());
        add("Version", self.program.clone());
        pairs
    }

    /// Reads the text `parameters`; `None` if it is empty.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (before, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let pairs = split_pairs(last);
        let (prompts, pairs) = match pairs.len() >= FEWEST_PAIRS {
            true => (before, pairs),
            false => (text, vec![]),
        };
        let (prompt, negative) = match split_negative(prompts) {
            Some((prompt, negative)) => (prompt, Some(negative)),
            None => (prompts, None),
        };
        let mut read = Self {
            prompt: prompt.trim().to_owned(),
            negative: negative
                .map(|negative| negative.trim().to_owned())
                .filter(|negative| !negative.is_empty()),
            ..Self::default()
        };
        for (key, value) in pairs {
            read.set(&key, value);
        }
        Some(read).filter(|read| *read != Self::default())
    }

    /// Takes a pair of the last line.
    fn set(&mut self, key: &str, value: String) {
        match key {
            "Steps" => self.steps = value.parse().ok(),
            "Sampler" => self.sampler = Some(value),
            "CFG scale" => self.cfg = value.parse().ok(),
            "Seed" => self.seed = value.parse().ok(),
            "Size" => self.size = size(&value),
            "Model" => self.model = Some(value),
            "Version" => self.program = Some(value),
            _ => (),
        }
    }

    /// Reads a workflow of ComfyUI, as its queue receives it: nodes by number. The first sampler
    /// counts.
    pub fn of_workflow(text: &str) -> Option<Self> {
        let nodes: Map<String, Value> = serde_json::from_str(text).ok()?;
        let is_sampler = |node: &&Value| {
            let class = node["class_type"].as_str().unwrap_or_default();
            class.contains("Sampler") && node["inputs"]["positive"].is_array()
        };
        let sampler = &nodes.values().find(is_sampler)?["inputs"];
        let follow = |start: &Value, wanted: &[&str]| {
            let found = follow(&nodes, start, wanted)?;
            found.as_str().map(str::to_owned)
        };
        let number = |names: [&str; 2]| names.iter().find_map(|name| sampler[*name].as_u64());
        let latent = node_of(&nodes, &sampler["latent_image"]);
        let side = |name: &str| latent.and_then(|inputs| inputs[name].as_u64());
        let size = side("width").zip(side("height"));
        let texts = ["text", "text_g", "prompt"];
        Some(Self {
            prompt: follow(&sampler["positive"], &texts)?,
            negative: follow(&sampler["negative"], &texts).filter(|text| !text.trim().is_empty()),
            steps: sampler["steps"].as_u64(),
            sampler: sampler["sampler_name"].as_str().map(str::to_owned),
            cfg: sampler["cfg"].as_f64(),
            seed: number(["seed", "noise_seed"]),
            size: size.map(|(width, height)| (width as usize, height as usize)),
            model: follow(&sampler["model"], &["ckpt_name", "unet_name"]),
            program: Some("ComfyUI".to_owned()),
        })
    }
}

/// The inputs of the node to which a link leads.
fn node_of<'n>(nodes: &'n Map<String, Value>, link: &Value) -> Option<&'n Value> {
    let number = &link.get(0)?;
    let name = number
        .as_str()
        .map_or_else(|| number.to_string(), str::to_owned);
    nodes.get(&name).map(|node| &node["inputs"])
}

/// The first input with one of the wanted names, from the node of a link backwards through all
/// nodes that it depends on.
fn follow<'n>(
    nodes: &'n Map<String, Value>,
    start: &'n Value,
    wanted: &[&str],
) -> Option<&'n Value> {
    let mut links = vec![start];
    let mut followed = 0;
    while followed < links.len().min(MOST_LINKS) {
        let link = links[followed];
        followed += 1;
        let Some(inputs) = node_of(nodes, link) else {
            continue;
        };
        if let Some(text) = wanted
            .iter()
            .map(|name| &inputs[*name])
            .find(|input| input.is_string())
        {
            return Some(text);
        }
        let inputs = inputs
            .as_object()
            .into_iter()
            .flat_map(|inputs| inputs.values());
        links.extend(inputs.filter(|input| input.is_array()));
    }
    None
}

/// Splits at the line that begins the negative prompt.
fn split_negative(prompts: &str) -> Option<(&str, &str)> {
    if let Some(negative) = prompts.strip_prefix(NEGATIVE) {
        return Some(("", negative));
    }
    let at = prompts.find(&format!("\n{NEGATIVE}"))?;
    Some((&prompts[..at], &prompts[at + 1 + NEGATIVE.len()..]))
}

/// A value as the web UI writes it: in quotes, as JSON, if it has signs that divide pairs.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n', '"']) {
        true => Value::from(value).to_string(),
        false => value.to_owned(),
    }
}

/// The pairs `key: value` of a line, whose values may be quoted.
fn split_pairs(line: &str) -> Vec<(String, String)> {
    let mut pairs = vec![];
    let mut rest = line;
    while let Some((key, after)) = rest.split_once(':') {
        let after = after.trim_start();
        let (value, next) = match after.starts_with('"') {
            true => split_quoted(after),
            false => {
                let (value, next) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        let key = key.trim();
        let is_word = |c: char| c.is_alphanumeric() || " -_/".contains(c);
        if !key.is_empty() && key.chars().all(is_word) {
            pairs.push((key.to_owned(), value));
        }
        rest = next;
    }
    pairs
}

/// The quoted value at the start of a text, and what follows its comma.
fn split_quoted(text: &str) -> (String, &str) {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    let end = end.map_or(text.len(), |(at, _)| at + 1);
    let value = serde_json::from_str(&text[..end]).unwrap_or_else(|_| text[..end].to_owned());
    let rest = &text[end..];
    (value, rest.split_once(',').map_or("", |(_, next)| next))
}

/// `512x768` as (512, 768).
fn size(text: &str) -> Option<(usize, usize)> {
    let (width, height) = text.split_once('x')?;
    width.trim().parse().ok().zip(height.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Parameters {
        Parameters {
            prompt: "a red circle\nand, to the right: a \"star\"".to_owned(),
            negative: Some("blur, noise".to_owned()),
            steps: Some(13),
            sampler: Some("tts-var".to_owned()),
            cfg: Some(2.5),
            seed: Some(u64::MAX),
            size: Some((512, 768)),
            model: Some("models: mine, \"2b\"".to_owned()),
            program: Some("ttsvar 0.9.0".to_owned()),
        }
    }

    #[test]
    fn parameters_come_back_from_their_text() {
        let bare = Parameters {
            negative: None,
            ..sample()
        };
        for parameters in [sample(), bare] {
            assert_eq!(Parameters::parse(&parameters.to_text()), Some(parameters));
        }
    }

    #[test]
    fn the_text_is_that_of_the_web_ui() {
        let parameters = Parameters {
            prompt: "a cat".to_owned(),
            model: Some("infinity-2b".to_owned()),
            ..sample()
        };
        assert_eq!(
            parameters.to_text(),
            "a cat\nNegative prompt: blur, noise\nSteps: 13, Sampler: tts-var, CFG scale: 2.5, \
             Seed: 18446744073709551615, Size: 512x768, Model: infinity-2b, Version: ttsvar 0.9.0"
        );
    }

    #[test]
    fn texts_of_other_programs_are_read() {
        let text = "masterpiece, (cat:1.2)\nNegative prompt: bad\nhands\nSteps: 20, Sampler: Euler a, \
                    CFG scale: 7, Seed: 965400086, Size: 512x512, Model hash: 6ce0161689, \
                    Hashes: {\"model\": \"6ce0161689\"}, Version: v1.6.0";
        let read = Parameters::parse(text).unwrap();
        assert_eq!(read.prompt, "masterpiece, (cat:1.2)");
        assert_eq!(read.negative.as_deref(), Some("bad\nhands"));
        assert_eq!(
            (read.seed, read.cfg, read.size),
            (Some(965400086), Some(7.0), Some((512, 512)))
        );
        assert_eq!(read.program.as_deref(), Some("v1.6.0"));
        let words = Parameters::parse("just: a prompt").unwrap();
        assert_eq!(words.prompt, "just: a prompt");
        assert_eq!(Parameters::parse("  \n "), None);
    }

    #[test]
    fn workflows_are_followed_to_their_texts() {
        let workflow = r#"{
            "3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 8.0,
                "sampler_name": "euler", "model": ["10", 0], "positive": ["12", 0],
                "negative": ["7", 0], "latent_image": ["5", 0]}},
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.ckpt"}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 640}},
            "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
            "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
            "10": {"class_type": "LoraLoader", "inputs": {"model": ["4", 0]}},
            "12": {"class_type": "ConditioningCombine", "inputs": {"a": ["12", 0], "b": ["6", 0]}}
        }"#;
        let read = Parameters::of_workflow(workflow).unwrap();
        assert_eq!(read.prompt, "a cat");
        assert_eq!(read.negative, None);
        assert_eq!(
            (read.seed, read.cfg, read.size),
            (Some(7), Some(8.0), Some((512, 640)))
        );
        assert_eq!(read.model.as_deref(), Some("v1-5.ckpt"));
        for damaged in ["", "[]", "{}", r#"{"1": 3}"#, "null"] {
            assert_eq!(Parameters::of_workflow(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn any_text_is_read_or_left() {
        for text in [
            "a: \"",
            "\"\\",
            ": , :",
            "Seed: x, Size: 3x, CFG scale: -",
            "é: ü, ß: \"\\u12\"",
        ] {
            Parameters::parse(text);
            Parameters::of_workflow(text);
        }
    }
}
