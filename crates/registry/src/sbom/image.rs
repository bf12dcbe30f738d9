//! Reading an image as the engine exports it: a tar of layers, each a tar.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::package::Package;
use super::{Contents, Found, MAX_TEXT, archives, binaries, databases, manifests};

/// The most bytes of one executable or archive that are set aside on disk.
const MAX_ASIDE: u64 = 1024 * 1024 * 1024;
/// The largest list of layers.
const MAX_LIST: u64 = 4 * 1024 * 1024;
/// What a packed file begins with.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    layers: Vec<String>,
}

/// What one layer adds and takes away.
#[derive(Default)]
struct Layer {
    /// Every file that was looked into, with what it told: a file that tells
    /// nothing covers one below it that did.
    found: Found,
    /// Files and folders that are not there any more.
    removed: BTreeSet<String>,
    /// Folders of which nothing from below is seen.
    opaque: BTreeSet<String>,
    distribution: Option<(String, String)>,
    gaps: BTreeSet<String>,
}

/// Reads an image's export and tells what it is made of. Blocks. `aside` is a
/// folder for one file at a time.
///
/// # Errors
/// Where the export breaks off, is no image's, or `aside` cannot be written.
pub fn read(export: impl Read, aside: &Path) -> io::Result<Contents> {
    let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    let mut listed: Option<Vec<String>> = None;
    let mut outer = tar::Archive::new(export);
    for entry in outer.entries()? {
        let mut entry = entry?;
        let Some(path) = plain(&entry.path()?) else {
            continue;
        };
        if entry.header().entry_type().is_symlink() {
            // A layer that is there twice.
            if let Some(target) = entry.link_name()?.and_then(|target| linked(&path, &target)) {
                links.insert(path, target);
            }
            continue;
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if path == "manifest.json" {
            let mut text = Vec::new();
            entry.take(MAX_LIST).read_to_end(&mut text)?;
            let images: Vec<Listed> = serde_json::from_slice(&text)?;
            listed = images.into_iter().next().map(|image| image.layers);
        } else if path.ends_with("/layer.tar") || path.starts_with("blobs/sha256/") {
            let size = entry.size();
            if let Some(layer) = layer(&mut entry, size, aside)? {
                layers.insert(path, layer);
            }
        }
    }
    let order = listed.ok_or_else(|| io::Error::other("the export holds no list of layers"))?;
    let mut whole = Layer::default();
    for name in order {
        let name = links.get(&name).unwrap_or(&name);
        match layers.get(name) {
            Some(layer) => whole.cover_with(layer),
            None => {
                whole.gaps.insert(format!("the layer {name} could not be read"));
            }
        }
    }
    Ok(whole.contents())
}

/// A path without its `./`, if it is UTF-8.
fn plain(path: &Path) -> Option<String> {
    let text = path.to_str()?.trim_start_matches("./").trim_start_matches('/');
    Some(text.trim_end_matches('/').to_owned())
}

/// Where a link within the export leads: `../ID/layer.tar`.
fn linked(from: &str, target: &Path) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.to_str()?.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Reads one layer, packed or not; `None` for what is no layer.
fn layer(entry: &mut impl Read, size: u64, aside: &Path) -> io::Result<Option<Layer>> {
    let mut first = [0_u8; 512];
    let length = fill(entry, &mut first)?;
    let whole = io::Cursor::new(first).take(length as u64).chain(entry);
    if first.starts_with(GZIP) {
        return unpacked(GzDecoder::new(BufReader::new(whole)), aside).map(Some);
    }
    if first.starts_with(ZSTD) {
        let mut layer = Layer::default();
        layer
            .gaps
            .insert("a layer is packed with zstd, which is not read".to_owned());
        return Ok(Some(layer));
    }
    // A layer with nothing in it is two empty blocks.
    let empty = size >= 1024 && first.iter().all(|byte| *byte == 0);
    if empty || &first[257..262] == b"ustar" {
        return unpacked(whole, aside).map(Some);
    }
    Ok(None)
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match from.read(&mut buffer[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

fn unpacked(content: impl Read, aside: &Path) -> io::Result<Layer> {
    let mut layer = Layer::default();
    let mut archive = tar::Archive::new(content);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(path) = plain(&entry.path()?) else {
            continue;
        };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            layer.opaque.insert(folder.to_owned());
            continue;
        }
        if let Some(gone) = name.strip_prefix(".wh.") {
            layer.removed.insert(join(folder, gone));
            continue;
        }
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let executable = entry.header().mode().unwrap_or_default() & 0o111 != 0;
        layer.look(&mut entry, &path, executable, aside)?;
    }
    Ok(layer)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

/// How a text tells of packages.
type Reader = fn(&str, &str) -> Vec<Package>;

/// The reader of a text at this path, if it tells of packages.
fn reader(path: &str) -> Option<Reader> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_package_folder = || {
        let mut parts = folder.rsplit('/');
        let (_, parent) = (parts.next(), parts.next().unwrap_or_default());
        parent == "node_modules" || (parent.starts_with('@') && parts.next() == Some("node_modules"))
    };
    match name {
        "status" if folder == "var/lib/dpkg" => Some(databases::dpkg),
        _ if folder == "var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => Some(databases::dpkg),
        "installed" if folder == "lib/apk/db" || folder == "usr/lib/apk/db" => Some(databases::apk),
        "package.json" if is_package_folder() => Some(manifests::npm),
        "METADATA" if folder.ends_with(".dist-info") => Some(manifests::python),
        "PKG-INFO" if folder.ends_with(".egg-info") => Some(manifests::python),
        // Debian's own Python packages have a file in the folder's place.
        _ if name.ends_with(".egg-info") => Some(manifests::python),
        "installed.json" if folder.ends_with("vendor/composer") => Some(manifests::composer),
        _ if name.ends_with(".gemspec")
            && (folder.ends_with("/specifications") || folder.ends_with("/specifications/default")) =>
        {
            Some(|_, path| manifests::gem(path))
        }
        _ => None,
    }
}

impl Layer {
    /// Looks into a file, if it is of a kind that tells anything.
    fn look(&mut self, file: &mut impl Read, path: &str, executable: bool, aside: &Path) -> io::Result<()> {
        if path == "etc/os-release" || path == "usr/lib/os-release" {
            if let Some(found) = databases::os_release(&text(file)?) {
                self.distribution = Some(found);
            }
        } else if let Some(reader) = reader(path) {
            let found = reader(&text(file)?, path);
            self.found.insert(path.to_owned(), found);
        } else if path.starts_with("var/lib/rpm/") || path.starts_with("usr/lib/sysimage/rpm/") {
            self.gaps
                .insert("there is a database of RPM packages, which is not read".to_owned());
        } else if archives::is_one(path) {
            let found = match set_aside(io::empty(), file, aside)? {
                Some(file) => archives::read(file, path),
                None => {
                    self.gaps.insert(format!("{path} is too large to be read"));
                    Vec::new()
                }
            };
            self.found.insert(path.to_owned(), found);
        } else if executable {
            let mut first = [0_u8; 6];
            let length = fill(file, &mut first)?;
            let found = if first == binaries::ELF {
                let begin = io::Cursor::new(first).take(length as u64);
                match set_aside(begin, file, aside)? {
                    Some(mut file) => binaries::read(&mut file, path)?,
                    None => {
                        self.gaps.insert(format!("{path} is too large to be read"));
                        Vec::new()
                    }
                }
            } else {
                Vec::new()
            };
            self.found.insert(path.to_owned(), found);
        }
        Ok(())
    }

    /// Lays another layer over this one.
    fn cover_with(&mut self, upper: &Self) {
        let below = |path: &str, folder: &str| {
            folder.is_empty()
                || path
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if !upper.removed.is_empty() || !upper.opaque.is_empty() {
            self.found.retain(|path, _| {
                !upper.opaque.iter().any(|folder| below(path, folder))
                    && !upper.removed.iter().any(|gone| path == gone || below(path, gone))
            });
        }
        for (path, packages) in &upper.found {
            self.found.insert(path.clone(), packages.clone());
        }
        if let Some(distribution) = &upper.distribution {
            self.distribution = Some(distribution.clone());
        }
        self.gaps.extend(upper.gaps.iter().cloned());
    }

    fn contents(self) -> Contents {
        let mut packages: Vec<Package> = self.found.into_values().flatten().collect();
        packages.sort();
        packages.dedup_by(|a, b| (a.kind, &a.name, &a.version) == (b.kind, &b.name, &b.version));
        Contents {
            distribution: self.distribution,
            packages,
            gaps: self.gaps.into_iter().collect(),
        }
    }
}

fn text(file: &mut impl Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Sets a file aside on disk, where it can be read in any order; `None` where
/// it is too large for that.
fn set_aside(begin: impl Read, rest: &mut impl Read, aside: &Path) -> io::Result<Option<std::fs::File>> {
    let mut file = tempfile::tempfile_in(aside)?;
    let copied = io::copy(&mut begin.chain(rest).take(MAX_ASIDE + 1), &mut file)?;
    if copied > MAX_ASIDE {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(Some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            builder.append_data(&mut header, path, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn image(layers: &[Vec<u8>]) -> Vec<u8> {
        let names: Vec<String> = (0..layers.len()).map(|n| format!("{n}/layer.tar")).collect();
        let list = serde_json::json!([{ "Config": "c.json", "RepoTags": null, "Layers": names }]).to_string();
        let mut files: Vec<(&str, &[u8])> = vec![("c.json", b"{}")];
        // As the engine orders them: by name, not as they lie.
        for (name, bytes) in names.iter().zip(layers).rev() {
            files.push((name, bytes));
        }
        files.push(("manifest.json", list.as_bytes()));
        tar(&files)
    }

    fn names(contents: &Contents) -> Vec<&str> {
        contents.packages.iter().map(|p| p.name.as_str()).collect()
    }

    fn contents(layers: &[Vec<u8>]) -> Contents {
        read(image(layers).as_slice(), &std::env::temp_dir()).unwrap()
    }

    const BASH: &[u8] = b"Package: bash\nStatus: install ok installed\nVersion: 5\n\n";
    const BOTH: &[u8] =
        b"Package: bash\nStatus: install ok installed\nVersion: 5\n\nPackage: curl\nStatus: install ok installed\nVersion: 7\n\n";

    #[test]
    fn upper_layers_cover_lower_ones() {
        let base = tar(&[
            ("etc/os-release", b"ID=debian\nVERSION_ID=12\n"),
            ("var/lib/dpkg/status", BASH),
            (
                "app/node_modules/left-pad/package.json",
                br#"{"name":"left-pad","version":"1.3.0"}"#,
            ),
            (
                "app/node_modules/@a/b/package.json",
                br#"{"name":"@a/b","version":"1"}"#,
            ),
            (
                "app/node_modules/x/lib/package.json",
                br#"{"name":"inner","version":"1"}"#,
            ),
        ]);
        let upper = tar(&[("var/lib/dpkg/status", BOTH)]);
        let found = contents(&[base.clone(), upper]);
        assert_eq!(names(&found), ["bash", "curl", "@a/b", "left-pad"]);
        assert_eq!(found.distribution, Some(("debian".into(), "12".into())));
        let without = tar(&[("app/node_modules/.wh.left-pad", b"")]);
        assert_eq!(names(&contents(&[base.clone(), without])), ["bash", "@a/b"]);
        let opaque = tar(&[("app/.wh..wh..opq", b"")]);
        assert_eq!(names(&contents(&[base, opaque])), ["bash"]);
    }

    #[test]
    fn packed_layers_are_read_and_what_cannot_be_is_said() {
        use std::io::Write;
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&tar(&[("var/lib/dpkg/status", BASH)])).unwrap();
        assert_eq!(names(&contents(&[packed.finish().unwrap()])), ["bash"]);
        let found = contents(&[[ZSTD, &[0; 600]].concat()]);
        assert_eq!(found.gaps.len(), 1);
        let found = contents(&[tar(&[("var/lib/rpm/rpmdb.sqlite", b"x")])]);
        assert!(found.gaps[0].contains("RPM"), "{found:?}");
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        let whole = image(&[tar(&[("var/lib/dpkg/status", BASH)])]);
        assert!(read(&whole[..whole.len() / 2], &std::env::temp_dir()).is_err());
        assert!(read(&b""[..], &std::env::temp_dir()).is_err());
    }
}
