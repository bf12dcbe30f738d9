//! Java's archives, and the archives in them.

use std::io::{self, Cursor, Read, Seek};

use zip::ZipArchive;

use super::manifests;
use super::package::Package;

/// The largest archive within an archive that is opened.
const MAX_INNER: u64 = 64 * 1024 * 1024;
/// The largest `pom.properties` that is read.
const MAX_PROPERTIES: u64 = 64 * 1024;
/// The most files of an archive that are looked at.
const MOST_FILES: usize = 100_000;

/// Whether a file's name is that of such an archive.
pub(super) fn is_one(path: &str) -> bool {
    [".jar", ".war", ".ear"].iter().any(|end| path.ends_with(end))
}

/// The artifacts of an archive. What is no archive has none.
pub(super) fn read(file: impl Read + Seek, path: &str) -> Vec<Package> {
    inside(file, path, true).unwrap_or_default()
}

fn inside(file: impl Read + Seek, path: &str, outer: bool) -> io::Result<Vec<Package>> {
    let mut archive = ZipArchive::new(file).map_err(io::Error::other)?;
    let mut packages = Vec::new();
    let mut own = false;
    for index in 0..archive.len().min(MOST_FILES) {
        let mut entry = archive.by_index(index).map_err(io::Error::other)?;
        let name = entry.name().to_owned();
        if name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties") {
            let mut text = String::new();
            if entry
                .by_ref()
                .take(MAX_PROPERTIES)
                .read_to_string(&mut text)
                .is_ok()
                && let Some(package) = manifests::maven(&text, path)
            {
                own = true;
                packages.push(package);
            }
        } else if outer && is_one(&name) {
            let mut bytes = Vec::new();
            entry.by_ref().take(MAX_INNER + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 <= MAX_INNER {
                let inner = format!("{path}!/{name}");
                packages.extend(inside(Cursor::new(bytes), &inner, false).unwrap_or_default());
            }
        }
    }
    if !own {
        packages.extend(manifests::named_archive(path));
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::{SimpleFileOptions, ZipWriter};

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn an_archive_tells_itself_and_what_is_in_it() {
        let properties = b"groupId=org.slf4j\nartifactId=slf4j-api\nversion=2.0.9\n";
        let known = archive(&[("META-INF/maven/org.slf4j/slf4j-api/pom.properties", properties)]);
        let unknown = archive(&[("a.class", b"x")]);
        let outer = archive(&[
            ("BOOT-INF/lib/slf4j-api-2.0.9.jar", &known),
            ("BOOT-INF/lib/guava-31.1-jre.jar", &unknown),
        ]);
        let found = read(Cursor::new(outer), "app/app.jar");
        let names: Vec<_> = found
            .iter()
            .map(|p| (p.name.as_str(), p.version.as_str()))
            .collect();
        assert_eq!(names, [("org.slf4j/slf4j-api", "2.0.9"), ("guava", "31.1-jre")]);
        assert!(read(Cursor::new(b"no archive".to_vec()), "x-1.jar").is_empty());
    }
}
