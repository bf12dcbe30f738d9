//! A commit's files on their way to a deployment: written out, judged, put
//! into the context store, and then the same road as `nonna deploy`.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use nonna_api::DesiredRequest;
use nonna_engine::event::{EventKind, Outcome};
use nonna_engine::words::{self, Steps};
use nonna_engine::{Code, Error, Result};
use nonna_git::{ObjectId, Quarantine, Repository, Tree, TreeLimits};
use nonna_model::Name;
use nonna_model::context::{ContextLimits, ContextManifest, EntryKind, printable};
use nonna_model::folder::{self, Ask, Words};
use nonna_model::manifest::{DeclaredSource, ServiceDeclaration};
use nonna_model::service::Source;
use nonna_source::{DiskFolder, ScanOptions, Scanned, Watch, scan};
use nonna_store::records::{Deployment, Idempotency};
use tokio_util::sync::CancellationToken;

use super::say::Say;
use crate::deploy::{Intent, Request, mistakes};
use crate::http::{App, deployment_answer};

/// What the pointer to a file in Git LFS begins with.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
/// What a pointer has at most, in bytes.
const LFS_MOST: u64 = 1024;
/// How many paths an error names.
const NAMED: usize = 5;

/// A commit.
pub(crate) struct Commit<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) quarantine: Option<&'a Quarantine>,
    pub(crate) id: &'a ObjectId,
}

/// How a commit is deployed.
pub(crate) struct Order<'a> {
    /// The project and its environment.
    pub(crate) place: &'a (Name, Name),
    /// Only these services; empty: all.
    pub(crate) services: &'a [Name],
    /// For whom.
    pub(crate) actor: &'a str,
    /// What makes an order that comes twice one deployment.
    pub(crate) idempotency: Option<Idempotency>,
}

/// Deploys a commit and returns when it serves, or why it does not.
pub(super) async fn deploy(
    app: &Arc<App>,
    order: Order<'_>,
    commit: &Commit<'_>,
    say: &Say,
    cancel: &CancellationToken,
) -> Result<Deployment> {
    let place = order.place;
    let deployment = submit(app, order, commit, say, cancel).await?;
    attend(app, place, deployment, say, cancel).await
}

/// Reads a commit and hands it in.
pub(crate) async fn submit(
    app: &Arc<App>,
    order: Order<'_>,
    commit: &Commit<'_>,
    say: &Say,
    cancel: &CancellationToken,
) -> Result<Deployment> {
    let desired = tokio::select! {
        desired = desired(app, &order, commit, say) => desired?,
        () = cancel.cancelled() => return Err(Error::cancelled()),
    };
    let request = Request {
        project: order.place.0.clone(),
        environment: order.place.1.clone(),
        intent: Intent::Deploy(desired),
        actor: order.actor.to_owned(),
        plan: None,
        replace: false,
        idempotency: order.idempotency,
    };
    app.deployments.submit(request).await
}

/// Tells of a deployment until it serves, or why it does not.
pub(crate) async fn attend(
    app: &Arc<App>,
    place: &(Name, Name),
    deployment: Deployment,
    say: &Say,
    cancel: &CancellationToken,
) -> Result<Deployment> {
    if deployment.plan.is_empty() {
        say.line("Nothing changed: what serves goes on serving.").await;
        urls(app, deployment.clone(), say).await;
        return Ok(deployment);
    }
    let outcome = follow(app, &deployment, say, cancel).await?;
    match outcome {
        Outcome::Succeeded => {
            let now = app.store.deployment(&deployment.id).await?.unwrap_or(deployment);
            let releases = words::releases(&now.plan).map_or_else(String::new, |text| format!(" {text}"));
            say.line(&format!("Deployed {}/{}{releases}", place.0, place.1))
                .await;
            urls(app, now.clone(), say).await;
            Ok(now)
        }
        Outcome::RolledBack { error } => {
            match words::previous(&deployment.plan) {
                Some(releases) => {
                    say.line(&format!(
                        "Nothing changed for your users: {releases} goes on serving."
                    ))
                    .await;
                }
                None => say.line("Everything it had begun was removed again.").await,
            }
            Err(error)
        }
        Outcome::Failed { error } => Err(error),
    }
}

async fn urls(app: &App, deployment: Deployment, say: &Say) {
    let answer = deployment_answer(app, deployment);
    for (service, urls) in answer.urls {
        for url in urls {
            say.line(&format!("  {service}  {url}")).await;
        }
    }
}

/// Tells of a deployment until it ends. Cancelled, it is waited for all the
/// same: what was done is being undone.
async fn follow(
    app: &App,
    deployment: &Deployment,
    say: &Say,
    cancel: &CancellationToken,
) -> Result<Outcome> {
    let stopped = || {
        Error::provider(
            Code::ServerUnavailable,
            "The server is stopping. It goes on with the deployment when it is back.",
        )
        .hint("Push again then: what was deployed meanwhile is not deployed twice.")
        .retry()
    };
    let steps = Steps::of(&deployment.plan);
    let mut events = std::pin::pin!(app.deployments.follow(&deployment.id, 0));
    let mut asked = false;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = cancel.cancelled(), if !asked => {
                asked = true;
                if let Err(error) = app.deployments.cancel(&deployment.id).await {
                    tracing::warn!(deployment = %deployment.id, %error, "a push went away and its deployment cannot be cancelled");
                }
                continue;
            }
            () = app.closing.cancelled() => return Err(stopped()),
        };
        let Some(event) = event.transpose()? else {
            return Err(stopped());
        };
        if let Some(line) = steps.line(&event.event) {
            say.line(&line).await;
        }
        if let EventKind::Finished { outcome } = event.event.kind {
            return Ok(outcome);
        }
    }
}

/// What an environment should be, of a commit.
async fn desired(
    app: &Arc<App>,
    order: &Order<'_>,
    commit: &Commit<'_>,
    say: &Say,
) -> Result<DesiredRequest> {
    let place = order.place;
    let git = app.git()?;
    let work = git.home.work()?;
    let limits = ContextLimits {
        total_size: app.config.build.context_limit,
        ..ContextLimits::default()
    };
    let tree = git
        .home
        .write_out(
            commit.repository,
            commit.quarantine,
            commit.id,
            work.path(),
            &TreeLimits {
                entries: limits.entries,
                total_size: limits.total_size,
            },
        )
        .await?;
    if tree.entries.is_empty() {
        return Err(Error::user(Code::NothingToBuild, "The commit has no files.")
            .hint("Add the app's files: `git add .`, `git commit`."));
    }
    let folder = work.path().to_owned();
    let environment = place.1.clone();
    let services = order.services.to_vec();
    let read = blocking(move || read_tree(&folder, &environment, &services, &tree, limits)).await?;
    for note in &read.notes {
        say.line(&format!("note: {note}")).await;
    }
    let mut contexts = BTreeMap::new();
    for (services, scanned) in read.contexts {
        for warning in &scanned.warnings {
            say.line(warning).await;
        }
        let scanned = Arc::new(scanned);
        let answer = app.contexts.announce(scanned.manifest.clone()).await?;
        if !answer.missing.is_empty() {
            let frames = scanned.frame_stream(&answer.missing);
            app.contexts.receive(&answer.digest, frames.boxed()).await?;
        }
        for built in services {
            let unseen = unseen(app, place, &built, &scanned.manifest).await?;
            if unseen.is_some() {
                say.line(&format!("{}: nothing that it watches changed.", built.service))
                    .await;
            }
            let digest = unseen.unwrap_or_else(|| answer.digest.clone());
            contexts.insert(built.service.to_string(), digest);
        }
    }
    // Removing many files takes a while too.
    tokio::task::spawn_blocking(move || drop(work));
    Ok(DesiredRequest {
        contexts,
        services: order.services.iter().map(Name::to_string).collect(),
        ..DesiredRequest::of_words(read.words)
    })
}

/// The context that serves, where a service watches paths and they are the
/// same in it.
async fn unseen(
    app: &App,
    place: &(Name, Name),
    built: &Built,
    now: &ContextManifest,
) -> Result<Option<String>> {
    let Some(watch) = &built.watch else {
        return Ok(None);
    };
    let snapshot = app
        .store
        .environment_snapshot(&app.installation.organization, &place.0, &place.1)
        .await?;
    let serving = snapshot.and_then(|snapshot| {
        let service = snapshot.services.into_iter().find(|s| s.name == built.service)?;
        match service.current?.release.spec.source {
            Source::Build(source) => Some(source.context),
            Source::Image { .. } => None,
        }
    });
    let Some(serving) = serving else {
        return Ok(None);
    };
    let before = app.contexts.manifest(&serving).await?;
    Ok(before
        .is_some_and(|before| watch.sees_no_difference(&before, now))
        .then_some(serving))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug(format!("reading a commit's files ended early: {error}")))?
}

/// What a commit's files say.
struct ReadTree {
    /// What says which services there are.
    words: Words,
    /// What is not carried over, and what one may not expect.
    notes: Vec<String>,
    /// The services that are built, by what they are built of.
    contexts: Vec<(Vec<Built>, Scanned)>,
}

/// A service that is built.
struct Built {
    service: Name,
    /// What it watches; `None`: all of its source.
    watch: Option<Watch>,
}

fn read_tree(
    folder: &Path,
    environment: &Name,
    services: &[Name],
    tree: &Tree,
    limits: ContextLimits,
) -> Result<ReadTree> {
    let folder = fs::canonicalize(folder)
        .map_err(|error| Error::bug("A commit's files are gone.").said(error.to_string()))?;
    let ask = Ask {
        environment: Some(environment),
        ..Ask::default()
    };
    let declared =
        folder::declare(&DiskFolder::committed(&folder), &ask).map_err(|problems| mistakes(&problems))?;
    let mut contexts: Vec<(Vec<Built>, Scanned)> = Vec::new();
    let mut known: BTreeMap<(PathBuf, String), usize> = BTreeMap::new();
    for service in &declared.services {
        let DeclaredSource::Folder { path, dockerfile, .. } = &service.source else {
            continue;
        };
        if !services.is_empty() && !services.contains(&service.name) {
            continue;
        }
        let mut options = ScanOptions {
            limits,
            cache: None,
            committed: true,
            ..ScanOptions::default()
        };
        if let Some(dockerfile) = dockerfile {
            options.dockerfile.clone_from(dockerfile);
        }
        let key = (source_folder(&folder, path, service)?, options.dockerfile.clone());
        let below = key
            .0
            .strip_prefix(&folder)
            .unwrap_or(Path::new(""))
            .to_string_lossy()
            .into_owned();
        let always = [options.dockerfile.as_str(), ".dockerignore"];
        let watch = match service.watch.as_slice() {
            [] => None,
            patterns => Some(Watch::new(patterns, &below, &always)?),
        };
        let built = Built {
            service: service.name.clone(),
            watch,
        };
        if let Some((services, _)) = known.get(&key).and_then(|at| contexts.get_mut(*at)) {
            services.push(built);
            continue;
        }
        let scanned = scan(&key.0, &options)?;
        check_submodules(&scanned, tree, &below)?;
        check_large_files(&scanned, &key.0)?;
        known.insert(key, contexts.len());
        contexts.push((vec![built], scanned));
    }
    Ok(ReadTree {
        words: declared.words,
        notes: declared.notes,
        contexts,
    })
}

/// The folder a service is built of: within the commit, whatever links say.
fn source_folder(folder: &Path, path: &str, service: &ServiceDeclaration) -> Result<PathBuf> {
    let missing = || {
        Error::user(
            Code::InvalidContext,
            format!(
                "The folder {path} of the service {} is not in the commit.",
                service.name
            ),
        )
        .hint("Mend `source` in nonna.toml, or add the folder: git keeps no empty ones.")
    };
    let real = fs::canonicalize(folder.join(path)).map_err(|_| missing())?;
    if !real.starts_with(folder) || !real.is_dir() {
        return Err(missing());
    }
    Ok(real)
}

/// Submodules whose place is in the context: their files were not pushed.
fn check_submodules(scanned: &Scanned, tree: &Tree, below: &str) -> Result<()> {
    let empty: HashSet<&str> = scanned
        .manifest
        .entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Directory)
        .map(|entry| entry.path.as_str())
        .collect();
    let within = |path: &'_ str| -> Option<String> {
        if below.is_empty() {
            return Some(path.to_owned());
        }
        path.strip_prefix(below)?.strip_prefix('/').map(str::to_owned)
    };
    let found: Vec<&str> = tree
        .submodules()
        .filter(|path| within(path).is_some_and(|path| empty.contains(path.as_str())))
        .take(NAMED)
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    let mut error = Error::user(
        Code::InvalidContext,
        "The commit has submodules, whose files a push does not bring.",
    )
    .hint("Copy the files into the repository (`git subtree add`), fetch them in the build, leave the folder out in `.dockerignore`, or deploy from the folder with `nonna deploy`.");
    for path in found {
        error = error.detail(format!("submodule: {}", printable(path)));
    }
    Err(error)
}

/// Pointers of Git LFS: the app would be built of them instead of the files.
fn check_large_files(scanned: &Scanned, folder: &Path) -> Result<()> {
    let mut found = Vec::new();
    for entry in &scanned.manifest.entries {
        let EntryKind::File { size, .. } = &entry.kind else {
            continue;
        };
        if *size > LFS_MOST || *size < LFS.len() as u64 {
            continue;
        }
        let mut head = [0_u8; 43];
        debug_assert_eq!(head.len(), LFS.len());
        let is_pointer = fs::File::open(folder.join(&entry.path))
            .and_then(|mut file| file.read_exact(&mut head))
            .is_ok_and(|()| head == *LFS);
        if is_pointer {
            found.push(entry.path.as_str());
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let mut error = Error::user(
        Code::InvalidContext,
        format!(
            "{} of the commit's files {} in Git LFS, which a push does not bring: only pointers came.",
            found.len(),
            if found.len() == 1 { "is" } else { "are" }
        ),
    )
    .hint("Put them into the repository itself (`git lfs migrate export`), fetch them in the build, leave them out in `.dockerignore`, or deploy from the folder with `nonna deploy`.");
    for path in found.into_iter().take(NAMED) {
        error = error.detail(format!("in Git LFS: {}", printable(path)));
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(files: &[(&str, &str)], links: &[(&str, &str)], tree: &Tree) -> Result<ReadTree> {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        for (path, target) in links {
            symlink(target, folder.path().join(path)).unwrap();
        }
        read_tree(
            folder.path(),
            &"production".parse().unwrap(),
            &[],
            tree,
            ContextLimits::default(),
        )
    }

    #[test]
    fn links_lead_to_no_file_of_the_server() {
        let secret = tempfile::tempdir().unwrap();
        fs::write(secret.path().join("nonna.toml"), "hunter2 = [").unwrap();
        fs::write(secret.path().join(".dockerignore"), "[hunter2").unwrap();
        let target = |name: &str| secret.path().join(name).display().to_string();
        let tree = Tree::default();
        /// Files of a commit, and a link among them: its path and where it leads.
        type Case<'a> = (Vec<(&'a str, &'a str)>, (&'a str, String));
        let cases: [Case<'_>; 3] = [
            (vec![("a", "1")], ("nonna.toml", target("nonna.toml"))),
            (
                vec![("nonna.toml", "[services.web]\nsource = \"out\"\n")],
                ("out", secret.path().display().to_string()),
            ),
            (vec![("a", "1")], (".dockerignore", target(".dockerignore"))),
        ];
        for (files, (path, target)) in cases {
            let error = read(&files, &[(path, target.as_str())], &tree)
                .err()
                .unwrap_or_else(|| panic!("{path} was followed"));
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn pointers_and_submodules_are_named_unless_they_are_left_out() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        let files = [("app.py", "x"), ("big.bin", pointer)];
        let error = read(&files, &[], &Tree::default()).err().unwrap();
        assert!(error.details[0].contains("big.bin"), "{error:?}");
        let left_out = [("app.py", "x"), ("big.bin", pointer), (".dockerignore", "*.bin")];
        assert!(read(&left_out, &[], &Tree::default()).is_ok());

        let tree = Tree {
            entries: vec![nonna_git::TreeEntry {
                path: "vendor/lib".into(),
                size: 0,
                submodule: true,
            }],
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("vendor/lib")).unwrap();
        fs::write(folder.path().join("app.py"), "x").unwrap();
        let production = "production".parse().unwrap();
        let limits = ContextLimits::default();
        let error = read_tree(folder.path(), &production, &[], &tree, limits)
            .err()
            .unwrap();
        assert!(error.details[0].contains("vendor/lib"), "{error:?}");
        fs::write(folder.path().join(".dockerignore"), "vendor").unwrap();
        assert!(read_tree(folder.path(), &production, &[], &tree, limits).is_ok());
    }

    #[test]
    fn what_was_committed_counts_whatever_gitignore_says() {
        let files = [("app.py", "x"), ("kept.log", "y"), (".gitignore", "*.log\n")];
        let read = read(&files, &[], &Tree::default()).unwrap();
        assert!(read.contexts[0].1.manifest.get("kept.log").is_some());
    }
}
