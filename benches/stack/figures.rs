//! What was measured, as a table and as JSON.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// All figures of a run, in order.
#[derive(Default)]
pub(crate) struct Figures(Vec<Figure>);

struct Figure {
    name: String,
    unit: &'static str,
    /// One for each repetition, in order of time.
    values: Vec<f64>,
    /// What it is measured against, in words.
    goal: String,
}

impl Figures {
    /// Adds a figure with all its repetitions; without any it was not seen.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        values: &[f64],
        goal: impl Into<String>,
    ) {
        let figure = Figure {
            name: name.into(),
            unit,
            values: values.to_vec(),
            goal: goal.into(),
        };
        eprintln!("{}", figure.row(0));
        self.0.push(figure);
    }

    /// One line a figure: the median, the extremes, and what it is measured against.
    pub(crate) fn table(&self) -> String {
        let width = self.0.iter().map(|figure| figure.name.len()).max();
        let rows = self.0.iter().map(|figure| figure.row(width.unwrap_or(0)));
        rows.map(|row| row + "\n").collect()
    }

    /// Writes the figures to `target/bench/stack.json`.
    pub(crate) fn save(&self) -> io::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        fs::create_dir_all(&folder)?;
        let path = folder.join("stack.json");
        let figures: Vec<Value> = self.0.iter().map(Figure::json).collect();
        fs::write(&path, format!("{:#}\n", Value::from(figures)))?;
        Ok(path)
    }
}

impl Figure {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn row(&self, width: usize) -> String {
        let sorted = self.sorted();
        let (Some(least), Some(most)) = (sorted.first(), sorted.last()) else {
            return format!("{:width$}  not seen  {}", self.name, self.goal);
        };
        format!(
            "{:width$}  {:>9.2} {:<3} ({least:.2} to {most:.2}, {} runs)  {}",
            self.name,
            median(&self.values),
            self.unit,
            sorted.len(),
            self.goal,
        )
    }

    fn json(&self) -> Value {
        let median = (!self.values.is_empty()).then(|| median(&self.values));
        json!({
            "name": self.name, "unit": self.unit, "median": median, "values": self.values,
            "goal": self.goal,
        })
    }
}

/// The middle one, or the mean of the two in the middle; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => f64::NAN,
        (count, middle) if count % 2 == 0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
        (_, middle) => sorted[middle],
    }
}
