//! The log proxy on its own, with real senders, real crashes and a destination
//! that comes and goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nonna_e2e::log_proxy::{LogProxy, client};
use nonna_logs::{Entry, Options, Query, Scope, query};

const STORED: &str = "nonna_logs_records_stored_total";

/// What a store holds that answers a question; its log proxy has ended.
fn found(folder: &Path, question: &str) -> Vec<Entry> {
    let store = nonna_logs::LogProxy::open(&folder.join("data"), Options::default()).unwrap();
    let query = Query::new(Scope::Everything, query::parse(question).unwrap());
    let mut found = Vec::new();
    store
        .search_blocking(&query, &AtomicBool::new(false), |entry| {
            found.push(entry);
            true
        })
        .unwrap();
    found.reverse();
    found
}

fn run(program: &Path, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "{} {arguments:?}: {}{}",
        program.display(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

/// A daemon of the test; dropped, it is gone.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// rsyslog with `rsyslog.conf` of this folder.
fn rsyslog(folder: &Path) -> Daemon {
    let text = |name: &str| folder.join(name).display().to_string();
    let daemon = Command::new(client("rsyslog").unwrap())
        .args([
            "-n",
            "-f",
            &text("rsyslog.conf"),
            "-i",
            &text("rsyslog.pid"),
            "-M",
        ])
        .arg(client("rsyslog-modules").unwrap())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Daemon(daemon)
}

/// syslog-ng with `syslog-ng.conf` of this folder.
fn syslog_ng(folder: &Path) -> Daemon {
    let text = |name: &str| folder.join(name).display().to_string();
    let mut command = Command::new(client("syslog-ng").unwrap());
    command.args([
        "-F",
        "--no-caps",
        "-f",
        &text("syslog-ng.conf"),
        "-p",
        &text("pid"),
    ]);
    command.args(["-R", &text("persist"), "-c", &text("ctl")]);
    let modules = client("syslog-ng-modules").unwrap();
    command.arg(format!("--module-path={}", modules.display()));
    command.env("LD_LIBRARY_PATH", client("syslog-ng-libraries").unwrap());
    let log = std::fs::File::create(text("syslog-ng.log")).unwrap();
    Daemon(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

const SYSLOG: &str = "[[http]]\nlisten = \"127.0.0.1:0\"\n\
    [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"udp\"\n\
    [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"tcp\"\n";

#[test]
fn logger_is_understood_in_every_way_it_can_send() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = LogProxy::start(folder.path(), SYSLOG).unwrap();
    let udp = proxy.address("syslog/udp").unwrap().port().to_string();
    let tcp = proxy.address("syslog/tcp").unwrap().port().to_string();
    let mut sent = 0;
    for (transport, port) in [("--udp", &udp), ("--tcp", &tcp)] {
        for format in ["--rfc3164", "--rfc5424"] {
            for counted in [false, true] {
                if counted && transport == "--udp" {
                    continue;
                }
                let mut arguments = vec!["--server", "127.0.0.1", "--port", port, transport, format];
                arguments.extend(counted.then_some("--octet-count"));
                arguments.extend([
                    "--tag",
                    "by-logger",
                    "--priority",
                    "daemon.err",
                    "--",
                    "disk is full",
                ]);
                run(Path::new("logger"), &arguments);
                sent += 1;
            }
        }
    }
    proxy.wait_for(STORED, f64::from(sent)).unwrap();
    proxy.end().unwrap();
    let found = found(folder.path(), "service:by-logger level:error facility=daemon");
    assert_eq!(found.len(), 6);
    assert!(found.iter().all(|entry| entry.text() == "disk is full"));
}

#[test]
fn rsyslog_relays_what_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = LogProxy::start(folder.path(), SYSLOG).unwrap();
    let target = proxy.address("syslog/tcp").unwrap().port();
    let input: SocketAddr = ([127, 0, 0, 1], nonna_e2e::free_port().unwrap()).into();
    let config = folder.path().join("rsyslog.conf");
    std::fs::write(
        &config,
        format!(
            "global(workDirectory=\"{0}\")\nmodule(load=\"imptcp\")\ninput(type=\"imptcp\" port=\"{1}\" address=\"127.0.0.1\")\n\
             action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{target}\" protocol=\"tcp\" tcp_framing=\"octet-counted\"\n\
             template=\"RSYSLOG_SyslogProtocol23Format\" action.resumeRetryCount=\"-1\")\n",
            folder.path().display(),
            input.port()
        ),
    )
    .unwrap();
    let _daemon = rsyslog(folder.path());
    let mut stream = connect(input);
    for n in 0..500 {
        writeln!(stream, "<14>Nov 24 08:30:00 host1 by-rsyslog[42]: line {n}").unwrap();
    }
    drop(stream);
    proxy.wait_for(STORED, 500.0).unwrap();
    proxy.end().unwrap();
    let lines: Vec<String> = found(folder.path(), "service:by-rsyslog replica:host1 procid=42")
        .iter()
        .map(Entry::text)
        .collect();
    // rsyslog takes the space behind the tag of an old message for a part of the
    // text, and says so in the new format: the line is kept as it was sent.
    assert_eq!(lines, (0..500).map(|n| format!(" line {n}")).collect::<Vec<_>>());
}

#[test]
fn syslog_ng_relays_what_it_gets() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = LogProxy::start(folder.path(), SYSLOG).unwrap();
    let target = proxy.address("syslog/tcp").unwrap().port();
    let input: SocketAddr = ([127, 0, 0, 1], nonna_e2e::free_port().unwrap()).into();
    let text = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(
        text("syslog-ng.conf"),
        format!(
            "@version: 3.38\n@module afsocket\n@module syslogformat\noptions {{ stats-freq(0); keep-hostname(yes); }};\n\
             source s {{ network(ip(\"127.0.0.1\") port({}) transport(\"tcp\")); }};\n\
             destination d {{ syslog(\"127.0.0.1\" port({target}) transport(\"tcp\")); }};\n\
             log {{ source(s); destination(d); }};\n",
            input.port()
        ),
    )
    .unwrap();
    let _daemon = syslog_ng(folder.path());
    let mut stream = connect(input);
    for n in 0..500 {
        writeln!(stream, "<12>Nov 24 08:30:00 host2 by-syslog-ng[7]: line {n}").unwrap();
    }
    proxy.wait_for(STORED, 500.0).unwrap();
    drop(stream);
    proxy.end().unwrap();
    let lines: Vec<String> = found(folder.path(), "service:by-syslog-ng replica:host2 level:warn")
        .iter()
        .map(Entry::text)
        .collect();
    assert_eq!(lines, (0..500).map(|n| format!("line {n}")).collect::<Vec<_>>());
}

#[test]
fn clients_of_opentelemetry_elasticsearch_fluentd_and_loki_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[http]]\nlisten = \"127.0.0.1:0\"\ntokens = [\"t0ken\"]\nserve = [\"intake\"]\n\
                  [[fluent]]\nlisten = \"127.0.0.1:0\"\n";
    let proxy = LogProxy::start(folder.path(), config).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log_proxy/send.py");
    let python = client("python").unwrap();
    let clients = ["opentelemetry", "elasticsearch", "loki", "fluent"];
    for name in clients {
        let listener = if name == "fluent" { "fluent" } else { "http" };
        let port = proxy.address(listener).unwrap().port().to_string();
        run(
            &python,
            &[script.to_str().unwrap(), name, "127.0.0.1", &port, "t0ken"],
        );
    }
    // Fluent's client asks for no acknowledgement: what it sent is on its way.
    std::thread::sleep(Duration::from_millis(500));
    proxy.end().unwrap();
    for name in clients {
        let found = found(folder.path(), &format!("service:by-{name}"));
        let lines: Vec<String> = found.iter().map(Entry::text).collect();
        assert_eq!(lines, ["record 0", "record 1", "record 2"], "{name}");
        let levels: BTreeSet<&str> = found.iter().map(|entry| entry.level.name()).collect();
        assert_eq!(levels, BTreeSet::from(["warn"]), "{name}");
        let second: BTreeMap<&str, &str> = found[1].fields.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(second["n"], "1", "{name}");
    }
}

/// Posts lines; answers whether they were acknowledged.
fn post(address: SocketAddr, service: &str, body: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let request = format!(
        "POST /lines?service={service} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_crash_under_load_loses_nothing_that_was_acknowledged() {
    const ROUNDS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let config = "[[http]]\nlisten = \"127.0.0.1:0\"\n";
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let number = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let proxy = LogProxy::start(folder.path(), config).unwrap();
        let address = proxy.address("http").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let (acknowledged, number, stop) =
                    (Arc::clone(&acknowledged), Arc::clone(&number), Arc::clone(&stop));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let lines: Vec<String> = (0..50)
                            .map(|_| format!("line-{}", number.fetch_add(1, Ordering::Relaxed)))
                            .collect();
                        if post(address, "load", &lines.join("\n")) {
                            acknowledged.lock().unwrap().extend(lines);
                        }
                    }
                })
            })
            .collect();
        // At another moment each time.
        std::thread::sleep(Duration::from_millis(400 + 313 * round as u64));
        proxy.kill().unwrap();
        stop.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap();
        }
    }
    let acknowledged = acknowledged.lock().unwrap();
    assert!(acknowledged.len() > 1000, "{}", acknowledged.len());
    let found: Vec<String> = found(folder.path(), "service:load")
        .iter()
        .map(Entry::text)
        .collect();
    let distinct: BTreeSet<&String> = found.iter().collect();
    assert_eq!(distinct.len(), found.len(), "a line is there twice");
    let missing: Vec<&String> = acknowledged
        .iter()
        .filter(|line| !distinct.contains(line))
        .collect();
    assert!(missing.is_empty(), "{} are missing", missing.len());
    let invented = distinct.iter().filter(|line| !line.starts_with("line-")).count();
    assert_eq!(invented, 0);
}

/// A receiver of lines over HTTP, which keeps them.
fn receiver(listener: &TcpListener, got: &Arc<Mutex<Vec<String>>>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let got = Arc::clone(got);
        std::thread::spawn(move || {
            let mut buffer = Vec::new();
            let mut piece = [0; 65_536];
            loop {
                let text = String::from_utf8_lossy(&buffer).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let head = head.to_ascii_lowercase();
                    let length = head
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "));
                    let length: usize = length.unwrap().parse().unwrap();
                    if body.len() >= length {
                        let lines = body[..length].lines().map(ToOwned::to_owned);
                        got.lock().unwrap().extend(lines);
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                        buffer.clear();
                    }
                }
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => buffer.extend_from_slice(&piece[..count]),
                    _ => return,
                }
            }
        });
    }
}

#[test]
fn an_outage_of_a_destination_and_a_crash_in_it_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let port = nonna_e2e::free_port().unwrap();
    let config = format!(
        "[[http]]\nlisten = \"127.0.0.1:0\"\n[[forward]]\nname = \"far\"\nto = \"http\"\n\
         url = \"http://127.0.0.1:{port}/in\"\nwhen = \"service:shop\"\nbatch = {{ wait = \"100ms\" }}\n"
    );
    let proxy = LogProxy::start(folder.path(), &config).unwrap();
    let lines = |from: usize, to: usize| (from..to).map(|n| format!("order {n:05}\n")).collect::<String>();
    assert!(post(proxy.address("http").unwrap(), "shop", &lines(0, 2000)));
    proxy
        .wait_for("nonna_logs_forward_failures_total{forward=\"far\"}", 1.0)
        .unwrap();
    assert_eq!(
        proxy.metric("nonna_logs_forward_up{forward=\"far\"}").unwrap(),
        0.0
    );
    proxy.kill().unwrap();
    let proxy = LogProxy::start(folder.path(), &config).unwrap();
    assert!(post(proxy.address("http").unwrap(), "shop", &lines(2000, 3000)));
    let got: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let keeps = Arc::clone(&got);
    std::thread::spawn(move || receiver(&listener, &keeps));
    proxy
        .wait_for("nonna_logs_forward_sent_total{forward=\"far\"}", 3000.0)
        .unwrap();
    proxy.end().unwrap();
    let got = got.lock().unwrap();
    let arrived: BTreeSet<String> = got
        .iter()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["service"], "shop");
            record["line"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected: BTreeSet<String> = (0..3000).map(|n| format!("order {n:05}")).collect();
    assert_eq!(arrived, expected);
}

/// The lines of a file, once there are so many.
fn lines_of(file: &Path, count: usize) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        assert!(Instant::now() < deadline, "{} of {count} lines came", lines.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sends 300 lines through a log proxy with this forward.
fn forward_lines(folder: &Path, forward: &str) {
    let config = format!(
        "[[http]]\nlisten = \"127.0.0.1:0\"\n[[forward]]\nname = \"far\"\nwhen = \"service:shop\"\n\
         batch = {{ records = 100, wait = \"100ms\" }}\n{forward}"
    );
    let proxy = LogProxy::start(folder, &config).unwrap();
    let lines: String = (0..300)
        .map(|n| format!("{{\"msg\":\"order {n}\",\"level\":\"warn\",\"user\":\"a ]\\\"b\"}}\n"))
        .collect();
    assert!(post(proxy.address("http").unwrap(), "shop", &lines));
    proxy
        .wait_for("nonna_logs_forward_sent_total{forward=\"far\"}", 300.0)
        .unwrap();
    assert_eq!(
        proxy
            .metric("nonna_logs_forward_failures_total{forward=\"far\"}")
            .unwrap(),
        0.0
    );
    proxy.end().unwrap();
}

#[test]
fn rsyslog_receives_what_is_forwarded() {
    let folder = tempfile::tempdir().unwrap();
    let input: SocketAddr = ([127, 0, 0, 1], nonna_e2e::free_port().unwrap()).into();
    let out = folder.path().join("out");
    let config = format!(
        "global(workDirectory=\"{0}\")\nmodule(load=\"imptcp\")\n\
         template(name=\"t\" type=\"string\" string=\"%app-name% %syslogseverity-text% %structured-data% %msg%\\n\")\n\
         input(type=\"imptcp\" port=\"{1}\" address=\"127.0.0.1\")\n\
         action(type=\"omfile\" file=\"{2}\" template=\"t\")\n",
        folder.path().display(),
        input.port(),
        out.display()
    );
    std::fs::write(folder.path().join("rsyslog.conf"), config).unwrap();
    let _daemon = rsyslog(folder.path());
    arrives_by_syslog(folder.path(), input, &out, |n| {
        format!("shop warning [fields@32473 user=\"a \\]\\\"b\"] order {n}")
    });
}

/// Forwards to a daemon that has been started, whose file must hold each record
/// as it is expected.
fn arrives_by_syslog(folder: &Path, daemon: SocketAddr, out: &Path, expected: impl Fn(usize) -> String) {
    drop(connect(daemon));
    forward_lines(folder, &format!("to = \"syslog\"\nurl = \"tcp://{daemon}\"\n"));
    let lines = lines_of(out, 300);
    let expected: Vec<String> = (0..300).map(expected).collect();
    assert_eq!(lines, expected);
}

#[test]
fn syslog_ng_receives_what_is_forwarded() {
    let folder = tempfile::tempdir().unwrap();
    let input: SocketAddr = ([127, 0, 0, 1], nonna_e2e::free_port().unwrap()).into();
    let out = folder.path().join("out");
    let config = format!(
        "@version: 3.38\n@module affile\n@module afsocket\n@module syslogformat\noptions {{ stats-freq(0); }};\n\
         source s {{ syslog(ip(\"127.0.0.1\") port({}) transport(\"tcp\")); }};\n\
         destination d {{ file(\"{}\" template(\"$PROGRAM $LEVEL ${{.SDATA.fields@32473.user}} $MSG\\n\")); }};\n\
         log {{ source(s); destination(d); }};\n",
        input.port(),
        out.display()
    );
    std::fs::write(folder.path().join("syslog-ng.conf"), config).unwrap();
    let _daemon = syslog_ng(folder.path());
    arrives_by_syslog(folder.path(), input, &out, |n| {
        format!("shop warning a ]\"b order {n}")
    });
}

#[test]
fn opentelemetry_reads_what_is_forwarded() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/log_proxy/receive_otlp.py");
    let mut process = Command::new(client("python").unwrap())
        .arg(script)
        .arg(&out)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let _daemon = Daemon(process);
    forward_lines(
        folder.path(),
        &format!("to = \"otlp\"\nurl = \"http://127.0.0.1:{}\"\n", port.trim()),
    );
    let lines = lines_of(&out, 300);
    for (number, line) in lines.iter().enumerate() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["path"], "/v1/logs");
        assert_eq!(record["resource"]["service.name"], "shop");
        assert_eq!(record["body"], format!("order {number}"));
        assert_eq!(record["severity"], 13);
        assert_eq!(record["fields"]["user"], "a ]\"b");
    }
    assert_eq!(lines.len(), 300);
}

#[test]
fn two_hundred_services_send_at_once() {
    const SERVICES: usize = 200;
    const LINES: usize = 500;
    let folder = tempfile::tempdir().unwrap();
    let proxy = LogProxy::start(folder.path(), SYSLOG).unwrap();
    let address = proxy.address("syslog/tcp").unwrap();
    let senders: Vec<_> = (0..SERVICES)
        .map(|service| {
            std::thread::Builder::new()
                .stack_size(128 * 1024)
                .spawn(move || {
                    let mut stream = connect(address);
                    for line in 0..LINES {
                        let message = format!("<14>1 - host svc-{service:03} - - - line {line}");
                        write!(stream, "{} {message}", message.len()).unwrap();
                    }
                })
                .unwrap()
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count of lines")]
    proxy.wait_for(STORED, (SERVICES * LINES) as f64).unwrap();
    println!("resident: {} kB", proxy.resident_kb().unwrap());
    proxy.end().unwrap();
    let mut of: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in found(folder.path(), "replica:host") {
        of.entry(entry.source.service.to_string())
            .or_default()
            .push(entry.text());
    }
    assert_eq!(of.len(), SERVICES);
    let expected: Vec<String> = (0..LINES).map(|line| format!("line {line}")).collect();
    assert!(of.values().all(|lines| *lines == expected));
}

#[test]
fn a_mistake_in_the_configuration_is_told_with_its_line_and_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[[http]]\nlisten = \"127.0.0.1:0\"\ntoken = \"s3cret\"\n").unwrap();
    let done = Command::new(nonna_e2e::program("nonna").unwrap())
        .args(["logs", "proxy", "--check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("c.toml:3: unknown field `token`"), "{said}");
    assert!(!said.contains("s3cret"), "{said}");
}
