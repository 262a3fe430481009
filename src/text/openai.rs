//! Cleaning of prompts before they are split, as in OpenAI's and OpenCLIP's tokenizers.
//!
//! Reference: openai/CLIP at commit d05afc4, `clip/simple_tokenizer.py`, lines 50-59
//! (`basic_clean`, `whitespace_clean`): ftfy's `fix_text`, then HTML's entities twice, then blanks.
//! Of ftfy, curly quotes, ligatures, letters of full or half width and control characters are
//! mended here; its guesses at text that was decoded wrongly are not made.

/// The prompt as it is split; lower case comes later.
pub(super) fn clean(prompt: &str) -> String {
    let plain: String = prompt
        .chars()
        .filter(|c| !is_control(*c))
        .flat_map(mended)
        .collect();
    let once = htmlize::unescape(plain);
    let twice = htmlize::unescape(once);
    twice.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Control characters that ftfy removes; those that count as blanks stay.
fn is_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}')
        || matches!(c, '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

/// The replacement of a character.
fn mended(c: char) -> impl Iterator<Item = char> {
    let text = match c {
        '‘' | '’' | '‛' | 'ʼ' | '‚' => "'",
        '“' | '”' | '„' | '‟' => "\"",
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǆ' => "DŽ",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{3000}' => " ",
        _ => "",
    };
    // The full-width forms of ASCII stand in ASCII's order.
    let narrow = match c {
        '！'..='～' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    };
    text.chars().chain(text.is_empty().then_some(narrow))
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn prompts_are_cleaned_as_the_original_does() {
        let cases = [
            ("  a \t red\n\ncat ", "a red cat"),
            ("salt &amp; pepper", "salt & pepper"),
            ("&amp;amp; &lt;b&gt;", "& <b>"), // twice
            ("it’s “fine”", "it's \"fine\""),
            ("ﬁsh ﬄ", "fish ffl"),
            ("ＲＥＤ　ｃａｔ！", "RED cat!"),
            ("a\u{7}b\u{feff}", "ab"),
            ("Café 猫", "Café 猫"),
            ("", ""),
        ];
        for (prompt, expected) in cases {
            assert_eq!(clean(prompt), expected);
        }
    }
}
