//! Which extensions of PHP an app gets beside those that every image has.

use std::collections::BTreeSet;

use super::Framework;
use super::composer::Composer;

/// What PHP's own image has in it.
const BUILT_IN: [&str; 33] = [
    "core",
    "ctype",
    "curl",
    "date",
    "dom",
    "fileinfo",
    "filter",
    "ftp",
    "hash",
    "iconv",
    "json",
    "libxml",
    "mbstring",
    "mysqlnd",
    "openssl",
    "pcre",
    "pdo",
    "pdo_sqlite",
    "phar",
    "posix",
    "random",
    "readline",
    "reflection",
    "session",
    "simplexml",
    "sodium",
    "spl",
    "sqlite3",
    "standard",
    "tokenizer",
    "xml",
    "xmlreader",
    "xmlwriter",
];
/// The same, under names that are only Composer's, or part of the above.
const BUILT_IN_TOO: [&str; 3] = ["zlib", "zend-opcache", "opcache"];

/// What an app of a framework uses and seldom names: databases, queues, caches.
fn usual(framework: Framework, composer: &Composer) -> Vec<&'static str> {
    let mut usual = match framework {
        Framework::Laravel => vec!["pcntl", "pdo_mysql", "pdo_pgsql"],
        Framework::WordPress => vec!["exif", "gd", "intl", "mysqli", "zip"],
        Framework::Drupal => vec!["gd", "pdo_mysql", "pdo_pgsql"],
        _ => Vec::new(),
    };
    if framework == Framework::Laravel && !composer.has("predis/predis") {
        usual.push("redis");
    }
    let databases = [
        "doctrine/dbal",
        "illuminate/database",
        "cakephp/database",
        "yiisoft/db",
    ];
    if databases.iter().any(|package| composer.has(package)) {
        usual.extend(["pdo_mysql", "pdo_pgsql"]);
    }
    usual
}

/// What is added to the image, sorted; and the names that are no extension's.
pub(super) fn added(framework: Framework, composer: &Composer) -> (Vec<String>, Vec<String>) {
    let all: BTreeSet<&str> = composer
        .extensions()
        .chain(usual(framework, composer))
        .filter(|name| !BUILT_IN.contains(name) && !BUILT_IN_TOO.contains(name))
        .collect();
    all.into_iter().map(str::to_owned).partition(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    })
}
