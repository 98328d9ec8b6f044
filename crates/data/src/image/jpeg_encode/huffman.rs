//! Huffman tables: those of the standard, and the best for symbols that were counted.

/// The codes of all symbols.
#[derive(Clone)]
pub(super) struct Codes {
    /// How many codes there are of each length from 1 on.
    pub counts: [u8; 16],
    /// The symbols in the order of their codes.
    pub symbols: [u8; 256],
    code: [u16; 256],
    length: [u8; 256],
}

impl Codes {
    /// The codes that so many symbols of each length make.
    pub fn new(counts: [u8; 16], given: &[u8]) -> Codes {
        let mut codes = Codes { counts, symbols: [0; 256], code: [0; 256], length: [0; 256] };
        let (mut next, mut symbols) = (0u32, given.iter());
        for (length, count) in (1..).zip(counts) {
            for symbol in symbols.by_ref().take(usize::from(count)) {
                codes.code[usize::from(*symbol)] = next as u16;
                codes.length[usize::from(*symbol)] = length;
                next += 1;
            }
            next <<= 1;
        }
        codes.symbols.iter_mut().zip(given).for_each(|(to, symbol)| *to = *symbol);
        codes
    }

    /// How many symbols there are.
    pub fn len(&self) -> usize {
        self.counts.iter().map(|count| usize::from(*count)).sum()
    }

    /// The code of a symbol, and its length.
    pub fn get(&self, symbol: u8) -> (u32, u32) {
        (u32::from(self.code[usize::from(symbol)]), u32::from(self.length[usize::from(symbol)]))
    }

    /// The codes that take the fewest bits for symbols that came so often, as libjpeg chooses among those (section K.2 of
    /// the standard). No code is of ones alone.
    pub fn best(frequencies: &[u32; 256]) -> Codes {
        const ALONE: usize = 256;
        let mut frequency = [0u64; 257];
        frequency.iter_mut().zip(frequencies).for_each(|(to, from)| *to = u64::from(*from));
        frequency[ALONE] = 1;
        let (mut size, mut other) = ([0usize; 257], [None::<usize>; 257]);
        // Of equal ones the symbol of the larger number.
        let least = |frequency: &[u64; 257], but: Option<usize>| {
            let there = (0..257).filter(|at| frequency[*at] > 0 && Some(*at) != but);
            there.rev().min_by_key(|at| frequency[*at])
        };
        while let Some(first) = least(&frequency, None) {
            let Some(second) = least(&frequency, Some(first)) else { break };
            frequency[first] += frequency[second];
            frequency[second] = 0;
            let mut at = first;
            size[at] += 1;
            while let Some(next) = other[at] {
                at = next;
                size[at] += 1;
            }
            other[at] = Some(second);
            at = second;
            size[at] += 1;
            while let Some(next) = other[at] {
                at = next;
                size[at] += 1;
            }
        }
        let mut bits = [0u16; 258];
        size.iter().filter(|size| **size > 0).for_each(|size| bits[*size] += 1);
        for length in (17..bits.len()).rev() {
            while bits[length] > 0 {
                // Two of the longest become one of a bit less, and a shorter one two.
                let mut shorter = length - 2;
                while shorter > 0 && bits[shorter] == 0 {
                    shorter -= 1;
                }
                bits[length] -= 2;
                bits[length - 1] += 1;
                bits[shorter + 1] += 2;
                bits[shorter] -= 1;
            }
        }
        if let Some(longest) = (1..=16).rev().find(|length| bits[*length] > 0) {
            bits[longest] -= 1;
        }
        let mut counts = [0; 16];
        counts.iter_mut().zip(&bits[1..]).for_each(|(to, bits)| *to = *bits as u8);
        let (mut symbols, mut count) = ([0; 256], 0);
        for length in 1..size.len() {
            for symbol in (0..ALONE).filter(|symbol| size[*symbol] == length) {
                symbols[count] = symbol as u8;
                count += 1;
            }
        }
        Codes::new(counts, &symbols[..count])
    }

    /// The standard's table of DC differences (`is_chroma`: of the other components).
    pub fn standard_dc(is_chroma: bool) -> Codes {
        let counts = match is_chroma {
            false => [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            true => [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        };
        Codes::new(counts, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    }

    /// The standard's table of the other coefficients.
    pub fn standard_ac(is_chroma: bool) -> Codes {
        match is_chroma {
            false => Codes::new([0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d], &LUMA_AC),
            true => Codes::new([0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77], &CHROMA_AC),
        }
    }
}

#[rustfmt::skip]
const LUMA_AC: [u8; 162] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
    0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
    0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37,
    0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
    0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
    0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
    0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

#[rustfmt::skip]
const CHROMA_AC: [u8; 162] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71, 0x13, 0x22,
    0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1,
    0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36,
    0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58,
    0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a,
    0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a,
    0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
    0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_codes_are_those_of_its_tables() {
        let (dc, ac) = (Codes::standard_dc(false), Codes::standard_ac(false));
        assert_eq!((dc.get(0), dc.get(11)), ((0, 2), (0b1_1111_1110, 9)));
        assert_eq!(
            (ac.get(0), ac.get(0xf0), ac.get(0xfa)),
            ((0b1010, 4), (0b111_1111_1001, 11), (0xfffe, 16))
        );
        assert_eq!((ac.len(), Codes::standard_ac(true).len()), (162, 162));
    }

    #[test]
    fn the_best_codes_are_short_for_what_is_frequent() {
        let mut frequencies = [0; 256];
        // So many that some codes would be longer than 16 bits; even, so that the code that is kept free decides no tie.
        let mut next = [2u32, 2];
        for frequency in &mut frequencies[..30] {
            *frequency = next[0];
            next = [next[1], next[0] + next[1]];
        }
        let codes = Codes::best(&frequencies);
        assert_eq!((codes.len(), codes.get(29).1), (30, 1));
        assert!((0..30).all(|symbol| (1..=16).contains(&codes.get(symbol).1)));
        let room: u32 = (0..30).map(|symbol| 1u32 << (16 - codes.get(symbol).1)).sum();
        assert!(room < 1 << 16);
        let mut one = [0; 256];
        one[7] = 5;
        assert_eq!((Codes::best(&one).len(), Codes::best(&one).get(7)), (1, (0, 1)));
    }
}
