//! Tables of plain text and Markdown. Text from elsewhere cannot leave its cell.

use unicode_width::UnicodeWidthStr;

use crate::quoting;

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Blanks at the end.
    Left,
    /// Blanks at the beginning.
    Right,
}

/// Rows under a heading, columns as wide as they need to be.
pub struct Table {
    columns: Vec<Align>,
    /// Cells as they were given; they are escaped for the place where the table is shown.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new<const N: usize>(heads: [(&str, Align); N]) -> Self {
        Self::with_columns(heads.into())
    }

    /// A table whose columns are only known at run time.
    pub fn with_columns(heads: Vec<(&str, Align)>) -> Self {
        let rows = vec![heads.iter().map(|(head, _)| (*head).to_owned()).collect()];
        Self {
            columns: heads.iter().map(|(_, align)| *align).collect(),
            rows,
        }
    }

    /// A table without a heading, with left-aligned columns.
    pub fn plain(columns: usize) -> Self {
        Self {
            columns: vec![Align::Left; columns],
            rows: vec![],
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells.into());
    }

    /// Adds a row with one cell per column.
    pub fn cells(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as Markdown; the first row is the heading.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let row = |cells: &Vec<String>| {
            let cells: Vec<String> = cells.iter().map(|cell| quoting::markdown(cell)).collect();
            line(&cells)
        };
        let rule = |align: &Align| if *align == Align::Left { "---" } else { "---:" }.to_owned();
        let rule = line(&self.columns.iter().map(rule).collect::<Vec<_>>());
        let mut lines: Vec<String> = self.rows.iter().map(row).collect();
        lines.insert(1.min(lines.len()), rule);
        lines.concat()
    }

    /// The lines, with two spaces between columns and none at the ends.
    pub fn lines(&self) -> Vec<String> {
        let shown = |row: &Vec<String>| row.iter().map(|cell| quoting::line(cell)).collect();
        let rows: Vec<Vec<String>> = self.rows.iter().map(shown).collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].width());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let cell = |column: usize, text: &str| {
            // `format!` only pads up to 65,535 characters.
            let blanks = " ".repeat(widths[column] - text.width());
            match self.columns[column] {
                Align::Left => format!("{text}{blanks}"),
                Align::Right => format!("{blanks}{text}"),
            }
        };
        let line = |row: &Vec<String>| {
            let cells: Vec<String> = row
                .iter()
                .enumerate()
                .map(|(column, text)| cell(column, text))
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        rows.iter().map(line).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_may_be_wider_than_any_screen() {
        let mut table = Table::plain(2);
        table.row(["a".into(), "x".repeat(70_000)]);
        table.row(["bc".into(), "y".into()]);
        assert_eq!(
            table.lines().iter().map(String::len).collect::<Vec<_>>(),
            [70_004, 5]
        );
    }

    #[test]
    fn text_stays_in_its_cell() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right)]);
        table.row(["a\n| b\u{1b}[1m".into(), "1".into()]);
        table.row(["日本".into(), "2".into()]);
        assert_eq!(
            table.lines(),
            [
                "name             n",
                "a\\n| b\\u{1b}[1m  1",
                "日本             2"
            ]
        );
        assert_eq!(table.markdown().lines().count(), 4);
    }

    #[test]
    fn columns_are_as_wide_as_they_need_to_be() {
        let mut table = Table::new([
            ("scale", Align::Right),
            ("grid", Align::Left),
            ("rows", Align::Right),
        ]);
        table.row(["2".into(), "4 × 4".into(), "8".into()]);
        table.row(["12".into(), "-".into(), "16".into()]);
        assert_eq!(
            table.to_string(),
            "scale  grid   rows\n    2  4 × 4     8\n   12  -        16"
        );
    }
}
