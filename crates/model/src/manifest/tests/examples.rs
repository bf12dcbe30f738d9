//! Whole files with many mistakes, and all that is said of them.

use crate::manifest::parse;

#[test]
fn a_file_with_many_mistakes_is_reported_whole() {
    let text = include_str!("many-mistakes.toml");
    let expected = include_str!("many-mistakes.txt");
    let shown = parse(text, "nonna.toml").unwrap_err().to_string();
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/manifest/tests/many-mistakes.txt"
        );
        std::fs::write(path, format!("{shown}\n")).unwrap();
        return;
    }
    assert_eq!(
        shown,
        expected.trim_end_matches('\n'),
        "UPDATE=1 writes what is said now"
    );
}
