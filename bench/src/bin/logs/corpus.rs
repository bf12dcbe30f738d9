//! The corpus: the same lines for everybody, from a seed.
//!
//! 55 % JSON, 40 % access log, 2 % lines of multi-line stack traces, the rest
//! logfmt, klog and plain text; 179 bytes a line; one secret in 990 lines. Made
//! so that `zstd -1` needs about as many bytes a line for it as for real logs of
//! a web shop (33): ids, durations and sizes are random, texts and paths are
//! few and uneven.

use std::io::{self, Write};

/// Every so many lines one holds a secret: 5,049 in 5 million.
const SECRET_EVERY: u64 = 990;
/// The first line's time: 2026-11-24T08:00:00Z.
const START_MS: u64 = 1_795_507_200_000;

/// A small generator of random numbers (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below this.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Below this, small ones far more often.
    fn uneven(&mut self, bound: u64) -> u64 {
        let a = self.below(bound);
        let b = self.below(a + 1);
        self.below(b + 1)
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from.get(self.uneven(from.len() as u64) as usize)
            .copied()
            .unwrap_or("")
    }
}

const MESSAGES: &[&str] = &[
    "request completed",
    "cache hit for product listing",
    "payment authorised by provider",
    "order persisted",
    "session refreshed",
    "stock level updated from warehouse feed",
    "slow query on replica, falling back to primary",
    "retrying upstream call after timeout",
    "connection pool exhausted, waiting for a free slot",
    "email queued for delivery",
    "feature flag evaluated",
    "rate limiter let the request pass",
    "cart merged after login",
    "search index refreshed",
    "upstream answered with an error",
    "coupon rejected as expired",
];
const SERVICES: &[&str] = &[
    "checkout",
    "catalog",
    "accounts",
    "search",
    "payments",
    "mailer",
    "inventory",
    "gateway",
];
const PATHS: &[&str] = &[
    "/",
    "/products",
    "/api/v1/orders",
    "/api/v1/cart",
    "/static/app.3f2a1c.js",
    "/static/main.9be2.css",
    "/login",
    "/api/v1/search",
    "/healthz",
    "/api/v1/users/me",
    "/images/hero.webp",
    "/checkout/confirm",
    "/favicon.ico",
    "/api/v2/recommendations",
    "/account/settings",
    "/robots.txt",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/131.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
    "curl/8.5.0",
    "kube-probe/1.31",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.0 Safari",
    "python-requests/2.32.3",
];
const FRAMES: &[&str] = &[
    "com.example.shop.OrderService.persist(OrderService.java:",
    "com.example.shop.db.Pool.borrow(Pool.java:",
    "org.springframework.web.servlet.DispatcherServlet.doDispatch(DispatcherServlet.java:",
    "java.base/java.lang.Thread.run(Thread.java:",
    "com.example.shop.CartController.checkout(CartController.java:",
    "org.hibernate.internal.SessionImpl.flush(SessionImpl.java:",
];

/// Writes lines of the corpus one after another.
pub(crate) struct Corpus {
    random: Random,
    line: u64,
    ms: u64,
    /// Lines of a stack trace that are still to come.
    trace: u64,
}

impl Corpus {
    /// The corpus of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            line: 0,
            ms: START_MS,
            trace: 0,
        }
    }

    /// Adds the next line, its end included.
    pub(crate) fn next_line(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let random = &mut self.random;
        self.line += 1;
        if self.trace > 0 {
            self.trace -= 1;
            return writeln!(out, "\tat {}{})", random.of(FRAMES), 20 + random.uneven(400));
        }
        self.ms += random.uneven(25);
        let secret = self.line.is_multiple_of(SECRET_EVERY);
        let what = random.below(1000);
        match what {
            _ if secret => self.with_secret(out),
            0..=551 => self.json(out),
            552..=968 => self.access(out),
            969..=971 => {
                // A head and six lines on average: two in a hundred lines.
                self.trace = 4 + random.below(5);
                let time = self.iso();
                let random = &mut self.random;
                writeln!(
                    out,
                    "{time} ERROR [http-{}] c.e.shop.OrderService - order {} failed: java.sql.SQLTransientException",
                    random.below(64),
                    random.below(10_000_000)
                )
            }
            972..=985 => {
                let time = self.iso();
                let random = &mut self.random;
                writeln!(
                    out,
                    "time={time} level={} msg=\"{}\" component=worker job={} attempt={} took={}ms queue=default tenant={}",
                    random.of(&["info", "debug", "warn"]),
                    random.of(MESSAGES),
                    random.below(1_000_000),
                    random.below(4),
                    random.below(5_000),
                    random.uneven(300)
                )
            }
            _ => {
                let (_, h, m, s, ms) = self.clock();
                let random = &mut self.random;
                writeln!(
                    out,
                    "I1124 {h:02}:{m:02}:{s:02}.{ms:03}{:03} {:7} controller.go:{}] \"{}\" object=\"shop/{}-{:x}\" generation={}",
                    random.below(1000),
                    1,
                    100 + random.uneven(900),
                    random.of(MESSAGES),
                    random.of(SERVICES),
                    random.below(1 << 20),
                    random.uneven(40)
                )
            }
        }
    }

    fn clock(&self) -> (u64, u64, u64, u64, u64) {
        let ms = self.ms - START_MS + 8 * 3_600_000;
        let day = 24 + ms / 86_400_000;
        (
            day,
            ms / 3_600_000 % 24,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000,
        )
    }

    fn iso(&self) -> String {
        let (day, h, m, s, ms) = self.clock();
        format!("2026-11-{day:02}T{h:02}:{m:02}:{s:02}.{ms:03}Z")
    }

    fn json(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let time = self.iso();
        let random = &mut self.random;
        let status = random.of(&["200", "200", "200", "201", "304", "404", "500"]);
        let level = match status {
            "500" => "error",
            "404" => "warn",
            _ => random.of(&["info", "info", "debug"]),
        };
        writeln!(
            out,
            "{{\"ts\":\"{time}\",\"level\":\"{level}\",\"service\":\"{}\",\"msg\":\"{}\",\"trace_id\":\"{:016x}{:016x}\",\"user\":{},\"span\":\"{:08x}\",\"status\":{status},\"ms\":{}.{},\"path\":\"{}\"}}",
            random.of(SERVICES),
            random.of(MESSAGES),
            random.next(),
            random.next(),
            random.uneven(2_000_000),
            random.below(1 << 32),
            random.uneven(4000),
            random.below(10),
            random.of(PATHS)
        )
    }

    fn access(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let (day, h, m, s, _) = self.clock();
        let random = &mut self.random;
        let path = random.of(PATHS);
        let query = if random.below(3) == 0 {
            format!("?id={}", random.below(1_000_000))
        } else {
            String::new()
        };
        writeln!(
            out,
            "{}.{}.{}.{} - - [{day:02}/Nov/2026:{h:02}:{m:02}:{s:02} +0000] \"{} {path}{query} HTTP/1.1\" {} {} \"-\" \"{}\" 0.{:03}",
            10 + random.uneven(200),
            random.below(4),
            random.uneven(256),
            random.below(256),
            random.of(&["GET", "GET", "GET", "POST", "HEAD"]),
            random.of(&["200", "200", "304", "404", "302", "500"]),
            random.uneven(600_000),
            random.of(AGENTS),
            random.uneven(1000)
        )
    }

    fn with_secret(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let time = self.iso();
        let random = &mut self.random;
        let secret = match random.below(4) {
            0 => {
                let mut key = "AKIA".to_owned();
                for _ in 0..16 {
                    key.push(char::from(
                        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[random.below(32) as usize],
                    ));
                }
                key
            }
            1 => format!(
                "ghp_{:016x}{:016x}{:04x}",
                random.next(),
                random.next(),
                random.below(1 << 16)
            ),
            2 => format!("password={:x}", random.next()),
            _ => card(random),
        };
        writeln!(
            out,
            "{{\"ts\":\"{time}\",\"level\":\"warn\",\"service\":\"{}\",\"msg\":\"client sent {secret} in a field that is logged\",\"trace_id\":\"{:016x}\",\"user\":{}}}",
            random.of(SERVICES),
            random.next(),
            random.uneven(200_000)
        )
    }
}

/// A card number with a valid check digit.
fn card(random: &mut Random) -> String {
    let mut digits = vec![4_u64];
    digits.extend((0..14).map(|_| random.below(10)));
    let sum: u64 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 if *digit > 4 => digit * 2 - 9,
            0 => digit * 2,
            _ => *digit,
        })
        .sum();
    digits.push((10 - sum % 10) % 10);
    digits.iter().map(u64::to_string).collect()
}
