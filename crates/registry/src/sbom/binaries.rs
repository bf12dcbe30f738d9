//! Executables that say what they were built of: Go's build information, and
//! the list that cargo-auditable puts into Rust programs.

use std::io::{self, Read, Seek, SeekFrom};

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use super::package::{Kind, Package};

/// What an ELF file begins with, of 64 bits and little-endian.
pub(super) const ELF: &[u8] = b"\x7fELF\x02\x01";
/// The most sections that are looked through.
const MOST_SECTIONS: usize = 4096;
/// The largest section that is read, and what it may be unpacked to.
const MAX_SECTION: u64 = 16 * 1024 * 1024;

const GO_SECTION: &[u8] = b".go.buildinfo";
const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where strings begin that stand in the section itself (Go 1.18 and later).
const GO_STRINGS: usize = 32;
/// What stands around the list of modules, at each end.
const GO_FENCE: usize = 16;

const RUST_SECTION: &[u8] = b".dep-v0";

/// The packages that an executable was built of. What is no such executable
/// has none.
pub(super) fn read(file: &mut (impl Read + Seek), path: &str) -> io::Result<Vec<Package>> {
    let mut packages = Vec::new();
    if let Some(section) = section(file, GO_SECTION)? {
        packages.extend(go(&section, path));
    }
    if let Some(section) = section(file, RUST_SECTION)? {
        packages.extend(rust(&section, path));
    }
    Ok(packages)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let slice = bytes.get(at..at + N)?;
    let mut whole = [0; 8];
    whole[..N].copy_from_slice(slice);
    Some(u64::from_le_bytes(whole))
}

/// A section's content, by its name.
fn section(file: &mut (impl Read + Seek), name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    Ok(find(file, name)?.and_then(|(offset, size)| {
        (size <= MAX_SECTION)
            .then(|| part(file, offset, size).ok())
            .flatten()
    }))
}

fn part(file: &mut (impl Read + Seek), offset: u64, size: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Where a section is. Files that are cut off or forged have none.
fn find(file: &mut (impl Read + Seek), name: &[u8]) -> io::Result<Option<(u64, u64)>> {
    const HEADER: u64 = 64;
    const ENTRY: usize = 64;
    let Ok(header) = part(file, 0, HEADER) else {
        return Ok(None);
    };
    if !header.starts_with(ELF) {
        return Ok(None);
    }
    let (Some(table), Some(size), Some(count), Some(names)) = (
        number::<8>(&header, 0x28),
        number::<2>(&header, 0x3a),
        number::<2>(&header, 0x3c),
        number::<2>(&header, 0x3e),
    ) else {
        return Ok(None);
    };
    let count = usize::try_from(count).unwrap_or_default();
    if size != ENTRY as u64 || count == 0 || count > MOST_SECTIONS {
        return Ok(None);
    }
    let Ok(entries) = part(file, table, (count * ENTRY) as u64) else {
        return Ok(None);
    };
    let place = |entry: &[u8]| Some((number::<8>(entry, 0x18)?, number::<8>(entry, 0x20)?));
    let names = usize::try_from(names).unwrap_or_default();
    let Some((offset, size)) = entries.chunks(ENTRY).nth(names).and_then(place) else {
        return Ok(None);
    };
    if size > MAX_SECTION {
        return Ok(None);
    }
    let Ok(strings) = part(file, offset, size) else {
        return Ok(None);
    };
    Ok(entries
        .chunks(ENTRY)
        .find(|entry| {
            let at = number::<4>(entry, 0).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| strings.get(at..))
                .and_then(|rest| rest.split(|byte| *byte == 0).next())
                == Some(name)
        })
        .and_then(place))
}

fn go(section: &[u8], path: &str) -> Vec<Package> {
    let inline = section.starts_with(GO_MAGIC) && section.get(15).is_some_and(|flags| flags & 2 != 0);
    let Some(strings) = section.get(GO_STRINGS..).filter(|_| inline) else {
        return Vec::new();
    };
    let Some((version, rest)) = go_string(strings) else {
        return Vec::new();
    };
    let mut packages = Vec::new();
    let version = String::from_utf8_lossy(version);
    if let Some(number) = version.split(' ').next().and_then(|word| word.strip_prefix("go")) {
        packages.push(Package::new(Kind::Golang, "stdlib", number, path));
    }
    let modules = go_string(rest)
        .and_then(|(text, _)| text.get(GO_FENCE..text.len().checked_sub(GO_FENCE)?))
        .unwrap_or_default();
    for line in String::from_utf8_lossy(modules).lines() {
        let mut words = line.split('\t');
        let (kind, name, version) = (words.next(), words.next(), words.next());
        let (Some(name), Some(version)) = (name, version) else {
            continue;
        };
        match kind {
            Some("dep" | "mod") => packages.push(Package::new(Kind::Golang, name, version, path)),
            // What was really taken in place of the one before.
            Some("=>") => {
                packages.pop();
                packages.push(Package::new(Kind::Golang, name, version, path));
            }
            _ => {}
        }
    }
    packages
}

/// A string with its length before it, and what follows.
fn go_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: u64 = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = &bytes[index + 1..];
            return rest.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

fn rust(section: &[u8], path: &str) -> Vec<Package> {
    #[derive(Deserialize)]
    struct Audit {
        packages: Vec<Crate>,
    }
    #[derive(Deserialize)]
    struct Crate {
        name: String,
        version: String,
        #[serde(default)]
        kind: Option<String>,
    }
    let mut text = Vec::new();
    let unpacked = ZlibDecoder::new(section).take(MAX_SECTION).read_to_end(&mut text);
    if unpacked.is_err() {
        return Vec::new();
    }
    let Ok(audit) = serde_json::from_slice::<Audit>(&text) else {
        return Vec::new();
    };
    audit
        .packages
        .into_iter()
        // What only built it is not in it.
        .filter(|found| found.kind.as_deref() != Some("build"))
        .map(|found| Package::new(Kind::Cargo, found.name, found.version, path))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    /// An ELF file with these sections, as a linker would write it.
    fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut names = vec![0_u8];
        let mut file = vec![0_u8; 64];
        let mut entries = vec![[0_u8; 64]];
        let mut all: Vec<(&str, Vec<u8>)> = sections.iter().map(|(n, b)| (*n, b.to_vec())).collect();
        all.push((".shstrtab", Vec::new()));
        let last = all.len() - 1;
        for (index, (name, bytes)) in all.into_iter().enumerate() {
            let at = names.len() as u32;
            names.extend(name.bytes());
            names.push(0);
            let bytes = if index == last { names.clone() } else { bytes };
            let mut entry = [0_u8; 64];
            entry[..4].copy_from_slice(&at.to_le_bytes());
            entry[0x18..0x20].copy_from_slice(&(file.len() as u64).to_le_bytes());
            entry[0x20..0x28].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
            file.extend(bytes);
            entries.push(entry);
        }
        let table = file.len() as u64;
        let count = entries.len() as u16;
        for entry in entries {
            file.extend(entry);
        }
        file[..6].copy_from_slice(ELF);
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&(count - 1).to_le_bytes());
        file
    }

    fn names(packages: &[Package]) -> Vec<(&str, &str)> {
        packages
            .iter()
            .map(|p| (p.name.as_str(), p.version.as_str()))
            .collect()
    }

    #[test]
    fn a_go_program_tells_its_modules() {
        let mut section = GO_MAGIC.to_vec();
        section.extend([8, 2]);
        section.resize(GO_STRINGS, 0);
        let modules = "path\tx\nmod\texample.org/app\t(devel)\t\ndep\tgolang.org/x/text\tv0.3.7\th1:x\n\
                       dep\told.example/a\tv1\n=>\tnew.example/a\tv2\th1:y\nbuild\t-tags=x\n";
        let fenced = ["0".repeat(GO_FENCE).as_str(), modules, &"1".repeat(GO_FENCE)].concat();
        for text in ["go1.19.8", &fenced] {
            let mut length = text.len();
            while length >= 0x80 {
                section.push((length as u8 & 0x7f) | 0x80);
                length >>= 7;
            }
            section.push(length as u8);
            section.extend(text.bytes());
        }
        let found = read(
            &mut Cursor::new(elf(&[(".text", b"code"), (".go.buildinfo", &section)])),
            "bin/app",
        )
        .unwrap();
        assert_eq!(
            names(&found),
            [
                ("stdlib", "1.19.8"),
                ("example.org/app", "(devel)"),
                ("golang.org/x/text", "v0.3.7"),
                ("new.example/a", "v2"),
            ]
        );
        for cut in [0, 14, 40, section.len() / 2] {
            let _ = go(&section[..cut], "x");
        }
    }

    #[test]
    fn a_rust_program_tells_its_crates() {
        let text = br#"{"packages":[{"name":"app","version":"0.1.0","source":"local","root":true},{"name":"cc","version":"1","source":"crates.io","kind":"build"},{"name":"serde","version":"1.0.2","source":"crates.io"}]}"#;
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(text).unwrap();
        let section = packed.finish().unwrap();
        let found = read(&mut Cursor::new(elf(&[(".dep-v0", &section)])), "bin/app").unwrap();
        assert_eq!(names(&found), [("app", "0.1.0"), ("serde", "1.0.2")]);
    }

    #[test]
    fn forged_and_cut_files_have_no_packages() {
        let whole = elf(&[(".go.buildinfo", GO_MAGIC)]);
        for end in 0..whole.len() {
            assert!(read(&mut Cursor::new(&whole[..end]), "x").unwrap().is_empty());
        }
        let mut huge = whole.clone();
        huge[0x28..0x30].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&mut Cursor::new(huge), "x").unwrap().is_empty());
    }
}
