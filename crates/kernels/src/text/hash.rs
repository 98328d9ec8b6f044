//! Hashes of bytes, bit for bit those of TensorFlow: FarmHash's Fingerprint64, the MurmurHash64A of its `Hash64`, and SipHash-2-4.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The 8 bytes at `at`; 0 past the end, where nothing reads.
#[inline]
fn word(text: &[u8], at: usize) -> u64 {
    text.get(at..at + 8).map_or(0, |b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
}

#[inline]
fn half_word(text: &[u8], at: usize) -> u64 {
    text.get(at..at + 4).map_or(0, |b| u64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])))
}

#[inline]
fn shift_mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

#[inline]
fn mix(u: u64, v: u64, by: u64) -> u64 {
    let a = shift_mix((u ^ v).wrapping_mul(by));
    shift_mix((v ^ a).wrapping_mul(by)).wrapping_mul(by)
}

fn up_to_16(text: &[u8]) -> u64 {
    let len = text.len();
    let by = K2.wrapping_add(len as u64 * 2);
    match len {
        8.. => {
            let (a, b) = (word(text, 0).wrapping_add(K2), word(text, len - 8));
            let c = b.rotate_right(37).wrapping_mul(by).wrapping_add(a);
            let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(by);
            mix(c, d, by)
        }
        4.. => mix((len as u64).wrapping_add(half_word(text, 0) << 3), half_word(text, len - 4), by),
        1.. => {
            let [a, b, c] = [text[0], text[len >> 1], text[len - 1]].map(u64::from);
            let (y, z) = (a + (b << 8), len as u64 + (c << 2));
            shift_mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
        }
        0 => K2,
    }
}

fn up_to_32(text: &[u8]) -> u64 {
    let len = text.len();
    let by = K2.wrapping_add(len as u64 * 2);
    let (a, b) = (word(text, 0).wrapping_mul(K1), word(text, 8));
    let (c, d) = (word(text, len - 8).wrapping_mul(by), word(text, len - 16).wrapping_mul(K2));
    let first = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let second = a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c);
    mix(first, second, by)
}

fn up_to_64(text: &[u8]) -> u64 {
    let len = text.len();
    let by = K2.wrapping_add(len as u64 * 2);
    let (a, b) = (word(text, 0).wrapping_mul(K2), word(text, 8));
    let (c, d) = (word(text, len - 8).wrapping_mul(by), word(text, len - 16).wrapping_mul(K2));
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = mix(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), by);
    let (e, f) = (word(text, 16).wrapping_mul(by), word(text, 24));
    let g = y.wrapping_add(word(text, len - 32)).wrapping_mul(by);
    let h = z.wrapping_add(word(text, len - 24)).wrapping_mul(by);
    let first = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    mix(first, e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g), by)
}

fn weak_32(text: &[u8], at: usize, mut a: u64, mut b: u64) -> (u64, u64) {
    let [w, x, y, z] = [0, 8, 16, 24].map(|offset| word(text, at + offset));
    a = a.wrapping_add(w);
    b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    a = a.wrapping_add(x).wrapping_add(y);
    b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

/// FarmHash's Fingerprint64, which never changes.
pub fn fingerprint64(text: &[u8]) -> u64 {
    let len = text.len();
    match len {
        0..=16 => return up_to_16(text),
        17..=32 => return up_to_32(text),
        33..=64 => return up_to_64(text),
        _ => {}
    }
    let seed = 81u64;
    let mut x = seed.wrapping_mul(K2).wrapping_add(word(text, 0));
    let mut y = seed.wrapping_mul(K1).wrapping_add(113);
    let mut z = shift_mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let (mut v, mut w) = ((0u64, 0u64), (0u64, 0u64));
    let end = (len - 1) / 64 * 64;
    let tail = (len - 1) & 63;
    for at in (0..end).step_by(64) {
        x = x.wrapping_add(y).wrapping_add(v.0).wrapping_add(word(text, at + 8));
        x = x.rotate_right(37).wrapping_mul(K1);
        y = y.wrapping_add(v.1).wrapping_add(word(text, at + 48)).rotate_right(42).wrapping_mul(K1);
        x ^= w.1;
        y = y.wrapping_add(v.0).wrapping_add(word(text, at + 40));
        z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(K1);
        v = weak_32(text, at, v.1.wrapping_mul(K1), x.wrapping_add(w.0));
        w = weak_32(text, at + 32, z.wrapping_add(w.1), y.wrapping_add(word(text, at + 16)));
        (x, z) = (z, x);
    }
    let by = K1.wrapping_add((z & 0xff) << 1);
    let at = end + tail - 63;
    w.0 = w.0.wrapping_add(tail as u64);
    v.0 = v.0.wrapping_add(w.0);
    w.0 = w.0.wrapping_add(v.0);
    x = x
        .wrapping_add(y)
        .wrapping_add(v.0)
        .wrapping_add(word(text, at + 8))
        .rotate_right(37)
        .wrapping_mul(by);
    y = y.wrapping_add(v.1).wrapping_add(word(text, at + 48)).rotate_right(42).wrapping_mul(by);
    x ^= w.1.wrapping_mul(9);
    y = y.wrapping_add(v.0.wrapping_mul(9)).wrapping_add(word(text, at + 40));
    z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(by);
    v = weak_32(text, at, v.1.wrapping_mul(by), x.wrapping_add(w.0));
    w = weak_32(text, at + 32, z.wrapping_add(w.1), y.wrapping_add(word(text, at + 16)));
    (x, z) = (z, x);
    let first = mix(v.0, w.0, by).wrapping_add(shift_mix(y).wrapping_mul(K0)).wrapping_add(z);
    mix(first, mix(v.1, w.1, by).wrapping_add(x), by)
}

/// The hash that TensorFlow calls `Hash64`: MurmurHash64A.
pub fn hash64(text: &[u8]) -> u64 {
    const BY: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0x00de_cafc_affe;
    let mut hash = SEED ^ (text.len() as u64).wrapping_mul(BY);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(BY);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(BY)).wrapping_mul(BY);
    }
    if !rest.is_empty() {
        let tail = rest.iter().rev().fold(0u64, |tail, byte| tail << 8 | u64::from(*byte));
        hash = (hash ^ tail).wrapping_mul(BY);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(BY);
    hash ^ (hash >> 47)
}

/// SipHash-2-4 under a key.
pub fn sip_hash(key: [u64; 2], text: &[u8]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
    let (words, rest) = text.as_chunks::<8>();
    let tail = rest.iter().rev().fold(0u64, |tail, byte| tail << 8 | u64::from(*byte));
    let last = tail | (text.len() as u64 & 0xff) << 56;
    for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

/// Two fingerprints as one, of which the order matters.
pub fn fingerprint_cat64(first: u64, second: u64) -> u64 {
    const BY: u64 = 0xc6a4_a793_5bd1_e995;
    let mixed = (first ^ BY ^ shift_mix(second.wrapping_mul(BY)).wrapping_mul(BY)).wrapping_mul(BY);
    shift_mix(shift_mix(mixed).wrapping_mul(BY))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Length of the text, and what TensorFlow makes of it; hashes but the first modulo 2^63 - 1.
    const CASES: [(usize, u64, u64, u64); 9] = [
        (0, 0x9ae1_6a3b_2f90_404f, 105434511174508092, 8295241782997275327),
        (1, 0xbec0_9cc4_4746_9d8b, 7001769250909271135, 6057436870487771949),
        (4, 0xf3c7_ee05_197a_7b92, 5799242685562273649, 5555692539473100819),
        (8, 0x0c97_ecbc_1e9d_2626, 384654127350334882, 3750947229069572519),
        (17, 0xc951_8fe6_3ebf_6127, 7037566801403733717, 7730778637631221551),
        (33, 0xc24f_9d7c_e864_f0e9, 2574933530128875931, 5855067898884408549),
        (64, 0xbc17_9a6e_5c24_6189, 3627370486952346754, 8437928992699150366),
        (129, 0x1f40_9e35_5940_ee0a, 881495265315218850, 277342215431751654),
        (200, 0xe0a3_3273_3c46_fd41, 2226121744997150738, 3415876668967650464),
    ];

    #[test]
    fn fingerprints_are_put_together() {
        // What TensorFlow's SparseCross makes of "a" and 7 under its usual key.
        let text = fingerprint_cat64(956_888_297_470, fingerprint64(b"a"));
        assert_eq!(fingerprint_cat64(text, 7) % i64::MAX as u64, 3_509_787_333_349_122_856);
    }

    #[test]
    fn hashes_are_those_of_tensorflow() {
        const MOST: u64 = i64::MAX as u64;
        for (len, fingerprint, hash, keyed) in CASES {
            let text: Vec<u8> = (0..len).map(|i| ((i * 7 + 3) % 251) as u8).collect();
            assert_eq!(fingerprint64(&text), fingerprint, "{len}");
            assert_eq!(hash64(&text) % MOST, hash, "{len}");
            assert_eq!(sip_hash([12345, -678i64 as u64], &text) % MOST, keyed, "{len}");
        }
    }
}
