//! Floors: the least that anything must do which keeps lines compressed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use aho_corasick::packed::{Config, MatchKind};

/// Bytes per block.
const BLOCK: usize = 1 << 20;

/// One thread: splits lines, puts a header of sixteen bytes before each, looks
/// for what secrets begin with, and compresses with zstd -1; perhaps with a
/// bloom filter of the words.
pub(crate) fn take(mut stream: TcpStream, folder: &Path, bloom: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = std::fs::File::create(folder.join("floor.zst"))?;
    let texts = [
        "AKIA",
        "ghp_",
        "-----BEGIN",
        "password",
        "earer ",
        "ecret",
        "oken",
    ];
    let searcher = Config::new()
        .match_kind(MatchKind::LeftmostFirst)
        .builder()
        .extend(texts)
        .build();
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let (mut buffer, mut filled) = (vec![0_u8; 256 * 1024], 0);
    let mut block = Vec::with_capacity(2 * BLOCK);
    let mut filter = vec![0_u64; 1 << 12];
    let (mut number, mut suspects) = (0_u64, 0_u64);
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        filled += count;
        let whole = memchr::memrchr(b'\n', &buffer[..filled]).map_or(0, |at| at + 1);
        if let Some(searcher) = &searcher {
            suspects += searcher.find_iter(&buffer[..whole]).count() as u64;
        }
        let mut at = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..whole]) {
            let line = &buffer[at..end];
            block.extend_from_slice(&number.to_le_bytes());
            block.extend_from_slice(&(line.len() as u64).to_le_bytes());
            block.extend_from_slice(line);
            number += 1;
            at = end + 1;
            if bloom {
                words(line, &mut filter);
            }
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if block.len() >= BLOCK || count == 0 {
            file.write_all(&compressor.compress(&block)?)?;
            block.clear();
            if bloom {
                for word in &filter {
                    file.write_all(&word.to_le_bytes())?;
                }
                filter.fill(0);
            }
        }
        if count == 0 {
            break;
        }
    }
    anyhow::ensure!(suspects > 0, "no secret was suspected");
    Ok(())
}

fn words(line: &[u8], filter: &mut [u64]) {
    let (mut hash, mut word, mut len) = (0_u64, 0_u64, 0_u32);
    let mut bytes = line.iter();
    loop {
        let byte = bytes.next().copied().unwrap_or(b' ');
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            word = word << 8 | u64::from(byte);
            len += 1;
            if len & 7 == 0 {
                hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                word = 0;
            }
        } else {
            if len > 1 {
                let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                // Four bits within one line of the processor's cache.
                let block = (mixed >> 48) as usize % (filter.len() / 8) * 8;
                for turn in 0..4 {
                    let bit = (mixed >> (turn * 9)) as usize & 511;
                    filter[block + (bit >> 6)] |= 1 << (bit & 63);
                }
            }
            if bytes.len() == 0 {
                return;
            }
            (hash, word, len) = (0, 0, 0);
        }
    }
}

/// CPU seconds to decompress the whole corpus from blocks and look for a text
/// in it. `lines` only keeps it from being optimised away.
pub(crate) fn scan(lines: usize) -> anyhow::Result<f64> {
    let count: u64 = std::env::var("NONNA_BENCH_LOG_LINES")
        .ok()
        .and_then(|t| t.parse().ok())
        .unwrap_or(5_000_000);
    let mut corpus = crate::corpus::Corpus::new(1);
    let mut compressor = zstd::bulk::Compressor::new(1)?;
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    for line in 0..count {
        corpus.next_line(&mut block)?;
        if block.len() >= BLOCK || line + 1 == count {
            blocks.push((compressor.compress(&block)?, block.len()));
            block.clear();
        }
    }
    let finder = memchr::memmem::Finder::new(crate::child::SUBSTRING);
    let mut decompressor = zstd::bulk::Decompressor::new()?;
    let mut seconds = Vec::new();
    for _ in 0..3 {
        let before = crate::cpu_seconds("self")?.0;
        let mut found = 0;
        for (compressed, length) in &blocks {
            block.clear();
            block.reserve(*length);
            decompressor.decompress_to_buffer(compressed, &mut block)?;
            found += usize::from(finder.find(&block).is_some());
        }
        anyhow::ensure!(found == 0 && lines > 0, "what is not there was found");
        seconds.push(crate::cpu_seconds("self")?.0 - before);
    }
    Ok(nonna_bench::median(&seconds))
}
