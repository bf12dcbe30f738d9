//! How contents travel: one frame after another, each the SHA-256 in
//! hexadecimal (64 bytes), the size (8 bytes, big endian) and the bytes.

/// The length of a frame's header.
pub const FRAME_HEADER_LEN: usize = 72;

const DIGITS: usize = 64;

/// The header that precedes a content. `None` if the digest is not a SHA-256
/// in lower-case hexadecimal.
#[must_use]
pub fn frame_header(sha256: &str, size: u64) -> Option<[u8; FRAME_HEADER_LEN]> {
    if !super::is_sha256(sha256) {
        return None;
    }
    let mut header = [0; FRAME_HEADER_LEN];
    let (digits, length) = header.split_at_mut(DIGITS);
    digits.copy_from_slice(sha256.as_bytes());
    length.copy_from_slice(&size.to_be_bytes());
    Some(header)
}

/// A stream that is not a row of frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A header does not begin with a SHA-256.
    #[error("a frame does not begin with a SHA-256 in hexadecimal")]
    NotADigest,
    /// The stream ended inside of a frame.
    #[error("the upload ended in the middle of a file")]
    CutOff,
}

/// What the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FrameEvent<'a> {
    /// A content begins.
    Begin {
        /// Its digest.
        sha256: String,
        /// How many bytes follow.
        size: u64,
    },
    /// Some of its bytes.
    Data(&'a [u8]),
    /// It is complete.
    End,
}

/// Takes a stream apart, in whatever pieces it comes. It holds a header at
/// most, never a content.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    header: Vec<u8>,
    /// Inside of a content: how many of its bytes are to come.
    left: Option<u64>,
}

impl FrameDecoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next thing out of `input` and moves it on; `None` when more
    /// input is needed. Call it until it returns `None`.
    ///
    /// # Errors
    /// `NotADigest`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<FrameEvent<'a>>, FrameError> {
        match self.left {
            Some(0) => {
                self.left = None;
                Ok(Some(FrameEvent::End))
            }
            Some(left) => {
                if input.is_empty() {
                    return Ok(None);
                }
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let (data, rest) = input.split_at(take);
                *input = rest;
                self.left = Some(left - take as u64);
                Ok(Some(FrameEvent::Data(data)))
            }
            None => {
                let take = (FRAME_HEADER_LEN - self.header.len()).min(input.len());
                let (data, rest) = input.split_at(take);
                *input = rest;
                self.header.extend_from_slice(data);
                if self.header.len() < FRAME_HEADER_LEN {
                    return Ok(None);
                }
                let header = std::mem::take(&mut self.header);
                let (digits, length) = header.split_at(DIGITS);
                let sha256 = std::str::from_utf8(digits)
                    .ok()
                    .filter(|digits| super::is_sha256(digits))
                    .ok_or(FrameError::NotADigest)?
                    .to_owned();
                let size = length
                    .iter()
                    .fold(0_u64, |size, byte| (size << 8) | u64::from(*byte));
                self.left = Some(size);
                Ok(Some(FrameEvent::Begin { sha256, size }))
            }
        }
    }

    /// Says that the stream ended.
    ///
    /// # Errors
    /// `CutOff` if it ended inside of a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        if self.left.is_none() && self.header.is_empty() {
            Ok(())
        } else {
            Err(FrameError::CutOff)
        }
    }
}
