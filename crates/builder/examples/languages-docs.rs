//! Writes `docs/languages.md`. Run it after a change to a detector's tables.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::write(docs.join("languages.md"), nonna_builder::detect::markdown())
}
