//! Every fuzz target over its corpus, and over what becomes of that by chance,
//! for a bounded time: `NONNA_FUZZ_SECONDS` for each target (1), begun with
//! `NONNA_FUZZ_SEED`. An input that breaks a target is kept in
//! `fuzz/artifacts/TARGET`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nonna_logs::fuzzing::TARGETS;

/// No input is longer.
const LONGEST: usize = 4096;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

/// xorshift64*: the same seed gives the same inputs.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = folder().join("corpus").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes an input in one to four places.
fn mutate(input: &mut Vec<u8>, corpus: &[Vec<u8>], chance: &mut Chance) {
    const TELLING: [u8; 16] = *b"\0\x01\x7f\x80\xff\xfe\n\r \"{}[]\\<";
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        match chance.below(8) {
            0 if at < input.len() => input[at] ^= 1 << chance.below(8),
            1 if at < input.len() => input[at] = TELLING[chance.below(TELLING.len())],
            2 => input.insert(at, TELLING[chance.below(TELLING.len())]),
            3 if at < input.len() => {
                let end = at + 1 + chance.below((input.len() - at).min(32));
                input.drain(at..end.min(input.len()));
            }
            4 if at < input.len() => {
                let end = (at + 1 + chance.below(32)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let other = &corpus[chance.below(corpus.len())];
                let from = chance.below(other.len() + 1);
                let end = (from + chance.below(64)).min(other.len());
                input.splice(at..at, other[from..end].iter().copied());
            }
            6 => input.truncate(at),
            _ if at < input.len() => {
                #[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
                {
                    input[at] = chance.next() as u8;
                }
            }
            _ => {}
        }
    }
    input.truncate(LONGEST);
}

fn try_input(target: &str, entry: fn(&[u8]), input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| entry(input))).is_ok() {
        return;
    }
    let artifacts = folder().join("artifacts").join(target);
    fs::create_dir_all(&artifacts).unwrap();
    let sum = input
        .iter()
        .fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(*byte));
    let path = artifacts.join(format!("{sum:016x}"));
    fs::write(&path, input).unwrap();
    panic!(
        "{target} breaks with the input that is kept in {}",
        path.display()
    );
}

#[test]
fn no_input_breaks_a_parser() {
    let time = Duration::from_secs(number("NONNA_FUZZ_SECONDS", 1));
    for (target, entry) in TARGETS {
        let corpus = corpus(target);
        for input in &corpus {
            try_input(target, *entry, input);
        }
        let mut chance = Chance(number("NONNA_FUZZ_SEED", 0x6e6f_6e6e_6121).max(1));
        let begun = Instant::now();
        let mut tried = 0_u64;
        while begun.elapsed() < time {
            let mut input = corpus[chance.below(corpus.len())].clone();
            mutate(&mut input, &corpus, &mut chance);
            try_input(target, *entry, &input);
            tried += 1;
        }
        println!("{target}: {} kept inputs, {tried} by chance", corpus.len());
    }
}

#[test]
fn every_target_has_its_program_and_its_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let listed = |sub: &str, suffix: &str| -> BTreeSet<String> {
        fs::read_dir(folder().join(sub))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name.trim_end_matches(suffix).to_owned())
            .collect()
    };
    assert_eq!(listed("fuzz_targets", ".rs"), names);
    assert_eq!(listed("corpus", ""), names);
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let program = fs::read_to_string(folder().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("\"{name}\"")), "{name}");
    }
}
