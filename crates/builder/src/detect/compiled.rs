//! What the languages have in common whose builds end in programs: what of
//! the source an image needs beside them, and the libraries they are linked to.

use super::SOURCE_FOLDER;
use super::procfile::Procfile;
use super::start::Start;
use super::tree::Tree;
use super::writer::{USER, Writer};

/// The image that dynamically linked programs run in: the C library of the
/// Debian release that the build images have, and a shell.
pub(super) const DEBIAN: &str = "debian:bookworm-slim";
/// Where a build stage puts what the image gets.
pub(super) const OUT: &str = "/out";
/// The certificate authorities, where every program of Debian's looks for them.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The C library itself, which the image has and which must fit its loader.
const HAS: &str = "libc|libm|libdl|librt|libpthread|libresolv|libutil|libgcc_s|libruby.*|ld-linux.*";

/// The command of `web`, and the rule that chose it; and the notes of the
/// Procfile, if there is one.
pub(super) fn web(procfile: Option<Procfile>, notes: &mut Vec<String>) -> Option<(Start, String)> {
    let procfile = procfile?;
    notes.extend(procfile.notes());
    procfile
        .web
        .map(|start| (start, "`web` in the Procfile".to_owned()))
}

/// A command that copies the shared libraries of all programs and libraries
/// below `folder` to `/out/lib`, so that the image needs no package for them.
pub(super) fn gather_libraries(folder: &str) -> String {
    format!(
        "mkdir -p {OUT}/lib && find {folder} -type f \\( -perm -u+x -o -name '*.so*' \\) -exec ldd {{}} + 2>/dev/null \
         | sed -n 's|.* => \\(/[^ ]*\\) .*|\\1|p' | sort -u | grep -vE '/({HAS})\\.so' | xargs -r cp -L -t {OUT}/lib"
    )
}

/// Takes the certificate authorities from a build stage: slim images have none.
pub(super) fn copy_certificates(writer: &mut Writer<'_>) {
    writer
        .copy_from("build", CERTIFICATES, CERTIFICATES, None)
        .environment(&[("SSL_CERT_FILE", CERTIFICATES)]);
}

/// The final stage of programs that are linked to libraries, which were
/// gathered before. The app's user and folder are there.
pub(super) fn dynamic_stage(writer: &mut Writer<'_>) {
    writer.final_stage(DEBIAN).add_user("/app").copy_from(
        "build",
        &format!("{OUT}/lib"),
        "/usr/local/lib/app",
        None,
    );
    copy_certificates(writer);
    writer
        .environment(&[("LD_LIBRARY_PATH", "/usr/local/lib/app")])
        .copy_from("build", &format!("{OUT}/bin"), "/app/bin", Some(USER));
}

/// What of the source a program may read while it runs: everything at the top
/// but what only its build needs.
pub(super) struct Beside<'a> {
    /// Endings of source files.
    pub(super) sources: &'a [&'a str],
    /// Names at the top that only the build needs.
    pub(super) build_only: &'a [&'a str],
}

/// Names at the top that nobody reads while an app runs.
const NOT_READ: [&str; 10] = [
    "Dockerfile",
    "Makefile",
    "Procfile",
    "LICENSE",
    "justfile",
    "Taskfile.yml",
    "app.json",
    "nonna.toml",
    "docs",
    "tests",
];

impl Beside<'_> {
    /// Copies it into the working folder. `owner` is a user of the image.
    pub(super) fn copy(&self, tree: &Tree<'_>, writer: &mut Writer<'_>, owner: &str) {
        let mut files: Vec<&str> = Vec::new();
        let mut folders: Vec<&str> = Vec::new();
        for path in tree.files() {
            let (top, is_folder) = match path.split_once('/') {
                Some((top, _)) => (top, true),
                None => (path, false),
            };
            let is_source = self.sources.iter().any(|ending| path.ends_with(ending))
                || (!is_folder && path.ends_with(".md"))
                || path.ends_with("README.md");
            let is_left_out = top.starts_with('.')
                || NOT_READ.contains(&top)
                || self.build_only.contains(&top)
                || is_source
                || !is_plain(top);
            if is_left_out {
                continue;
            }
            let list = if is_folder { &mut folders } else { &mut files };
            if list.last() != Some(&top) && !list.contains(&top) {
                list.push(top);
            }
        }
        let flags = format!("--chown={owner}:{owner} ");
        if !files.is_empty() {
            let all: Vec<String> = files
                .iter()
                .map(|file| format!("{SOURCE_FOLDER}/{file}"))
                .collect();
            writer.line(&format!("COPY {flags}{} ./", all.join(" ")));
        }
        for folder in folders {
            writer.line(&format!("COPY {flags}{SOURCE_FOLDER}/{folder}/ ./{folder}/"));
        }
    }
}

/// Whether a name can stand in an instruction as it is.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-+@".contains(&b))
}

/// The number of the first line that has this text, from 1; 1 if none has.
pub(super) fn line_of(text: &str, part: &str) -> usize {
    text.lines()
        .position(|line| line.contains(part))
        .map_or(1, |at| at + 1)
}
