//! CLIP's byte-level BPE: as Hugging Face has it, from a `tokenizer.json`, and as OpenAI and
//! OpenCLIP have it, which clean prompts first, from a list of merges.

use std::{io::Read, sync::Arc};

use tokenizers::{
    Tokenizer, TruncationParams,
    models::bpe::{BPE, Vocab},
    normalizers::{NFC, Sequence as Normalizers, utils::Lowercase},
    pre_tokenizers::{byte_level::ByteLevel, sequence::Sequence, split::Split},
    processors::template::TemplateProcessing,
};

use ttsvar_search::PromptReader;

use super::{
    limit::{Limited, NamedLimit, dropped},
    openai::clean,
};
use crate::{Error, Result, file::decode_text, hub::Blob};

/// Splits prompts for CLIP.
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    cleans: bool,
}

/// Merges of the published list; the rest of the file, rarer merges, is not used.
const MERGES: usize = 49152 - 256 - 2;

/// Bytes of a list of merges that are read at most; the published one has 1.4 MB.
const LARGEST: u64 = 64 << 20;

/// The pattern by which OpenAI splits a clean prompt before the merges.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";

impl ClipTokenizer {
    /// Most tokens of a prompt, including the start and end tokens.
    pub const MAX_TOKENS: usize = 77;

    /// Reads a `tokenizer.json`. Prompts are taken as they are: `&amp;` stays `&amp;`.
    ///
    /// # Errors
    /// The file is missing or is not a tokenizer that begins and ends every prompt with a special
    /// token.
    pub fn open(json: &Blob) -> Result<Self> {
        Self {
            tokenizer: super::from_json(json, Self::MAX_TOKENS)?,
            cleans: false,
        }
        .checked(json)
    }

    /// Reads a list of merges (`bpe_simple_vocab_16e6.txt.gz` of OpenAI, `merges.txt` of Hugging
    /// Face) or a `tokenizer.json`, recognised by content. Prompts are cleaned as OpenAI and
    /// OpenCLIP do it.
    ///
    /// # Errors
    /// The file is missing or something else.
    pub fn open_clip(vocabulary: &Blob) -> Result<Self> {
        let text = text(vocabulary)?;
        let tokenizer = match text.trim_start().starts_with('{') {
            true => super::from_json(vocabulary, Self::MAX_TOKENS)?,
            false => from_merges(&text, vocabulary)?,
        };
        Self {
            tokenizer,
            cleans: true,
        }
        .checked(vocabulary)
    }

    fn checked(self, origin: &Blob) -> Result<Self> {
        match self.encode("")?.len() {
            2 => Ok(self),
            n => Err(Error::file(
                origin.path(),
                format!(
                    "expected a CLIP tokenizer, which makes an empty prompt two tokens \
                     (start and end), not {n}"
                ),
            )),
        }
    }

    /// Ids of a prompt, without padding, at most [`Self::MAX_TOKENS`]; the last is the end, also of
    /// a prompt that was cut.
    ///
    /// # Errors
    /// The prompt cannot be split.
    pub fn encode(&self, prompt: &str) -> Result<Vec<u32>> {
        if self.cleans {
            super::encode(&self.tokenizer, &clean(prompt))
        } else {
            super::encode(&self.tokenizer, prompt)
        }
    }

    /// The reader of prompts for warnings, under the name of what it serves.
    pub fn prompt_reader(self: &Arc<Self>, name: &str) -> Arc<dyn PromptReader> {
        Arc::new(NamedLimit {
            name: name.to_owned(),
            limit: Self::MAX_TOKENS,
            tokenizer: self.clone(),
        })
    }

    /// The number of different ids.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

impl Limited for ClipTokenizer {
    fn dropped(&self, prompt: &str, _: usize) -> Result<Option<String>> {
        if self.cleans {
            dropped(&self.tokenizer, &clean(prompt))
        } else {
            dropped(&self.tokenizer, prompt)
        }
    }
}

/// The text of a file that may be compressed.
fn text(file: &Blob) -> Result<String> {
    const GZIP: [u8; 2] = [0x1f, 0x8b];
    if !file.start(2)?.starts_with(&GZIP) {
        return file.text();
    }
    let mut bytes = vec![];
    let mut unpacked = flate2::read::GzDecoder::new(file.reader()).take(LARGEST);
    match unpacked.read_to_end(&mut bytes) {
        Ok(_) => decode_text(file.path(), bytes),
        Err(error) => Err(
            Error::file(file.path(), format!("not a compressed text: {error}")).with_hint(WHICH),
        ),
    }
}

const WHICH: &str = "the merges of CLIP are `bpe_simple_vocab_16e6.txt.gz` of OpenAI \
                     or `merges.txt` of openai/clip-vit-large-patch14";

/// Ids are those of the bytes, of the bytes at the end of a word, of the merges, of start and end.
fn from_merges(text: &str, origin: &Blob) -> Result<Tokenizer> {
    let wrong = |what: String| {
        Error::file(origin.path(), format!("not a list of merges: {what}")).with_hint(WHICH)
    };
    let pair = |line: &str| {
        let pair = line
            .split_once(' ')
            .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '));
        pair.map(|(a, b)| (a.to_owned(), b.to_owned()))
            .ok_or_else(|| wrong(format!("`{}`", line.escape_debug())))
    };
    let lines = text
        .lines()
        .skip(1)
        .take(MERGES)
        .filter(|line| !line.trim().is_empty()); // the first is a title
    let merges = lines.map(pair).collect::<Result<Vec<_>>>()?;
    if merges.is_empty() {
        return Err(wrong("there are no merges in it".to_owned()));
    }
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let mut words: Vec<String> = bytes.iter().map(char::to_string).collect();
    words.extend(bytes.iter().map(|byte| format!("{byte}</w>")));
    words.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let start = words.len() as u32;
    let end = words.len() as u32 + 1;
    let special = [(START, start), (END, end)].map(|(word, id)| (word.to_owned(), id));
    words.extend(special.iter().map(|(word, _)| word.clone()));
    let ids: Vocab = words.into_iter().zip(0..).collect();
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .end_of_word_suffix("</w>".to_owned());
    let model = model.build().map_err(|error| wrong(error.to_string()))?;
    assemble(model, special).map_err(|error| wrong(error.to_string()))
}

const START: &str = "<start_of_text>";
const END: &str = "<end_of_text>";

fn assemble(model: BPE, special: [(String, u32); 2]) -> tokenizers::Result<Tokenizer> {
    let words = Split::new(
        tokenizers::pre_tokenizers::split::SplitPattern::Regex(WORDS.to_owned()),
        tokenizers::SplitDelimiterBehavior::Removed,
        true,
    )?;
    let template = TemplateProcessing::builder()
        .try_single(format!("{START} $A {END}"))?
        .special_tokens(special.to_vec())
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_normalizer(Some(Normalizers::new(vec![NFC.into(), Lowercase.into()])))?;
    tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![
        words.into(),
        ByteLevel::new(false, false, false).into(),
    ])));
    tokenizer.with_post_processor(Some(template));
    let max_length = ClipTokenizer::MAX_TOKENS;
    tokenizer.with_truncation(Some(TruncationParams {
        max_length,
        ..Default::default()
    }))?;
    Ok(tokenizer)
}
