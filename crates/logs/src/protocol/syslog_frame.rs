//! Where a syslog message ends on a stream: RFC 6587, both ways, told apart
//! for each message.

/// The most digits of a count.
const MAX_DIGITS: usize = 9;

/// A message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its bytes, cut to the longest that is taken.
    pub bytes: Vec<u8>,
    /// How many bytes more there were.
    pub cut: usize,
}

/// Cuts a stream into messages; holds one message at most.
#[derive(Debug)]
pub struct Framer {
    buffer: Vec<u8>,
    start: usize,
    /// Of a message that is too long: so much of it is to be passed over.
    state: State,
    longest: usize,
}

#[derive(Debug)]
enum State {
    Between,
    /// A counted message: its bytes that are still to come, once what was kept
    /// of it is taken out.
    Skip {
        frame: Frame,
        left: usize,
    },
    /// The rest of a line that was too long.
    SkipLine {
        frame: Frame,
    },
}

impl Framer {
    /// A framer of messages of at most so many bytes; the rest is cut off.
    #[must_use]
    pub fn new(longest: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            state: State::Between,
            longest,
        }
    }

    /// What came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// The next message that is all there.
    #[expect(clippy::should_implement_trait, reason = "more may come after `None`")]
    pub fn next(&mut self) -> Option<Frame> {
        loop {
            match &mut self.state {
                State::Between => {}
                State::Skip { frame, left } => {
                    let there = (self.buffer.len() - self.start).min(*left);
                    self.start += there;
                    *left -= there;
                    if *left > 0 {
                        return None;
                    }
                    let frame = std::mem::replace(
                        frame,
                        Frame {
                            bytes: Vec::new(),
                            cut: 0,
                        },
                    );
                    self.state = State::Between;
                    return Some(frame);
                }
                State::SkipLine { frame } => {
                    let rest = self.buffer.get(self.start..).unwrap_or_default();
                    let end = rest.iter().position(|b| matches!(b, b'\n' | 0));
                    let there = end.unwrap_or(rest.len());
                    frame.cut += there;
                    self.start += there;
                    end?;
                    self.start += 1;
                    let frame = std::mem::replace(
                        frame,
                        Frame {
                            bytes: Vec::new(),
                            cut: 0,
                        },
                    );
                    self.state = State::Between;
                    return Some(frame);
                }
            }
            // What some senders put behind or between messages.
            while matches!(self.rest().first(), Some(b'\n' | b'\r' | 0)) {
                self.start += 1;
            }
            let longest = self.longest;
            let rest = self.rest();
            match counted(rest) {
                Counted::Unclear => return None,
                Counted::Yes { head, length } => {
                    let kept = length.min(longest);
                    let body = rest.get(head..head + kept)?;
                    let frame = Frame {
                        bytes: body.to_vec(),
                        cut: length - kept,
                    };
                    self.start += head + kept;
                    self.state = State::Skip {
                        left: frame.cut,
                        frame,
                    };
                }
                Counted::No => match rest.iter().position(|b| matches!(b, b'\n' | 0)) {
                    Some(end) if end <= longest => {
                        let bytes = rest.get(..end)?.to_vec();
                        self.start += end + 1;
                        return Some(Frame { bytes, cut: 0 });
                    }
                    _ if rest.len() > longest => {
                        let bytes = rest.get(..longest)?.to_vec();
                        self.start += longest;
                        self.state = State::SkipLine {
                            frame: Frame { bytes, cut: 0 },
                        };
                    }
                    _ => return None,
                },
            }
        }
    }

    /// Whether a message has begun that is not complete yet.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !matches!(self.state, State::Between) || !self.rest().is_empty()
    }

    /// The stream has ended: a message without its end.
    pub fn finish(&mut self) -> Option<Frame> {
        let state = std::mem::replace(&mut self.state, State::Between);
        let frame = match state {
            State::Skip { frame, .. } | State::SkipLine { frame } => frame,
            State::Between => {
                let rest = self.rest();
                // A counted message's count is no part of it.
                let head = match counted(rest) {
                    Counted::Yes { head, .. } => head,
                    _ => 0,
                };
                Frame {
                    bytes: rest.get(head..).unwrap_or_default().to_vec(),
                    cut: 0,
                }
            }
        };
        self.buffer.clear();
        self.start = 0;
        (!frame.bytes.is_empty()).then_some(frame)
    }
}

enum Counted {
    Yes {
        head: usize,
        length: usize,
    },
    No,
    /// Not enough is there to tell.
    Unclear,
}

/// Whether this begins with a count, a space and a `<`: no line does that by
/// chance.
fn counted(rest: &[u8]) -> Counted {
    let digits = rest
        .iter()
        .take(MAX_DIGITS + 1)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if rest.is_empty() {
        return Counted::Unclear;
    }
    if digits == 0 || digits > MAX_DIGITS || rest.first() == Some(&b'0') {
        return Counted::No;
    }
    match (rest.get(digits), rest.get(digits + 1)) {
        (None, _) | (Some(b' '), None) => Counted::Unclear,
        (Some(b' '), Some(b'<')) => {
            let length = rest
                .get(..digits)
                .unwrap_or_default()
                .iter()
                .fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
            Counted::Yes {
                head: digits + 1,
                length,
            }
        }
        _ => Counted::No,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(bytes: &[u8], step: usize, longest: usize) -> Vec<Frame> {
        let mut framer = Framer::new(longest);
        let mut out = Vec::new();
        for part in bytes.chunks(step) {
            framer.push(part);
            while let Some(frame) = framer.next() {
                out.push(frame);
            }
            assert!(framer.buffer.len() <= longest + step + 16);
        }
        out.extend(framer.finish());
        out
    }

    #[test]
    fn both_framings_on_one_stream() {
        let stream = b"<13>one\n9 <13>tw\no\n12 drummers\r\n\x00<13>three\x00200 <13>cut off";
        let lines: Vec<String> = frames(stream, 3, 100)
            .into_iter()
            .map(|f| String::from_utf8(f.bytes).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                "<13>one",
                "<13>tw\no\n",
                "12 drummers\r",
                "<13>three",
                "<13>cut off"
            ]
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_the_next_is_found() {
        let line = format!("<1>{}\n<2>b\n", "x".repeat(50));
        let counted = format!("53 <1>{}4 <2>b", "x".repeat(50));
        for stream in [line, counted] {
            for step in [1, 7, 1000] {
                let found = frames(stream.as_bytes(), step, 10);
                assert_eq!(found.len(), 2, "{stream} {step}");
                assert_eq!((found[0].bytes.len(), found[0].cut), (10, 43));
                assert_eq!(found[1].bytes, b"<2>b");
            }
        }
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(("<[0-9]{1,3}>[ -~é]{0,40}", any::<bool>()), 0..10),
            step in 1_usize..60,
        ) {
            let mut stream = Vec::new();
            for (message, count) in &messages {
                if *count {
                    stream.extend(format!("{} {message}", message.len()).bytes());
                } else {
                    stream.extend(format!("{message}\n").bytes());
                }
            }
            let found: Vec<Vec<u8>> = frames(&stream, step, 1000).into_iter().map(|f| f.bytes).collect();
            let expected: Vec<Vec<u8>> = messages.into_iter().map(|(m, _)| m.into_bytes()).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn anything_is_framed(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1_usize..50) {
            frames(&bytes, step, 20);
        }
    }
}
