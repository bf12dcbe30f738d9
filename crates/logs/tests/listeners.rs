//! Listeners over real sockets: what is sent is in the store when it was
//! answered, and nobody can use more than the limits allow.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test that cannot go on has failed, and says where"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use nonna_logs::standalone::{Checked, Config, Running};
use nonna_logs::wire::msgpack::{write_bin, write_str};
use nonna_logs::{Entry, Query, Scope, query};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, UnixStream};

struct Proxy {
    running: Running,
    folder: TempDir,
}

impl Proxy {
    fn start(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config)
    }

    fn start_in(folder: TempDir, config: &str) -> Self {
        let config = config.replace("FOLDER", folder.path().to_str().unwrap());
        let checked = Checked::new(Config::parse("test", &config).unwrap()).unwrap();
        let running = Running::start(&folder.path().join("logs"), checked, &|_| None).unwrap();
        Self { running, folder }
    }

    /// The address of the listener of this name.
    fn address(&self, name: &str) -> SocketAddr {
        let found = self.running.listening().iter().find_map(|l| l.strip_prefix(name));
        found.unwrap().trim().parse().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http "))
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn found(&self, question: &str) -> Vec<Entry> {
        let query = Query::new(Scope::Everything, query::parse(question).unwrap());
        let mut found = Vec::new();
        self.running
            .proxy()
            .search_blocking(&query, &Default::default(), |entry| {
                found.push(entry);
                true
            })
            .unwrap();
        found.reverse();
        found
    }

    /// Waits until so many records answer a question.
    async fn wait_for(&self, question: &str, count: usize) -> Vec<Entry> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let found = self.found(question);
            if found.len() >= count {
                assert_eq!(found.len(), count);
                return found;
            }
            assert!(Instant::now() < deadline, "{} of {count} came", found.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(self.url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }
}

const HTTP: &str = "[[http]]\nlisten = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn syslog_comes_over_udp_tcp_and_tls() {
    let authority = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("cert.pem"), authority.cert.pem()).unwrap();
    std::fs::write(
        folder.path().join("key.pem"),
        authority.signing_key.serialize_pem(),
    )
    .unwrap();
    let proxy = Proxy::start_in(
        folder,
        "[[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"udp\"\n\
         [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"tcp\"\n\
         [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"tcp\"\n\
         tls = { certificate = \"FOLDER/cert.pem\", key = \"FOLDER/key.pem\" }\n",
    );
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for line in [
        "<13>1 - h1 app - - - over udp",
        "<11>Nov 24 08:30:00 h2 cron[7]: old format",
    ] {
        udp.send_to(line.as_bytes(), proxy.address("syslog/udp "))
            .await
            .unwrap();
    }
    let mut tcp = TcpStream::connect(proxy.address("syslog/tcp ")).await.unwrap();
    tcp.write_all(b"30 <13>1 - h1 app - - - counted\n\n<13>1 - h1 app - - - a line\n")
        .await
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(client));
    let stream = TcpStream::connect(proxy.address("syslog/tls ")).await.unwrap();
    let mut tls = connector
        .connect("localhost".try_into().unwrap(), stream)
        .await
        .unwrap();
    tls.write_all(b"<13>1 - h3 app - - - over tls\n").await.unwrap();
    tls.flush().await.unwrap();
    let found = proxy.wait_for("service:app OR service:cron", 5).await;
    let mut lines: Vec<(String, String)> = found
        .iter()
        .map(|e| (e.source.replica.to_string(), e.text()))
        .collect();
    lines.sort();
    let of = |replica: &str, line: &str| (replica.to_owned(), line.to_owned());
    assert_eq!(
        lines,
        [
            of("h1", "a line"),
            of("h1", "counted"),
            of("h1", "over udp"),
            of("h2", "old format"),
            of("h3", "over tls")
        ]
    );
    proxy.running.end().await;
}

#[tokio::test]
async fn an_answered_request_is_in_the_store() {
    let proxy = Proxy::start(HTTP);
    let client = reqwest::Client::new();
    let post = |path: &str, kind: &str, body: &str| {
        client
            .post(proxy.url(path))
            .header("content-type", kind)
            .body(body.to_owned())
            .send()
    };
    let answer = post(
        "/lines?service=web&replica=r1",
        "text/plain",
        "one\n{\"msg\":\"two\"}\n",
    )
    .await
    .unwrap();
    assert_eq!(answer.text().await.unwrap(), "{\"kept\":2}");
    let found = proxy.found("service:web");
    assert_eq!(
        (found[0].text(), &*found[0].source.replica),
        ("one".to_owned(), "r1")
    );
    assert_eq!(found[1].text(), "two");

    let loki = r#"{"streams":[{"stream":{"app":"shop"},"values":[["1700000000000000001","pushed"]]}]}"#;
    assert_eq!(
        post("/loki/api/v1/push", "application/json", loki)
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(proxy.found("service:shop")[0].time, 1_700_000_000_000_000_001);

    let otlp = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"api"}}]},
        "scopeLogs":[{"logRecords":[{"timeUnixNano":"1700000000000000002","severityNumber":17,"body":{"stringValue":"boom"}}]}]}]}"#;
    let answer = post("/v1/logs", "application/json", otlp).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap()),
        (200, "{}".to_owned())
    );
    assert_eq!(proxy.found("service:api level:error").len(), 1);

    let bulk = "{\"create\":{\"_index\":\"idx\"}}\n{\"message\":\"doc\"}\n";
    let answer = post("/_bulk", "application/x-ndjson", bulk).await.unwrap();
    assert_eq!(answer.headers()["x-elastic-product"], "Elasticsearch");
    assert!(answer.text().await.unwrap().contains("\"errors\":false"));
    assert_eq!(
        post("/idx/_doc/7", "application/json", "{\"message\":\"doc 7\"}")
            .await
            .unwrap()
            .status(),
        201
    );
    assert_eq!(proxy.found("service:idx").len(), 2);
    assert_eq!(reqwest::get(proxy.url("/health")).await.unwrap().status(), 200);
    assert!(
        proxy
            .metric("nonna_logs_listen_records_total{protocol=\"lines\"}")
            .await
            >= 2.0
    );
}

#[tokio::test]
async fn bad_requests_are_answered_with_words_and_counted() {
    let proxy = Proxy::start(
        "[limits]\nbody = \"64KiB\"\nreceiving = \"128KiB\"\n[[http]]\nlisten = \"127.0.0.1:0\"\n",
    );
    let client = reqwest::Client::new();
    let bomb = {
        let zeros = vec![b'x'; 1 << 20];
        nonna_logs::wire::compress::gzip(&zeros).unwrap()
    };
    /// Path, content type, encoding, body; status and words of the answer.
    type Case = (
        &'static str,
        &'static str,
        &'static str,
        Vec<u8>,
        u16,
        &'static str,
    );
    let cases: [Case; 8] = [
        ("/v1/logs", "application/json", "", b"{".to_vec(), 400, "JSON"),
        ("/v1/logs", "text/plain", "", b"x".to_vec(), 415, "content type"),
        (
            "/v1/logs",
            "application/x-protobuf",
            "",
            b"\xff\xff".to_vec(),
            400,
            "number",
        ),
        (
            "/loki/api/v1/push",
            "application/x-protobuf",
            "",
            b"no snappy".to_vec(),
            400,
            "snappy",
        ),
        (
            "/_bulk",
            "application/x-ndjson",
            "",
            b"nonsense\n".to_vec(),
            400,
            "Malformed",
        ),
        (
            "/lines",
            "text/plain",
            "",
            vec![b'x'; 100_000],
            413,
            "65536 bytes",
        ),
        ("/lines", "text/plain", "gzip", bomb, 413, "larger than 65536"),
        ("/lines", "text/plain", "br", b"x".to_vec(), 415, "gzip"),
    ];
    for (path, kind, encoding, body, status, words) in cases {
        let mut request = client
            .post(proxy.url(path))
            .header("content-type", kind)
            .body(body);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path} {words}");
        let text = String::from_utf8_lossy(&answer.bytes().await.unwrap()).into_owned();
        assert!(text.contains(words), "{path}: {text}");
    }
    assert!(proxy.found("").is_empty());
    assert_eq!(
        proxy
            .metric("nonna_logs_listen_invalid_total{protocol=\"otlp\"}")
            .await,
        2.0
    );
}

#[tokio::test]
async fn only_who_knows_a_secret_is_let_in() {
    let proxy =
        Proxy::start("[[http]]\nlisten = \"127.0.0.1:0\"\ntokens = [\"t0ken\"]\nusers = { anna = \"pw\" }\n");
    let client = reqwest::Client::new();
    let post = || client.post(proxy.url("/lines")).body("x\n");
    let refused = post().send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(post().bearer_auth("wrong").send().await.unwrap().status(), 401);
    assert_eq!(
        client.get(proxy.url("/metrics")).send().await.unwrap().status(),
        401
    );
    assert_eq!(
        client.get(proxy.url("/health")).send().await.unwrap().status(),
        200
    );
    assert_eq!(post().bearer_auth("t0ken").send().await.unwrap().status(), 200);
    assert_eq!(
        post()
            .basic_auth("anna", Some("pw"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(proxy.found("x").len(), 2);
}

fn event(tag: &str, line: &str, chunk: Option<&str>) -> Vec<u8> {
    let mut out = vec![if chunk.is_some() { 0x94 } else { 0x93 }];
    write_str(&mut out, tag.as_bytes());
    out.extend([0xce, 0x65, 0x53, 0xf1, 0x00, 0x81]);
    write_str(&mut out, b"message");
    write_str(&mut out, line.as_bytes());
    if let Some(chunk) = chunk {
        out.push(0x81);
        write_str(&mut out, b"chunk");
        write_str(&mut out, chunk.as_bytes());
    }
    out
}

#[tokio::test]
async fn fluent_is_acknowledged_when_it_is_kept() {
    let proxy = Proxy::start("[[fluent]]\nlisten = \"127.0.0.1:0\"\n");
    let mut stream = TcpStream::connect(proxy.address("fluent ")).await.unwrap();
    stream
        .write_all(&event("app.web", "unacknowledged", None))
        .await
        .unwrap();
    stream
        .write_all(&event("app.web", "acknowledged", Some("abc")))
        .await
        .unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"\x81\xa3ack\xa3abc");
    let lines: Vec<String> = proxy.found("service:app.web").iter().map(Entry::text).collect();
    assert_eq!(lines, ["unacknowledged", "acknowledged"]);
}

#[tokio::test]
async fn a_fluent_client_without_the_key_is_not_let_in() {
    let proxy = Proxy::start("[[fluent]]\nlisten = \"127.0.0.1:0\"\nshared_key = \"k3y\"\n");
    let mut stream = TcpStream::connect(proxy.address("fluent ")).await.unwrap();
    let mut helo = [0; 64];
    let length = stream.read(&mut helo).await.unwrap();
    assert!(helo[..length].starts_with(b"\x92\xa4HELO"));
    let mut ping = vec![0x96];
    for part in ["PING", "client", "salt"] {
        write_str(&mut ping, part.as_bytes());
    }
    write_bin(&mut ping, b"no digest of that key");
    write_str(&mut ping, b"");
    write_str(&mut ping, b"");
    stream.write_all(&ping).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.starts_with(b"\x95\xa4PONG\xc2"), "{rest:?}");
    assert!(proxy.found("").is_empty());
}

#[tokio::test]
async fn a_unix_socket_says_what_it_kept() {
    let proxy = Proxy::start("[[unix]]\npath = \"FOLDER/logs.sock\"\nmode = \"0600\"\n");
    let mut stream = UnixStream::connect(proxy.path().join("logs.sock")).await.unwrap();
    stream
        .write_all(b"{\"service\":\"job\",\"level\":\"warn\",\"msg\":\"one\"}\nplain\n\nno end")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "{\"kept\":3}\n");
    assert_eq!(proxy.found("service:job level:warn").len(), 1);
    assert_eq!(proxy.found("service:unix").len(), 2);
    let path = proxy.path().join("logs.sock");
    let Proxy { running, folder } = proxy;
    running.end().await;
    assert!(!path.exists(), "the socket goes with the process");
    drop(folder);
}

#[tokio::test]
async fn slow_and_silent_senders_take_nothing_from_others() {
    let proxy = Proxy::start(
        "[limits]\nconnections = 4\nidle = \"1s\"\n[[http]]\nlisten = \"127.0.0.1:0\"\n\
         [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"tcp\"\n",
    );
    // Four that say nothing: there is no place for a fifth.
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(proxy.address("syslog/tcp ")).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut fifth = TcpStream::connect(proxy.address("syslog/tcp ")).await.unwrap();
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_secs(5), fifth.read(&mut byte))
        .await
        .unwrap();
    assert_eq!(closed.unwrap_or(0), 0);
    // Those that were silent for too long are closed, and make room.
    for stream in &mut silent {
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut byte))
            .await
            .unwrap();
        assert_eq!(closed.unwrap_or(0), 0);
    }
    let answer = reqwest::Client::new()
        .post(proxy.url("/lines"))
        .body("in time\n")
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    assert_eq!(
        proxy
            .metric("nonna_logs_listen_connections_refused_total{protocol=\"syslog\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up() {
    let proxy = Proxy::start(
        "[limits]\nmessage = \"1s\"\n[[http]]\nlisten = \"127.0.0.1:0\"\n\
         [[syslog]]\nlisten = \"127.0.0.1:0\"\ntransport = \"tcp\"\n\
         [[fluent]]\nlisten = \"127.0.0.1:0\"\n[[unix]]\npath = \"FOLDER/s\"\n",
    );
    // A byte now and then, which would be enough for a limit of silence.
    async fn dribble<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        mut stream: S,
        head: &[u8],
    ) -> Vec<u8> {
        stream.write_all(head).await.unwrap();
        let mut answer = Vec::new();
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < Duration::from_secs(15), "it is still open");
            let mut byte = [0; 512];
            match tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte)).await {
                Ok(Ok(0) | Err(_)) => return answer,
                Ok(Ok(length)) => answer.extend_from_slice(&byte[..length]),
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                }
            }
        }
    }
    let tcp = async |name: &str| TcpStream::connect(proxy.address(name)).await.unwrap();
    let head = b"POST /lines HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
    let answer = dribble(tcp("http ").await, head).await;
    assert!(
        answer.starts_with(b"HTTP/1.1 408"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    dribble(tcp("syslog/tcp ").await, b"<13>1 - - begun").await;
    dribble(tcp("fluent ").await, b"\x93\xa3app\xdb\x00\x01\x00\x00").await;
    dribble(
        UnixStream::connect(proxy.path().join("s")).await.unwrap(),
        b"begun",
    )
    .await;
    assert_eq!(reqwest::get(proxy.url("/health")).await.unwrap().status(), 200);
}

#[test]
fn what_the_documentation_shows_is_a_configuration() {
    let page = include_str!("../../../docs/log-proxy.md");
    let blocks: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 4);
    let config = Config::parse("docs/log-proxy.md", &blocks.concat()).unwrap();
    assert_eq!(
        (config.rules.len(), config.metrics.len(), config.forward.len()),
        (4, 2, 1)
    );
}

#[tokio::test]
async fn rules_limits_and_metrics_are_as_configured() {
    let proxy = Proxy::start(
        "[limits.service.\"loud\"]\nlines_per_second = 1\nburst = 3\n\
         [redact]\npatterns = [\"customer=(\\\\w+)\"]\nvalues = [\"hunter2-hunter2\"]\n\
         [[rules]]\nwhen = \"health\"\nthen = \"drop\"\n\
         [[rules]]\nwhen = \"service:old\"\nthen = \"relabel\"\nservice = \"new\"\nlevel = \"warn\"\n\
         fields = { team = \"a\" }\nremove = [\"noise\"]\n\
         [[metrics]]\nname = \"healthy_total\"\nwhen = \"health\"\nlabels = [\"service\"]\n\
         [[http]]\nlisten = \"127.0.0.1:0\"\n",
    );
    let client = reqwest::Client::new();
    let send = async |service: &str, body: &str| {
        let url = proxy.url(&format!("/lines?service={service}"));
        let answer = client.post(url).body(body.to_owned()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    send("web", "GET health\ncustomer=smith said hunter2-hunter2\n").await;
    send("old", "{\"msg\":\"moved\",\"noise\":\"n\",\"keep\":\"k\"}\n").await;
    send("loud", &"line\n".repeat(10)).await;
    let lines: Vec<String> = proxy.found("service:web").iter().map(Entry::text).collect();
    assert_eq!(lines, ["customer=[redacted] said [redacted]"]);
    let moved = &proxy.found("service:new level:warn")[0];
    let fields: Vec<(&str, &str)> = moved.fields.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(fields, [("keep", "k"), ("team", "a")]);
    assert_eq!(proxy.metric("healthy_total{service=\"web\"}").await, 1.0);
    // Three lines, and one that says how many are missing.
    let found = proxy.wait_for("service:loud", 4).await;
    assert!(
        found[3]
            .text()
            .starts_with("7 lines of this service were dropped")
    );
}

#[test]
fn mistakes_in_the_configuration_are_told_with_their_place() {
    let message = |text: &str| {
        let checked = Config::parse("c.toml", text).and_then(Checked::new);
        checked.expect_err(text).message
    };
    for (text, words) in [
        (
            "[store]\nmax_byte = \"1GB\"\n",
            "c.toml:2: unknown field `max_byte`",
        ),
        (
            "[store]\nmax_bytes = \"much\"\n",
            "c.toml:2: `much` is not an amount of memory",
        ),
        ("\n[[syslog]]\nlisten = \"nowhere\"\n", "c.toml:3"),
        ("[[rules]]\nwhen = \"level:\"\nthen = \"drop\"\n", "[[rules]] 1"),
        ("[[rules]]\nwhen = \"x\"\nthen = \"sample\"\n", "one_in"),
        (
            "[[rules]]\nwhen = \"x\"\nthen = \"drop\"\nlevel = \"info\"\n",
            "relabel",
        ),
        ("[[metrics]]\nname = \"m\"\nfield = \"f\"\n", "buckets"),
        ("[redact]\npatterns = [\"(\"]\n", "redaction pattern"),
        ("[limits]\nburst = 3\n", "lines_per_second"),
    ] {
        let found = message(text);
        assert!(found.contains(words), "{found}");
    }
    let secret = message("[[http]]\nlisten = \"127.0.0.1:0\"\ntokens = \"s3cret\"\n");
    assert!(!secret.contains("s3cret"), "{secret}");
}
