//! Packages that the slim image cannot compile, or whose libraries and
//! programs it has not: what Debian calls them.

use super::super::compiled::OUT;
use super::super::writer::Writer;
use super::requirements::Requirements;

/// A package of PyPI.
struct Native {
    name: &'static str,
    /// What compiles it: there is no wheel of it for every machine.
    build: &'static [&'static str],
    /// What it opens or runs by name. Libraries that it is linked to are found
    /// without a word.
    run: &'static [&'static str],
}

const fn compiled(name: &'static str, build: &'static [&'static str]) -> Native {
    Native {
        name,
        build,
        run: &[],
    }
}

const fn calls(name: &'static str, run: &'static [&'static str]) -> Native {
    Native {
        name,
        build: &[],
        run,
    }
}

/// Sorted by name, as PyPI normalises it.
const NATIVE: &[Native] = &[
    calls("cairosvg", &["libcairo2"]),
    calls("ffmpeg-python", &["ffmpeg"]),
    compiled("gdal", &["g++", "libgdal-dev"]),
    calls("gitpython", &["git"]),
    calls("graphviz", &["graphviz"]),
    compiled("gssapi", &["libkrb5-dev"]),
    compiled("m2crypto", &["libssl-dev", "swig"]),
    Native {
        name: "mysqlclient",
        build: &["default-libmysqlclient-dev", "pkg-config"],
        // Its ways of logging in are files beside the library.
        run: &["libmariadb3"],
    },
    compiled("netifaces", &[]),
    calls("opencv-python", &["libgl1", "libglib2.0-0"]),
    calls("pdf2image", &["poppler-utils"]),
    compiled("psycopg-c", &["libpq-dev"]),
    compiled("psycopg2", &["libpq-dev"]),
    calls("psycopg", &["libpq5"]),
    compiled("pyaudio", &["portaudio19-dev"]),
    compiled("pycairo", &["libcairo2-dev", "pkg-config"]),
    calls("pydub", &["ffmpeg"]),
    Native {
        name: "pygraphviz",
        build: &["libgraphviz-dev"],
        run: &["graphviz"],
    },
    compiled("pyicu", &["g++", "libicu-dev", "pkg-config"]),
    compiled("pylibmc", &["libmemcached-dev", "zlib1g-dev"]),
    calls("pyodbc", &["unixodbc"]),
    calls("pytesseract", &["tesseract-ocr"]),
    compiled("python-ldap", &["libldap-dev", "libsasl2-dev"]),
    calls("python-magic", &["libmagic1"]),
    calls("pyzbar", &["libzbar0"]),
    compiled("uwsgi", &[]),
    calls(
        "weasyprint",
        &["libharfbuzz-subset0", "libpango-1.0-0", "libpangoft2-1.0-0"],
    ),
    compiled("xmlsec", &["libxmlsec1-dev", "libxmlsec1-openssl", "pkg-config"]),
];
/// What every one that is compiled needs.
const COMPILER: [&str; 2] = ["gcc", "libc6-dev"];

/// What Debian has to lend an app's packages.
#[derive(Debug, Default)]
pub(super) struct Natives {
    /// The packages that need it.
    names: Vec<&'static str>,
    build: Vec<&'static str>,
    run: Vec<&'static str>,
}

impl Natives {
    /// Of the packages that are named, directly or by a lockfile.
    pub(super) fn of(needs: &Requirements) -> Self {
        let mut natives = Self::default();
        for native in NATIVE {
            let by_extra = native.name == "psycopg-c" && needs.has("psycopg[c]");
            // With its libraries in the wheel.
            let in_wheel = native.name == "psycopg"
                && (needs.has("psycopg[binary]") || needs.installs("psycopg-binary"));
            if !(needs.installs(native.name) || by_extra) || in_wheel {
                continue;
            }
            natives.names.push(native.name);
            natives.run.extend(native.run);
            if native.run.is_empty() || !native.build.is_empty() {
                natives.build.extend(COMPILER);
                natives.build.extend(native.build);
            }
        }
        if needs.from_git {
            natives.build.push("git");
        }
        for list in [&mut natives.build, &mut natives.run] {
            list.sort_unstable();
            list.dedup();
        }
        natives
    }

    /// For the explanation.
    pub(super) fn note(&self) -> Option<String> {
        let all: Vec<&str> = self.build.iter().chain(&self.run).copied().collect();
        (!self.names.is_empty()).then(|| {
            format!(
                "Debian's {} for {}, where the image has them not",
                all.join(", "),
                self.names.join(", ")
            )
        })
    }

    /// In the stage that builds, before anything is installed.
    pub(super) fn prepare(&self, writer: &mut Writer<'_>) {
        install(writer, &self.build);
    }

    /// In the stage that builds, when everything is installed.
    pub(super) fn gather(&self, writer: &mut Writer<'_>) {
        if self.is_compiled() {
            writer.run(&[], &super::super::compiled::gather_libraries("/opt/venv"));
        }
    }

    /// In the stage that becomes the image.
    pub(super) fn lend(&self, writer: &mut Writer<'_>) {
        install(writer, &self.run);
        if self.is_compiled() {
            writer
                .copy_from("build", &format!("{OUT}/lib"), "/usr/local/lib/app", None)
                .environment(&[("LD_LIBRARY_PATH", "/usr/local/lib/app")]);
        }
    }

    fn is_compiled(&self) -> bool {
        self.build.contains(&COMPILER[0])
    }
}

fn install(writer: &mut Writer<'_>, packages: &[&str]) {
    if !packages.is_empty() {
        writer.run(
            &[],
            &format!(
                "apt-get update -qq && apt-get install -y -qq --no-install-recommends {} >/dev/null && rm -rf /var/lib/apt/lists/*",
                packages.join(" ")
            ),
        );
    }
}
