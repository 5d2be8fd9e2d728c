//! One reading of a guard.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::foreign_text::foreign_text;
use crate::metrics::source::{MetricsError, QueryResult};
use crate::verdict::Window;

/// What was read of a guard.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardReading {
    /// Which guard of the plan.
    pub guard: usize,
    /// When.
    pub at: Timestamp,
    /// What.
    pub seen: GuardSeen,
}

/// What a guard's queries said.
#[derive(Clone, Debug, PartialEq)]
pub enum GuardSeen {
    /// The value; it may be infinite.
    Value(f64),
    /// What its counters did since the last reading.
    Counted(Vec<Window>),
    /// Nothing that can be used.
    NoData(GuardGap),
}

/// Why a guard has no data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "gap", rename_all = "kebab-case")]
pub enum GuardGap {
    /// No series.
    NoSeries,
    /// A value that is not a number, as a division by zero is.
    NotANumber,
    /// Several series where one value is needed.
    SeveralSeries {
        /// How many.
        series: usize,
    },
    /// The query was not answered.
    Unanswered {
        /// Why.
        message: String,
    },
}

impl GuardGap {
    /// Whether both are the same problem, whatever the numbers and texts in it.
    pub fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl From<MetricsError> for GuardGap {
    fn from(error: MetricsError) -> Self {
        Self::Unanswered {
            message: foreign_text(&error.what()),
        }
    }
}

/// The one value of an answer.
pub(crate) fn single_value(answer: &QueryResult) -> Result<f64, GuardGap> {
    if answer.is_partial() {
        return Err(partial(answer));
    }
    let mut samples = answer.series.iter().flat_map(|series| &series.samples);
    match (samples.next(), samples.next()) {
        (None, _) => Err(GuardGap::NoSeries),
        (Some((_, value)), None) if value.is_nan() => Err(GuardGap::NotANumber),
        (Some((_, value)), None) => Ok(*value),
        (Some(_), Some(_)) => Err(GuardGap::SeveralSeries {
            series: answer.series.len(),
        }),
    }
}

/// What an answer of which a part is missing lacks.
pub(super) fn partial(answer: &QueryResult) -> GuardGap {
    GuardGap::Unanswered {
        message: foreign_text(&format!("incomplete: {}", answer.warnings.join("; "))),
    }
}
