//! Encryption of a backup by a passphrase.
//!
//! A head (a magic line, the salt and the costs of argon2id) and then pieces of
//! up to 64 KiB, each with its length before it, sealed with AES-256-GCM under
//! the key that argon2id makes of the passphrase. A piece's nonce is its number
//! and whether it is the last, so pieces cannot be dropped, swapped or cut off;
//! the head is bound to each as associated data. The key is the backup's own,
//! for the salt is, so no nonce ever comes twice.

use std::io::{self, ErrorKind, Read, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use nonna_engine::{Error, Result};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::unusable;

/// What an encrypted backup begins with.
pub(super) const MAGIC: &[u8] = b"NONNA-BACKUP-1\n";
const SALT_BYTES: usize = 16;
const HEAD_BYTES: usize = MAGIC.len() + SALT_BYTES + 8;
const PIECE_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
/// Set in the length of the last piece.
const LAST: u32 = 1 << 31;

/// Memory in KiB and passes: what OWASP recommends for argon2id.
const COST: (u32, u32) = (19 * 1024, 2);
/// What a backup may at most ask of the machine that restores it.
const HIGHEST_COST: (u32, u32) = (256 * 1024, 16);

fn cipher(passphrase: &SecretString, salt: &[u8], (memory, passes): (u32, u32)) -> Result<LessSafeKey> {
    let failed = |said: String| Error::bug("A key could not be made of the passphrase.").said(said);
    let params = Params::new(memory, passes, 1, Some(32)).map_err(|error| failed(error.to_string()))?;
    let mut key = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose_secret().as_bytes(), salt, &mut *key)
        .map_err(|error| failed(error.to_string()))?;
    UnboundKey::new(&AES_256_GCM, &*key)
        .map(LessSafeKey::new)
        .map_err(|_| failed("the cipher did not accept it".to_owned()))
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts what is written to it. Without [`Writer::finish`] what it wrote
/// opens nowhere.
pub(super) struct Writer<W> {
    inner: W,
    cipher: LessSafeKey,
    head: [u8; HEAD_BYTES],
    piece: Zeroizing<Vec<u8>>,
    number: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut inner: W, passphrase: &SecretString) -> Result<Self> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt)
            .map_err(|error| Error::bug("The system gave no random bytes.").said(error.to_string()))?;
        let mut head = [0; HEAD_BYTES];
        let parts: [&[u8]; 4] = [MAGIC, &salt, &COST.0.to_be_bytes(), &COST.1.to_be_bytes()];
        let mut rest = head.as_mut_slice();
        for part in parts {
            let (here, after) = rest.split_at_mut(part.len());
            here.copy_from_slice(part);
            rest = after;
        }
        inner
            .write_all(&head)
            .map_err(|error| crate::folder::io_error(&error, "write", std::path::Path::new("the backup")))?;
        Ok(Self {
            inner,
            cipher: cipher(passphrase, &salt, COST)?,
            head,
            piece: Zeroizing::new(Vec::with_capacity(PIECE_BYTES + TAG_BYTES)),
            number: 0,
        })
    }

    fn write_piece(&mut self, last: bool) -> io::Result<()> {
        self.cipher
            .seal_in_place_append_tag(nonce(self.number, last), Aad::from(self.head), &mut *self.piece)
            .map_err(|_| io::Error::other("a piece of the backup could not be sealed"))?;
        let length = u32::try_from(self.piece.len()).map_err(io::Error::other)?;
        let marked = if last { length | LAST } else { length };
        self.inner.write_all(&marked.to_be_bytes())?;
        self.inner.write_all(&self.piece)?;
        self.piece.clear();
        self.number += 1;
        Ok(())
    }

    /// Writes the last piece.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.write_piece(true)?;
        self.inner.flush()
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE_BYTES {
            self.write_piece(false)?;
        }
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        // Pieces are written when they are full.
        Ok(())
    }
}

/// Decrypts what a [`Writer`] wrote.
pub(super) struct Reader<R> {
    inner: R,
    cipher: LessSafeKey,
    head: [u8; HEAD_BYTES],
    piece: Zeroizing<Vec<u8>>,
    at: usize,
    number: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the head, of which the magic has been read already, and the first
    /// piece.
    pub(super) fn new(mut inner: R, passphrase: &SecretString) -> Result<Self> {
        let mut head = [0; HEAD_BYTES];
        head[..MAGIC.len()].copy_from_slice(MAGIC);
        inner
            .read_exact(&mut head[MAGIC.len()..])
            .map_err(|_| unusable("The backup ends too early."))?;
        let (salt, costs) = head[MAGIC.len()..].split_at(SALT_BYTES);
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
        let cost = (number(&costs[..4]), number(&costs[4..]));
        if cost.0 > HIGHEST_COST.0 || cost.1 > HIGHEST_COST.1 || cost.0 < 8 || cost.1 < 1 {
            return Err(unusable("The backup's head is damaged."));
        }
        let mut reader = Self {
            cipher: cipher(passphrase, salt, cost)?,
            inner,
            head,
            piece: Zeroizing::new(Vec::new()),
            at: 0,
            number: 0,
            ended: false,
        };
        reader.read_piece().map_err(|error| {
            unusable("The passphrase is not the backup's, or the backup is damaged.").said(error.to_string())
        })?;
        Ok(reader)
    }

    fn read_piece(&mut self) -> io::Result<()> {
        let damaged = || io::Error::new(ErrorKind::InvalidData, "a piece does not open");
        let mut length = [0; 4];
        self.inner.read_exact(&mut length)?;
        let marked = u32::from_be_bytes(length);
        let (length, last) = ((marked & !LAST) as usize, marked & LAST != 0);
        if !(TAG_BYTES..=PIECE_BYTES + TAG_BYTES).contains(&length) {
            return Err(damaged());
        }
        self.piece.resize(length, 0);
        self.inner.read_exact(&mut self.piece)?;
        let plain = self
            .cipher
            .open_in_place(nonce(self.number, last), Aad::from(self.head), &mut self.piece)
            .map_err(|_| damaged())?
            .len();
        self.piece.truncate(plain);
        self.at = 0;
        self.number += 1;
        self.ended = last;
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            self.read_piece()?;
        }
        let rest = &self.piece[self.at..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.at += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, &"correct horse".into()).unwrap();
        writer.write_all(plain).unwrap();
        writer.finish().unwrap();
        out
    }

    fn open(sealed: &[u8], passphrase: &str) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let rest = sealed.get(MAGIC.len()..).unwrap_or_default();
        Reader::new(rest, &passphrase.into())
            .map_err(io::Error::other)?
            .read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn any_length_comes_back() {
        for length in [
            0,
            1,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
        ] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert_eq!(open(&seal(&plain), "correct horse").unwrap(), plain, "{length}");
        }
    }

    #[test]
    fn damage_cuts_swaps_and_a_wrong_passphrase_are_noticed() {
        let plain = vec![7; 2 * PIECE_BYTES + 5];
        let sealed = seal(&plain);
        assert!(open(&sealed, "wrong horse").is_err());
        let piece = 4 + PIECE_BYTES + TAG_BYTES;
        for cut in [
            HEAD_BYTES,
            HEAD_BYTES + 3,
            HEAD_BYTES + piece,
            HEAD_BYTES + 2 * piece,
            sealed.len() - 1,
        ] {
            assert!(open(&sealed[..cut], "correct horse").is_err(), "cut at {cut}");
        }
        for at in [
            MAGIC.len(),
            HEAD_BYTES,
            HEAD_BYTES + 4,
            HEAD_BYTES + piece,
            sealed.len() - 1,
        ] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(open(&damaged, "correct horse").is_err(), "byte {at}");
        }
        let mut swapped = sealed.clone();
        let (first, second) = swapped[HEAD_BYTES..HEAD_BYTES + 2 * piece].split_at_mut(piece);
        first.swap_with_slice(second);
        assert!(open(&swapped, "correct horse").is_err());
    }
}
