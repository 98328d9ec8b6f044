//! Bytes in base64 (RFC 4648) as protobuf's JSON may have them.

use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};

/// Padding may be missing, and the last character may have bits that stand for nothing.
const FORGIVING: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes of `text`, of either alphabet.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    match text.contains(['-', '_']) {
        true => FORGIVING.decode(text.replace('-', "+").replace('_', "/")).ok(),
        false => FORGIVING.decode(text).ok(),
    }
}
