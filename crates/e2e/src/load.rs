//! A user who asks again and again, and keeps count of what was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a [`Watcher`] saw.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Answers with status 200.
    pub good: usize,
    /// Everything else, in words, with how long after the start.
    pub bad: Vec<(Duration, String)>,
    /// The longest time that one answer took.
    pub longest: Duration,
    /// The different bodies, in the order of their first sight.
    pub bodies: Vec<String>,
}

/// Asks for one page over and over, one request after the other, until it is
/// told to stop.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

impl Watcher {
    /// Begins to ask. A connection that is broken before any byte of an answer
    /// is tried once more if `retry`: what a browser does when the server at
    /// the other end was killed in mid-request.
    #[must_use]
    pub fn start(address: SocketAddr, host: &str, path: &str, retry: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, host, path) = (Arc::clone(&stop), host.to_owned(), path.to_owned());
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let begun = Instant::now();
            while !told.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let mut answer = crate::http::get(address, &host, &path);
                if answer.is_err() && retry {
                    answer = crate::http::get(address, &host, &path);
                }
                match answer {
                    Ok(answer) if answer.status == 200 => {
                        seen.good += 1;
                        if !seen.bodies.contains(&answer.body) {
                            seen.bodies.push(answer.body);
                        }
                    }
                    Ok(answer) => seen
                        .bad
                        .push((begun.elapsed(), format!("status {}", answer.status))),
                    Err(error) => seen.bad.push((begun.elapsed(), format!("{error:#}"))),
                }
                seen.longest = seen.longest.max(asked.elapsed());
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        Self { stop, thread }
    }

    /// Stops asking and tells what was seen.
    #[must_use]
    pub fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
