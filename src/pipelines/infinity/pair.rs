//! Checks that a transformer and a decoder were released together, before either is read. With the
//! wrong decoder, images are bad without any error: FoundationVision/Infinity, issues 15, 96 and
//! 104.

use crate::{Error, Result, hub::Bundle, nn::TensorSource};

/// A released decoder.
struct Released {
    /// Its file.
    file: &'static str,
    /// The part of its file's name that tells it from the others.
    tag: &'static str,
    /// Values per cell of its latent.
    channels: usize,
}

const RELEASED: [Released; 6] = [
    released("infinity_vae_d16.pth", "d16", 16),
    released("infinity_vae_d24.pth", "d24", 24),
    released("infinity_vae_d32.pth", "d32", 32),
    released("infinity_vae_d32reg.pth", "d32reg", 32),
    released("infinity_vae_d64.pth", "d64", 64),
    released(
        "infinity_vae_d56_f8_14_patchify.pth",
        "d56_f8_14_patchify",
        14,
    ),
];

const fn released(file: &'static str, tag: &'static str, channels: usize) -> Released {
    Released {
        file,
        tag,
        channels,
    }
}

/// Transformers by the beginning of their names, with the tag of the decoder that belongs to each.
const BELONG_TOGETHER: [(&str, &str); 2] = [
    ("infinity_2b_reg", "d32reg"),
    ("infinity_8b", "d56_f8_14_patchify"),
];

/// Checks the parts of a bundle by their shapes, and where these cannot tell by the names of the
/// files and those under which the files were saved, which renaming does not change.
///
/// # Errors
/// They do not belong together.
pub(super) fn check_pair(
    bundle: &Bundle,
    transformer: &dyn TensorSource,
    decoder: &dyn TensorSource,
) -> Result<()> {
    check_shapes(transformer, decoder)?;
    let generator = &bundle.description.generator;
    let needed = names(transformer, &generator.weights).find_map(|name| {
        let name = name.replace('-', "_");
        let pair = BELONG_TOGETHER
            .iter()
            .find(|(start, _)| name.starts_with(start));
        pair.map(|(_, tag)| *tag)
    });
    let Some(needed) = needed else { return Ok(()) };
    for name in names(decoder, &generator.vae) {
        if let Some(found) = by_name(name)
            && found.tag != needed
        {
            let needed = by_tag(needed);
            let message = format!(
                "expected {}, which belongs to this transformer, found {} (saved as `{}`)",
                needed.file,
                found.file,
                name.escape_debug()
            );
            return Err(Error::file(decoder.origin(), message).with_hint(format!(
                "download {}; a different decoder produces bad images without any error",
                needed.file
            )));
        }
    }
    Ok(())
}

/// The number of bits per token must be that of the values per cell, or four times that.
fn check_shapes(transformer: &dyn TensorSource, decoder: &dyn TensorSource) -> Result<()> {
    let axis = |source: &dyn TensorSource, names: &[&str], axis: usize| {
        let info = names.iter().find_map(|name| source.info(name))?;
        info.shape.get(axis).copied()
    };
    let bits = axis(transformer, &["word_embed.weight"], 1);
    let conv_in = ["decoder.conv_in.conv.weight", "decoder.conv_in.weight"];
    let channels = axis(decoder, &conv_in, 1);
    // A tensor that is missing is reported when it is read.
    let (Some(bits), Some(channels)) = (bits, channels) else {
        return Ok(());
    };
    cells_per_token(bits, channels).map(drop)
}

/// Cells of the decoder's latent along one side of a token: 1, or 2 if a token has the bits of four
/// cells (8B).
///
/// # Errors
/// The bits of a token are neither those of one cell nor of four.
pub(super) fn cells_per_token(bits: usize, channels: usize) -> Result<usize> {
    match bits {
        _ if bits == channels => Ok(1),
        _ if bits == 4 * channels => Ok(2),
        _ => Err(mismatch(bits, channels)),
    }
}

/// The error for a decoder whose latent has other values than the transformer has bits.
fn mismatch(bits: usize, channels: usize) -> Error {
    let with_channels = |channels: usize| {
        let found = RELEASED.iter().filter(move |vae| vae.channels == channels);
        let files: Vec<&str> = found.map(|vae| vae.file).collect();
        files.join(" or ")
    };
    let mut message = format!(
        "the transformer has {bits} bits per token, the decoder {channels} values per cell"
    );
    let found = with_channels(channels);
    if !found.is_empty() {
        message.push_str(&format!(", as {found} has"));
    }
    let mut needed = with_channels(bits);
    if needed.is_empty() && bits.is_multiple_of(4) {
        needed = with_channels(bits / 4);
    }
    let hint = match needed.is_empty() {
        true => "use the decoder that was released with the transformer: \
                 it has as many values as the transformer has bits, or a quarter of them"
            .to_owned(),
        false => format!("use the decoder that was released with the transformer: {needed}"),
    };
    Error::input(message).with_hint(hint)
}

/// The names of a file: the one under which it was saved, and the one in the bundle.
fn names<'a>(source: &'a dyn TensorSource, given: &'a str) -> impl Iterator<Item = &'a str> {
    let given = given.rsplit('/').next().unwrap_or(given);
    source.saved_as().into_iter().chain([given])
}

/// The released decoder whose file has this name, without its ending or with it.
fn by_name(name: &str) -> Option<&'static Released> {
    let stem = name.strip_suffix(".pth").unwrap_or(name);
    let tag = stem.strip_prefix("infinity_vae_")?.replace("_reg", "reg");
    RELEASED.iter().find(|vae| vae.tag == tag)
}

fn by_tag(tag: &str) -> &'static Released {
    let found = RELEASED.iter().find(|vae| vae.tag == tag);
    found.expect("every pair names a released decoder")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_decoders_are_known_by_all_spellings_of_their_names() {
        let tag = |name: &str| by_name(name).map(|vae| vae.tag);
        assert_eq!(tag("infinity_vae_d32reg.pth"), Some("d32reg"));
        assert_eq!(tag("infinity_vae_d32_reg"), Some("d32reg"));
        assert_eq!(tag("infinity_vae_d32"), Some("d32"));
        assert_eq!(
            tag("infinity_vae_d56_f8_14_patchify.pth"),
            Some("d56_f8_14_patchify")
        );
        assert_eq!(tag("archive"), None);
        assert_eq!(tag("infinity_vae.pth"), None);
        for (_, tag) in BELONG_TOGETHER {
            assert_eq!(by_tag(tag).tag, tag);
        }
    }

    #[test]
    fn a_decoder_of_other_shape_is_named_with_the_one_that_is_needed() {
        for (bits, channels, found, needed) in [
            (32, 16, "infinity_vae_d16.pth", "infinity_vae_d32"),
            (32, 64, "infinity_vae_d64.pth", "infinity_vae_d32"),
            (
                56,
                32,
                "infinity_vae_d32",
                "infinity_vae_d56_f8_14_patchify.pth",
            ),
        ] {
            let error = mismatch(bits, channels);
            assert!(error.to_string().contains(found), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains(needed)));
        }
    }
}
