//! One picture of a whole search: a row a stage, every candidate that was decoded, its score, and
//! who continues whom.

mod draw;
mod layout;

use ttsvar_search::{Image, Trace};

use super::album::Album;

/// The picture of a finished search; `album` listened to it, and `trace` is its record.
///
/// ```no_run
/// # fn f(search: ttsvar::search::Search, plan: ttsvar::search::Plan) -> ttsvar::Result<()> {
/// let mut album = ttsvar::report::Album::default();
/// let outcome = ttsvar::search::run(&search, &"a red circle".into(), &plan, 0, &mut album)?;
/// ttsvar::report::tree::picture(&outcome.trace, &album).save("tree.png")?;
/// # Ok(()) }
/// ```
pub fn picture(trace: &Trace, album: &Album) -> Image {
    let layout = layout::Layout::new(trace, album.rows(), album.aspect());
    draw::draw(trace, &layout, album)
}
