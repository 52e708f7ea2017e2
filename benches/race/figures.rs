//! Medians with what they lie between, as rows of a Markdown table and as JSON.

use serde_json::{Map, Value, json};

/// The same figure of several rounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// Median, least and most, with three digits that count.
    fn cell(&self) -> String {
        match (self.0.first(), self.0.last()) {
            (Some(least), Some(most)) if least < most => {
                format!("{} ({}..{})", short(self.median()), short(*least), short(*most))
            }
            (Some(only), _) => short(*only),
            _ => "-".to_owned(),
        }
    }

    fn json(&self) -> Value {
        json!({"median": self.median(), "min": self.0.first(), "max": self.0.last(), "rounds": self.0.len()})
    }
}

pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        1.0..10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Rows with the same columns, in the order in which they first came.
pub(crate) struct Table {
    columns: &'static [&'static str],
    rows: Vec<Row>,
}

struct Row {
    name: String,
    series: Vec<Series>,
    /// Rounds that failed.
    failed: usize,
}

impl Table {
    pub(crate) fn new(columns: &'static [&'static str]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// One round of one row: a figure for each column, NaN where there is none; nothing at all if it has failed.
    pub(crate) fn add(&mut self, name: &str, figures: Option<&[f64]>) {
        let columns = self.columns.len();
        let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), series: vec![Series::default(); columns], failed: 0 });
            self.rows.len() - 1
        });
        let row = &mut self.rows[at];
        let Some(figures) = figures else {
            row.failed += 1;
            return;
        };
        for (series, figure) in row.series.iter_mut().zip(figures).filter(|(_, figure)| !figure.is_nan()) {
            series.push(*figure);
        }
    }

    pub(crate) fn median(&self, name: &str, column: &str) -> Option<f64> {
        let column = self.columns.iter().position(|known| *known == column)?;
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.series[column].median()).filter(|median| !median.is_nan())
    }

    /// Prints it; whether no round has failed.
    pub(crate) fn print(&self, what: &str, as_json: bool) -> bool {
        println!("\n{what}\n\n| | {} |\n|---|{}", self.columns.join(" | "), "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let cells: Vec<_> = row.series.iter().map(Series::cell).collect();
            let failed = if row.failed > 0 { format!(" ({} failed)", row.failed) } else { String::new() };
            println!("| {}{failed} | {} |", row.name, cells.join(" | "));
        }
        println!();
        if as_json {
            self.rows.iter().for_each(|row| println!("{}", self.object(what, row)));
        }
        self.rows.iter().all(|row| row.failed == 0)
    }

    fn object(&self, what: &str, row: &Row) -> Value {
        let columns = self.columns.iter().zip(&row.series);
        let figures: Map<_, _> = columns.map(|(column, series)| ((*column).to_owned(), series.json())).collect();
        json!({"race": what, "row": row.name, "failed": row.failed, "figures": figures})
    }
}
