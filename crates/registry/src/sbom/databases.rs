//! The databases of distributions' package managers.

use super::package::{Kind, Package};

/// Debian's, and the single files of images without a package manager.
pub(super) fn dpkg(text: &str, path: &str) -> Vec<Package> {
    let whole = path.ends_with("/status");
    paragraphs(text)
        .filter(|paragraph| {
            // What was removed leaves its configuration, and its entry.
            !whole
                || field(paragraph, "Status:")
                    .is_some_and(|status| status.split(' ').next_back() == Some("installed"))
        })
        .filter_map(|paragraph| {
            let mut package = Package::new(
                Kind::Deb,
                field(paragraph, "Package:")?,
                field(paragraph, "Version:")?,
                path,
            );
            package.architecture = field(paragraph, "Architecture:").map(str::to_owned);
            Some(package)
        })
        .collect()
}

/// Alpine's.
pub(super) fn apk(text: &str, path: &str) -> Vec<Package> {
    paragraphs(text)
        .filter_map(|paragraph| {
            let mut package = Package::new(Kind::Apk, field(paragraph, "P:")?, field(paragraph, "V:")?, path);
            package.architecture = field(paragraph, "A:").map(str::to_owned);
            package.license = field(paragraph, "L:").map(str::to_owned);
            Some(package)
        })
        .collect()
}

/// The distribution and its version: `ID` and `VERSION_ID` of an `os-release`.
pub(super) fn os_release(text: &str) -> Option<(String, String)> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    Some((value("ID")?, value("VERSION_ID").unwrap_or_default()))
}

fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty())
}

fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_has_installed_is_listed_and_what_it_removed_is_not() {
        let text = "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\nDescription: x\n Package: y\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n";
        let found = dpkg(text, "var/lib/dpkg/status");
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].version.as_str()),
            ("bash", "5.2-1")
        );
        assert_eq!(found[0].architecture.as_deref(), Some("amd64"));
        assert_eq!(
            dpkg("Package: tzdata\nVersion: 2\n", "var/lib/dpkg/status.d/tzdata").len(),
            1
        );
    }

    #[test]
    fn alpines_packages_have_licences() {
        let found = apk(
            "C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\nL:MIT\n\nP:busybox\nV:1.36\n\n",
            "lib/apk/db/installed",
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].license.as_deref(), Some("MIT"));
    }

    #[test]
    fn an_os_release_is_read() {
        assert_eq!(
            os_release("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n"),
            Some(("debian".into(), "12".into()))
        );
        assert_eq!(os_release("NAME=x\n"), None);
    }
}
