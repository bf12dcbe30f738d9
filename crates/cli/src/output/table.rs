//! Columns for people.

use super::clean;

/// What stands between two columns.
const GAP: &str = "  ";

/// A table without lines, as wide as it needs to be.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    /// Adds a row. What came from elsewhere loses what could steer a terminal.
    pub(crate) fn row<I, T>(&mut self, cells: I)
    where
        I: IntoIterator<Item = T>,
        T: AsRef<str>,
    {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| clean(cell.as_ref()).into_owned())
                .collect(),
        );
    }

    /// Its lines, with no blanks at the ends.
    pub(crate) fn lines(&self) -> Vec<String> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
            })
            .collect();
        self.rows
            .iter()
            .map(|row| {
                let cells: Vec<String> = row
                    .iter()
                    .zip(&widths)
                    .map(|(cell, width)| format!("{cell:width$}"))
                    .collect();
                cells.join(GAP).trim_end().to_owned()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let mut table = Table::new(&["NAME", "VALUE"]);
        table.row(["a", "\u{1b}[31mred"]);
        table.row(["longer-é", ""]);
        assert_eq!(table.lines(), ["NAME      VALUE", "a         red", "longer-é"]);
    }
}
