//! Server-sent events, as the HTML standard says they are read.

use nonna_engine::{Code, Error, Result};

/// The largest event, in bytes: far beyond any that the server sends.
const LARGEST: usize = 4 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Message {
    /// Its `id:`, where it has one.
    pub(crate) id: Option<String>,
    /// Its `event:`; empty: `message`.
    pub(crate) event: String,
    /// Its `data:` lines, joined.
    pub(crate) data: String,
}

/// Cuts a stream of bytes into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    buffer: Vec<u8>,
    read: usize,
    after_cr: bool,
    message: Message,
    has_data: bool,
}

impl Parser {
    /// Takes bytes in.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        if self.buffer.len() + bytes.len() + self.message.data.len() > LARGEST {
            return Err(Error::provider(
                Code::LimitExceeded,
                "The server sent an event of more than 4 MiB.",
            ));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole event, if one is there.
    pub(crate) fn next(&mut self) -> Option<Message> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let message = std::mem::take(&mut self.message);
                if std::mem::take(&mut self.has_data) {
                    return Some(message);
                }
                continue;
            }
            self.field(&line);
        }
        None
    }

    fn line(&mut self) -> Option<String> {
        let mut rest = self.buffer.get(self.read..)?;
        if self.after_cr && rest.first() == Some(&b'\n') {
            self.read += 1;
            rest = rest.get(1..)?;
        }
        if !rest.is_empty() {
            self.after_cr = false;
        }
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.after_cr = rest[end] == b'\r';
        self.read += end + 1;
        Some(line)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.message.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.message.event),
            // A comment keeps the connection alive; other fields are unknown.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<Message> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        for chunk in chunks {
            parser.push(chunk).unwrap();
            while let Some(message) = parser.next() {
                out.push(message);
            }
        }
        out
    }

    #[test]
    fn however_the_bytes_are_cut_the_events_are_the_same() {
        let text = ": hello\r\n\r\nid: 7\r\nevent: x\r\ndata: a\r\ndata:b\r\n\r\ndata\n\nid: 8\ndata: {\"é\":1}\n\nid: 9\n\n";
        let whole = read(&[text.as_bytes()]);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[0].data, "a\nb");
        assert_eq!(whole[0].id.as_deref(), Some("7"));
        assert_eq!(whole[1].data, "");
        assert_eq!(whole[2].data, "{\"é\":1}");
        for size in 1..12 {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            assert_eq!(read(&chunks), whole, "in chunks of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::default();
        let block = vec![b'x'; 1024 * 1024];
        let mut refused = false;
        for _ in 0..8 {
            if parser.push(&block).is_err() {
                refused = true;
                break;
            }
            assert!(parser.next().is_none());
        }
        assert!(refused);
    }
}
