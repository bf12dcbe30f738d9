//! Which environment follows which branch.

use std::collections::BTreeMap;

use nonna_engine::{Code, Error, Result};
use nonna_git::Reference;
use nonna_model::Name;
use nonna_model::manifest::{DEFAULT_ENVIRONMENT, Manifest};
use nonna_store::Store;
use serde::{Deserialize, Serialize};

/// The kind of the blobs that keep it, by project.
const KIND: &str = "git-branches";
/// The branches that are followed without a word.
const USUAL: [&str; 2] = ["main", "master"];
/// The most branches of a project that are followed.
const MOST: usize = 200;

/// What was said of a project's branches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Branches {
    /// The environment, by branch.
    pub(crate) followed: BTreeMap<String, Name>,
}

impl Branches {
    /// What is kept of a project.
    pub(crate) async fn load(store: &dyn Store, project: &Name) -> Result<Self> {
        match store.get_blob(KIND, project.as_str()).await? {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_slice(&text).map_err(|error| {
                Error::bug("What is kept of branches cannot be read.").said(error.to_string())
            }),
        }
    }

    /// Lets an environment follow a branch, or none.
    pub(crate) fn set(&mut self, branch: &str, environment: Option<Name>) -> Result<()> {
        let good = matches!(
            Reference::parse(&format!("refs/heads/{branch}")),
            Some(Reference::Branch(_))
        );
        if !good {
            return Err(Error::user(Code::InvalidInput, "No branch can have that name.")
                .hint("It is the name as `git branch` shows it: `main`, `feature/login`."));
        }
        match environment {
            Some(environment) => {
                if self.followed.len() >= MOST && !self.followed.contains_key(branch) {
                    return Err(Error::user(
                        Code::LimitExceeded,
                        format!("A project may have {MOST} branches that are followed."),
                    ));
                }
                self.followed.insert(branch.to_owned(), environment);
            }
            None => {
                self.followed.remove(branch);
            }
        }
        Ok(())
    }

    /// Keeps it.
    pub(crate) async fn save(&self, store: &dyn Store, project: &Name) -> Result<()> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::bug("Branches cannot be written.").said(error.to_string()))?;
        store.put_blob(KIND, project.as_str(), &text).await
    }

    /// The environment that follows a branch. `manifest` is that of the
    /// commit: it is asked which environment follows which branch, and for the
    /// project's own. Whoever pushes here may deploy anywhere; whoever may push
    /// some branch on a forge may not, and is never asked: where that goes was
    /// said when the repository was connected.
    pub(crate) fn environment(&self, branch: &str, manifest: Option<&Manifest>) -> Option<Name> {
        if let Some(environment) = self.followed.get(branch) {
            return Some(environment.clone());
        }
        if let Some(manifest) = manifest
            && let Some(environment) = manifest.environment_of_branch(branch)
        {
            return Some(environment.clone());
        }
        if !USUAL.contains(&branch) {
            return None;
        }
        manifest
            .and_then(|manifest| manifest.environment.clone())
            .or_else(|| DEFAULT_ENVIRONMENT.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn what_was_said_by_hand_wins_then_the_manifest_then_the_usual() {
        let manifest = nonna_model::manifest::parse(
            "environment = \"live\"\n[environments.staging]\nbranch = \"develop\"\n[environments.qa]\nbranch = \"by-hand\"\n",
            "nonna.toml",
        )
        .unwrap();
        let mut branches = Branches::default();
        branches.set("by-hand", Some(name("special"))).unwrap();
        let of = |branch| {
            branches
                .environment(branch, Some(&manifest))
                .map(|name| name.to_string())
        };
        assert_eq!(of("main").as_deref(), Some("live"));
        assert_eq!(of("master").as_deref(), Some("live"));
        assert_eq!(of("develop").as_deref(), Some("staging"));
        assert_eq!(of("by-hand").as_deref(), Some("special"));
        assert_eq!(of("feature"), None);
        assert!(branches.set("--upload-pack=x", Some(name("x"))).is_err());
    }
}
