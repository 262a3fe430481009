//! BLIP as a detector: the probability of `yes` against `no` for questions about an image.
//!
//! Reference: Karine-Huang/T2I-CompBench at commit 1b70949, `BLIPvqa_eval/models/blip_vqa.py`,
//! lines 133-148 (`vqa_prob`), and `BLIPvqa_eval/data/utils.py`, lines 31-46 (`pre_question`).

use candle_core::{DType, Tensor};
use ttsvar_search::Image;

use super::Answerer;
use crate::{
    Error, Result,
    image::Preprocess,
    models::blip::{BlipVqa, Prompt},
    text::WordPieceTokenizer,
};

/// The original cuts questions to 35 tokens, the first and the last included.
const MAX_TOKENS: usize = 35;

/// Words of a question that are read.
const MAX_WORDS: usize = 50;

/// Characters that are taken out of questions; the question mark stays.
const TAKEN_OUT: [char; 10] = ['.', '!', '"', '(', ')', '*', '#', ':', ';', '~'];

/// Images that go through the network together: 901 tokens each.
const TOGETHER: usize = 8;

/// The numbers of the words that matter, as the tokenizer has them.
#[derive(Clone, Copy, Debug)]
struct Words {
    /// `[ENC]`, which stands in front of questions.
    question: u32,
    /// `[DEC]`, which stands in front of answers.
    answer: u32,
    yes: u32,
    no: u32,
}

/// A BLIP that answers yes or no.
pub struct BlipAnswers {
    model: BlipVqa,
    tokenizer: WordPieceTokenizer,
    words: Words,
}

/// The probabilities that an answer begins with `yes` and with `no`, among all words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct YesNo {
    /// Of `yes`.
    pub yes: f32,
    /// Of `no`.
    pub no: f32,
}

impl YesNo {
    /// `yes` as a share of both.
    pub fn share(self) -> f32 {
        self.yes / (self.yes + self.no)
    }
}

impl BlipAnswers {
    /// Joins a model and its tokenizer.
    ///
    /// # Errors
    /// The tokenizer has more words than the weights, or does not know `yes` and `no`.
    pub fn new(model: BlipVqa, tokenizer: WordPieceTokenizer) -> Result<Self> {
        const HINT: &str = "use the vocabulary that the weights were trained with: \
             bert-base-uncased for the released weights";
        let has = tokenizer.size();
        let knows = model.text_encoder.words();
        if has > knows {
            let message =
                format!("the tokenizer has {has} tokens, but the weights of BLIP have {knows}");
            return Err(Error::input(message).with_hint(HINT));
        }
        let id = |word: &str| {
            let found = tokenizer.id(word);
            found.ok_or_else(|| {
                Error::input(format!("the tokenizer of BLIP has no `{word}`")).with_hint(HINT)
            })
        };
        let words = Words {
            question: id("[ENC]")?,
            answer: id("[DEC]")?,
            yes: id("yes")?,
            no: id("no")?,
        };
        Ok(Self {
            model,
            tokenizer,
            words,
        })
    }

    /// The network's input for these images: (B, 3, side, side), the aspect ignored.
    ///
    /// # Errors
    /// The tensor library fails.
    pub fn pixels(&self, images: &[Image]) -> Result<Tensor> {
        let side = self.model.visual_encoder.side();
        let planes = Preprocess::BLIP_VQA.batch(images, side);
        Ok(Tensor::from_vec(
            planes,
            (images.len(), 3, side, side),
            self.model.device(),
        )?)
    }

    /// The ids of a question, `[ENC]` first.
    ///
    /// # Errors
    /// It cannot be split.
    pub fn ids(&self, question: &str) -> Result<Vec<u32>> {
        let most = MAX_TOKENS.min(self.model.text_encoder.positions());
        let padded = self.tokenizer.encode(&plain(question), most)?;
        let mut ids: Vec<u32> = padded
            .ids
            .into_iter()
            .zip(padded.mask)
            .filter(|(_, m)| *m != 0)
            .map(|(id, _)| id)
            .collect();
        if let Some(first) = ids.first_mut() {
            *first = self.words.question;
        }
        Ok(ids)
    }

    /// Encodes questions as far as possible without an image.
    ///
    /// # Errors
    /// One of them cannot be split.
    pub fn questions(&self, questions: &[impl AsRef<str>]) -> Result<Prompt> {
        let ids = questions
            .iter()
            .map(|question| self.ids(question.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        self.model.text_encoder.prompts(&ids)
    }

    /// The logits of all words as the first of the answers: (Q, V) for one image's `image_embeds`
    /// (1, T, C).
    ///
    /// # Errors
    /// The network fails.
    pub fn logits(&self, questions: &Prompt, image_embeds: &Tensor) -> Result<Tensor> {
        let states = self.model.question_states(questions, image_embeds)?;
        self.model
            .first_token_logits(questions, &states, self.words.answer)
    }

    /// The answers to some questions about each image: `questions[i]` is about `images[i]`.
    ///
    /// # Errors
    /// The network fails.
    pub fn answers(&self, images: &[Image], questions: &[Vec<String>]) -> Result<Vec<Vec<YesNo>>> {
        let mut answers = Vec::with_capacity(images.len());
        for (images, questions) in images.chunks(TOGETHER).zip(questions.chunks(TOGETHER)) {
            let embeds = self.model.visual_encoder.forward(&self.pixels(images)?)?; // (B, T, C)
            for (i, questions) in questions.iter().enumerate() {
                answers.push(if questions.is_empty() {
                    vec![]
                } else {
                    self.about(&embeds.narrow(0, i, 1)?, questions)?
                });
            }
        }
        Ok(answers)
    }

    fn about(&self, image_embeds: &Tensor, questions: &[String]) -> Result<Vec<YesNo>> {
        let logits = self.logits(&self.questions(questions)?, image_embeds)?;
        let rows: Vec<Vec<f32>> = logits.to_dtype(DType::F32)?.to_vec2()?;
        Ok(rows.iter().map(|row| self.weigh(row)).collect())
    }

    /// The probabilities of the two relevant words.
    fn weigh(&self, logits: &[f32]) -> YesNo {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: f32| f64::from(logit - top).exp();
        let total: f64 = logits.iter().map(|logit| power(*logit)).sum();
        let probability = |word: u32| (power(logits[word as usize]) / total) as f32;
        YesNo {
            yes: probability(self.words.yes),
            no: probability(self.words.no),
        }
    }
}

impl Answerer for BlipAnswers {
    fn yes(&self, images: &[Image], questions: &[Vec<String>]) -> Result<Vec<Vec<f32>>> {
        let answers = self.answers(images, questions)?;
        Ok(answers
            .into_iter()
            .map(|own| own.into_iter().map(YesNo::share).collect())
            .collect())
    }
}

/// A question as the network expects it: lower case, without some of the punctuation, not too long.
fn plain(question: &str) -> String {
    let kept: String = question
        .to_lowercase()
        .chars()
        .filter(|c| !TAKEN_OUT.contains(c))
        .collect();
    let words: Vec<&str> = kept
        .trim_end_matches(' ')
        .split(' ')
        .take(MAX_WORDS)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn questions_lose_what_the_original_takes_out() {
        assert_eq!(plain("A (Wooden) bench!?  "), "a wooden bench?");
        assert_eq!(plain(&"word ".repeat(60)).split(' ').count(), 50);
    }
}
