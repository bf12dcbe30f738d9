//! Segments: files of blocks, each a few thousand records compressed, with a
//! filter of the words in them. `docs/logs.md` describes the format.

pub(crate) mod block;
pub(crate) mod data;
pub(crate) mod file;
pub(crate) mod filter;
pub(crate) mod hex;
pub(crate) mod tokens;

/// What stands in a block's text where a line's time was taken out.
pub(crate) const TIME_MARK: u8 = 0x01;
/// What stands there where a number in hexadecimal was taken out; behind it
/// stands how many digits it had.
pub(crate) const HEX_MARK: u8 = 0x02;
/// What ends a line there. A line that holds it is kept with its length.
pub(crate) const LINE_END: u8 = b'\n';
/// A block is made of about so many bytes of lines.
pub(crate) const BLOCK_BYTES: usize = 1024 * 1024;
/// A block holds at most so many records.
pub(crate) const BLOCK_RECORDS: usize = 1 << 17;
