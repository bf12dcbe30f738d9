//! The units that `nonna server install` writes.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{Capture, Config};

/// Where the service's unit goes.
pub const SERVICE_PATH: &str = "/etc/systemd/system/nonna.service";
/// Where the sockets' unit goes.
pub const SOCKET_PATH: &str = "/etc/systemd/system/nonna.socket";

/// The text of `nonna.service`, hardened.
///
/// It runs as root, since the container engine's socket is root's anyway, but
/// sees a read-only system, no homes and no devices, and keeps only the right
/// to listen below port 1024.
#[must_use]
pub fn service_unit(binary: &Path, config_file: Option<&Path>, config: &Config) -> String {
    let mut command = format!("{} server", quote(binary));
    if let Some(file) = config_file {
        let _ = write!(command, " --config {}", quote(file));
    }
    if config.data != Path::new(crate::config::DEFAULT_DATA) {
        let _ = write!(command, " --data {}", quote(&config.data));
    }
    let data = quote(&config.data);
    // What holds the containers' output pipes outlives the service.
    let kill = match config.logs.capture {
        Capture::Pipes => "KillMode=process\n",
        Capture::Auto | Capture::Engine => "",
    };
    let stop = config.shutdown_timeout.as_secs() + 10;
    format!(
        "[Unit]
Description=Nonna: deploys and serves your apps
Documentation=https://github.com/nonna-dev/nonna
Wants=network-online.target
After=network-online.target docker.service podman.socket
Requires=nonna.socket

[Service]
Type=exec
ExecStart={command}
Restart=always
RestartSec=1
KillSignal=SIGTERM
{kill}TimeoutStopSec={stop}
LimitNOFILE=1048576
UMask=0077

# Memory is handed back to the system rather than kept for each thread.
Environment=MALLOC_ARENA_MAX=2

# What it may touch.
ReadWritePaths={data}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible

# What it may do.
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_DAC_OVERRIDE
AmbientCapabilities=
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
Also=nonna.socket
"
    )
}

/// The text of `nonna.socket`: systemd holds the ports while Nonna restarts.
#[must_use]
pub fn socket_unit(config: &Config) -> String {
    let mut listen = format!("ListenStream={}\n", config.api);
    for address in [config.http, config.https].into_iter().flatten() {
        let _ = writeln!(listen, "ListenStream={address}");
    }
    format!(
        "[Unit]
Description=Nonna's listening sockets, held while it restarts
PartOf=nonna.service

[Socket]
{listen}Backlog=4096
NoDelay=yes
Service=nonna.service

[Install]
WantedBy=sockets.target
"
    )
}

/// Quotes a path for a unit file: `%` begins specifiers, `$` variables.
fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    if escaped == text && !text.contains(char::is_whitespace) {
        text
    } else {
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn paths_are_quoted() {
        assert_eq!(quote(Path::new("/usr/bin/nonna")), "/usr/bin/nonna");
        assert_eq!(quote(Path::new("/my app/100%")), "\"/my app/100%%\"");
    }

    #[test]
    fn ports_that_are_off_are_not_held() {
        let config = Config {
            https: None,
            ..Config::default()
        };
        let unit = socket_unit(&config);
        assert!(
            unit.contains("ListenStream=127.0.0.1:8400\nListenStream=0.0.0.0:80\nBacklog"),
            "{unit}"
        );
    }

    #[test]
    fn systemd_finds_nothing_wrong_with_the_units() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            data: "/srv/my nonna".into(),
            ..Config::default()
        };
        let service = dir.path().join("nonna.service");
        std::fs::write(&service, service_unit(Path::new("/bin/true"), None, &config)).unwrap();
        std::fs::write(dir.path().join("nonna.socket"), socket_unit(&config)).unwrap();
        // Where systemd is not installed there is nothing to verify with; the
        // text itself is checked above and by the hardening test below.
        let Ok(output) = Command::new("systemd-analyze")
            .arg("verify")
            .arg(&service)
            .output()
        else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("nonna."), "{said}");
    }

    #[test]
    fn the_unit_is_hardened() {
        let unit = service_unit(Path::new("/usr/bin/nonna"), None, &Config::default());
        for line in [
            "ProtectSystem=strict",
            "NoNewPrivileges=yes",
            "PrivateTmp=yes",
            "RestrictNamespaces=yes",
            "SystemCallFilter=@system-service",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line}");
        }
    }
}
