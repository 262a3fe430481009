//! VQAScore: how likely a question-answering network says "Yes" to the question whether an image
//! shows what the prompt says (arXiv 2404.01291), by CLIP-FlanT5.
//!
//! Reference: linzhiqiu/t2v_metrics at commit 10d549b,
//! `t2v_metrics/models/vqascore_models/clip_t5_model.py` and `mm_utils.py`. The score is
//! `exp(mean log p)` over the tokens of the answer, its end included: about the square root of the
//! probability of "Yes".

use ttsvar_search::{Image, Scorer};

use super::{
    ImageQuestions, ScorerKind, ScorerNetwork, ScorerSettings, kind::unchanged,
    questions::is_yes_or_no,
};
use crate::{
    Error, Result,
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    image::{MAX_PIXELS, Preprocess},
    loading::{Loaded, Loader},
    models::{
        clip::Config,
        clip_t5::{ClipT5, ClipT5Config, Question, log_probabilities},
    },
    options::YES,
    text::T5Tokenizer,
};
use candle_core::Tensor;

/// VQAScore with CLIP-FlanT5-XL by name.
pub static KIND: ScorerKind = ScorerKind {
    release: release("vqa", "clip-flant5-xl"),
    variants: &[("vqa", unchanged)],
    reads_prompt: true,
    answers: true,
    standardised: false,
    load,
};

/// VQAScore with CLIP-FlanT5-XXL by name.
pub static XXL_KIND: ScorerKind = ScorerKind {
    release: release("vqa-xxl", "clip-flant5-xxl"),
    variants: &[("vqa-xxl", unchanged)],
    reads_prompt: true,
    answers: true,
    standardised: false,
    load,
};

/// The files of a CLIP-FlanT5.
const fn release(family: &'static str, weights: &'static str) -> ScorerRelease {
    ScorerRelease {
        family,
        built_in: BuiltIn::Never,
        published: true,
        weights,
        other_weights: None,
        vocabulary: Some("flan-t5-tokenizer"),
        encoder: None,
        heads: false,
        signature: &ClipT5::SIGNATURE,
        encoder_signature: None,
        config: Some(("vision_tower.json", VIT_L_14_336)),
    }
}

/// The settings of `openai/clip-vit-large-patch14-336`, whose weights are in the checkpoint.
const VIT_L_14_336: &str =
    r#"{"vision_config": {"num_attention_heads": 16, "hidden_act": "quick_gelu"}}"#;

fn load(
    files: &ScorerFiles,
    loader: &Loader,
    _: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let config: ClipT5Config = files.model_config()?.json()?;
    let tower: Config = files.config()?.json()?;
    let tokenizer = T5Tokenizer::open_unlimited(&files.vocabulary()?)?;
    // The original has several names for the one embedding.
    let unused = [
        "embed_tokens",
        "encoder.embed_tokens",
        "decoder.embed_tokens",
        "shared",
    ];
    loader.load(files.weights()?, "", &unused, |weights| {
        let words = tokenizer.size();
        let network = ClipT5::load(weights, &config, &tower.vision_config, words)?;
        Ok(Box::new(VqaScore::new(network, tokenizer)?) as _)
    })
}

/// What stands around a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conversation {
    /// A system message, then the user's turn and the beginning of the assistant's (`t5_chat`).
    #[default]
    Chat,
    /// The same without the system message (`t5_chat_no_system`).
    NoSystem,
    /// Neither system message nor the names of the turns (`t5_chat_no_system_no_user`).
    NoSystemNoUser,
    /// Only image and question (`t5_plain`).
    Plain,
}

impl Conversation {
    /// The texts before the image and after it.
    fn around(self, question: &str) -> (String, String) {
        match self {
            Self::Chat => (
                format!("{SYSTEM} USER: "),
                format!("\n{question} ASSISTANT: "),
            ),
            Self::NoSystem => ("USER: ".to_owned(), format!("\n{question} ASSISTANT: ")),
            Self::NoSystemNoUser => (String::new(), format!("\n{question} : ")),
            Self::Plain => (String::new(), question.to_owned()),
        }
    }
}

const SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
    The assistant gives helpful, detailed, and polite answers to the user's questions.";

/// The place of the prompt in a question or an answer.
const PLACE: &str = "{}";

/// The question about a prompt.
const QUESTION: &str = "Does this figure show \"{}\"? Please answer yes or no.";

/// The original's mark for the image in a text.
const IMAGE: &str = "<image>";

/// The most tokens of a question with the image as one of them; the rest is cut off.
const MOST_TOKENS: usize = 2048;

/// Images that run through the networks together, which bounds memory.
const BATCH: usize = 4;

/// Tokens of a usual question, for estimates.
const USUAL_TOKENS: usize = 64;

/// The scorer.
pub struct VqaScore {
    network: ClipT5,
    tokenizer: T5Tokenizer,
    conversation: Conversation,
    question: String,
    answer: String,
}

impl VqaScore {
    /// The published scorer: the question whether the image shows the prompt, and the answer
    /// "Yes".
    ///
    /// # Errors
    /// The tokenizer has no words for the answer.
    pub fn new(network: ClipT5, tokenizer: T5Tokenizer) -> Result<Self> {
        let scorer = Self {
            network,
            tokenizer,
            conversation: Conversation::default(),
            question: QUESTION.to_owned(),
            answer: YES.to_owned(),
        };
        scorer.tokenizer.encode(&scorer.answer)?;
        Ok(scorer)
    }

    /// Asks in another conversation.
    pub fn in_conversation(self, conversation: Conversation) -> Self {
        Self {
            conversation,
            ..self
        }
    }

    /// Asks another question; `{}` is the place of the prompt.
    pub fn asking(self, question: impl Into<String>) -> Self {
        Self {
            question: question.into(),
            ..self
        }
    }

    /// Rates another answer; `{}` is the place of the prompt.
    pub fn answering(self, answer: impl Into<String>) -> Self {
        Self {
            answer: answer.into(),
            ..self
        }
    }

    /// The networks.
    pub fn network(&self) -> &ClipT5 {
        &self.network
    }

    /// The tokens of the question about a prompt.
    ///
    /// # Errors
    /// The prompt contains `<image>`, or it cannot be split.
    pub fn question(&self, prompt: &str) -> Result<Question> {
        self.tokens(&self.question.replace(PLACE, prompt))
    }

    fn tokens(&self, question: &str) -> Result<Question> {
        if question.contains(IMAGE) {
            return Err(Error::input(format!(
                "`{IMAGE}` in a prompt stands for an image in the scorer vqa"
            ))
            .with_hint("write the word without the brackets"));
        }
        let (left, right) = self.conversation.around(question);
        let left = self.tokenizer.encode(&left)?;
        let mut right = self.tokenizer.encode(&right)?;
        right.truncate(MOST_TOKENS.saturating_sub(left.len() + 1));
        Ok(Question { left, right })
    }

    /// The tokens of the answer for a prompt.
    ///
    /// # Errors
    /// The prompt cannot be split.
    pub fn answer_tokens(&self, prompt: &str) -> Result<Vec<u32>> {
        self.tokenizer.encode(&self.answer.replace(PLACE, prompt))
    }

    /// The network's input for images: (B, 3, side, side).
    ///
    /// # Errors
    /// An image is much longer than wide, so that its square would be too large.
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        for image in images {
            let longer = image.width().max(image.height());
            if longer.saturating_mul(longer) > MAX_PIXELS {
                return Err(Error::input(format!(
                    "an image of {} x {} pixels is too elongated for the scorer vqa, which pads images \
                     to squares",
                    image.width(),
                    image.height()
                )));
            }
        }
        let side = self.network.side();
        let planes = Preprocess::CLIP_PADDED.batch(images, side);
        let shape = (images.len(), 3, side, side);
        Ok(Tensor::from_vec(planes, shape, self.network.device())?)
    }

    /// How likely an answer to a question is for each image: `exp(mean log p)`.
    fn likelihoods(
        &self,
        question: &Question,
        answer: &[u32],
        images: &[Image],
    ) -> Result<Vec<f32>> {
        let prepared = self.network.prepare(question)?;
        let mut scores = Vec::with_capacity(images.len());
        for images in images.chunks(BATCH) {
            let tokens = self.network.image_tokens(&self.pixels(images)?)?;
            let spliced = self.network.spliced(&prepared, &tokens)?;
            let encoded = self.network.encode(&prepared, &spliced)?;
            let logits = self.network.answer_logits(&prepared, &encoded, answer)?;
            for row in log_probabilities(&logits, answer)? {
                let mean = row.iter().sum::<f32>() / row.len() as f32;
                scores.push(mean.exp());
            }
        }
        Ok(scores)
    }
}

impl ScorerNetwork for VqaScore {
    fn image_questions(&self) -> Option<&dyn ImageQuestions> {
        Some(self)
    }
}

impl ImageQuestions for VqaScore {
    fn answer(&self, question: &str, right: &str, images: &[Image]) -> Result<Vec<f32>> {
        let form = match is_yes_or_no(right) {
            true => "Please answer yes or no.",
            false => "Answer in one word.",
        };
        let tokens = self.tokens(&format!("{question} {form}"))?;
        self.likelihoods(&tokens, &self.tokenizer.encode(right)?, images)
    }
}

impl Scorer for VqaScore {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let question = self.question(prompt)?;
        Ok(self.likelihoods(&question, &self.answer_tokens(prompt)?, images)?)
    }

    fn flops(&self, images: usize) -> f64 {
        const ANSWER: usize = 2; // "Yes" and the end
        images as f64 * self.network.flops(USUAL_TOKENS, ANSWER)
    }
}
