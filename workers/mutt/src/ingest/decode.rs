//! Decompression of bodies, bounded by INGEST_MAX_BODY_BYTES.

use std::borrow::Cow;
use std::io::{ErrorKind, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("decompressed body is too large")]
    TooLarge,
    #[error("body is not valid {0}")]
    Corrupt(&'static str),
}

impl Encoding {
    /// From the value of Content-Encoding; `None` = not supported.
    pub(crate) fn from_header(value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        if value.is_empty() || value.eq_ignore_ascii_case(b"identity") {
            Some(Self::Identity)
        } else if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            Some(Self::Gzip)
        } else if value.eq_ignore_ascii_case(b"zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// The plain body, at most `bytes_max` long.
    pub(crate) fn decode(self, body: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
        match self {
            Self::Identity => Ok(Cow::Borrowed(body)),
            Self::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(body), bytes_max, Vec::new(), "gzip"),
            Self::Zstd => decode_zstd(body, bytes_max),
        }
    }
}

fn read_bounded(
    reader: impl Read,
    bytes_max: usize,
    mut out: Vec<u8>,
    format: &'static str,
) -> Result<Cow<'static, [u8]>, DecodeError> {
    let room = (bytes_max - out.len().min(bytes_max)) as u64;
    // One byte more than allowed tells too large from just right.
    match reader.take(room + 1).read_to_end(&mut out) {
        Ok(_) if out.len() > bytes_max => Err(DecodeError::TooLarge),
        Ok(_) => Ok(Cow::Owned(out)),
        Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(DecodeError::TooLarge),
        Err(_) => Err(DecodeError::Corrupt(format)),
    }
}

/// A zstd stream is frames one after the other, some of which are to be skipped (RFC 8878).
fn decode_zstd(body: &[u8], bytes_max: usize) -> Result<Cow<'static, [u8]>, DecodeError> {
    const CORRUPT: DecodeError = DecodeError::Corrupt("zstd");
    let mut source = body;
    let mut out = Vec::new();
    if source.is_empty() {
        return Err(CORRUPT);
    }
    while !source.is_empty() {
        // The window is what the decoder may have to hold: never more than a body may have.
        let window = (bytes_max as u64).max(8 << 20);
        match ruzstd::decoding::StreamingDecoder::new_with_max_window_size(&mut source, window) {
            Ok(decoder) => out = read_bounded(decoder, bytes_max, out, "zstd")?.into_owned(),
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                source = source.get(length as usize..).ok_or(CORRUPT)?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(DecodeError::TooLarge),
            Err(_) => return Err(CORRUPT),
        }
    }
    Ok(Cow::Owned(out))
}

/// A media type that bodies may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    /// Lines, even if only one of them parses.
    NewlineJson,
}

impl MediaType {
    /// From the value of Content-Type, parameters ignored; `None` = not supported.
    pub(crate) fn from_header(value: &[u8]) -> Option<Self> {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |names: &[&str]| names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(essence));
        if is(&["application/json"]) {
            Some(Self::Json)
        } else if is(&["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]) {
            Some(Self::NewlineJson)
        } else {
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(body: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(body, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn decodes_both_formats_up_to_the_limit() {
        let body = b"0123456789".repeat(100);
        for (encoding, packed) in [(Encoding::Gzip, gzip(&body)), (Encoding::Zstd, zstd(&body))] {
            assert_eq!(encoding.decode(&packed, 1_000).as_deref(), Ok(&body[..]), "{encoding:?}");
            assert_eq!(encoding.decode(&packed, 999), Err(DecodeError::TooLarge), "{encoding:?}");
            let twice = [packed.clone(), packed.clone()].concat();
            assert_eq!(encoding.decode(&twice, 2_000).unwrap().len(), 2_000, "{encoding:?}");
            assert_eq!(encoding.decode(&twice, 1_999), Err(DecodeError::TooLarge), "{encoding:?}");
            let cut = &packed[..packed.len() / 2];
            assert!(matches!(encoding.decode(cut, 1_000), Err(DecodeError::Corrupt(_))), "{encoding:?}");
            assert!(matches!(encoding.decode(&body, 1_000), Err(DecodeError::Corrupt(_))), "{encoding:?}");
        }
        assert_eq!(Encoding::Identity.decode(&body, 1).as_deref(), Ok(&body[..]));
    }

    #[test]
    fn a_bomb_is_cut_off() {
        let zeros = vec![b' '; 64 << 20];
        let bomb = gzip(&zeros);
        assert!(bomb.len() < 100_000);
        assert_eq!(Encoding::Gzip.decode(&bomb, 1 << 20), Err(DecodeError::TooLarge));
    }

    #[test]
    fn zstd_skips_frames_that_hold_no_data_and_bounds_the_window() {
        let mut body = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        body.extend(zstd(b"{}"));
        assert_eq!(Encoding::Zstd.decode(&body, 10).as_deref(), Ok(&b"{}"[..]));
        // A frame header that asks for a window of 1 GiB.
        let huge = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa0, 0x01, 0x00, 0x00];
        assert_eq!(Encoding::Zstd.decode(&huge, 1 << 20), Err(DecodeError::TooLarge));
    }

    #[test]
    fn headers() {
        assert_eq!(Encoding::from_header(b" GZip"), Some(Encoding::Gzip));
        assert_eq!(Encoding::from_header(b"br"), None);
        assert_eq!(Encoding::from_header(b"gzip, gzip"), None);
        assert_eq!(MediaType::from_header(b"Application/JSON; charset=utf-8"), Some(MediaType::Json));
        assert_eq!(MediaType::from_header(b"application/x-ndjson"), Some(MediaType::NewlineJson));
        assert_eq!(MediaType::from_header(b"text/plain"), None);
    }
}
