//! Compiles the launcher: the program that containers are started with whose
//! output goes into pipes. It is a part of Nonna's binary.

use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let source = "launcher/launcher.c";
    println!("cargo::rerun-if-changed={source}");
    let out = PathBuf::from(env::var("OUT_DIR")?).join("launcher");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        // There are no such containers; what is empty is never used.
        return Ok(fs::write(out, [])?);
    }
    let compiler = cc::Build::new()
        .file(source)
        .opt_level_str("s")
        .debug(false)
        .pic(false)
        .warnings(true)
        .extra_warnings(true)
        .cargo_metadata(false)
        .get_compiler();
    let status = compiler
        .to_command()
        .args([
            "-static",
            "-nostdlib",
            "-ffreestanding",
            "-fno-builtin",
            "-fno-stack-protector",
            "-fno-asynchronous-unwind-tables",
            "-fno-tree-loop-distribute-patterns",
            "-no-pie",
            "-s",
            "-Wl,--build-id=none,-z,noseparate-code,-z,noexecstack",
            source,
            "-o",
        ])
        .arg(&out)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the launcher {source} was not compiled: {status}").into()),
    }
}
