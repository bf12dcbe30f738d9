//! Finding out what a folder's build context is.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use nonna_engine::error::{Code, Error, Result};
use nonna_model::context::{
    ContextEntry, ContextLimits, ContextManifest, EntryKind, InvalidContext, printable,
};
use sha2::{Digest, Sha256};

use super::cache::{Cache, Stat};
use super::ignored::{DockerIgnore, GitIgnore, Matched};

/// How often a file that changes while it is read is read.
const ATTEMPTS: usize = 3;

/// How to scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// The Dockerfile, relative to the folder. It belongs to the context
    /// whatever the rules say, as does the `.dockerignore`.
    pub dockerfile: String,
    /// How large the context may be.
    pub limits: ContextLimits,
    /// Where to remember what files held; `None`: nowhere.
    pub cache: Option<PathBuf>,
    /// The folder is what git wrote out of a commit: what is in it was
    /// committed, so `.gitignore` has no say in it.
    pub committed: bool,
}

impl Default for ScanOptions {
    /// The defaults, with the cache in the user's cache folder.
    fn default() -> Self {
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
        Self {
            dockerfile: "Dockerfile".to_owned(),
            limits: ContextLimits::default(),
            cache: cache.map(|dir| dir.join("nonna/contexts")),
            committed: false,
        }
    }
}

/// A folder's build context.
#[derive(Debug, Clone)]
pub struct Scanned {
    /// What it holds.
    pub manifest: ContextManifest,
    /// The manifest's digest.
    pub digest: String,
    /// What the user should know: special files that were left out.
    pub warnings: Vec<String>,
    /// How many bytes had to be read, the others being known.
    pub read: u64,
    pub(super) folder: PathBuf,
    /// Where each content is found, below the folder, and its size.
    pub(super) contents: HashMap<String, (String, u64)>,
}

/// Finds what belongs to the build context of `folder`, by its
/// `.dockerignore`, else by its `.gitignore` files, and what it holds.
///
/// Never part of it: `.git`, and the folder's own `nonna.toml` unless the
/// `.dockerignore` asks for it (`!nonna.toml`): a change of configuration is
/// no change of source. The same files give the same digest on every machine.
///
/// # Errors
/// `NotFound` or `InvalidInput` if it is no folder; `InvalidContext` for a
/// file that cannot be read or sent, naming it; `InvalidInput` for a
/// `.dockerignore` that cannot be understood, naming the line.
pub fn scan(folder: &Path, options: &ScanOptions) -> Result<Scanned> {
    let folder = resolve(folder)?;
    let mut walk = Walk::new(&folder, options)?;
    walk.run()?;
    let Walk { found, warnings, .. } = walk;
    check_size(&found, &options.limits)?;

    let mut cache = Cache::open(options.cache.as_deref(), &folder);
    let mut entries = Vec::with_capacity(found.len());
    let mut contents = HashMap::new();
    let mut read = 0;
    for Found { path, what } in found {
        let kind = match what {
            What::Directory => EntryKind::Directory,
            What::Symlink(target) => EntryKind::Symlink { target },
            What::File(meta) => {
                let stat = Stat::of(&meta);
                let (sha256, size, executable) = match cache.get(&path, &stat) {
                    Some(sha) => (sha, stat.size, is_executable(&meta)),
                    None => {
                        let hashed = hash_file(&folder, &path)?;
                        cache.put(&path, hashed.stat, hashed.asked, &hashed.sha);
                        read += hashed.stat.size;
                        (hashed.sha, hashed.stat.size, hashed.executable)
                    }
                };
                contents
                    .entry(sha256.clone())
                    .or_insert_with(|| (path.clone(), size));
                EntryKind::File {
                    size,
                    sha256,
                    executable,
                }
            }
        };
        entries.push(ContextEntry { path, kind });
    }
    cache.save();
    let manifest = ContextManifest::new(entries);
    manifest.validate(&options.limits).map_err(invalid)?;
    Ok(Scanned {
        digest: manifest.digest(),
        manifest,
        warnings,
        read,
        folder,
        contents,
    })
}

fn resolve(folder: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::user(
            Code::NotFound,
            format!("There is no folder {}.", folder.display()),
        ),
        _ => unreadable(folder, &error),
    })?;
    if !real.is_dir() {
        return Err(Error::user(
            Code::InvalidInput,
            format!("{} is not a folder.", folder.display()),
        )
        .hint("Name the folder that holds the app, not a file in it."));
    }
    Ok(real)
}

#[expect(clippy::needless_pass_by_value, reason = "an adaptor for map_err")]
fn invalid(error: InvalidContext) -> Error {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    let text: String = first.into_iter().chain(letters).collect();
    Error::user(Code::InvalidContext, format!("{text}.")).hint(error.hint())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::user(
        Code::InvalidContext,
        format!("{} cannot be read: {error}.", printable(&path.to_string_lossy())),
    )
    .hint("Change its permissions, or leave it out in `.dockerignore`.")
}

fn is_executable(meta: &Metadata) -> bool {
    meta.mode() & 0o100 != 0
}

struct Found {
    path: String,
    what: What,
}

enum What {
    File(Metadata),
    Symlink(String),
    Directory,
}

/// Refuses what is too much before a byte of it is read.
fn check_size(found: &[Found], limits: &ContextLimits) -> Result<()> {
    let size = |found: &Found| match &found.what {
        What::File(meta) => meta.size(),
        _ => 0,
    };
    let total: u64 = found.iter().map(size).fold(0, u64::saturating_add);
    if total <= limits.total_size {
        return Ok(());
    }
    let mut largest: Vec<&Found> = found.iter().collect();
    largest.sort_by_key(|found| std::cmp::Reverse(size(found)));
    let mut error = Error::user(
        Code::InvalidContext,
        format!(
            "The build context has {total} bytes, at most {} are allowed.",
            limits.total_size
        ),
    )
    .hint("Leave out what the build does not need (dependencies, build output, data) in `.dockerignore`.");
    for found in largest.into_iter().take(5) {
        error = error.detail(format!("{} bytes: {}", size(found), printable(&found.path)));
    }
    Err(error)
}

struct Hashed {
    sha: String,
    stat: Stat,
    asked: SystemTime,
    executable: bool,
}

/// Reads a file until it was the same before and after.
fn hash_file(folder: &Path, path: &str) -> Result<Hashed> {
    let full = folder.join(path);
    let fail = |error: io::Error| unreadable(&full, &error);
    let mut buffer = vec![0; 128 * 1024];
    for _ in 0..ATTEMPTS {
        let asked = SystemTime::now();
        let mut file = File::open(&full).map_err(fail)?;
        let before = file.metadata().map_err(fail)?;
        if !before.is_file() {
            break;
        }
        let mut hash = Sha256::new();
        let mut length = 0_u64;
        loop {
            let read = file.read(&mut buffer).map_err(fail)?;
            let Some(data) = buffer.get(..read).filter(|data| !data.is_empty()) else {
                break;
            };
            hash.update(data);
            length += read as u64;
        }
        let after = file.metadata().map_err(fail)?;
        let stat = Stat::of(&before);
        if stat == Stat::of(&after) && length == stat.size {
            return Ok(Hashed {
                sha: HEXLOWER.encode(&hash.finalize()),
                stat,
                asked,
                executable: is_executable(&after),
            });
        }
    }
    Err(Error::user(
        Code::InvalidContext,
        format!(
            "{} changes while it is being read.",
            printable(&full.to_string_lossy())
        ),
    )
    .hint("Stop what writes to it, or leave it out in `.dockerignore`.")
    .retry())
}

/// A folder still to be read.
struct Todo {
    /// Below the context's folder; empty for itself.
    path: String,
    rules: Inherited,
    /// Whether it is left out itself and only read for what is kept below.
    left_out: bool,
}

#[derive(Clone)]
enum Inherited {
    Docker(Matched),
    Git(GitIgnore),
    /// All that is there was committed.
    Committed,
}

struct Walk<'a> {
    folder: &'a Path,
    limits: &'a ContextLimits,
    docker: Option<DockerIgnore>,
    committed: bool,
    /// Files that belong to the context whatever the rules say.
    always: Vec<String>,
    found: Vec<Found>,
    warnings: Vec<String>,
}

impl<'a> Walk<'a> {
    fn new(folder: &'a Path, options: &'a ScanOptions) -> Result<Self> {
        let dockerfile = options.dockerfile.trim_start_matches("./").to_owned();
        // A Dockerfile may bring its own rules, which then are the only ones.
        let own = format!("{dockerfile}.dockerignore");
        let mut docker = None;
        let mut always = vec![dockerfile];
        for name in [own.as_str(), ".dockerignore"] {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            if options.committed && path.is_symlink() {
                // It could lead to any file of the server's machine.
                return Err(Error::user(
                    Code::InvalidContext,
                    format!("{name} is a symbolic link, which is not followed in a commit."),
                )
                .hint("Commit the file itself."));
            }
            let bytes = fs::read(&path).map_err(|error| unreadable(&path, &error))?;
            docker = Some(DockerIgnore::parse(name, &String::from_utf8_lossy(&bytes))?);
            always.push(name.to_owned());
            break;
        }
        Ok(Self {
            folder,
            limits: &options.limits,
            docker,
            committed: options.committed,
            always,
            found: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn run(&mut self) -> Result<()> {
        let rules = match &self.docker {
            Some(_) => Inherited::Docker(Matched::default()),
            None if self.committed => Inherited::Committed,
            None => Inherited::Git(GitIgnore::above(self.folder)?),
        };
        let mut todo = vec![Todo {
            path: String::new(),
            rules,
            left_out: false,
        }];
        while let Some(next) = todo.pop() {
            self.folder(&next, &mut todo)?;
        }
        self.found.sort_by(|a, b| a.path.cmp(&b.path));
        self.drop_folders_with_content();
        Ok(())
    }

    /// Reads one folder.
    fn folder(&mut self, dir: &Todo, todo: &mut Vec<Todo>) -> Result<()> {
        let full = self.folder.join(&dir.path);
        let fail = |error: io::Error| unreadable(&full, &error);
        let rules = match &dir.rules {
            Inherited::Docker(matched) => Inherited::Docker(matched.clone()),
            Inherited::Git(git) => Inherited::Git(git.enter(&full)?),
            Inherited::Committed => Inherited::Committed,
        };
        let mut entries = 0;
        for entry in fs::read_dir(&full).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            entries += 1;
            let name = entry.file_name();
            if name == ".git" || (dir.path.is_empty() && name == "nonna.toml" && !self.asks_for_manifest()) {
                continue;
            }
            let kind = entry.file_type().map_err(fail)?;
            let Some(name) = name.to_str() else {
                let full = entry.path();
                if self.leaves_out_unnamed(&full, kind.is_dir(), &rules) {
                    continue;
                }
                return Err(Error::user(
                    Code::InvalidContext,
                    format!(
                        "The name of {} is not valid UTF-8.",
                        printable(&full.to_string_lossy())
                    ),
                )
                .hint("Rename it, or leave it out in `.dockerignore`."));
            };
            let path = if dir.path.is_empty() {
                name.to_owned()
            } else {
                format!("{}/{name}", dir.path)
            };
            let (out, below) = self.leaves_out(&path, &entry.path(), kind.is_dir(), &rules);
            if kind.is_dir() {
                if !out || self.may_keep_below(&path) {
                    todo.push(Todo {
                        path,
                        rules: below,
                        left_out: out,
                    });
                }
                continue;
            }
            if out && !self.always.contains(&path) {
                continue;
            }
            if kind.is_symlink() {
                let target =
                    fs::read_link(entry.path()).map_err(|error| unreadable(&entry.path(), &error))?;
                let Some(target) = target.to_str() else {
                    return Err(Error::user(
                        Code::InvalidContext,
                        format!(
                            "The target of the symbolic link {} is not valid UTF-8.",
                            printable(&path)
                        ),
                    )
                    .hint("Make the link again, or leave it out in `.dockerignore`."));
                };
                self.push(path, What::Symlink(target.to_owned()))?;
            } else if kind.is_file() {
                let meta = entry
                    .metadata()
                    .map_err(|error| unreadable(&entry.path(), &error))?;
                self.push(path, What::File(meta))?;
            } else {
                let what = if kind.is_fifo() {
                    "a named pipe"
                } else if kind.is_socket() {
                    "a socket"
                } else {
                    "a device"
                };
                self.warnings.push(format!(
                    "{} is {what}: left out of the build context.",
                    printable(&path)
                ));
            }
        }
        // A folder of which git would keep nothing is not there for git; one
        // that docker is not told to leave out is there, if empty.
        let keep = match &dir.rules {
            Inherited::Docker(_) => !dir.left_out,
            Inherited::Git(_) | Inherited::Committed => entries == 0,
        };
        if keep && !dir.path.is_empty() {
            self.push(dir.path.clone(), What::Directory)?;
        }
        Ok(())
    }

    fn push(&mut self, path: String, what: What) -> Result<()> {
        // Folders with content are dropped in the end, so only files count here.
        if self.found.len() > self.limits.entries.saturating_mul(2) {
            return Err(Error::user(
                Code::InvalidContext,
                format!("The build context has more than {} entries.", self.limits.entries),
            )
            .hint("Leave out what the build does not need (dependencies, build output, data) in `.dockerignore`."));
        }
        self.found.push(Found { path, what });
        Ok(())
    }

    fn drop_folders_with_content(&mut self) {
        let parents: std::collections::HashSet<String> = self
            .found
            .iter()
            .flat_map(|found| {
                found
                    .path
                    .match_indices('/')
                    .map(|(at, _)| found.path.split_at(at).0)
            })
            .map(str::to_owned)
            .collect();
        self.found
            .retain(|found| !matches!(found.what, What::Directory) || !parents.contains(&found.path));
    }

    fn leaves_out(&self, path: &str, full: &Path, is_dir: bool, rules: &Inherited) -> (bool, Inherited) {
        match (rules, &self.docker) {
            (Inherited::Docker(matched), Some(docker)) => {
                let (out, matched) = docker.leaves_out(path, matched);
                (out, Inherited::Docker(matched))
            }
            (Inherited::Git(git), _) => (git.leaves_out(full, is_dir), rules.clone()),
            (Inherited::Docker(_), None) | (Inherited::Committed, _) => (false, rules.clone()),
        }
    }

    /// For a name that is not UTF-8, and so can be in no context.
    fn leaves_out_unnamed(&self, full: &Path, is_dir: bool, rules: &Inherited) -> bool {
        let path = full.strip_prefix(self.folder).unwrap_or(full).to_string_lossy();
        self.leaves_out(&path, full, is_dir, rules).0
    }

    /// Whether what is left out may have kept things below it.
    fn may_keep_below(&self, path: &str) -> bool {
        let always = || {
            self.always
                .iter()
                .any(|file| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
        };
        self.docker
            .as_ref()
            .is_some_and(|docker| docker.may_keep_below(path))
            || always()
    }

    fn asks_for_manifest(&self) -> bool {
        self.docker
            .as_ref()
            .is_some_and(|docker| docker.keeps_by_name("nonna.toml"))
    }
}
