//! Bytes in base64 (RFC 4648), as JSON has them.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};

/// Padding may be missing, and the last character may have bits that stand for nothing.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes of `text` in the standard alphabet, whose padding may be missing; `None` for anything else.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    FORGIVING.decode(text).ok()
}

/// The same bytes written to `out`, which is as long as `text`; how many they are.
pub fn decode_to(text: &[u8], out: &mut [u8]) -> Option<usize> {
    FORGIVING.decode_slice(text, out).ok()
}

/// The same of `text` in either alphabet, as protobuf reads it.
pub(crate) fn decode_either(text: &str) -> Option<Vec<u8>> {
    match text.contains(['-', '_']) {
        true => decode(&text.replace('-', "+").replace('_', "/")),
        false => decode(text),
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_STANDARD;

    use super::*;

    #[test]
    fn vectors_of_the_rfc() {
        let pairs = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ];
        for (bytes, text) in pairs {
            assert_eq!(BASE64_STANDARD.encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
            assert_eq!(decode(text.trim_end_matches('=')).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode("/+8=").unwrap(), [0xff, 0xef]);
        // Bits that stand for nothing.
        assert_eq!(decode("Zh==").unwrap(), b"f");
        assert_eq!((decode("_-8="), decode_either("_-8=").unwrap()), (None, vec![0xff, 0xef]));
        for bad in ["Z", "Zg===", "Z g=", "Zm9v!", "Zg=a"] {
            assert!(decode(bad).is_none() && decode_either(bad).is_none(), "{bad}");
        }
    }
}
