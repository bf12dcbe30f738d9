//! What runs in processes of its own, so that its time and memory are its own.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use nonna_bench::median;
use nonna_logs::{
    Ack, Batch, Expr, Intake, LogProxy, News, Options, Order, Query, Refused, Scope, Source, Stream,
};

/// A text that begins and ends within words.
pub(crate) const SUBSTRING: &str = "useholdxyz";
/// A text of the corpus that begins and ends within words, and is rare.
pub(crate) const INNER: &str = "xpired";

fn tell(name: &str, value: f64) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name} {value}")?;
    Ok(out.flush()?)
}

pub(crate) fn run(what: &str, arguments: &[String]) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let folder = arguments.first().map_or("", String::as_str);
    match what {
        "intake" | "tails" | "keep" => {
            let proxy = LogProxy::open(Path::new(folder), Options::default())?;
            let tails: usize = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            let told = start_tails(&proxy, tails)?;
            tell("port", f64::from(listener.local_addr()?.port()))?;
            let (stream, _) = listener.accept()?;
            let before = crate::cpu_seconds("self")?.0;
            take(stream, &proxy.intake())?;
            tell("cpu", crate::cpu_seconds("self")?.0 - before)?;
            match what {
                "tails" => tell("told", told.load(Ordering::Relaxed) as f64)?,
                "keep" => keep(&proxy)?,
                _ => {}
            }
        }
        floor => {
            tell("port", f64::from(listener.local_addr()?.port()))?;
            let (stream, _) = listener.accept()?;
            let before = crate::cpu_seconds("self")?.0;
            crate::floor::take(stream, Path::new(folder), floor == "floor-bloom")?;
            tell("cpu", crate::cpu_seconds("self")?.0 - before)?;
        }
    }
    // Waits until the parent has seen enough.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}

/// Lines of a connection, pushed as they come; a full queue holds it back.
fn take(mut stream: TcpStream, intake: &Intake) -> anyhow::Result<()> {
    let source = Source::new("shop/production/web", "web.1", Stream::Stdout);
    let mut buffer = vec![0_u8; 256 * 1024];
    let mut filled = 0;
    let mut last: Option<Ack> = None;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        filled += count;
        let whole = memchr::memrchr(b'\n', &buffer[..filled]).map_or(0, |at| at + 1);
        if whole > 0 {
            let mut batch = Batch::new();
            batch.reserve(whole, whole / 128);
            let index = batch.source(&source);
            let mut at = 0;
            for end in memchr::memchr_iter(b'\n', &buffer[..whole]) {
                batch.line(index, &buffer[at..end]);
                at = end + 1;
            }
            last = Some(push(intake, batch)?);
        }
        buffer.copy_within(whole..filled, 0);
        filled -= whole;
        if count == 0 {
            break;
        }
    }
    if let Some(last) = last {
        last.wait_blocking()?;
    }
    Ok(())
}

fn push(intake: &Intake, mut batch: Batch) -> anyhow::Result<Ack> {
    loop {
        match intake.try_push(batch) {
            Ok(ack) => return Ok(ack),
            Err(Refused::Full(back)) => batch = back,
            Err(Refused::Closed(_)) => anyhow::bail!("the log proxy ended"),
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// So many tails of everything, on a thread of their own.
fn start_tails(proxy: &LogProxy, count: usize) -> anyhow::Result<Arc<AtomicU64>> {
    let told = Arc::new(AtomicU64::new(0));
    if count == 0 {
        return Ok(told);
    }
    let query = Query::new(Scope::Everything, Expr::All);
    let tails: Vec<_> = (0..count).map(|_| proxy.tail(&query)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let counter = Arc::clone(&told);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let tasks: Vec<_> = tails
                .into_iter()
                .map(|mut tail| {
                    let counter = Arc::clone(&counter);
                    tokio::spawn(async move {
                        while let Some(news) = tail.next().await {
                            if let News::Records(picked) = news {
                                counter.fetch_add(picked.len() as u64, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                let _ = task.await;
            }
        });
    });
    Ok(told)
}

fn keep(proxy: &LogProxy) -> anyhow::Result<()> {
    // Until the blocks are written of what was acknowledged: the rest is less
    // than one block.
    let mut before = (0, 0);
    loop {
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        let now = (proxy.segment_bytes(), proxy.disk_bytes());
        if now == before {
            break;
        }
        before = now;
    }
    tell("bytes", before.1 as f64)?;
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "settle" => {
                proxy.settle_blocking();
                tell("bytes", proxy.segment_bytes() as f64)?;
            }
            _ => search(proxy)?,
        }
    }
    Ok(())
}

fn found(proxy: &LogProxy, expr: &Expr, limit: usize) -> anyhow::Result<(f64, f64, Vec<nonna_logs::Entry>)> {
    let mut query = Query::new(Scope::Everything, expr.clone());
    query.limit = limit;
    query.order = Order::NewestFirst;
    let (cpu, start) = (crate::cpu_seconds("self")?.0, Instant::now());
    let mut found = Vec::new();
    proxy.search_blocking(&query, &AtomicBool::new(false), |entry| {
        found.push(entry);
        true
    })?;
    let ms = start.elapsed().as_secs_f64() * 1e3;
    Ok((ms, crate::cpu_seconds("self")?.0 - cpu, found))
}

fn search(proxy: &LogProxy) -> anyhow::Result<()> {
    // Needles: trace ids of lines in the middle of what there is.
    let mut query = Query::new(
        Scope::Everything,
        nonna_logs::query::parse("level:error trace_id=*")?,
    );
    query.limit = 40_000;
    let mut ids = Vec::new();
    proxy.search_blocking(&query, &AtomicBool::new(false), |entry| {
        if ids.len() < 40_000 {
            ids.extend(entry.trace);
        }
        true
    })?;
    let step = (ids.len() / 9).max(1);
    let mut times = Vec::new();
    for id in ids.iter().step_by(step) {
        let expr = nonna_logs::query::parse(id)?;
        // Warm: the second time counts.
        found(proxy, &expr, 100)?;
        let (ms, _, lines) = found(proxy, &expr, 100)?;
        anyhow::ensure!(lines.len() == 1, "a needle was found {} times", lines.len());
        times.push(ms);
    }
    tell("needle_ms", median(&times))?;
    let mut cpu = Vec::new();
    for _ in 0..3 {
        let (_, seconds, lines) = found(proxy, &Expr::contains(SUBSTRING), usize::MAX)?;
        anyhow::ensure!(lines.is_empty(), "what is not there was found");
        cpu.push(seconds);
    }
    tell("substring_cpu_s", median(&cpu))?;
    let mut times = Vec::new();
    for _ in 0..9 {
        let (ms, _, lines) = found(proxy, &Expr::words("completed"), 100)?;
        anyhow::ensure!(
            lines.len() == 100,
            "a common word was found {} times",
            lines.len()
        );
        times.push(ms);
    }
    tell("common_ms", median(&times))?;
    // Counted, not kept: they would be most of the memory that is measured.
    let mut inner = 0;
    let mut query = Query::new(Scope::Everything, Expr::contains(INNER));
    query.limit = usize::MAX;
    proxy.search_blocking(&query, &AtomicBool::new(false), |_| {
        inner += 1;
        true
    })?;
    anyhow::ensure!(inner > 0, "a text within a word was not found");
    tell("scan_cpu_s", crate::floor::scan(inner)?)
}
