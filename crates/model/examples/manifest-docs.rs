//! Writes what is published of the manifest: `docs/nonna.schema.json` and
//! `docs/manifest.md`. Run it after a change to the table of fields.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut schema = serde_json::to_string_pretty(&nonna_model::manifest::schema())?;
    schema.push('\n');
    std::fs::write(docs.join("nonna.schema.json"), schema)?;
    std::fs::write(
        docs.join("manifest.md"),
        nonna_model::manifest::reference_markdown(),
    )
}
