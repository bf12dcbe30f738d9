//! What files held when they were last read, so that an unchanged folder is
//! not read again. A wrong answer here would deploy old source, so a file is
//! only remembered when a later edit is sure to change its times.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

const HEADER: &str = "nonna files 1";
/// File systems that keep nanoseconds move their clock at every tick.
const TICK_NS: i128 = 100_000_000;
/// Those that do not may keep every second second only.
const COARSE_TICK_NS: i128 = 2_100_000_000;
const NS: i128 = 1_000_000_000;

/// What a file looks like from outside. The change time is part of it because
/// nobody can set it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// In bytes.
    pub(super) size: u64,
    mtime: i128,
    ctime: i128,
    ino: u64,
    dev: u64,
}

impl Stat {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            size: meta.size(),
            mtime: i128::from(meta.mtime()) * NS + i128::from(meta.mtime_nsec()),
            ctime: i128::from(meta.ctime()) * NS + i128::from(meta.ctime_nsec()),
            ino: meta.ino(),
            dev: meta.dev(),
        }
    }

    /// Whether an edit from `now` on is sure to change the times.
    fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
        let coarse = self.mtime % NS == 0 && self.ctime % NS == 0;
        let tick = if coarse { COARSE_TICK_NS } else { TICK_NS };
        self.mtime.max(self.ctime) + tick < now
    }
}

/// The contents by path, for one folder.
#[derive(Debug, Default)]
pub(super) struct Cache {
    file: Option<PathBuf>,
    known: HashMap<String, (Stat, String)>,
    fresh: HashMap<String, (Stat, String)>,
    changed: bool,
}

impl Cache {
    /// The cache of this folder, empty if there is none or it is damaged.
    pub(super) fn open(dir: Option<&Path>, folder: &Path) -> Self {
        let Some(dir) = dir else {
            return Self::default();
        };
        let name = HEXLOWER.encode(&Sha256::digest(folder.as_os_str().as_encoded_bytes()));
        let file = dir.join(name.get(..32).unwrap_or(&name));
        let known = fs::read_to_string(&file).map_or_else(|_| HashMap::new(), |text| parse(&text));
        Self {
            file: Some(file),
            known,
            ..Self::default()
        }
    }

    /// The content's digest, if the file is the one that was read.
    pub(super) fn get(&mut self, path: &str, stat: &Stat) -> Option<String> {
        let (known, sha) = self.known.get(path)?;
        if known != stat {
            return None;
        }
        let sha = sha.clone();
        self.fresh.insert(path.to_owned(), (*stat, sha.clone()));
        Some(sha)
    }

    /// Remembers what was read at a file that looked so at `asked`, before
    /// the reading began.
    pub(super) fn put(&mut self, path: &str, stat: Stat, asked: SystemTime, sha: &str) {
        if stat.settled(asked) {
            self.fresh.insert(path.to_owned(), (stat, sha.to_owned()));
            self.changed = true;
        }
    }

    /// Writes it down. A cache that cannot be written costs time, no more.
    pub(super) fn save(self) {
        let Some(file) = &self.file else { return };
        if !self.changed && self.fresh.len() == self.known.len() {
            return;
        }
        let mut text = format!("{HEADER}\n");
        for (path, (stat, sha)) in &self.fresh {
            let Stat {
                size,
                mtime,
                ctime,
                ino,
                dev,
            } = stat;
            let _ = writeln!(text, "{sha} {size} {mtime} {ctime} {ino} {dev} {path}");
        }
        let _ = replace(file, text.as_bytes());
    }
}

fn replace(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let dir = file.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(dir)?;
    let mut temp = tempfile::NamedTempFile::new_in(dir)?;
    temp.write_all(content)?;
    temp.persist(file)?;
    Ok(())
}

fn parse(text: &str) -> HashMap<String, (Stat, String)> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return HashMap::new();
    }
    lines.filter_map(line).collect()
}

fn line(line: &str) -> Option<(String, (Stat, String))> {
    let mut parts = line.splitn(7, ' ');
    let sha = parts.next().filter(|sha| nonna_model::context::is_sha256(sha))?;
    let stat = Stat {
        size: parts.next()?.parse().ok()?,
        mtime: parts.next()?.parse().ok()?,
        ctime: parts.next()?.parse().ok()?,
        ino: parts.next()?.parse().ok()?,
        dev: parts.next()?.parse().ok()?,
    };
    Some((parts.next()?.to_owned(), (stat, sha.to_owned())))
}
