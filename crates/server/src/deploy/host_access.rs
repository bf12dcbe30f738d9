//! What services get of the machine: nothing but what its administrator
//! allows.

use std::path::{Path, PathBuf};

use nonna_engine::{Code, Error, Result};
use nonna_model::Name;
use nonna_model::service::HostAccess;

use crate::Config;

/// Refuses what the server's settings do not allow.
///
/// # Errors
/// `Forbidden`, which names the setting.
pub(super) fn check(config: &Config, service: &Name, wanted: &HostAccess) -> Result<()> {
    if wanted.privileged && !config.allow_privileged {
        return Err(Error::user(
            Code::Forbidden,
            format!("The service `{service}` wants to be privileged, which gives it the whole machine."),
        )
        .hint(
            "Leave `privileged` out. Who runs the server can allow it: `nonna server --allow-privileged on`.",
        ));
    }
    for mount in &wanted.mounts {
        if !allows(&config.allow_host_paths, Path::new(&mount.source)) {
            return Err(Error::user(
                Code::Forbidden,
                format!(
                    "The service `{service}` wants {} of the machine at {}.",
                    mount.source, mount.path
                ),
            )
            .hint(format!(
                "Use a named volume. Who runs the server can allow the path: `nonna server --allow-host-paths {}`.",
                mount.source
            )));
        }
    }
    Ok(())
}

/// Whether a path is an allowed one or lies below one, where its links lead
/// too: a service that may write to a folder could put a link to anywhere
/// there.
fn allows(allowed: &[PathBuf], path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    allowed.iter().any(|one| {
        let real_one = one.canonicalize().unwrap_or_else(|_| one.clone());
        path.starts_with(one) && real.starts_with(real_one)
    })
}

#[cfg(test)]
mod tests {
    use nonna_model::service::HostMount;

    use super::*;

    fn wants(source: &str) -> HostAccess {
        HostAccess {
            mounts: vec![HostMount {
                source: source.into(),
                path: "/data".into(),
                read_only: false,
            }],
            privileged: false,
        }
    }

    #[test]
    fn only_what_is_allowed_and_what_lies_below_it_is_given() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("media");
        std::fs::create_dir_all(folder.join("films")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("out")).unwrap();
        let mut config = Config::default();
        let web: Name = "web".parse().unwrap();
        let path = |name: &str| format!("{}/{name}", temp.path().display());
        let error = check(&config, &web, &wants(&path("media"))).unwrap_err();
        assert_eq!(error.code, Code::Forbidden);
        assert!(error.hint.unwrap().contains("--allow-host-paths"));
        config.allow_host_paths = vec![folder];
        for good in ["media", "media/films", "media/not-there-yet"] {
            check(&config, &web, &wants(&path(good))).unwrap();
        }
        for bad in ["media2", "", "media/out", "media/out/ssh"] {
            assert!(check(&config, &web, &wants(&path(bad))).is_err(), "{bad}");
        }
        let privileged = HostAccess {
            privileged: true,
            ..HostAccess::default()
        };
        assert!(check(&config, &web, &privileged).is_err());
        config.allow_privileged = true;
        check(&config, &web, &privileged).unwrap();
    }
}
