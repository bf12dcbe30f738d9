//! `.gitignore` files: the folder's own, those below, and those above it in
//! the same repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use nonna_engine::error::{Code, Error, Result};

/// The rules that hold in one folder, the nearest file last.
#[derive(Debug, Clone, Default)]
pub(crate) struct GitIgnore {
    files: Vec<Arc<Gitignore>>,
}

impl GitIgnore {
    /// The rules from above the folder: up to the repository it is part of,
    /// if it is part of one.
    ///
    /// # Errors
    /// `InvalidInput` if a file cannot be read.
    pub(crate) fn above(folder: &Path) -> Result<Self> {
        let mut rules = Self::default();
        let Some(top) = folder.ancestors().find(|at| at.join(".git").exists()) else {
            return Ok(rules);
        };
        let exclude = top.join(".git/info/exclude");
        if exclude.is_file() {
            rules.add(top, &exclude)?;
        }
        let mut above: Vec<&Path> = folder
            .ancestors()
            .skip(1)
            .take_while(|at| at.starts_with(top))
            .collect();
        above.reverse();
        for at in above {
            rules = rules.enter(at)?;
        }
        if rules.leaves_out(folder, true) {
            // Somebody builds the very folder that the repository leaves out,
            // such as a site generator's output: then only its own rules count.
            return Ok(Self::default());
        }
        Ok(rules)
    }

    /// The rules inside of this folder.
    ///
    /// # Errors
    /// `InvalidInput` if a file cannot be read.
    pub(crate) fn enter(&self, folder: &Path) -> Result<Self> {
        let mut rules = self.clone();
        let file = folder.join(".gitignore");
        if file.is_file() {
            rules.add(folder, &file)?;
        }
        Ok(rules)
    }

    fn add(&mut self, root: &Path, file: &PathBuf) -> Result<()> {
        let mut builder = GitignoreBuilder::new(root);
        let wrong = |error: &ignore::Error| {
            Error::user(
                Code::InvalidInput,
                format!("{} cannot be used: {error}.", file.display()),
            )
            .hint("Mend the file, or write a `.dockerignore`, which is then used instead.")
        };
        // A line that is no pattern matches nothing, as in git itself.
        if let Some(error) = builder.add(file).filter(ignore::Error::is_io) {
            return Err(wrong(&error));
        }
        self.files
            .push(Arc::new(builder.build().map_err(|error| wrong(&error))?));
        Ok(())
    }

    /// Whether this path (absolute) is left out.
    pub(crate) fn leaves_out(&self, path: &Path, is_dir: bool) -> bool {
        for file in self.files.iter().rev() {
            match file.matched(path, is_dir) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}
