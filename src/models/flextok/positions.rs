//! Tables of positions: stored tensors, of which smaller grids use the first rows and columns.

use candle_core::Tensor;

use crate::{Error, Result, nn::Weights};

/// A table of positions in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name of its part.
    pub name: String,
    /// The axes are multiplied, not added.
    pub multiplies: bool,
}

/// The positions of a grid.
#[derive(Clone, Debug)]
pub(super) struct Positions(Tensor); // (R, C, D)

impl Positions {
    /// Reads the table of a grid; `w` is the network.
    pub fn load(w: &Weights, table: &Table, width: usize) -> Result<Self> {
        let w = w.pp(&table.name);
        let [axes, one, rows, columns] = w.dims("posembs")?;
        if (axes, one) == (1, width) {
            let whole = w.get((1, width, rows, columns), "posembs")?;
            return Self::channels_last(&whole.squeeze(0)?);
        }
        if (one, rows) != (1, width) || axes > 2 {
            let found = format!("{:?}", [axes, one, rows, columns]);
            let expected = format!("[1, {width}, rows, columns] or [axes, 1, {width}, size]");
            return Err(w.mismatch("posembs", expected, found));
        }
        let all = w.get((axes, 1, width, columns), "posembs")?.squeeze(1)?; // (axes, D, size)
        if axes == 1 {
            return Self::channels_last(&all.get(0)?.unsqueeze(1)?);
        }
        let of_rows = all.get(0)?.unsqueeze(2)?; // (D, size, 1)
        let of_columns = all.get(1)?.unsqueeze(1)?; // (D, 1, size)
        Self::channels_last(&match table.multiplies {
            true => of_rows.broadcast_mul(&of_columns)?,
            false => of_rows.broadcast_add(&of_columns)?,
        })
    }

    /// (D, R, C)
    fn channels_last(x: &Tensor) -> Result<Self> {
        Ok(Self(x.permute((1, 2, 0))?.contiguous()?))
    }

    /// Rows and columns of the largest grid.
    pub fn most(&self) -> (usize, usize) {
        let dims = self.0.dims();
        (dims[0], dims[1])
    }

    /// The positions of a grid, row by row: (rows * columns, D)
    ///
    /// # Errors
    /// The grid is larger than the table.
    pub fn of_grid(&self, (rows, columns): (usize, usize)) -> Result<Tensor> {
        let (most_rows, most_columns) = self.most();
        if rows > most_rows || columns > most_columns {
            return Err(Error::input(format!(
                "a grid of {rows} x {columns} patches, but the model has positions for \
                 {most_rows} x {most_columns}"
            )));
        }
        let part = self.0.narrow(0, 0, rows)?.narrow(1, 0, columns)?;
        Ok(part.contiguous()?.flatten(0, 1)?)
    }
}
