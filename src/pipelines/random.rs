//! Released sizes of all families with random weights, for `ttsvar bench`: the values of weights do
//! not affect timing.

use candle_core::Device;
use ttsvar_search::{Pipeline, suggestion::suggest};

use super::{Outline, flexar, hart, infinity, switti, var};
use crate::{Error, Result, nn::Dtype, options::Options};

/// A released size of a family.
pub trait RandomArchitecture: Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The number of its parameters.
    fn values(&self) -> usize;

    /// The options of its smallest images.
    fn smallest(&self) -> Options;

    /// A model of this size without weights, set up by options.
    ///
    /// # Errors
    /// An option does not fit the model.
    fn outline(&self, options: &Options, dtype: Dtype) -> Result<Box<dyn Outline>>;

    /// A model of this size with random weights of type `dtype`.
    ///
    /// # Errors
    /// The device does not have enough memory.
    fn build(&self, dtype: Dtype, device: &Device) -> Result<Box<dyn RandomModel>>;
}

/// A model with random weights.
pub trait RandomModel {
    /// A prompt of usual length.
    fn prompt(&self) -> String;

    /// The generator set up by options; `rows` rows run through the network together.
    ///
    /// # Errors
    /// An option does not fit the model.
    fn pipeline(&self, options: &Options, rows: usize) -> Result<Box<dyn Pipeline + '_>>;
}

/// All released sizes.
fn all() -> impl Iterator<Item = &'static dyn RandomArchitecture> {
    let infinity = infinity::random::ARCHITECTURES.iter();
    let infinity = infinity.map(|arch| arch as &dyn RandomArchitecture);
    let var = var::ARCHITECTURES.iter();
    let var = var.map(|arch| arch as &dyn RandomArchitecture);
    let hart = hart::ARCHITECTURES.iter();
    let hart = hart.map(|arch| arch as &dyn RandomArchitecture);
    let switti = switti::ARCHITECTURES.iter();
    let switti = switti.map(|arch| arch as &dyn RandomArchitecture);
    let flexar = flexar::ARCHITECTURES.iter();
    let flexar = flexar.map(|arch| arch as &dyn RandomArchitecture);
    infinity.chain(var).chain(hart).chain(switti).chain(flexar)
}

/// The names of all released sizes.
pub fn architecture_names() -> Vec<&'static str> {
    all().map(RandomArchitecture::name).collect()
}

/// The released size of this name.
///
/// # Errors
/// There is none.
pub fn architecture(name: &str) -> Result<&'static dyn RandomArchitecture> {
    let names = architecture_names();
    let unknown = || {
        let expected = format!("expected demo or one of {}", names.join(", "));
        Error::input(format!("unknown architecture `{name}`"))
            .with_hint(suggest(name, &names, &expected))
    };
    all().find(|arch| arch.name() == name).ok_or_else(unknown)
}
