//! An image of a whole search: one row per stage, every decoded candidate with its score, and lines
//! to its children.

mod draw;
mod layout;

use ttsvar_search::{Image, Trace};

use super::album::Album;

/// The tree of a finished search; `album` listened to it, and `trace` is its record.
///
/// ```no_run
/// # fn f(search: ttsvar::search::Search, plan: ttsvar::search::Plan) -> ttsvar::Result<()> {
/// let mut album = ttsvar::report::Album::default();
/// let outcome = ttsvar::search::run(&search, &"a red circle".into(), &plan, 0, &mut album)?;
/// let picture = ttsvar::report::tree::picture(&outcome.trace, &album);
/// ttsvar::image::save(&picture, "tree.png")?;
/// # Ok(()) }
/// ```
pub fn picture(trace: &Trace, album: &Album) -> Image {
    let layout = layout::Layout::new(trace, album.rows(), album.aspect());
    draw::draw(trace, &layout, album)
}
