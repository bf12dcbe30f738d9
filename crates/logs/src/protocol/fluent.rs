//! Fluent's forward protocol, v1: the messages and the handshake.
//!
//! Format: fluent/fluentd, wiki, "Forward Protocol Specification v1" (and
//! v1.5's entries with metadata, which Fluent Bit sends).

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA512, digest};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;

use super::document::{Value, put};
use super::{Collector, Draft, Invalid};
use crate::wire::Malformed;
use crate::wire::compress::Encoding;
use crate::wire::msgpack::{Reader, Token, write_bin, write_str};

/// Reads one message of the transport phase. Answers what to send back once
/// its records are kept: nothing, or an acknowledgement.
///
/// # Errors
/// Where it is no such message, or unpacks to more than `limit` bytes.
pub fn message(bytes: &[u8], limit: usize, out: &mut Collector) -> Result<Option<Vec<u8>>, Invalid> {
    let mut reader = Reader::new(bytes);
    let parts = match reader.token()? {
        // A heartbeat.
        Token::Nil => return Ok(None),
        Token::Array(parts) if (2..=4).contains(&parts) => parts,
        _ => return Err(Invalid("a message is a list of two to four values".to_owned())),
    };
    let Token::Str(tag) = reader.token()? else {
        return Err(Invalid("a message begins with its tag".to_owned()));
    };
    let tag = String::from_utf8_lossy(tag);
    let second = reader.clone().token()?;
    let options_after = |mut reader: Reader<'_>, taken: u32| -> Result<Options, Invalid> {
        if parts > taken {
            Ok(options(&mut reader)?)
        } else {
            Ok(Options::default())
        }
    };
    let options = match second {
        Token::Array(count) => {
            // An event time may not be a list, but one with metadata is inside
            // an entry: here a list is a list of entries.
            reader.token()?;
            for _ in 0..count {
                entry(&mut reader, &tag, out)?;
            }
            options_after(reader, 2)?
        }
        Token::Str(packed) | Token::Bin(packed) => {
            reader.token()?;
            let options = options_after(reader, 2)?;
            let unpacked;
            let entries = if options.gzip {
                unpacked = Encoding::Gzip
                    .decode(packed, limit)
                    .map_err(|error| Invalid(error.to_string()))?;
                &unpacked[..]
            } else {
                packed
            };
            let mut reader = Reader::new(entries);
            while !reader.is_empty() {
                entry(&mut reader, &tag, out)?;
            }
            options
        }
        _ => {
            if parts < 3 {
                return Err(Invalid("an event is a tag, a time and a record".to_owned()));
            }
            let time = time(&mut reader)?;
            record(&mut reader, &tag, time, out)?;
            options_after(reader, 3)?
        }
    };
    Ok(options.chunk.map(|chunk| {
        let mut reply = vec![0x81];
        write_str(&mut reply, b"ack");
        write_str(&mut reply, &chunk);
        reply
    }))
}

#[derive(Default)]
struct Options {
    chunk: Option<Vec<u8>>,
    gzip: bool,
}

fn options(reader: &mut Reader<'_>) -> Result<Options, Malformed> {
    let mut found = Options::default();
    let Token::Map(count) = reader.token()? else {
        return Ok(found);
    };
    for _ in 0..count {
        let key = reader.token()?;
        let mut value = Reader::new(reader.skip()?);
        match (key, value.token()?) {
            (Token::Str(b"chunk"), Token::Str(chunk) | Token::Bin(chunk)) => {
                found.chunk = Some(chunk.get(..256).unwrap_or(chunk).to_vec());
            }
            (Token::Str(b"compressed"), Token::Str(kind) | Token::Bin(kind)) => found.gzip = kind == b"gzip",
            _ => {}
        }
    }
    Ok(found)
}

/// `[time, record]`, or `[[time, metadata], record]`.
fn entry(reader: &mut Reader<'_>, tag: &str, out: &mut Collector) -> Result<(), Malformed> {
    let Token::Array(2) = reader.token()? else {
        return Err(reader.wrong("an entry is a time and a record"));
    };
    let at = match reader.clone().token()? {
        Token::Array(2) => {
            reader.token()?;
            let at = time(reader)?;
            reader.skip()?;
            at
        }
        _ => time(reader)?,
    };
    record(reader, tag, at, out)
}

/// Seconds since 1970, or an `EventTime`.
fn time(reader: &mut Reader<'_>) -> Result<Option<i64>, Malformed> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_i64, |n, byte| n << 8 | i64::from(*byte));
    Ok(match reader.token()? {
        Token::Uint(seconds) => i64::try_from(seconds)
            .ok()
            .and_then(|seconds| seconds.checked_mul(1_000_000_000))
            .filter(|at| *at > 0),
        Token::Float(seconds) => super::time::of_number(seconds),
        Token::Ext(0, bytes) if bytes.len() == 8 => {
            let (seconds, nanos) = bytes.split_at(4);
            Some(number(seconds) * 1_000_000_000 + number(nanos))
        }
        _ => None,
    })
}

fn record(reader: &mut Reader<'_>, tag: &str, at: Option<i64>, out: &mut Collector) -> Result<(), Malformed> {
    let mut whole = Reader::new(reader.skip()?);
    let as_it_stands = whole.clone();
    let Token::Map(count) = whole.token()? else {
        return Err(reader.wrong("a record is a map"));
    };
    let mut draft = Draft {
        time: at,
        ..Draft::default()
    };
    for _ in 0..count {
        let name = match whole.token()? {
            Token::Str(name) | Token::Bin(name) => String::from_utf8_lossy(name),
            _ => return Err(whole.wrong("a record's names are texts")),
        };
        let value = match whole.clone().token()? {
            Token::Str(text) | Token::Bin(text) => {
                whole.token()?;
                // Docker's driver says so, and it is no more than that.
                if name == "container_id" || name == "source" {
                    draft.field(name, String::from_utf8_lossy(text));
                    continue;
                }
                Value::Text(String::from_utf8_lossy(text))
            }
            _ => {
                let mut json = String::new();
                whole.json(&mut json)?;
                Value::Json(Cow::Owned(json))
            }
        };
        put(&mut draft, name, value);
    }
    if draft.line.is_empty() {
        let mut json = String::new();
        as_it_stands.clone().json(&mut json)?;
        draft.line = Cow::Owned(json.into_bytes());
    }
    if draft.service.is_none() {
        draft.service = Some(Cow::Borrowed(tag));
    } else {
        draft.field("tag", tag);
    }
    out.add(&draft);
    Ok(())
}

/// Who may send: the parts of the handshake that the server keeps.
#[derive(Debug)]
pub struct Handshake {
    nonce: [u8; 16],
    hostname: String,
}

fn hexdigest(parts: [&[u8]; 4]) -> String {
    HEXLOWER.encode(digest(&SHA512, &parts.concat()).as_ref())
}

impl Handshake {
    /// A handshake with this random number.
    #[must_use]
    pub fn new(nonce: [u8; 16], hostname: &str) -> Self {
        Self {
            nonce,
            hostname: hostname.to_owned(),
        }
    }

    /// The `HELO` that the server sends first.
    #[must_use]
    pub fn helo(&self) -> Vec<u8> {
        let mut out = vec![0x92];
        write_str(&mut out, b"HELO");
        out.push(0x83);
        write_str(&mut out, b"nonce");
        write_bin(&mut out, &self.nonce);
        write_str(&mut out, b"auth");
        write_str(&mut out, b"");
        write_str(&mut out, b"keepalive");
        out.push(0xc3);
        out
    }

    /// Reads the client's `PING`; answers whether it knows the key, and the
    /// `PONG` to send.
    ///
    /// # Errors
    /// Where it is no `PING`.
    pub fn pong(&self, ping: &[u8], shared_key: &[u8]) -> Result<(bool, Vec<u8>), Invalid> {
        let wrong = || Invalid("this is no PING: set the shared key in the client".to_owned());
        let mut reader = Reader::new(ping);
        let (Token::Array(6), Token::Str(b"PING")) = (reader.token()?, reader.token()?) else {
            return Err(wrong());
        };
        let mut text = || match reader.token()? {
            Token::Str(text) | Token::Bin(text) => Ok(text),
            _ => Err(wrong()),
        };
        let (client, salt, theirs) = (text()?, text()?, text()?);
        let ours = hexdigest([salt, client, &self.nonce, shared_key]);
        let good = bool::from(ours.as_bytes().ct_eq(theirs));
        let mut out = vec![0x95];
        write_str(&mut out, b"PONG");
        out.push(if good { 0xc3 } else { 0xc2 });
        write_str(&mut out, if good { b"" } else { b"shared_key mismatch" });
        write_str(&mut out, self.hostname.as_bytes());
        let proof = hexdigest([salt, self.hostname.as_bytes(), &self.nonce, shared_key]);
        write_str(&mut out, if good { proof.as_bytes() } else { b"" });
        Ok((good, out))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::collect::testing::{collector, seen};
    use super::*;
    use crate::wire::compress::gzip;

    fn text(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write_str(&mut out, text.as_bytes());
        out
    }

    fn event(at: &[u8]) -> Vec<u8> {
        [
            &[0x92][..],
            at,
            &[0x82],
            &text("message"),
            &text("hi"),
            &text("n"),
            &[5],
        ]
        .concat()
    }

    #[test]
    fn all_four_modes() {
        let seconds = [0xce, 0x65, 0x53, 0xf1, 0x00];
        let event_time = [0xd7, 0, 0x65, 0x53, 0xf1, 0, 0, 0, 0, 7];
        let ack = [&[0x81][..], &text("chunk"), &text("abc")].concat();
        let plain = [
            &[0x94][..],
            &text("app"),
            &event_time,
            &[0x81],
            &text("log"),
            &text("x"),
            &ack,
        ]
        .concat();
        let forward = [
            &[0x92][..],
            &text("app"),
            &[0x92],
            &event(&seconds),
            &event(&[&[0x92][..], &event_time, &[0x80]].concat()),
        ]
        .concat();
        let packed = [event(&seconds), event(&event_time)].concat();
        let mut packed_message = [&[0x93][..], &text("app")].concat();
        write_bin(&mut packed_message, &packed);
        packed_message.extend(&ack);
        let mut compressed = [&[0x93][..], &text("app")].concat();
        write_bin(&mut compressed, &gzip(&packed).unwrap());
        compressed.extend(
            [
                &[0x82][..],
                &text("compressed"),
                &text("gzip"),
                &text("chunk"),
                &text("abc"),
            ]
            .concat(),
        );
        for (bytes, records, acknowledged) in [
            (plain, 1, true),
            (forward, 2, false),
            (packed_message, 2, true),
            (compressed, 2, true),
            (vec![0xc0], 0, false),
        ] {
            let mut out = collector();
            let reply = message(&bytes, 10_000, &mut out).unwrap();
            assert_eq!(reply.is_some(), acknowledged);
            if let Some(reply) = reply {
                assert_eq!(reply, [&[0x81][..], &text("ack"), &text("abc")].concat());
            }
            let found = seen(&mut out);
            assert_eq!(found.len(), records);
            for record in found {
                assert_eq!(record.service, "app");
                assert_eq!(record.time.unwrap() / 1_000_000_000, 0x6553_f100);
            }
        }
    }

    #[test]
    fn a_client_that_knows_the_key_is_let_in() {
        let server = Handshake::new([7; 16], "server");
        let ping = |key: &[u8]| {
            let mut out = vec![0x96];
            for part in ["PING", "client", "salt"] {
                write_str(&mut out, part.as_bytes());
            }
            write_str(
                &mut out,
                hexdigest([b"salt", b"client", &[7; 16], key]).as_bytes(),
            );
            write_str(&mut out, b"");
            write_str(&mut out, b"");
            out
        };
        assert!(server.pong(&ping(b"key"), b"key").unwrap().0);
        assert!(!server.pong(&ping(b"other"), b"key").unwrap().0);
        assert!(server.pong(&[0xc0], b"key").is_err());
        assert!(server.helo().starts_with(b"\x92\xa4HELO\x83"));
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), inner in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = message(&bytes, 10_000, &mut collector());
            let _ = message(&[&[0x92, 0xa1, b't'][..], &inner].concat(), 10_000, &mut collector());
            let _ = Handshake::new([0; 16], "h").pong(&[&[0x96, 0xa4, b'P', b'I', b'N', b'G'][..], &inner].concat(), b"k");
        }
    }
}
