//! Writes the Dockerfile of a plan, and keeps what the explanation needs.
//!
//! The convention of every image: build stages have the compilers, the caches
//! and the extra authorities; the last stage has only what runs, belongs to a
//! user without rights, and starts the app without a shell around it. The
//! runtime puts an init (PID 1) before it, which reaps orphans and passes
//! signals on: the app is its child and must end at SIGTERM by itself.

use super::plan::Decision;
use super::settings::{Cache, Settings};
use super::start::Start;

/// The user of images whose base image has none for apps: number and name.
pub(super) const USER_ID: u32 = 10001;
pub(super) const USER: &str = "app";

/// A Dockerfile under way.
pub(super) struct Writer<'s> {
    settings: &'s Settings,
    text: String,
    base_images: Vec<String>,
    caches: Vec<Cache>,
    install: Vec<Decision>,
    build: Vec<Decision>,
    /// The mount of a folder of another stage, for the step that builds.
    lent: String,
    /// The stage has the whole source already.
    has_source: bool,
}

/// A finished Dockerfile, and what was decided in it.
pub(super) struct Written {
    pub(super) dockerfile: String,
    pub(super) base_images: Vec<String>,
    pub(super) caches: Vec<Cache>,
    pub(super) install: Vec<Decision>,
    pub(super) build: Vec<Decision>,
    pub(super) start: Start,
    pub(super) rule: String,
    pub(super) port: u16,
}

impl<'s> Writer<'s> {
    pub(super) fn new(settings: &'s Settings) -> Self {
        Self {
            settings,
            text: String::new(),
            base_images: Vec::new(),
            caches: Vec::new(),
            install: Vec::new(),
            build: Vec::new(),
            lent: String::new(),
            has_source: false,
        }
    }

    /// Begins a stage that builds and is thrown away. Its steps trust the
    /// extra authorities.
    pub(super) fn build_stage(&mut self, image: &str, name: &str) -> &mut Self {
        self.base(image);
        self.line(&format!("FROM {image} AS {name}"));
        self.has_source = false;
        self.text.push_str(&self.settings.ca_environment());
        self
    }

    /// Begins a stage that goes on where another one ended.
    pub(super) fn stage_from(&mut self, stage: &str, name: &str) -> &mut Self {
        self.has_source = false;
        self.line(&format!("FROM {stage} AS {name}"))
    }

    /// Lets the step that builds see a folder of another stage in the same
    /// place; what is written there is forgotten, and none of it is part of
    /// this stage.
    pub(super) fn lend(&mut self, stage: &str, folder: &str) -> &mut Self {
        self.lent = format!(" --mount=type=bind,from={stage},source={folder},target={folder},rw");
        self
    }

    /// Begins a stage of which others go on, the image's own among them: only
    /// [`Self::run_trusting`] trusts the extra authorities.
    pub(super) fn shared_stage(&mut self, image: &str, name: &str) -> &mut Self {
        self.base(image);
        self.line(&format!("FROM {image} AS {name}"))
    }

    /// Begins a stage that builds where a shared one ended.
    pub(super) fn build_stage_from(&mut self, stage: &str, name: &str) -> &mut Self {
        self.stage_from(stage, name);
        self.text.push_str(&self.settings.ca_environment());
        self
    }

    /// Begins the stage that becomes the image where a shared one ended, which
    /// began from this image.
    pub(super) fn final_stage_from(&mut self, stage: &str, image: &str) -> &mut Self {
        self.base_images.retain(|base| base != image);
        self.base_images.push(image.to_owned());
        self.line(&format!("FROM {stage}"))
    }

    /// A step of a shared stage that trusts the extra authorities, and leaves
    /// no word of them in the image.
    pub(super) fn run_trusting(&mut self, command: &str) -> &mut Self {
        let mount = self.settings.ca_mount();
        let prefix = self.settings.ca_assignments();
        self.line(&format!("RUN{mount} {prefix}{command}"))
    }

    /// Copies from an image that lends a file and nothing else.
    pub(super) fn copy_from_image(&mut self, image: &str, from: &str, to: &str) -> &mut Self {
        self.base(image);
        self.line(&format!("COPY --from={image} {from} {to}"))
    }

    /// Begins the stage that becomes the image.
    pub(super) fn final_stage(&mut self, image: &str) -> &mut Self {
        self.base(image);
        self.line(&format!("FROM {image}"))
    }

    fn base(&mut self, image: &str) {
        if !self.base_images.iter().any(|base| base == image) {
            self.base_images.push(image.to_owned());
        }
    }

    /// Any instruction.
    pub(super) fn line(&mut self, instruction: &str) -> &mut Self {
        self.text.push_str(instruction);
        self.text.push('\n');
        self
    }

    /// Variables: names and values without spaces.
    pub(super) fn environment(&mut self, variables: &[(&str, &str)]) -> &mut Self {
        let all: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        self.line(&format!("ENV {}", all.join(" ")))
    }

    /// Copies files of the source, by their paths in it, into a folder, which
    /// has to end in `/`. Only those that are there may be named.
    pub(super) fn copy_files<T: AsRef<str>>(&mut self, files: &[T], folder: &str) -> &mut Self {
        if files.is_empty() {
            return self;
        }
        let mut words: Vec<String> = files
            .iter()
            .map(|file| format!("{}/{}", super::SOURCE_FOLDER, literal(file.as_ref())))
            .collect();
        words.push(folder.to_owned());
        self.copy_words("", &words)
    }

    /// Copies files of the source to the same places below the working
    /// folder: one instruction for each folder.
    pub(super) fn copy_in_place<T: AsRef<str>>(&mut self, files: &[T]) -> &mut Self {
        let mut left: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
        while let Some(first) = left.first().copied() {
            let folder = folder_of(first);
            let (here, others): (Vec<&str>, Vec<&str>) =
                left.into_iter().partition(|file| folder_of(file) == folder);
            let target = if folder.is_empty() {
                "./".to_owned()
            } else {
                format!("./{folder}/")
            };
            self.copy_files(&here, &target);
            left = others;
        }
        self
    }

    /// Copies the whole source into the working folder.
    pub(super) fn copy_source(&mut self) -> &mut Self {
        self.has_source = true;
        self.line(&format!("COPY {}/ ./", super::SOURCE_FOLDER))
    }

    /// The same for the stage that becomes the image; `owner` is a user of it.
    pub(super) fn copy_source_for(&mut self, owner: &str) -> &mut Self {
        self.line(&format!(
            "COPY --chown={owner}:{owner} {}/ ./",
            super::SOURCE_FOLDER
        ))
    }

    /// Copies from a stage; `owner` is a user of the final image.
    pub(super) fn copy_from(&mut self, stage: &str, from: &str, to: &str, owner: Option<&str>) -> &mut Self {
        let flags = match owner {
            Some(owner) => format!("--from={stage} --chown={owner}:{owner} "),
            None => format!("--from={stage} "),
        };
        self.copy_words(&flags, &[from.to_owned(), to.to_owned()])
    }

    fn copy_words(&mut self, flags: &str, words: &[String]) -> &mut Self {
        let plain = |word: &String| {
            word.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._-/@+".contains(&b))
        };
        // The exec form, because a path may have a space.
        let all = if words.iter().all(plain) {
            words.join(" ")
        } else {
            json(words)
        };
        self.line(&format!("COPY {flags}{all}"))
    }

    /// A step that is no decision of anybody's: it only prepares.
    pub(super) fn run(&mut self, caches: &[Cache], command: &str) -> &mut Self {
        let mounts = self.mounts(caches);
        self.line(&format!("RUN{mounts} {command}"))
    }

    /// The step that installs the dependencies; what the user says goes first.
    pub(super) fn install(&mut self, caches: &[Cache], command: &str, why: &str) -> &mut Self {
        let over = self.settings.overrides.install.as_deref();
        if let Some((command, why)) = decide(over, "install", command, why) {
            let over = over.is_some();
            // Whatever it is, it may need any file.
            if over && !self.has_source {
                self.copy_source();
            }
            self.step("", caches, &command, over);
            self.install.push(Decision { command, why });
        }
        self
    }

    /// Whether the user says what installs: it may need any file.
    pub(super) fn install_is_overruled(&self) -> bool {
        self.settings.overrides.install.is_some()
    }

    /// The step that builds; what the user says goes first, and is run even
    /// where nothing else would be built (`command` empty).
    pub(super) fn build(&mut self, caches: &[Cache], command: &str, why: &str) -> &mut Self {
        let over = self.settings.overrides.build.as_deref();
        if let Some((command, why)) = decide(over, "command", command, why) {
            let over = over.is_some();
            let lent = std::mem::take(&mut self.lent);
            self.step(&lent, caches, &command, over);
            self.build.push(Decision { command, why });
        }
        self
    }

    fn step(&mut self, lent: &str, caches: &[Cache], command: &str, is_the_users: bool) {
        let mounts = format!("{lent}{}{}", self.mounts(caches), self.settings.secret_mounts());
        let variables = self.settings.secret_variables();
        if is_the_users {
            // The exec form: nothing in it is a Dockerfile's syntax.
            let words = [
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                format!("{variables}{command}"),
            ];
            self.line(&format!("RUN{mounts} {}", json(&words)));
        } else {
            self.line(&format!("RUN{mounts} {variables}{command}"));
        }
    }

    fn mounts(&mut self, caches: &[Cache]) -> String {
        let mut mounts = String::new();
        for cache in caches {
            mounts.push_str(&self.settings.cache_mount(cache));
            if !self.caches.contains(cache) {
                self.caches.push(*cache);
            }
        }
        mounts.push_str(&self.settings.ca_mount());
        mounts
    }

    /// Makes the user [`USER`] in an image of Debian's (or any with
    /// `useradd`). Its home is the app's folder.
    pub(super) fn add_user(&mut self, home: &str) -> &mut Self {
        self.line(&format!(
            "RUN groupadd --gid {USER_ID} {USER} && useradd --uid {USER_ID} --gid {USER} --home-dir {home} --no-create-home --shell /usr/sbin/nologin {USER}"
        ))
    }

    /// Ends the image: its user, its port and its command. `user` must be one
    /// without rights.
    pub(super) fn finish(self, user: &str, start: Start, rule: impl Into<String>) -> Written {
        match self.settings.overrides.start.clone() {
            Some(line) => self.finish_as_is(user, Start::from_line(&line), overruled("start")),
            None => self.finish_as_is(user, start, rule),
        }
    }

    /// The same for an image that only one command can start.
    pub(super) fn finish_as_is(self, user: &str, start: Start, rule: impl Into<String>) -> Written {
        let port = self.settings.port();
        let rule = rule.into();
        let mut text = self.text;
        text.push_str(&format!("USER {user}\nEXPOSE {port}\n{}\n", start.cmd()));
        Written {
            dockerfile: text,
            base_images: self.base_images,
            caches: self.caches,
            install: self.install,
            build: self.build,
            start,
            rule,
            port,
        }
    }
}

/// The command that runs and why; `None`: none does.
fn decide(over: Option<&str>, field: &str, command: &str, why: &str) -> Option<(String, String)> {
    match over {
        Some(line) if line.trim().is_empty() => None,
        Some(line) => Some((line.trim().to_owned(), overruled(field))),
        None if command.is_empty() => None,
        None => Some((command.to_owned(), why.to_owned())),
    }
}

/// Why the user's own command runs.
pub(super) fn overruled(field: &str) -> String {
    format!("`build.{field}` in nonna.toml")
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path that means itself: brackets and stars are patterns to `COPY`.
fn literal(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        match c {
            '*' | '?' | '\\' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // A bracket cannot be escaped by a backslash in every builder.
            '[' => out.push_str("[[]"),
            c => out.push(c),
        }
    }
    out
}

/// A list of texts, which can always be written.
fn json(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default()
}
