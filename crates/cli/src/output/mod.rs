//! All that is printed goes through one [`Printer`]: results to standard
//! output, remarks and progress to standard error.

mod errors;
mod printer;
mod table;
pub(crate) mod units;

pub(crate) use nonna_engine::words::clean;
pub(crate) use printer::{Paint, Printer};
pub(crate) use table::Table;
