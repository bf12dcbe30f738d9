//! A context that comes as a plain tar. Nothing of it is ever unpacked by
//! path: files become contents under their digests, all else a line of the
//! manifest, so the worst a path can do is to be refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use nonna_engine::{Code, Error, Result};
use nonna_model::context::{ContextEntry, ContextManifest, EntryKind, MAX_PATH, check_path, printable};
use tar::{Archive, Entry, EntryType};

use super::store::{ContextStore, cut_off, invalid};

/// The longest extension header: long paths and what tars tell of them.
const MAX_EXTENSION: u64 = 64 * 1024;
const PIECE: usize = 128 * 1024;

/// What an extension header says of the entry that follows it.
#[derive(Default)]
struct Extension {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl ContextStore {
    /// Takes a plain (not compressed) tar as a context and gives its digest.
    /// The limits hold while it is read.
    ///
    /// # Errors
    /// `InvalidContext` for anything that could leave the folder, is no file,
    /// link or folder, or is too much; `DiskFull`; `StoreUnavailable`.
    pub fn put_tar(&self, reader: impl Read) -> Result<String> {
        let mut unpack = Unpack {
            store: self,
            entries: BTreeMap::new(),
            total: 0,
            count: 0,
            new: Vec::new(),
        };
        let done = unpack.run(reader);
        if done.is_err() {
            // A refused tar leaves nothing behind.
            let _gate = self.inner.gate();
            for sha in &unpack.new {
                self.inner.discard_blob(sha);
            }
        }
        done
    }
}

struct Unpack<'a> {
    store: &'a ContextStore,
    entries: BTreeMap<String, EntryKind>,
    total: u64,
    count: usize,
    new: Vec<String>,
}

fn refuse(path: &str, why: &str) -> Error {
    Error::user(
        Code::InvalidContext,
        format!("The build context's tar is refused: `{}` {why}.", printable(path)),
    )
}

impl Unpack<'_> {
    fn run(&mut self, reader: impl Read) -> Result<String> {
        let mut archive = Archive::new(reader);
        // Raw, because the convenient way reads extension headers of any
        // length into memory.
        let entries = archive.entries().map_err(|error| unreadable(&error))?.raw(true);
        let mut extension = Extension::default();
        for entry in entries {
            let mut entry = entry.map_err(|error| unreadable(&error))?;
            self.count += 1;
            // Three headers an entry are what a tar with long paths has.
            if self.count > self.store.inner.limits.entries.saturating_mul(3) {
                return Err(self.too_many());
            }
            match entry.header().entry_type() {
                EntryType::GNULongName => extension.path = Some(text(&mut entry)?),
                EntryType::GNULongLink => extension.link = Some(text(&mut entry)?),
                EntryType::XHeader => pax(&extended(&mut entry)?, &mut extension)?,
                EntryType::XGlobalHeader => drop(extended(&mut entry)?),
                _ => self.entry(&mut entry, std::mem::take(&mut extension))?,
            }
        }
        let entries = std::mem::take(&mut self.entries);
        let parents: std::collections::HashSet<String> = entries
            .keys()
            .flat_map(|path| {
                path.match_indices('/')
                    .map(|(at, _)| path.split_at(at).0.to_owned())
            })
            .collect();
        let manifest = ContextManifest::new(
            entries
                .into_iter()
                .filter(|(path, kind)| *kind != EntryKind::Directory || !parents.contains(path))
                .map(|(path, kind)| ContextEntry { path, kind })
                .collect(),
        );
        self.store.commit(&manifest)
    }

    fn too_many(&self) -> Error {
        Error::user(
            Code::InvalidContext,
            format!(
                "The build context's tar has more than {} entries.",
                self.store.inner.limits.entries
            ),
        )
        .hint("Leave out what the build does not need.")
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, extension: Extension) -> Result<()> {
        let raw = match extension.path {
            Some(path) => path,
            None => utf8(&entry.path_bytes())?,
        };
        let path = raw.strip_prefix("./").unwrap_or(&raw);
        let kind = entry.header().entry_type();
        let path = if kind.is_dir() {
            path.trim_end_matches('/')
        } else {
            path
        };
        if kind.is_dir() && matches!(path, "" | ".") {
            return Ok(());
        }
        check_path(path).map_err(|error| invalid(&error))?;
        let size = entry.size();
        if extension.size.is_some_and(|said| said != size) {
            return Err(refuse(path, "has two sizes"));
        }
        let kind = match kind {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => EntryKind::Symlink {
                target: link_target(entry, extension.link, path)?,
            },
            EntryType::Link => {
                let target = link_target(entry, extension.link, path)?;
                let target = target.strip_prefix("./").unwrap_or(&target);
                match self.entries.get(target) {
                    Some(file @ EntryKind::File { size, .. }) => {
                        // It is another file of the same size to whoever unpacks it.
                        self.total = self.total.saturating_add(*size);
                        file.clone()
                    }
                    _ => {
                        return Err(refuse(
                            path,
                            "is a hard link to what is no file before it in the tar",
                        ));
                    }
                }
            }
            EntryType::Regular | EntryType::Continuous => self.file(entry, size)?,
            EntryType::GNUSparse => return Err(refuse(path, "is a sparse file")),
            EntryType::Fifo => return Err(refuse(path, "is a named pipe")),
            EntryType::Char | EntryType::Block => return Err(refuse(path, "is a device")),
            _ => return Err(refuse(path, "is of an unknown kind")),
        };
        self.check_total()?;
        let is_folder = kind == EntryKind::Directory;
        if let Some(before) = self.entries.insert(path.to_owned(), kind)
            && !(is_folder && before == EntryKind::Directory)
        {
            return Err(refuse(path, "is there twice"));
        }
        if self.entries.len() > self.store.inner.limits.entries.saturating_mul(2) {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn check_total(&self) -> Result<()> {
        let limit = self.store.inner.limits.total_size;
        if self.total > limit {
            return Err(Error::user(
                Code::InvalidContext,
                format!("The build context's tar has more than {limit} bytes."),
            )
            .hint("Leave out what the build does not need."));
        }
        Ok(())
    }

    fn file<R: Read>(&mut self, entry: &mut Entry<'_, R>, size: u64) -> Result<EntryKind> {
        self.total = self.total.saturating_add(size);
        // Before a byte of it is written.
        self.check_total()?;
        let executable = entry.header().mode().is_ok_and(|mode| mode & 0o100 != 0);
        let mut writer = self.store.inner.writer()?;
        let mut buffer = vec![0; PIECE];
        let mut left = size;
        while left > 0 {
            let read = entry.read(&mut buffer).map_err(|error| cut_off(&error))?;
            match buffer.get(..read) {
                Some(data) if !data.is_empty() => writer.write(data)?,
                _ => return Err(cut_off(&io::Error::from(io::ErrorKind::UnexpectedEof))),
            }
            left = left.saturating_sub(read as u64);
        }
        let kept = writer.keep(&self.store.inner, None)?;
        if kept.new {
            self.new.push(kept.sha256.clone());
        }
        Ok(EntryKind::File {
            size: kept.size,
            sha256: kept.sha256,
            executable,
        })
    }
}

fn unreadable(error: &io::Error) -> Error {
    Error::user(
        Code::InvalidContext,
        "The build context is not a tar, or it is damaged.",
    )
    .hint("Send a plain tar, not a compressed one.")
    .said(error.to_string())
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| {
        refuse(
            &String::from_utf8_lossy(bytes),
            "has a name that is not valid UTF-8",
        )
    })
}

fn link_target<R: Read>(entry: &Entry<'_, R>, extended: Option<String>, path: &str) -> Result<String> {
    if let Some(target) = extended {
        return Ok(target);
    }
    match entry.link_name_bytes() {
        Some(target) => utf8(&target),
        None => Err(refuse(path, "is a link to nothing")),
    }
}

fn extended<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>> {
    let size = entry.size();
    if size > MAX_EXTENSION {
        return Err(refuse("", "has an extension header that is too long"));
    }
    let mut content = Vec::new();
    entry
        .take(MAX_EXTENSION)
        .read_to_end(&mut content)
        .map_err(|error| cut_off(&error))?;
    Ok(content)
}

/// A long path: text that ends with a zero.
fn text<R: Read>(entry: &mut Entry<'_, R>) -> Result<String> {
    let mut content = extended(entry)?;
    while content.last() == Some(&0) {
        content.pop();
    }
    if content.len() > MAX_PATH {
        return Err(refuse(&String::from_utf8_lossy(&content), "is too long a path"));
    }
    utf8(&content)
}

/// The records of a POSIX extension header: `LENGTH KEY=VALUE\n`.
fn pax(content: &[u8], extension: &mut Extension) -> Result<()> {
    let wrong = || refuse("", "has a damaged extension header");
    let mut rest = content;
    while !rest.is_empty() {
        let space = rest.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let length: usize = rest
            .get(..space)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(wrong)?;
        let record = rest.get(space + 1..length).ok_or_else(wrong)?;
        let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
        let (key, value) = record.split_at(equals);
        let value = value.get(1..).unwrap_or_default();
        match key {
            b"path" => extension.path = Some(utf8(value)?),
            b"linkpath" => extension.link = Some(utf8(value)?),
            b"size" => {
                let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                extension.size = Some(size.ok_or_else(wrong)?);
            }
            // A sparse file in disguise: its content is not what it says.
            key if key.starts_with(b"GNU.sparse") => return Err(refuse("", "has a sparse file")),
            _ => {}
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}
