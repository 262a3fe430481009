//! Any vision server with the chat-completions API: vLLM, llama.cpp, ollama, OpenAI and others. It
//! is asked about each image whether it shows what the prompt says; the score is the probability of
//! "yes".

mod answer;
mod cache;
mod client;
mod settings;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use ttsvar_search::{Image, Scorer};

pub use settings::{ApiKey, VisionServer};

use self::{
    cache::AnswerCache,
    client::{Client, Failure},
};
use super::{
    ImageQuestions, ScorerKind, ScorerNetwork, ScorerSettings, kind::unchanged,
    questions::is_yes_or_no,
};
use crate::{
    Error, Result,
    hub::{BuiltIn, ScorerFiles, ScorerRelease},
    image::Png,
    interrupt,
    loading::{Loaded, Loader},
    nn::Signature,
    options::YES,
};

/// Vision servers by name.
pub static KIND: ScorerKind = ScorerKind {
    release: ScorerRelease {
        family: "openai",
        built_in: BuiltIn::Always,
        published: true,
        weights: "openai",
        other_weights: None,
        vocabulary: None,
        encoder: None,
        heads: false,
        signature: &Signature { layouts: &[] },
        encoder_signature: None,
        config: None,
    },
    variants: &[("openai", unchanged)],
    reads_prompt: true,
    answers: true,
    standardised: false,
    load,
};

fn load(
    _: &ScorerFiles,
    _: &Loader,
    settings: &ScorerSettings,
) -> Result<Loaded<Box<dyn ScorerNetwork>>> {
    let server = settings.server.clone().or_environment()?;
    let url = server.url.clone().unwrap_or_default();
    Ok(Loaded::without_weights(Box::new(OpenAi::new(server)?), url))
}

/// The scorer.
pub struct OpenAi {
    client: Client,
    cache: AnswerCache,
    model: String,
    template: String,
    parallel: usize,
}

impl OpenAi {
    /// A scorer that asks this server. No request is sent yet.
    ///
    /// # Errors
    /// The address or the model is missing, or a value is not valid.
    pub fn new(server: VisionServer) -> Result<Self> {
        server.check()?;
        Ok(Self {
            client: Client::new(&server)?,
            cache: AnswerCache::new(server.cache_folder()),
            model: server.model.clone().unwrap_or_default(),
            template: server.template().to_owned(),
            parallel: server.parallel(),
        })
    }

    /// The probability of the right answer to a question about each image. An image for which the server gave
    /// no answer has NaN.
    ///
    /// # Errors
    /// The server refuses all requests, such as for a wrong key; it answered for no image; or the
    /// search is interrupted.
    fn ask(&self, question: &str, right: &str, images: &[Image]) -> Result<Vec<f32>> {
        let answers: Vec<Mutex<f32>> = images.iter().map(|_| Mutex::new(f32::NAN)).collect();
        let work = Work {
            question,
            right,
            images,
            answers: &answers,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            failure: Mutex::new(None),
            answered: AtomicUsize::new(0),
        };
        std::thread::scope(|scope| {
            let workers = self.parallel.min(images.len());
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| self.answer_all(&work)))
                .collect();
            // The check of the search belongs to this thread.
            while threads.iter().any(|thread| !thread.is_finished()) {
                if let Err(error) = interrupt::check() {
                    work.stop(Failure::Fatal(error));
                }
                std::thread::sleep(client::TICK);
            }
        });
        let answered = work.answered.load(Ordering::Relaxed);
        let failure = work.failure.into_inner();
        match failure.unwrap_or_else(PoisonError::into_inner) {
            Some(Failure::Fatal(error)) => return Err(error),
            Some(Failure::Lost(error)) if answered == 0 => return Err(error),
            _ => {}
        }
        let value =
            |answer: Mutex<f32>| answer.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(answers.into_iter().map(value).collect())
    }

    /// Takes images until none is left or a worker stops the work.
    fn answer_all(&self, work: &Work) {
        while !work.stop.load(Ordering::Relaxed) {
            let i = work.next.fetch_add(1, Ordering::Relaxed);
            let (Some(image), Some(answer)) = (work.images.get(i), work.answers.get(i)) else {
                return;
            };
            match self.answer(work, image) {
                Ok(probability) => {
                    work.answered.fetch_add(1, Ordering::Relaxed);
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = probability;
                }
                Err(failure) => work.note(failure),
            }
        }
    }

    /// The probability for one image, from the cache if it was asked before.
    fn answer(&self, work: &Work, image: &Image) -> Result<f32, Failure> {
        let png = Png::new(image.clone()).encode().map_err(Failure::Fatal)?;
        let key = cache::key([&self.model, work.question, work.right], &png);
        let slot = self.cache.slot(key);
        // Another worker with the same image and question waits here for this one's answer.
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(probability) = known.or_else(|| self.cache.read(key)) {
            *known = Some(probability);
            return Ok(probability);
        }
        let request = answer::request(&self.model, work.question, &png);
        let probability = self.client.ask(&request, work.right, &work.stop)?;
        *known = Some(probability);
        self.cache.write(key, probability).map_err(Failure::Fatal)?;
        Ok(probability)
    }
}

/// Images about which a question is asked, and what came of it.
struct Work<'w> {
    question: &'w str,
    right: &'w str,
    images: &'w [Image],
    answers: &'w [Mutex<f32>],
    next: AtomicUsize,
    stop: AtomicBool,
    failure: Mutex<Option<Failure>>,
    answered: AtomicUsize,
}

impl Work<'_> {
    /// Notes a failure; a fatal one ends the work. Of several, the first fatal one is kept.
    fn note(&self, failure: Failure) {
        if matches!(failure, Failure::Fatal(_)) {
            self.stop(failure);
            return;
        }
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(failure);
    }

    fn stop(&self, failure: Failure) {
        self.stop.store(true, Ordering::Relaxed);
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*known, Some(Failure::Fatal(_))) {
            *known = Some(failure);
        }
    }
}

impl ScorerNetwork for OpenAi {
    fn image_questions(&self) -> Option<&dyn ImageQuestions> {
        Some(self)
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }
}

impl ImageQuestions for OpenAi {
    fn answer(&self, question: &str, right: &str, images: &[Image]) -> Result<Vec<f32>> {
        let form = match is_yes_or_no(right) {
            true => "Answer yes or no.",
            false => "Answer in one word.",
        };
        self.ask(&format!("{question} {form}"), right, images)
    }
}

impl Scorer for OpenAi {
    fn score(&self, prompt: &str, images: &[Image]) -> ttsvar_search::Result<Vec<f32>> {
        let question = self.template.replace(settings::PLACE, prompt);
        Ok(self.ask(&question, YES, images)?)
    }

    fn flops(&self, _: usize) -> f64 {
        0.0 // the server's, which are not known
    }
}

/// The error for a server that does not answer as expected.
fn refused(what: impl std::fmt::Display) -> Error {
    Error::system(format!("the vision server {what}"))
}
